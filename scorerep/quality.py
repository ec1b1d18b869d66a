"""How good are samples? By a small classifier trained on real images of the same data set.

    classifier = load_classifier("checkpoints/mnist-classifier")
    sure_share(classifier, samples)                       # is it at least 90 % sure of a digit?
    real, fake = (features(classifier, images) for images in (test_images, samples))
    frechet_distance(real, fake), kernel_distance(real, fake)

Both distances compare the classifier's 64 last features of real images and of samples.

Fréchet     between Gaussian fits (Heusel et al., 2017). Few samples bias it upward: compare equal
            numbers, beside held-out real digits (the floor) and draws of one Gaussian fitted to the
            pixels (the ceiling).
kernel      the squared maximum mean discrepancy of a cubic kernel (Bińkowski et al., 2018). Unbiased
            for any number of samples, so that it may come out negative.

Their features are of digits where Inception's are of photographs: values compare with each other,
not with published ones. Images are judged where the classifier is, in its precision.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from scorerep import checkpoint, checks
from scorerep.codes.scores import bootstrap_interval
from scorerep.data.batches import batch_indices
from scorerep.data.images import ImageData
from scorerep.devices import named_device, normal, place_of
from scorerep.types import Images, Labels, Times

Features = Float[Tensor, "batch 64"]
SURE = 0.9
SHIFT = 2  # pixels, at most, by which training images are moved


class DigitClassifier(nn.Module):
    """A convolutional classifier of small images in [−1, 1]: logits from 64 features.

    Args:
        image_shape: (channel, height, width), at least 4 pixels high and wide.
        num_classes: at least two.
    """

    def __init__(self, image_shape: tuple[int, int, int] = (1, 28, 28), num_classes: int = 10):
        super().__init__()
        if len(image_shape) != 3 or image_shape[0] < 1 or min(image_shape[1:]) < 4:
            raise ValueError(
                "image_shape must be (channel, height, width), at least 4 pixels a side, "
                f"got {tuple(image_shape)}"
            )
        channels, height, width = image_shape
        self.image_shape = tuple(image_shape)
        self.num_classes = checks.whole("num_classes", num_classes, 2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Images) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.head(F.dropout(self.body(x), 0.3, self.training))


def train_classifier(
    data: ImageData, iterations: int = 2_500, batch_size: int = 128, seed: int = 0
) -> DigitClassifier:
    """Cross-entropy, AdamW, one-cycle learning rate, shifts of up to two pixels.

    It is trained where ``data`` are. ``ValueError``: fewer images than ``batch_size``, one class
    only, or images too small.
    """
    iterations = checks.whole("iterations", iterations, 1)
    batch_size = checks.whole("batch_size", batch_size, 2, len(data))
    seed = checks.whole("seed", seed, 0, 2**63 - 1)
    torch.manual_seed(seed)
    model = DigitClassifier(data.image_shape, len(data.classes)).to(data.images.device)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=iterations)
    for step in range(iterations):
        index = batch_indices(step, len(data), batch_size, seed).to(data.images.device)
        down, right = (torch.randint(0, 2 * SHIFT + 1, (2,))).tolist()
        x = F.pad(data.batch(index), (SHIFT,) * 4, mode="replicate")
        x = x[:, :, down : down + data.image_shape[1], right : right + data.image_shape[2]]
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
    built = {"image_shape": list(model.image_shape), "num_classes": model.num_classes}
    checkpoint.write_card(Path(folder), {"classifier": "DigitClassifier", **built, **card})


def load_classifier(folder: str | Path, device: torch.device | str = "cpu") -> DigitClassifier:
    """In evaluation mode, float32. ``CheckpointError`` names the file at fault."""
    device, folder = named_device(device), Path(folder)
    card = checkpoint.read_card(folder)
    try:  # cards of older weights name neither: grey digits of 28×28 pixels
        shape, classes = card.get("image_shape", (1, 28, 28)), card.get("num_classes", 10)
        model = DigitClassifier(tuple(shape), classes)
    except (AttributeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"{folder / 'card.json'} does not describe a classifier: {error}"
        ) from None
    checkpoint.load_weights(model, folder / "model.safetensors")
    return model.to(device).eval()


def features(classifier: DigitClassifier, images: Images, batch: int = 500) -> Features:
    """The 64 last features; images are clamped to [−1, 1], as a picture on a screen is."""
    return _judged(classifier, classifier.body, images, batch)


def probabilities(
    classifier: DigitClassifier, images: Images, batch: int = 500
) -> Float[Tensor, "batch classes"]:
    """p(y | x) as the classifier sees it."""
    return _judged(classifier, lambda x: classifier(x).softmax(1), images, batch)


def accuracy(classifier: DigitClassifier, data: ImageData) -> float:
    """Share of images whose most probable class is their own."""
    found = probabilities(classifier, data.floats()).argmax(1)
    return float((found == data.labels).float().mean())


def sure(classifier: DigitClassifier, images: Images) -> Times:
    """1 where the classifier gives one class at least 90 %, else 0."""
    return (probabilities(classifier, images).amax(1) >= SURE).to(images)


def sure_share(
    classifier: DigitClassifier, images: Images, seed: int = 0
) -> tuple[float, float, float]:
    """Share of images that it is sure of, and the ends of a 95 % bootstrap interval."""
    if len(images) < 2:
        raise ValueError(f"images must be at least 2 for an interval, got {len(images)}")
    hits = sure(classifier, images).double()
    return float(hits.mean()), *bootstrap_interval(hits, seed=seed)


def class_accuracy(judge: DigitClassifier, images: Images, y: Labels) -> tuple[float, float, float]:
    """Share of images that the judge puts in the class asked for; 95 % Wilson bounds."""
    if len(images) != len(y) or not len(y):
        raise ValueError(
            f"y must have one label for each of {len(images)} images, at least one, got {len(y)}"
        )
    found = probabilities(judge, images).argmax(1)
    hits = int((found == checks.labels("y", y, found)).sum())
    interval = binomtest(hits, len(y)).proportion_ci(method="wilson")
    return hits / len(y), float(interval.low), float(interval.high)


def frechet_distance(real: Features, fake: Features) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½) of two sets of features, by torchmetrics."""
    real, fake = _features(real, fake)
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def frechet_interval(
    real: Features, fake: Features, resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The distance and the ends of a bootstrap interval over the fake samples.

    Resampling repeats samples, which adds the same to every distance; the resamples' spread
    is therefore laid about the distance itself.
    """
    resamples, tails = checks.whole("resamples", resamples, 1), _tails(confidence)
    generator = torch.Generator().manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
    real, fake = _features(real, fake)
    value = frechet_distance(real, fake)
    draws = [
        frechet_distance(real, fake[torch.randint(len(fake), (len(fake),), generator=generator)])
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, tails)
    centre = float(np.mean(draws))
    return value, value + float(low) - centre, value + float(high) - centre


def kernel_distance(real: Features, fake: Features, seed: int = 0) -> float:
    """The squared distance of two laws under the kernel (x·y/64 + 1)³, by torchmetrics.

    Unbiased: 0 on average for two samples of one law. Of the larger set as many are drawn, with
    ``seed``, as the smaller one has.
    """
    real, fake = _features(real, fake)
    return float(_kernel_distances(real, fake, min(len(real), len(fake)), 1, seed)[0])


def kernel_interval(
    real: Features,
    fake: Features,
    subsets: int = 100,
    subset_size: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The mean kernel distance of ``subsets`` parts of the two sets, and the ends of an interval.

    Parts are drawn without repetition and have ``subset_size`` images, or half of the smaller set
    if that is less. The distances of parts of m among n vary more than that of the whole does, by
    √(n/m), and miss a share m/n of its variance: their quantiles about the mean are scaled by
    √(m/(n − m)) (subsampling, Politis and Romano, 1994). Both sets count as samples.
    """
    tails, subsets = _tails(confidence), checks.whole("subsets", subsets, 2)
    real, fake = _features(real, fake, least=4)
    n = min(len(real), len(fake))
    m = min(checks.whole("subset_size", subset_size, 2), n // 2)
    draws = _kernel_distances(real, fake, m, subsets, seed)
    value, scale = float(draws.mean()), (m / (n - m)) ** 0.5
    low, high = np.quantile(draws - value, tails) * scale
    return value, value + float(low), value + float(high)


def gaussian_fit(images: Images, n: int, generator: torch.Generator | None = None) -> Images:
    """n draws of one Gaussian with the images' mean and covariance, clamped to [−1, 1]."""
    checks.floating("images", images)
    if len(images) < 2:
        raise ValueError(f"images must be at least 2 for a covariance, got {len(images)}")
    flat = images.flatten(1).cpu().double()
    mean, covariance = flat.mean(0), flat.T.cov()
    values, vectors = torch.linalg.eigh(covariance)
    noise = normal((checks.whole("n", n, 0), len(mean)), flat, generator)
    draws = mean + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return draws.clamp(-1, 1).to(images).unflatten(1, images.shape[1:])


@torch.no_grad()
def _judged(classifier, judge, images: Images, batch: int) -> Tensor:
    checks.floating("images", images, getattr(classifier, "image_shape", None))
    batch, place = checks.whole("batch", batch, 1), place_of(classifier, images)
    parts = [judge(part.to(*place).clamp(-1, 1)) for part in images.split(batch)]
    return torch.cat(parts).to(images)


def _features(real: Features, fake: Features, least: int = 2) -> tuple[Tensor, Tensor]:
    """On the CPU in float64: square roots of matrices need it."""
    for name, given in (("real", real), ("fake", fake)):
        checks.floating(name, given)
        if given.ndim != 2 or len(given) < least or given.shape[1] != real.shape[1]:
            raise ValueError(
                f"{name} must be (images, {real.shape[1]}) features of at least {least} images, "
                f"got {tuple(given.shape)}"
            )
    return real.detach().cpu().double(), fake.detach().cpu().double()


def _kernel_distances(real, fake, size: int, subsets: int, seed: int) -> np.ndarray:
    """One of each of ``subsets`` parts of ``size`` images."""
    with warnings.catch_warnings():  # that it keeps the features, as it must
        warnings.simplefilter("ignore", UserWarning)
        metric = KernelInceptionDistance(
            _Given(real.shape[1]), subsets=1, subset_size=size, compute_with_cache=False
        ).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):  # the metric draws from torch's own generator
        torch.manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
        return np.array([float(metric.compute()[0]) for _ in range(subsets)])


def _tails(confidence: float) -> list[float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return [(1 - confidence) / 2, (1 + confidence) / 2]


class _Given(nn.Module):
    """Features that are already there, in the place of a network that makes them."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x
