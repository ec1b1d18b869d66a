"""Which recipe reaches the effect soonest: seconds until the code's kNN accuracy is 0.7.

    python benchmarks/recipes.py --seconds 300                  # every recipe, seeds 0 to 2
    python benchmarks/recipes.py --recipes paper --seconds 3600

MNIST, single t = 0.68 (σ = 3.3), L1, code of two dimensions: one run of Figure 4. A recipe is a
budget; the objective is the same for all. One thread each (set OMP_NUM_THREADS), so that one
process per core can share the work; only training is on the clock, not the scoring.
kNN (k = 15) is fitted on 10,000 training codes and scored on 5,000 test codes. Results go to
results/recipes.csv, one row a reading; readings that are there are not repeated.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import tyro
from filelock import FileLock, Timeout

from scorerep.data import load_data
from scorerep.evaluation import encode_in_batches, knn_accuracy, silhouette
from scorerep.experiments import Experiment
from scorerep.model import ScoreModel
from scorerep.optimisation import Optimisation
from scorerep.runs import BOOK, PAPER, Budget
from scorerep.sweep import write_table
from scorerep.training import make_accelerator, training_loop

PLAIN = replace(PAPER["fig4-mnist"], name="paper", single_t=0.68)
FAST = Optimisation(iterations=80_000, batch_size=64, learning_rate=1e-3, warmup=100)
BF16 = replace(FAST, precision="bf16")
DENSE = replace(BOOK["fig4-mnist"], optimisation=replace(BF16, batch_size=32))


def edm(experiment: Experiment) -> Experiment:
    """The paper's recipe with EDM's preconditioning and nothing else."""
    model = replace(experiment.model, parametrisation="edm")
    return replace(experiment, model=model, weighting="tau2")


def of(budget: Budget) -> Experiment:
    return budget.of(PLAIN)


RECIPES: dict[str, Experiment] = {
    "paper": PLAIN,
    "paper + EDM preconditioning": edm(PLAIN),
    "U-Net 32/64, lr 1e-3": of(Budget(FAST, channels=(32, 64))),
    "U-Net 16/32, lr 1e-3": of(Budget(FAST)),
    "U-Net 16/32, lr 1e-3, bf16": of(Budget(BF16)),
    "U-Net 16/32, lr 1e-3, bf16, batch 32": of(Budget(replace(BF16, batch_size=32))),
    "U-Net 16/32, lr 1e-3, bf16, 4 draws": of(
        Budget(replace(BF16, batch_size=16), draws_per_image=4)
    ),
    "U-Net 8/16, lr 2e-3": of(
        Budget(replace(FAST, learning_rate=2e-3, batch_size=32), channels=(8, 16))
    ),
    "dense": of(replace(DENSE, draws_per_image=1, optimisation=BF16)),
    "dense, 4 draws": of(DENSE),
    "dense, 4 draws, lr 5e-4": of(
        replace(DENSE, optimisation=replace(DENSE.optimisation, learning_rate=5e-4))
    ),
    "dense, 4 draws, lr 2e-3": of(
        replace(DENSE, optimisation=replace(DENSE.optimisation, learning_rate=2e-3))
    ),
    "dense, 4 draws, batch 64": of(replace(DENSE, optimisation=BF16)),
    "dense, 4 draws, encoder 8/16": of(replace(DENSE, encoder_channels=(8, 16))),
    "dense, 16 draws": of(replace(DENSE, draws_per_image=16)),
}


@dataclass(frozen=True)
class Arguments:
    """Time recipes."""

    recipes: tuple[str, ...] = tuple(name for name in RECIPES if name != "paper")
    """Names of recipes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    seconds: float = 300.0
    """Of training, each."""
    every: float = 30.0
    """Seconds between readings."""
    folder: Path = Path("runs/recipes")
    """One table a run."""
    out: Path = Path("results/recipes.csv")
    """All of them."""


def readings(experiment: Experiment, seconds: float, every: float, train, test) -> pd.DataFrame:
    """Scores of the code at every ``every`` seconds of training."""
    subset = train.subset(10_000)
    held_out = test.subset(5_000)
    torch.manual_seed(experiment.seed)
    loop = training_loop(
        ScoreModel(experiment.model), train, experiment.objective(), experiment.optimisation,
        experiment.seed, accelerator=make_accelerator(experiment.optimisation),
    )  # fmt: skip
    rows, used, started = [], 0.0, time.monotonic()
    for state in loop:
        now = used + time.monotonic() - started
        if now < every * (len(rows) + 1) and now < seconds:
            continue
        codes = [encode_in_batches(state.averaged, data) for data in (subset, held_out)]
        rows.append({
            "seconds": now, "step": state.step, "matching": float(state.losses.matching),
            "knn": knn_accuracy(codes[0], subset.labels, codes[1], held_out.labels),
            "silhouette": silhouette(codes[1], held_out.labels, most=2_000),
        })  # fmt: skip
        if now >= seconds:
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
            path = arguments.folder / f"{number}-{seed}.csv"
            try:
                with FileLock(path.with_suffix(".lock"), timeout=0):
                    if path.exists():
                        continue
                    table = readings(
                        replace(experiment, seed=seed), arguments.seconds, arguments.every,
                        train, test,
                    )  # fmt: skip
                    table.insert(0, "recipe", name)
                    table.insert(1, "seed", seed)
                    write_table(table, path)
                    print(table.tail(1).to_string(header=False), flush=True)
            except Timeout:
                continue
    with FileLock(arguments.folder / "table.lock"):
        parts = [pd.read_csv(path) for path in sorted(arguments.folder.glob("*.csv"))]
        write_table(pd.concat(parts, ignore_index=True), arguments.out)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
