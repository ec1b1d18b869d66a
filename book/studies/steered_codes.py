"""Codes of the U-Net with uniform t and uniform σ, digit by digit: results/steered_codes.csv.

    python -m book.studies.steered_codes runs/fig*-unet-s?

The first 1,000 MNIST test images, one row a digit: its class and stroke width, and two columns a
run, ``z_1 fig3-unet seed 0`` and ``z_2 fig3-unet seed 0``. The runs are the queue's, finished; no
training, seconds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro

from scorerep.codes.attributes import stroke_width
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import write_table

HOURS = 0.01


@dataclass(frozen=True)
class Arguments:
    """Tabulate the codes of finished runs of MNIST with codes of two numbers."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of the runs."""
    images: int = 1_000
    """How many of the first test images have their codes in the table."""
    out: Path = Path("book/results/steered_codes.csv")
    """The table of codes."""


def main(arguments: Arguments):
    test = load_data("mnist", "test").subset(arguments.images)
    columns = {"class": test.labels, "stroke_width": stroke_width(test.batch(slice(None)))}
    for folder in arguments.folders:
        experiment = load_experiment(folder)
        z = encode_in_batches(ScoreModel.from_pretrained(folder), test).cpu()
        name = f"{experiment.name} seed {experiment.seed}"
        columns |= {f"z_1 {name}": z[:, 0], f"z_2 {name}": z[:, 1]}
    write_table(pd.DataFrame(columns).round(4), arguments.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
