"""The classifiers that judge samples: book/checkpoints/mnist-classifier and cifar10-classifier.

    python -m book.studies.image_classifier                                      # 5 core minutes
    python -m book.studies.image_classifier --data cifar10 --iterations 4000     # 6

Trained on the training images, scored once on the test images. Every Fréchet distance of the
book is in the features of one of them: new weights make all committed tables of sample quality
of that data set out of date.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from scorerep.data import load_data
from scorerep.quality import accuracy, save_classifier, train_classifier


@dataclass(frozen=True)
class Arguments:
    """Train and save."""

    data: Literal["mnist", "cifar10"] = "mnist"
    """The data set whose images are learned, all classes of it."""
    iterations: int = 1_200
    """Iterations of the training, with 128 images each."""
    seed: int = 0
    """Seed of the weights, the batches and the shifts."""
    images: int = 0
    """Training images, the first ones; 0 for all."""
    out: Path | None = None
    """Where the weights go, in half precision; book/checkpoints/DATA-classifier if not given."""


def main(a: Arguments):
    started, out = time.process_time(), a.out or Path(f"book/checkpoints/{a.data}-classifier")
    data = load_data(a.data, "train", limit=a.images or None)
    model = train_classifier(data, a.iterations, seed=a.seed)
    card = {
        "data": a.data, "seconds": time.process_time() - started,
        "iterations_done": a.iterations, "seed": a.seed,
        "accuracy": accuracy(model, load_data(a.data, "test")),
    }  # fmt: skip
    save_classifier(model, out, **card)
    print(f"{out}: {card['accuracy']:.2%} of the test images")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
