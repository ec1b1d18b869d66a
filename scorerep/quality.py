"""How good are samples of digits? By a small classifier trained on real ones.

    classifier = load_classifier("checkpoints/mnist-classifier")
    sure_share(classifier, samples)                       # is it at least 90 % sure of a digit?
    frechet_distance(features(classifier, real), features(classifier, samples))

The Fréchet distance is between Gaussian fits of the classifier's 64 last features (Heusel et al.,
2017, with features of digits where they have Inception's of photographs): its values compare with
each other, not with published ones. Few samples bias it upward: compare equal numbers, beside
held-out real digits (the floor) and draws of one Gaussian fitted to the pixels (the ceiling).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from scorerep import checkpoint
from scorerep.codes.scores import bootstrap_interval
from scorerep.data.batches import batch_indices
from scorerep.data.images import ImageData
from scorerep.types import Images, Labels, Times

Features = Float[Tensor, "batch 64"]
SURE = 0.9


class DigitClassifier(nn.Module):
    """A convolutional classifier of 28×28 grey images in [−1, 1]: 10 logits from 64 features."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 7 * 7, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x: Images) -> Float[Tensor, "batch 10"]:
        return self.head(F.dropout(self.body(x), 0.3, self.training))


def train_classifier(
    data: ImageData, iterations: int = 2_500, batch_size: int = 128, seed: int = 0
) -> DigitClassifier:
    """Cross-entropy, AdamW, one-cycle learning rate, shifts of up to two pixels."""
    if tuple(data.image_shape) != (1, 28, 28):
        raise ValueError(f"data must be 28×28 grey images, got {tuple(data.image_shape)}")
    torch.manual_seed(seed)
    model = DigitClassifier()
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=iterations)
    for step in range(iterations):
        index = batch_indices(step, len(data), batch_size, seed)
        shift = torch.randint(-2, 3, (2,)).tolist()
        x = torch.roll(data.batch(index), shift, (2, 3))  # the border is empty: nothing wraps
        loss = F.cross_entropy(model(x), data.labels[index].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def save_classifier(model: DigitClassifier, folder: Path, **card):
    """Weights in half precision and a card."""
    checkpoint.write_tensors(
        Path(folder) / "model.safetensors",
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
    )
    checkpoint.write_card(Path(folder), {"classifier": "DigitClassifier", **card})


def load_classifier(folder: str | Path) -> DigitClassifier:
    """In evaluation mode, float32. ``CheckpointError`` names the file at fault."""
    model = DigitClassifier()
    checkpoint.load_weights(model, Path(folder) / "model.safetensors")
    return model.eval()


@torch.no_grad()
def features(classifier: DigitClassifier, images: Images, batch: int = 500) -> Features:
    """The 64 last features; images are clamped to [−1, 1], as a picture on a screen is."""
    return torch.cat([classifier.body(part.clamp(-1, 1)) for part in images.split(batch)])


@torch.no_grad()
def probabilities(
    classifier: DigitClassifier, images: Images, batch: int = 500
) -> Float[Tensor, "batch 10"]:
    """p(y | x) as the classifier sees it."""
    parts = [classifier(part.clamp(-1, 1)).softmax(1) for part in images.split(batch)]
    return torch.cat(parts)


def accuracy(classifier: DigitClassifier, data: ImageData) -> float:
    """Share of images whose most probable class is their own."""
    return float((probabilities(classifier, data.floats()).argmax(1) == data.labels).float().mean())


def sure(classifier: DigitClassifier, images: Images) -> Times:
    """1 where the classifier gives one class at least 90 %, else 0."""
    return (probabilities(classifier, images).amax(1) >= SURE).float()


def sure_share(
    classifier: DigitClassifier, images: Images, seed: int = 0
) -> tuple[float, float, float]:
    """Share of images that it is sure of, and the ends of a 95 % bootstrap interval."""
    hits = sure(classifier, images)
    return float(hits.mean()), *bootstrap_interval(hits, seed=seed)


def class_accuracy(judge: DigitClassifier, images: Images, y: Labels) -> tuple[float, float, float]:
    """Share of images that the judge puts in the class asked for; 95 % Wilson bounds."""
    if len(images) != len(y):
        raise ValueError(f"y must have one label for each of {len(images)} images, got {len(y)}")
    hits = int((probabilities(judge, images).argmax(1) == y).sum())
    interval = binomtest(hits, len(y)).proportion_ci(method="wilson")
    return hits / len(y), float(interval.low), float(interval.high)


def frechet_distance(real: Features, fake: Features) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½) of two sets of features, by torchmetrics."""
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


def frechet_interval(
    real: Features, fake: Features, resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The distance and the ends of a bootstrap interval over the fake samples.

    Resampling repeats samples, which adds the same to every distance; the resamples' spread
    is therefore laid about the distance itself.
    """
    generator = torch.Generator().manual_seed(seed)
    value = frechet_distance(real, fake)
    draws = [
        frechet_distance(real, fake[torch.randint(len(fake), (len(fake),), generator=generator)])
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    centre = float(np.mean(draws))
    return value, value + float(low) - centre, value + float(high) - centre


def gaussian_fit(images: Images, n: int, generator: torch.Generator | None = None) -> Images:
    """n draws of one Gaussian with the images' mean and covariance, clamped to [−1, 1]."""
    flat = images.flatten(1).double()
    mean, covariance = flat.mean(0), flat.T.cov()
    values, vectors = torch.linalg.eigh(covariance)
    noise = torch.randn(n, len(mean), generator=generator, dtype=torch.float64)
    draws = mean + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return draws.clamp(-1, 1).to(images).unflatten(1, images.shape[1:])


class _Given(nn.Module):
    """Features that are already there, in the place of a network that makes them."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x
