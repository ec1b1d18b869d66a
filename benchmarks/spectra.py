"""Information spectra of data sets' labels on their empirical laws: results/spectra.csv.

    python -m benchmarks.spectra mnist cifar-three     # the class, shuffled classes, an attribute

In nats per unit of t, exact up to the draws of x_t. Attributes are cut into ten bins of equal
counts. MNIST's 60,000 images take a minute or so a spectrum on two cores.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import tyro

from scorerep.attributes import brightness, stroke_width
from scorerep.data import load_data
from scorerep.empirical import EmpiricalLaw
from scorerep.information import bins_of, entropy, label_spectrum
from scorerep.runs import THREE_CLASSES
from scorerep.sde import VESDE
from scorerep.sweep import write_table

SETS = {"mnist": ("mnist", None), "cifar-three": ("cifar10", THREE_CLASSES)}
TIMES = np.r_[0.2, 0.3, 0.4, np.arange(0.45, 0.951, 0.02), 1.0]


@dataclass(frozen=True)
class Arguments:
    """Compute spectra."""

    sets: Annotated[tuple[Literal["mnist", "cifar-three"], ...], tyro.conf.Positional]
    """Data sets."""
    labels: tuple[Literal["class", "shuffled", "attribute"], ...] = ("class",)
    """Which labels; the attribute is the stroke width, or the brightness of colour images."""
    sizes: tuple[int, ...] = (0,)
    """Numbers of images; 0 for all."""
    draws: int = 200
    """Of x_t, on average a noise level."""
    seed: int = 0
    """Of the draws, the subsets and the shuffling."""
    out: Path = Path("results/spectra.csv")
    """The table; spectra of the same data, labels and size are replaced."""


def spectrum(name: str, kind: str, size: int, draws: int, seed: int) -> pd.DataFrame:
    generator = torch.Generator().manual_seed(seed)
    source, classes = SETS[name]
    data = load_data(source, "train", classes)
    if size:
        data = data.subset(size, generator)
    images, labels = data.images, data.labels
    if kind == "shuffled":
        labels = labels[torch.randperm(len(labels), generator=generator)]
    if kind == "attribute":
        floats = data.floats()
        values = (stroke_width if floats.shape[1] == 1 else brightness)(floats)
        keep = values.isfinite()
        images, labels = images[keep], bins_of(values[keep])
    started = time.monotonic()
    result = label_spectrum(EmpiricalLaw(images, labels), VESDE(), TIMES, draws, generator)
    value, error = result.integral()
    seconds = time.monotonic() - started
    print(
        f"{name} {kind} N={len(images)}: {value:.3f} ± {error:.3f} nats, H = "
        f"{entropy(labels):.3f}, peak at t = {result.peak():.3f}, {seconds:.0f} s", flush=True,
    )  # fmt: skip
    return result.frame(
        data=name, labels=kind, images=len(images), entropy=entropy(labels), draws=draws,
        seconds=round(seconds), seed=seed,
    )  # fmt: skip


def main(arguments: Arguments):
    for name in arguments.sets:
        for kind in arguments.labels:
            for size in arguments.sizes:
                table = spectrum(name, kind, size, arguments.draws, arguments.seed)
                if arguments.out.exists():
                    table = pd.concat([pd.read_csv(arguments.out), table])
                key = ["data", "labels", "images", "t"]
                table = table.drop_duplicates(key, keep="last").sort_values(key)
                write_table(table, arguments.out)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
