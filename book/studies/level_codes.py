"""Codes of the same digits, learned at single noise levels: results/level_codes.csv.

    python -m scorerep sweep --levels 0.5 0.6 0.65 0.7 0.75 0.8 --seeds 0 \\
        --folder runs/level-codes fig4-mnist --optimisation.iterations 500
    python -m book.studies.level_codes runs/level-codes

One row a digit, the first ones of the test images; two columns a level, each coordinate centred
and divided by the larger standard deviation of the two, as a code has no unit of its own. Codes
that differ by a turn or a reflection say the same: each level's codes are turned onto those of the
level before. What the sweep measured of them goes beside them, to results/level_codes_scores.csv.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import tyro
from scipy.linalg import orthogonal_procrustes

from scorerep.checkpoint import CheckpointError, read_card
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import write_table


@dataclass(frozen=True)
class Arguments:
    """Tabulate the codes of a sweep."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the sweep, whose runs are in t*-seed*."""
    seed: int = 0
    """Seed of the runs that are taken."""
    images: int = 2_000
    """Test images whose codes are tabulated, the first ones."""
    out: Path = Path("book/results/level_codes.csv")
    """The table; that of the scores lies beside it."""


def same_size(codes: torch.Tensor) -> np.ndarray:
    """Codes around zero, the larger standard deviation of the two numbers one."""
    centred = codes.double() - codes.double().mean(0)
    return (centred / centred.std(0).max()).numpy()


def main(arguments: Arguments):
    runs = {}
    for place in arguments.folder.glob(f"t*-seed{arguments.seed}"):
        if (place / "row.csv").exists():
            runs[load_experiment(place).single_t] = place
    if not runs:
        raise CheckpointError(f"no finished run of seed {arguments.seed} in {arguments.folder}")
    test = load_data("mnist", "test").subset(arguments.images)
    columns, before, scores = {}, None, []
    for t, place in sorted(runs.items()):
        model, card = ScoreModel.from_pretrained(place), read_card(place)
        codes = same_size(encode_in_batches(model, test).cpu())
        if before is not None:
            codes = codes @ orthogonal_procrustes(codes, before)[0]
        before = codes
        columns |= {f"z_1 {t:g}": codes[:, 0], f"z_2 {t:g}": codes[:, 1]}
        row = pd.read_csv(place / "row.csv").iloc[0]
        scores.append({"t": t, "iterations": card["iterations_done"], **row[
            ["knn", "r2_stroke_width", "r2_slant", "code_std"]]})  # fmt: skip
    write_table(pd.DataFrame(columns).round(3), arguments.out)
    table = pd.DataFrame(scores)
    write_table(table, arguments.out.with_name(f"{arguments.out.stem}_scores.csv"))
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments, description=__doc__))
