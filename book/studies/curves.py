"""How a code comes about: its scores at stages of the training: results/curves.csv.

    python -m book.studies.curves fig5 --seeds 1 2
    python -m book.studies.curves fig5-dense fig2ab-dense --seeds 0 1 2
    python -m book.studies.curves fig5 --seeds 2 --iterations 6000    # goes on

A run of the book like any other (the weights are kept in its folder), stopped at every stage to
score its code: fitted on 10,000 training images (column ``images``), scored on 10,000 test images.
Where the encoder
is learned in a first phase of its own, that phase is the run. Seconds are of training only. A
killed command goes on; stages that were passed by are left out.

The shipped rows: fig5 of seeds 1 and 2 (the latter to 6,000, as above), fig2ab of seeds 1 and 2,
fig5-dense and fig2ab-dense of seeds 0, 1 and 2, and seed 0 of fig3-unet, fig6, fig9, fig11-4,
fig11-8 and fig11-16; all else by default.

The controls are runs of the book with the network of another: does the noise or the network decide
what the code holds?
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro
from filelock import FileLock

from scorerep.checkpoint import read_card
from scorerep.data import load_data
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.paper import BOOK, JOINT, PAPER, BudgetName, at_budget
from scorerep.runs.sweep import Scorer
from scorerep.runs.tables import has_row, merge_rows

STAGES = (
    50, 100, 200, 350, 500, 750, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 5_000, 6_000,
)  # fmt: skip
UNET = replace(
    JOINT,
    optimisation=replace(JOINT.optimisation, iterations=2_500, regulariser_warmup=500),
    proposal="log_normal",
)
CONTROLS = {
    "fig3-unet": replace(UNET.of(PAPER["fig3"]), name="fig3-unet"),
    "fig7-unet": replace(UNET.of(PAPER["fig7"]), name="fig7-unet"),
    "fig5-dense": replace(
        BOOK["fig3"].of(PAPER["fig3"]), times="uniform_t", proposal="none", name="fig5-dense"
    ),
    "fig2ab-dense": replace(
        BOOK["fig7"].of(PAPER["fig7"]), times="uniform_t", proposal="none", name="fig2ab-dense"
    ),
}
"""Uniform σ with the U-Net, and uniform t with the dense network."""
KEY = ["run", "seed", "iterations", "images"]


@dataclass(frozen=True)
class Arguments:
    """Learning curves of codes."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs of scorerep.runs.paper, or controls."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; each is one training."""
    budget: BudgetName = "book"
    """The budget whose settings are used."""
    iterations: int = 0
    """Iterations in place of the budget's, 0 for these; a run that has fewer goes on."""
    precision: str = ""
    """Precision in place of the budget's: no, bf16 or fp16; empty for the budget's."""
    stages: tuple[int, ...] = STAGES
    """Iterations at which to look; the last one of the run is always among them."""
    images: int = 10_000
    """Training images to fit classifiers on, and test images to score, at most."""
    folder: Path = Path("runs/book")
    """Where the runs live, in a folder for each run and seed."""
    out: Path = Path("book/results/curves.csv")
    """The table; rows of the same run, seed, stage and images are replaced."""


def settings(name: str, arguments: Arguments) -> Experiment:
    """What learns the code in a run or control."""
    experiment = CONTROLS[name] if name in CONTROLS else at_budget(name, arguments.budget)
    experiment = experiment.first_phase()
    changed = experiment.optimisation
    if arguments.precision:
        changed = replace(changed, precision=arguments.precision)
    if arguments.iterations:
        changed = replace(changed, iterations=arguments.iterations)
    return replace(experiment, optimisation=changed)


def curve(name: str, seed: int, scorers: dict, arguments: Arguments):
    """Train one run and write a row at each stage."""
    experiment = replace(settings(name, arguments), seed=seed)
    two_phases = experiment.name != name
    folder = arguments.folder / f"{name}-s{seed}" / ("encoder" if two_phases else "")
    data = (experiment.data, experiment.classes)
    if data not in scorers:
        parts = [load_data(data[0], split, data[1] or None) for split in ("train", "test")]
        scorers[data] = parts[0], Scorer(*parts, arguments.images)
    train, scorer = scorers[data]
    total = experiment.optimisation.total_iterations
    done = read_card(folder)["iterations_done"] if (folder / "card.json").exists() else 0
    for stage in sorted({*(s for s in arguments.stages if s < total), total}):
        if stage <= done:
            row = dict(zip(KEY, (name, seed, stage, len(scorer.train)), strict=True))
            if not has_row(arguments.out, row):
                print(f"{name}, seed {seed}: passed by {stage} without a row of {len(scorer.train)}"
                      f" images: {folder} is at {done}", flush=True)  # fmt: skip
            continue
        model = fit(experiment, train, folder, progress=False, stop_after=stage)
        card = read_card(folder)
        row = {
            "run": name, "data": data[0], "classes": len(data[1]) or 10,
            "times": experiment.times, "regulariser": experiment.regulariser,
            "network": experiment.model.network, "precision": experiment.optimisation.precision,
            "batch": experiment.optimisation.batch_size * experiment.draws_per_image,
            "seed": seed, "iterations": stage, "images": len(scorer.train),
            "seconds": round(card["seconds"], 1),
            **scorer.model(model),
        }  # fmt: skip
        with FileLock(arguments.folder / "curves.lock"):
            merge_rows(pd.DataFrame([row]), arguments.out, KEY)
        print(
            {k: round(float(v), 3) if isinstance(v, float) else v for k, v in row.items()},
            flush=True,
        )


def main(arguments: Arguments):
    scorers: dict = {}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.names:
            curve(name, seed, scorers, arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
