"""Scores of the codes of trained runs, one row a run: results/codes.csv.

    python -m book.studies.codes runs/fig3-book-seed0 runs/fig3-book-seed1/encoder

Rows of folders that are named replace older rows of the same run, seed and network; the others
stay. Untrained encoders of the same seeds and PCA stand beside them. Fitted on the first 10,000
training images (column ``images``), scored on the first 10,000 test images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import read_card
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import load_experiment
from scorerep.runs.sweep import Scorer
from scorerep.runs.tables import merge_rows

KEY = ["code", "run", "network", "seed", "images"]


@dataclass(frozen=True)
class Arguments:
    """Score codes."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoint folders of the runs to score."""
    images: int = 10_000
    """Training images to fit classifiers on, and test images to score, at most."""
    out: Path = Path("book/results/codes.csv")
    """The table; rows of the same run, seed, network and images are replaced."""


def about(experiment: Experiment) -> dict:
    return {
        "run": experiment.name.removesuffix("-encoder"), "data": experiment.data,
        "classes": len(experiment.classes) or 10, "times": experiment.times,
        "regulariser": experiment.regulariser, "latent": experiment.model.latent,
        "network": experiment.model.network, "seed": experiment.seed,
    }  # fmt: skip


def rows(folder: Path, scorers: dict, images: int) -> list[dict]:
    """The run's own row, and its untrained encoder's and PCA's."""
    experiment, card = load_experiment(folder), read_card(folder)
    # A first phase of its own is what learned the code, whatever the samples' network is.
    first = experiment.first_phase()
    known = about(first)
    data = (experiment.data, experiment.classes)
    if data not in scorers:
        parts = [load_data(data[0], split, data[1] or None) for split in ("train", "test")]
        scorers[data] = Scorer(*parts, images)
    scorer = scorers[data]
    known["images"] = len(scorer.train)
    learned = card.get("encoder_phase", card)
    torch.manual_seed(experiment.seed)
    untrained = ScoreModel(first.model)  # before anything else draws from the generator
    return [
        {
            "code": "trained", **known, "iterations": learned["iterations_done"],
            "seconds": round(learned["seconds"]),
            **scorer.model(ScoreModel.from_pretrained(folder)),
        },
        {"code": "untrained", **known, **scorer.model(untrained)},
        {"code": "PCA", **known, **scorer.pca(experiment.model.latent)},
    ]  # fmt: skip


def main(arguments: Arguments):
    scorers: dict = {}
    new = [row for folder in arguments.folders for row in rows(folder, scorers, arguments.images)]
    table = merge_rows(pd.DataFrame(new), arguments.out, KEY)
    shown = [*KEY, "silhouette", "knn", "code_std"]
    print(table[table.code == "trained"][shown].round(3).to_string())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
