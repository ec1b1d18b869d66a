"""The classifier that judges samples of digits: checkpoints/mnist-classifier.

    python -m book.studies.digit_classifier         # 5 minutes of one core

Trained on MNIST's training images, scored once on its test images. Every Fréchet distance of the
book is in its features: new weights make all committed tables of sample quality out of date.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from scorerep.data import load_data
from scorerep.quality import accuracy, save_classifier, train_classifier


@dataclass(frozen=True)
class Arguments:
    """Train and save."""

    iterations: int = 1_200
    """Of 128 images."""
    seed: int = 0
    """Of weights, batches and shifts."""
    images: int = 0
    """Training images, the first ones; 0 for all."""
    out: Path = Path("book/checkpoints/mnist-classifier")
    """Where the weights go, in half precision."""


def main(a: Arguments):
    started = time.monotonic()
    data = load_data("mnist", "train", limit=a.images or None)
    model = train_classifier(data, a.iterations, seed=a.seed)
    card = {"seconds": time.monotonic() - started, "iterations_done": a.iterations, "seed": a.seed}
    card["accuracy"] = accuracy(model, load_data("mnist", "test"))
    save_classifier(model, a.out, **card)
    print(f"{a.out}: {card['accuracy']:.2%} of the test images")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
