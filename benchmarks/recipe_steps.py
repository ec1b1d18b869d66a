"""What one training step of a recipe costs: by threads, and with compiled networks.

    python -m benchmarks.recipe_steps

The clock of ``benchmarks.recipes`` is that of the processor it ran on. The seconds of a step
compare processors, one process per core with one process on all cores, and eager with compiled
networks. Results go to results/recipe-steps.csv, one row a recipe, processor and setting; run it on
an idle machine.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import tyro

from benchmarks.recipes import RECIPES
from scorerep.data import load_data
from scorerep.experiments import Experiment
from scorerep.model import ScoreModel
from scorerep.sweep import merge_rows
from scorerep.training import make_accelerator, training_loop

DENSE, UNET = "dense, batch 32 × 4 draws", "U-Net 16/32"


@dataclass(frozen=True)
class Arguments:
    """Time the steps of recipes."""

    recipes: tuple[str, ...] = tuple(RECIPES)
    """With one thread."""
    variants: tuple[str, ...] = (DENSE, UNET)
    """Also with two threads, and compiled with one."""
    seconds: float = 15.0
    """For each, after the first step."""
    out: Path = Path("results/recipe-steps.csv")
    """The table."""


def step_seconds(experiment: Experiment, data, seconds: float) -> tuple[float, float, int]:
    """Seconds of the first step, the median of the later ones, and how many these were."""
    torch.manual_seed(experiment.seed)
    loop = training_loop(
        ScoreModel(experiment.model), data, experiment.objective(), experiment.optimisation,
        experiment.seed, accelerator=make_accelerator(experiment.optimisation),
    )  # fmt: skip
    times = [time.monotonic()]
    # The first step compiles, where there is something to compile; three at least follow.
    while len(times) < 5 or times[-1] - times[1] < seconds:
        next(loop)
        times.append(time.monotonic())
    first, *later = (end - start for start, end in zip(times, times[1:]))
    return first, median(later), len(later)


def main(arguments: Arguments):
    data = load_data("mnist", "train")
    settings = [(name, 1, False) for name in arguments.recipes]
    for name in arguments.variants:
        settings += [(name, 2, False), (name, 1, True)]
    for name, threads, compiled in settings:
        torch.set_num_threads(threads)
        optimisation = replace(RECIPES[name].optimisation, precision="no", compile=compiled)
        experiment = replace(RECIPES[name], optimisation=optimisation)
        first, later, steps = step_seconds(experiment, data, arguments.seconds)
        row = {
            "recipe": name, "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": threads, "compiled": compiled,
            "first": first, "later": later, "steps": steps,
        }  # fmt: skip
        print(row, flush=True)
        keys = ["recipe", "processor", "threads", "compiled"]
        merge_rows(pd.DataFrame([row]), arguments.out, keys)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
