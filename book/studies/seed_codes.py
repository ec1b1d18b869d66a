"""Codes of the other seeds of Figures 3 and 7: results/seed_codes.csv, results/seed_curves.csv.

    python -m book.studies.seed_codes

The first phase alone, which learns the encoder, with seeds 1 and 2: codes of the first 1,000 test
images, one row a digit, two columns a run. Beside them the same phase of seed 0 with the penalty
in full from the first step, to see whether codes die without the slow rise. The curves are the
smaller standard deviation of the two numbers against the step. Some 140 core-seconds a run; a
stopped command goes on.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import read_card
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.paper import at_budget
from scorerep.runs.tables import write_table

FIGURES = ("fig3", "fig7")
HOURS = 0.24  # six first phases


@dataclass(frozen=True)
class Arguments:
    """Train the first phases of other seeds, and tabulate their codes."""

    seeds: tuple[int, ...] = (1, 2)
    """Seeds of the runs; those of seed 0 are the shipped weights."""
    images: int = 1_000
    """How many of the first test images have their codes in the table."""
    folder: Path = Path("runs/seed-codes")
    """Where the runs live."""
    out: Path = Path("book/results/seed_codes.csv")
    """The table of codes; that of the curves is beside it, seed_curves.csv."""


def experiments(seeds: tuple[int, ...]) -> dict[str, Experiment]:
    """By name: each figure and seed, and each figure with its penalty in full at once."""
    found = {}
    for figure in FIGURES:
        first = at_budget(figure, "book").first_phase()
        found |= {f"{figure} seed {seed}": replace(first, seed=seed) for seed in seeds}
        at_once = replace(first.optimisation, regulariser_warmup=0)
        found[f"{figure} at once"] = replace(first, optimisation=at_once)
    return found


def main(arguments: Arguments):
    train = load_data("mnist", "train")
    test = load_data("mnist", "test").subset(arguments.images)
    codes, curves = {"class": test.labels}, []
    for name, experiment in experiments(arguments.seeds).items():
        folder = arguments.folder / name.replace(" ", "-")
        z = encode_in_batches(fit(experiment, train, folder), test).cpu()
        codes |= {f"z_1 {name}": z[:, 0], f"z_2 {name}": z[:, 1]}
        losses = pd.DataFrame(read_card(folder)["losses"])[["step", "code_std"]]
        curves.append(losses.assign(run=name))
        print(f"{name}: spread {losses.code_std.iloc[-1]:.3g} at the end", flush=True)
    write_table(pd.DataFrame(codes).round(4), arguments.out)
    write_table(pd.concat(curves), arguments.out.with_name("seed_curves.csv"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
