"""Sample quality of the shipped CIFAR-10 models, in the features of a classifier of CIFAR-10.

    python -m book.studies.cifar_quality             # the models whose rows are missing

writes results/cifar_quality.csv: Fréchet and kernel distance to other test images of the same
classes, the share of samples that the classifier is at least 90 % sure of, and the share with the
class of the image whose code they have, with 95 % intervals (Wilson's for the class, otherwise by
the bootstrap). Samples are drawn by
Heun's method in 14 steps, one from the code of each of 1,000 test images. Held-out photographs are
the floor, draws of one Gaussian fitted to the pixels the ceiling; rows of three classes
(cifar10-3) compare with each other, and so do those of ten.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import read_card
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.stage_scores import Judge
from scorerep.runs.tables import has_row, merge_rows

KEY = ["run", "code", "iterations", "seed", "samples"]
MODELS = ("fig2cd", "fig6", "fig8", "fig9")
HOURS = 0.12  # 417 seconds of one core, all four models


@dataclass(frozen=True)
class Arguments:
    """Score samples of CIFAR-10 models."""

    models: tuple[str, ...] = MODELS
    """Names of the folders of weights to sample from."""
    samples: int = 1_000
    """Samples of each model, and as many held-out photographs and draws of the Gaussian."""
    checkpoints: Path = Path("book/checkpoints")
    """The folder of the models' weights."""
    classifier: Path = Path("book/checkpoints/cifar10-classifier")
    """Weights of the classifier that judges samples."""
    out: Path = Path("book/results/cifar_quality.csv")
    """The table; rows that are there are not computed again."""


def main(arguments: Arguments):
    judges = {}
    for name in arguments.models:
        folder = arguments.checkpoints / name
        experiment, done = load_experiment(folder), read_card(folder)["iterations_done"]
        about = {"run": name, "code": "trained", "iterations": done, "seed": experiment.seed}
        if has_row(arguments.out, about | {"samples": arguments.samples}):
            continue
        chosen = experiment.data, experiment.classes
        if chosen not in judges:
            judges[chosen] = Judge(*chosen, arguments.classifier)
            add(judges[chosen].floor_and_ceiling(arguments.samples), arguments.out)
        scores = judges[chosen].samples(ScoreModel.from_pretrained(folder), arguments.samples)
        add([about | scores], arguments.out)


def add(rows: list[dict], out: Path):
    """Into the table, and onto the screen."""
    table = pd.DataFrame(rows).drop(columns=["frozen", "images"], errors="ignore")
    print(table[["run", "code", "frechet", "sure", "own_class"]].round(3).to_string(index=False))
    merge_rows(table, out, KEY)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
