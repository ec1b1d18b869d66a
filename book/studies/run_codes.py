"""Codes of the queue's finished runs, image by image: results/steered_codes.csv and others.

    python -m book.studies.run_codes runs/fig*-unet-s?
    python -m book.studies.run_codes runs/fig6-s? --attributes brightness --out codes.csv

The first 1,000 test images of the runs' data and classes, one row an image: its class and
attributes, and two columns a run, ``z_1 fig3-unet seed 0`` and ``z_2 fig3-unet seed 0``. The runs
are those of one data set; no training, seconds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro

from scorerep.codes.attributes import attributes
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import write_table

HOURS = 0.01


@dataclass(frozen=True)
class Arguments:
    """Tabulate the codes of finished runs of one data set with codes of two numbers."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of the runs."""
    attributes: tuple[str, ...] = ("stroke_width",)
    """Attributes of the images that stand beside their codes."""
    images: int = 1_000
    """How many of the first test images have their codes in the table."""
    out: Path = Path("book/results/steered_codes.csv")
    """The table of codes."""


def main(arguments: Arguments):
    experiments = [load_experiment(folder) for folder in arguments.folders]
    sources = {(experiment.data, experiment.classes) for experiment in experiments}
    if len(sources) != 1:
        raise SystemExit(f"folders must be runs of one data set and its classes, got {sources}")
    ((data, classes),) = sources
    test = load_data(data, "test", classes or None).subset(arguments.images)
    known = attributes(test.floats())
    if unknown := set(arguments.attributes) - set(known):
        raise SystemExit(f"attributes must be among {', '.join(known)}, got {unknown}")
    columns = {"class": test.labels, **known[list(arguments.attributes)]}
    for folder, experiment in zip(arguments.folders, experiments, strict=True):
        z = encode_in_batches(ScoreModel.from_pretrained(folder), test).cpu()
        name = f"{experiment.name} seed {experiment.seed}"
        columns |= {f"z_1 {name}": z[:, 0], f"z_2 {name}": z[:, 1]}
    write_table(pd.DataFrame(columns).round(4), arguments.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
