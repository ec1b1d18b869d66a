"""The classifier that judges samples: its training, its weights, what it says of each image."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor, nn

from scorerep import checkpoint
from scorerep.codes.scores import bootstrap_interval
from scorerep.data.batches import batch_indices
from scorerep.data.images import ImageData
from scorerep.types import Images, Labels, Times, checks
from scorerep.types.devices import named_device, place_of

SURE = 0.9
SHIFT = 2  # pixels, at most, by which training images are moved


class ImageClassifier(nn.Module):
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
) -> ImageClassifier:
    """Cross-entropy, AdamW, one-cycle learning rate, shifts of up to two pixels.

    It is trained where ``data`` are. ``ValueError``: fewer images than ``batch_size``, one class
    only, or images too small.
    """
    iterations = checks.whole("iterations", iterations, 1)
    batch_size = checks.whole("batch_size", batch_size, 2, len(data))
    seed = checks.whole("seed", seed, 0, 2**32 - 1)
    torch.manual_seed(seed)
    model = ImageClassifier(data.image_shape, len(data.classes)).to(data.images.device)
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


def save_classifier(model: ImageClassifier, folder: Path, **card):
    """Weights in half precision and a card."""
    checkpoint.write_tensors(
        Path(folder) / "model.safetensors",
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
    )
    built = {"image_shape": list(model.image_shape), "num_classes": model.num_classes}
    checkpoint.write_card(Path(folder), {"classifier": "ImageClassifier", **built, **card})


def load_classifier(folder: str | Path, device: torch.device | str = "cpu") -> ImageClassifier:
    """In evaluation mode, float32. ``CheckpointError`` names the file at fault."""
    device, folder = named_device(device), Path(folder)
    card = checkpoint.read_card(folder)
    try:  # cards of older weights name neither: grey digits of 28×28 pixels
        shape, classes = card.get("image_shape", (1, 28, 28)), card.get("num_classes", 10)
        model = ImageClassifier(tuple(shape), classes)
    except (AttributeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"{folder / 'card.json'} does not describe a classifier: {error}"
        ) from None
    checkpoint.load_weights(model, folder / "model.safetensors")
    return model.to(device).eval()


def features(
    classifier: ImageClassifier, images: Images, batch: int = 500
) -> Float[Tensor, "batch 64"]:
    """The 64 last features; images are clamped to [−1, 1], as a picture on a screen is."""
    return _judged(classifier, classifier.body, images, batch)


def probabilities(
    classifier: ImageClassifier, images: Images, batch: int = 500
) -> Float[Tensor, "batch classes"]:
    """p(y | x) as the classifier sees it."""
    return _judged(classifier, lambda x: classifier(x).softmax(1), images, batch)


def accuracy(classifier: ImageClassifier, data: ImageData) -> float:
    """Share of images whose most probable class is their own."""
    found = probabilities(classifier, data.floats()).argmax(1)
    return float((found == data.labels).float().mean())


def sure(classifier: ImageClassifier, images: Images) -> Times:
    """1 where the classifier gives one class at least 90 %, else 0."""
    return (probabilities(classifier, images).amax(1) >= SURE).to(images)


def sure_share(
    classifier: ImageClassifier, images: Images, seed: int = 0
) -> tuple[float, float, float]:
    """Share of images that it is sure of, and the ends of a 95 % bootstrap interval."""
    if len(images) < 2:
        raise ValueError(f"images must be at least 2 for an interval, got {len(images)}")
    hits = sure(classifier, images).double()
    return float(hits.mean()), *bootstrap_interval(hits, seed=seed)


def class_accuracy(
    judge: ImageClassifier, images: Images, y: Labels, among: Sequence[int] | None = None
) -> tuple[float, float, float]:
    """Share of images that the judge puts in the class asked for; 95 % Wilson bounds.

    Args:
        among: the classes that can be asked for, if not all that the judge knows; the judge then
            names the most probable one of these.

    ``ValueError``: not one label for each image, or a class of ``y`` that ``among`` lacks.
    """
    if len(images) != len(y) or not len(y):
        raise ValueError(
            f"y must have one label for each of {len(images)} images, at least one, got {len(y)}"
        )
    told = probabilities(judge, images)
    found = told.argmax(1)
    y = checks.labels("y", y, found)
    if among is not None:
        kept = torch.tensor(sorted(set(among)))
        known = torch.isin(kept, torch.arange(told.shape[1])).all()
        if not kept.numel() or not known or not torch.isin(y.cpu(), kept).all():
            raise ValueError(
                f"among must be classes that the judge knows, all those of y included, got {among}"
            )
        found = kept.to(found)[told[:, kept.to(found)].argmax(1)]
    hits = int((found == y).sum())
    interval = binomtest(hits, len(y)).proportion_ci(method="wilson")
    return hits / len(y), float(interval.low), float(interval.high)


@torch.no_grad()
def _judged(classifier, judge, images: Images, batch: int) -> Tensor:
    checks.floating("images", images, getattr(classifier, "image_shape", None))
    batch, place = checks.whole("batch", batch, 1), place_of(classifier, images)
    parts = [judge(part.to(*place).clamp(-1, 1)) for part in images.split(batch)]
    return torch.cat(parts).to(images)
