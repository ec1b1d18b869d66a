"""What one training step of a recipe costs: by threads, and with compiled networks.

    python -m book.studies.recipe_steps
    python -m book.studies.recipe_steps --precision bf16

The clock of ``book.studies.recipes`` is that of the processor it ran on. The seconds of a step
compare machines, precisions, one process per core with one process on all cores, and eager with
compiled networks. Results go to results/recipe-steps.csv, one row a recipe, machine and setting;
run it on an idle machine. Columns: ``first``, seconds of the first step, and ``later``, the median
of the other ``steps``.
"""

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import pandas as pd
import torch
import tyro

from book.studies.recipes import RECIPES, loop_of
from book.studies.scale import step_seconds
from scorerep.data import load_data
from scorerep.runs.tables import merge_rows

DENSE, UNET = "dense, batch 32 × 4 draws", "U-Net 16/32"


@dataclass(frozen=True)
class Arguments:
    """Time the steps of recipes."""

    recipes: tuple[str, ...] = tuple(RECIPES)
    """Names of the recipes timed with one thread."""
    variants: tuple[str, ...] = (DENSE, UNET)
    """Names of the recipes also timed with two threads, and compiled with one."""
    machine: str = platform.node()
    """A name for the computer, as in ``book.studies.recipes``."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of all recipes, the paper's too."""
    seconds: float = 15.0
    """Seconds of timing for each, after the first step."""
    out: Path = Path("book/results/recipe-steps.csv")
    """The table; rows of the same setting are replaced."""


def main(arguments: Arguments):
    data = load_data("mnist", "train")
    settings = [(name, 1, False) for name in arguments.recipes]
    for name in arguments.variants:
        settings += [(name, 2, False), (name, 1, True)]
    for name, threads, compiled in settings:
        torch.set_num_threads(threads)
        changes = {"precision": arguments.precision, "compile": compiled}
        optimisation = replace(RECIPES[name].optimisation, **changes)
        experiment = replace(RECIPES[name], optimisation=optimisation)
        seconds = []
        for each in step_seconds(loop_of(experiment, data)):
            seconds.append(each)
            # The first step compiles, where there is something to compile; three at least follow.
            if len(seconds) > 3 and sum(seconds[1:]) >= arguments.seconds:
                break
        first, *later = seconds
        row = {
            "recipe": name, "machine": arguments.machine,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "precision": arguments.precision, "threads": threads, "compiled": compiled,
            "first": first, "later": median(later), "steps": len(later),
        }  # fmt: skip
        print(row, flush=True)
        keys = ["recipe", "machine", "precision", "threads", "compiled"]
        merge_rows(pd.DataFrame([row]), arguments.out, keys)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
