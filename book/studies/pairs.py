"""Denoising with the own code, another's and none, at many noise levels: results/pairs.csv.

    python -m book.studies.pairs book/checkpoints/fig3 --without book/checkpoints/fig10

2,000 pairs of test images of different classes (``--partners same``: of the same), all distinct;
squared errors (mean over pixels) of the one-step posterior mean, with standard errors, and the
share of pairs in which the own code comes closer than the other's, with 95 % Wilson bounds.

Pairs of both kinds, by the plan's run: results/pairs_partners.csv.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep.codes.effects import one_step_errors, pairs_of_classes, share_closer
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import merge_rows

KEY = ["model", "partners", "seed", "pairs", "t"]
TIMES = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Arguments:
    """Measure what codes do for denoising."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoint folders of models with a code."""
    without: Path | None = None
    """A model of the same data without a code."""
    times: tuple[float, ...] = TIMES
    """Noise levels t at which images are denoised."""
    pairs: int = 2_000
    """Pairs of test images, at most a third of all."""
    partners: tuple[Literal["other", "same"], ...] = ("other",)
    """Kinds of partners, whose code is the wrong one: images of another class, or of the same."""
    seed: int = 0
    """Seed of the pairs and of the noise."""
    out: Path = Path("book/results/pairs.csv")
    """The table; rows of the same model, partners, seed, pairs and t are replaced."""


def row(name: str, t: float, errors: dict) -> dict:
    share, low, high = share_closer(errors)
    found = {"model": name, "t": t, "share": share, "low": low, "high": high}
    found["pairs"] = len(errors["own"])
    for kind, values in errors.items():
        found[kind] = float(values.mean())
        found[f"{kind}_se"] = float(values.std()) / len(values) ** 0.5
    return found


def main(arguments: Arguments):
    without = ScoreModel.from_pretrained(arguments.without) if arguments.without else None
    for folder in arguments.folders:
        model, experiment = ScoreModel.from_pretrained(folder), load_experiment(folder)
        test = load_data(experiment.data, "test", experiment.classes or None)
        count = min(arguments.pairs, len(test) // 3)
        for partners in arguments.partners:
            generator = torch.Generator().manual_seed(arguments.seed)
            pairs = pairs_of_classes(test, count, generator, same=partners == "same")
            for t in arguments.times:
                generator = torch.Generator().manual_seed(arguments.seed + 1)
                errors = one_step_errors(model, pairs, t, generator, without)
                new = row(experiment.name, t, errors)
                new |= {"partners": partners, "seed": arguments.seed}
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in new.items()})
                merge_rows(pd.DataFrame([new]), arguments.out, KEY)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
