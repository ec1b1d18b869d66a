"""Which recipe reaches the effect soonest: seconds until the code's kNN accuracy is 0.7.

    python -m book.studies.recipes --recipes paper --seeds 0 --seconds 3600 --every 120
    python -m book.studies.recipes --precision bf16                    # several processes may share
    python -m book.studies.recipes --seconds 1200 --every 80           # without bfloat16

The first made the paper's rows, the second the others of the machines A and C (AVX512), the third
those of B (AVX2), or with ``--every 150``; not every recipe has run on every machine, nor every
seed. Defaults are the second's but for the precision, which a processor must have.

MNIST, single t = 0.68 (σ = 3.3), L1, code of two dimensions: one run of Figure 4. A recipe is a
budget; the objective is the same for all. One thread each, so that one
process per core can share the work; only training is on the clock, not the scoring.
kNN (k = 15) is fitted on 10,000 training codes and scored on 5,000 test codes. A run ends when two
readings in a row are beyond the goal. Results go to results/recipes.csv, one row a reading, as runs
end; runs that are there are not repeated. Seconds of different machines do not compare: each row
has the name of its own and the instructions that PyTorch finds there (AVX2, AVX512).
"""

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import tyro
from filelock import FileLock, Timeout

from scorerep.codes.scores import encode_in_batches, knn_accuracy, silhouette
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import BOOK, PAPER, Budget
from scorerep.runs.tables import has_row, merge_rows
from scorerep.training import Optimisation, TrainingState, training_loop

PLAIN = replace(PAPER["fig4-mnist"], name="paper", single_t=0.68)
FAST = Optimisation(iterations=80_000, batch_size=64, learning_rate=1e-3, warmup=100)
SWEEP = BOOK["fig4-mnist"]


def papers_form(experiment: Experiment) -> Experiment:
    """The paper's parametrisation in place of EDM's, s = F(x_t)/τ, and nothing else changed."""
    return replace(experiment, model=replace(experiment.model, parametrisation="paper"))


def unet(channels: tuple[int, ...] = (16, 32), **changes) -> Experiment:
    """A U-Net preconditioned after EDM."""
    return Budget(replace(FAST, **changes), channels=channels).of(PLAIN)


def dense(draws: int = 4, width: int = 512, **changes) -> Experiment:
    """A dense score network of three layers, with the encoder of the book's sweep."""
    optimisation = replace(SWEEP.optimisation, iterations=FAST.iterations, **changes)
    budget = replace(SWEEP, optimisation=optimisation, draws_per_image=draws)
    return replace(budget, channels=(width,) * 3).of(PLAIN)


RECIPES: dict[str, Experiment] = {
    "paper": PLAIN,
    "U-Net 16/32": unet(),
    "U-Net 8/16, batch 32, rate 2e-3": unet(channels=(8, 16), batch_size=32, learning_rate=2e-3),
    "dense, batch 64": dense(1, batch_size=64),
    "dense, batch 64, averaging 0.995": dense(1, batch_size=64, ema=0.995),
    "dense, batch 32 × 4 draws": dense(),
    "dense, 4 draws, rate 2e-3": dense(learning_rate=2e-3),
    "dense, 4 draws, averaging 0.995": dense(ema=0.995),
    "dense, 4 draws, averaging 0.995, the paper's form": papers_form(dense(ema=0.995)),
    "narrow dense, batch 128 × 4 draws": dense(4, 256, batch_size=128),
}
"""From the paper's settings to the book's, and what was tried on the way. Where a name is silent,
the rate is 1e-3, and a step has 64 images of a U-Net or 32 of a dense network of width 512."""
KEYS = ["recipe", "machine", "seed", "step"]


@dataclass(frozen=True)
class Arguments:
    """Time recipes."""

    recipes: tuple[str, ...] = tuple(name for name in RECIPES if name != "paper")
    """Names of recipes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each is one run of each recipe."""
    machine: str = platform.node()
    """A name for the computer, under which its seconds are kept."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of all but the paper's; slower on a processor without bfloat16."""
    seconds: float = 600.0
    """Seconds of training after which a run ends at the latest."""
    goal: float = 0.7
    """The kNN accuracy at which a run ends, in [0, 1]."""
    every: float = 30.0
    """Seconds of training between two readings."""
    folder: Path = Path("runs/recipes")
    """Where the locks are, by which several processes share the work."""
    out: Path = Path("book/results/recipes.csv")
    """The table of all readings; runs that are there are not repeated."""


def loop_of(experiment: Experiment, data: ImageData) -> Iterator[TrainingState]:
    """The training of a recipe from its start; yields the state after each step."""
    torch.manual_seed(experiment.seed)
    model = ScoreModel(experiment.model)
    return training_loop(
        model, data, experiment.objective(), experiment.optimisation, experiment.seed
    )


def readings(experiment: Experiment, arguments: Arguments, train, test) -> pd.DataFrame:
    """Scores of the code at every ``every`` seconds of training."""
    every, seconds = arguments.every, arguments.seconds
    subset = train.subset(10_000)
    held_out = test.subset(5_000)
    rows, used, started = [], 0.0, time.monotonic()
    for state in loop_of(experiment, train):
        now = used + time.monotonic() - started
        if now < every * (len(rows) + 1) and now < seconds:
            continue
        codes = [encode_in_batches(state.averaged, data) for data in (subset, held_out)]
        rows.append({
            "seconds": now, "step": state.step, "matching": float(state.losses.matching),
            "knn": knn_accuracy(codes[0], subset.labels, codes[1], held_out.labels),
            "silhouette": silhouette(codes[1], held_out.labels, most=2_000),
        })  # fmt: skip
        print({name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
        reached = [row["knn"] >= arguments.goal for row in rows[-2:]]
        if now >= seconds or (len(reached) == 2 and all(reached)):
            break
        used, started = now, time.monotonic()
    return pd.DataFrame(rows)


def main(arguments: Arguments):
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for number, (name, experiment) in enumerate(RECIPES.items()):
            if name not in arguments.recipes:
                continue
            try:
                with FileLock(arguments.folder / f"{number}-{seed}.lock", timeout=0):
                    run = dict(zip(KEYS, (name, arguments.machine, seed), strict=False))
                    if has_row(arguments.out, run):
                        continue
                    experiment = replace(experiment, seed=seed)
                    if name != "paper":
                        changed = replace(experiment.optimisation, precision=arguments.precision)
                        experiment = replace(experiment, optimisation=changed)
                    table = readings(experiment, arguments, train, test)
                    table.insert(0, "recipe", name)
                    table.insert(1, "seed", seed)
                    table.insert(2, "machine", arguments.machine)
                    table.insert(3, "processor", torch.backends.cpu.get_cpu_capability())
                    table.insert(4, "precision", experiment.optimisation.precision)
                    with FileLock(arguments.folder / "table.lock"):
                        merge_rows(table, arguments.out, KEYS)
                    print(table.tail(1).to_string(header=False), flush=True)
            except Timeout:
                continue


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
