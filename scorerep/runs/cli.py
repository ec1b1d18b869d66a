"""The command line, ``python -m scorerep train fig3 --budget book``.

tyro reads the arguments off dataclasses. The budget is read first: it decides the experiments'
default values, which every other argument can override.
"""

import argparse
import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import tyro

from scorerep import checkpoint, plots
from scorerep.checkpoint import CheckpointError
from scorerep.codes.effects import Sampler, sample_grid
from scorerep.codes.scores import compare, encode_in_batches, pca_codes
from scorerep.data import DataError, load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit, load_experiment
from scorerep.runs.paper import BUDGETS, PAPER, BudgetName, at_budget
from scorerep.runs.sweep import SEEDS, TIMES, sweep
from scorerep.training import TrainingDiverged, make_accelerator

DESCRIPTIONS = {
    "fig2ab": "MNIST, L1 codes, uniform t.",
    "fig2cd": "CIFAR-10, first three classes, L1 codes, uniform t.",
    "fig3": "MNIST, KL codes, uniform σ, then frozen encoder and uniform t.",
    "fig4-mnist": "MNIST, L1 codes, a single t; 'sweep' runs all of them.",
    "fig4-cifar": "CIFAR-10, first three classes, L1 codes, a single t.",
    "fig5": "MNIST, KL codes, uniform t.",
    "fig6": "CIFAR-10, first three classes, KL codes, uniform t.",
    "fig7": "MNIST, L1 codes, uniform σ, then frozen encoder and uniform t.",
    "fig8": "CIFAR-10, all classes, L1 codes, uniform t.",
    "fig9": "CIFAR-10, all classes, KL codes, uniform t.",
    "fig10": "MNIST, no code, uniform t: what denoising is without one.",
    "fig11-4": "MNIST, L1 codes of dimension 4, uniform t.",
    "fig11-8": "MNIST, L1 codes of dimension 8, uniform t.",
    "fig11-16": "MNIST, L1 codes of dimension 16, uniform t.",
    "digits": "scikit-learn's 8×8 digits: no download, under two minutes on two cores.",
}


@dataclasses.dataclass(frozen=True)
class Train:
    """Train an experiment, or continue it; then print its scores and draw its codes and samples.

    Experiments are named after the paper's figures; ``--budget`` paper, book or smoke says how
    large and how long.
    """

    experiment: Experiment
    """Which experiment; every entry of it can be overridden."""
    folder: Path | None = None
    """Where the run lives; runs/NAME-BUDGET-seedSEED if not given. The same command continues a
    stopped run."""
    tensorboard: bool = False
    """Also write TensorBoard event files."""
    report: bool = True
    """Score and draw at the end."""

    def run(self, budget: str):
        experiment = self.experiment
        folder = self.folder or run_folder(experiment, budget)
        train = load_data(experiment.data, "train", experiment.classes or None)
        first = make_accelerator(experiment.optimisation).is_main_process
        if first:
            print(
                f"{experiment.name}, {budget} budget: {len(train)} images, effective regulariser "
                f"weight per image {experiment.effective_regulariser_weight():.3g} "
                f"(relative to ½ Σ_pixels), {folder}/"
            )
        model = fit(experiment, train, folder, tensorboard=self.tensorboard)
        if not first or not self.report or not model.config.latent:
            return
        test = load_data(experiment.data, "test", experiment.classes or None)
        print(score_table(model, train, test).round(3).to_string())
        print(f"picture: {draw(model, test, folder / 'overview.png')}")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train at many single noise levels, one run a level and seed, and collect a table (Figure 4).

    The command can be stopped at any moment; given again, or given several times at once, it
    goes on with what is missing.
    """

    experiment: Experiment
    """Which experiment; its single_t and seed are replaced."""
    folder: Path | None = None
    """Where the runs and table.csv live; runs/NAME-BUDGET if not given."""
    times: Annotated[tuple[float, ...], tyro.conf.arg(name="levels")] = TIMES
    """Noise levels t, in (0, 1]."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds."""
    workers: int = 1
    """Processes that share the work, each with its share of the cores."""

    def run(self, budget: str):
        folder = self.folder or Path("runs") / f"{self.experiment.name}-{budget}"
        work = dataclasses.replace(self, folder=folder)
        if self.workers > 1:
            # A spawned process has its own thread pool, and its own CUDA context.
            torch.multiprocessing.spawn(_sweep_worker, (work,), nprocs=self.workers)
        table = work.work()
        print(table.round(3).to_string())
        print(f"table: {folder / 'table.csv'}")

    def work(self) -> pd.DataFrame:
        name, classes = self.experiment.data, self.experiment.classes or None
        train, test = (load_data(name, split, classes) for split in ("train", "test"))
        return sweep(self.experiment, train, test, self.folder, self.times, self.seeds)


def _sweep_worker(rank: int, work: Sweep):
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // work.workers))
    work.work()


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw images from a grid over the first two coordinates of the code."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A checkpoint folder."""
    out: Path = Path("samples.png")
    """The picture to write."""
    low: float = -1.0
    """Lowest value of each code coordinate."""
    high: float = 1.0
    """Highest value of each code coordinate."""
    side: int = 10
    """Images per side."""
    sampler: Sampler = "heun"
    """Which sampler."""
    steps: int = 18
    """Its number of steps (probability_flow chooses its own)."""
    seed: int = 0
    """Of the starting noise."""

    def run(self):
        model = ScoreModel.from_pretrained(self.folder, device())
        grid, _ = sample_grid(
            model,
            self.low,
            self.high,
            self.side,
            self.sampler,
            self.steps,
            self.seed,
            progress=True,
        )
        plots.use_style()
        fig, ax = plt.subplots(figsize=(6, 6))
        plots.image_grid(grid.cpu(), self.side, self.side, ax=ax)
        write_figure(fig, self.out)
        print(f"picture: {self.out}")


@dataclasses.dataclass(frozen=True)
class Encode:
    """Write the codes of a data set's images to a CSV file, with their labels."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A checkpoint folder."""
    out: Path = Path("codes.csv")
    """The table to write."""
    split: Literal["train", "test"] = "test"
    """Which images."""

    def run(self):
        experiment = load_experiment(self.folder)
        data = load_data(experiment.data, self.split, experiment.classes or None)
        model = ScoreModel.from_pretrained(self.folder, device())
        codes = np.asarray(encode_in_batches(model, data).cpu())
        table = pd.DataFrame(codes, columns=[f"z{i + 1}" for i in range(codes.shape[1])])
        table["label"] = [data.classes[label] for label in data.labels.tolist()]
        temporary = self.out.with_name(f".{self.out.name}.part")
        table.to_csv(temporary, index=False)
        temporary.replace(self.out)
        print(f"{len(table)} codes: {self.out}")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score the codes of a checkpoint beside an untrained encoder and PCA."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A checkpoint folder."""

    def run(self):
        experiment = load_experiment(self.folder)
        train, test = (
            load_data(experiment.data, split, experiment.classes or None)
            for split in ("train", "test")
        )
        model = ScoreModel.from_pretrained(self.folder, device())
        print(score_table(model, train, test).round(3).to_string())


@dataclasses.dataclass(frozen=True)
class Export:
    """Copy a run's averaged weights and card to another folder in half precision, to ship them."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A run's folder."""
    out: Annotated[Path, tyro.conf.Positional]
    """The folder to write, e.g. checkpoints/fig3."""

    def run(self):
        card = checkpoint.read_card(self.folder)
        card.pop("model")
        model = ScoreModel.from_pretrained(self.folder)
        model.save_pretrained(self.out, dtype=torch.float16, **card)
        size = (self.out / "model.safetensors").stat().st_size / 1e6
        print(f"{self.out}: {size:.2f} MB")


@dataclasses.dataclass(frozen=True)
class Data:
    """Fetch and check a data set, so that later commands need no network."""

    name: Annotated[Literal["digits", "mnist", "cifar10"], tyro.conf.Positional]
    """Which one."""

    def run(self):
        for split in ("train", "test"):
            data = load_data(self.name, split)
            shape = "×".join(map(str, data.image_shape))
            print(f"{self.name} {split}: {len(data)} images of {shape}, checksum {data.checksum()}")


@dataclasses.dataclass(frozen=True)
class Queue:
    """Show the list of runs that a module plans, or work on it: the next one first.

    Stopped or killed at any moment, the same command goes on; several share the list.
    """

    what: Annotated[Literal["status", "work"], tyro.conf.Positional] = "status"
    """Show or work."""
    plan: str = "book.studies.plan"
    """The module, which has a PLAN."""
    folder: Path | None = None
    """Where runs live; $SCOREREP_RUNS or ~/scorerep-runs if not given."""
    only: str = "*"
    """Runs whose names match this pattern, such as 'fig4*'."""
    workers: int = 1
    """Processes, of one thread each."""
    hours: float | None = None
    """Stop after so many hours."""
    nice: int = 10
    """Added to the niceness of the processes."""

    def run(self):
        from scorerep.runs import queue

        folder = self.folder or queue.default_folder()
        if self.what == "status":
            print(queue.show(queue.status(queue.load_plan(self.plan), folder, self.only)))
        elif queue.work(self.plan, folder, self.workers, self.only, self.hours, self.nice):
            raise SystemExit(1)


def _unprefixed(choice: Any) -> Any:
    """--seed, not --experiment.seed; a phase of the experiment keeps its --encoder-phase."""
    return Annotated[choice, tyro.conf.arg(name="")]


def command_type(budget: BudgetName) -> Any:
    """The subcommands, with the experiments of one budget as defaults."""
    values = {name: at_budget(name, budget) for name in PAPER}
    single = {name: value for name, value in values.items() if value.times == "single_t"}
    choices = [
        tyro.extras.subcommand_type_from_defaults(
            group, {name: DESCRIPTIONS[name] for name in group}
        )
        for group in (values, single)
    ]
    commands = {"train": (Train, choices[0]), "sweep": (Sweep, choices[1])}
    union = [
        Annotated[
            dataclasses.make_dataclass(
                cls.__name__, [("experiment", _unprefixed(choice))], bases=(cls,), frozen=True
            ),
            tyro.conf.subcommand(name),
        ]
        for name, (cls, choice) in commands.items()
    ]
    for cls in (Sample, Encode, Evaluate, Export, Data, Queue):
        union.append(Annotated[cls, tyro.conf.subcommand(cls.__name__.lower())])
    return Union[tuple(union)]  # noqa: UP007, made at run time


def main(arguments: list[str] | None = None):
    """Parse and run; errors about input become one line and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--budget", choices=BUDGETS, default="book")
    known, rest = first.parse_known_args(arguments)
    command = tyro.cli(
        command_type(known.budget),
        prog="python -m scorerep",
        description="Representation learning with score-based generative models.",
        args=rest,
        config=(
            tyro.conf.CascadeSubcommandArgs,
            tyro.conf.AvoidSubcommands,
        ),
    )
    try:
        command.run(known.budget) if isinstance(command, (Train, Sweep)) else command.run()
    except (ValueError, OSError, CheckpointError, DataError, TrainingDiverged) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run_folder(experiment: Experiment, budget: str) -> Path:
    return Path("runs") / f"{experiment.name}-{budget}-seed{experiment.seed}"


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def score_table(model: ScoreModel, train: ImageData, test: ImageData) -> pd.DataFrame:
    """Scores of the trained codes, of an untrained encoder's and of PCA's, one row each."""
    torch.manual_seed(0)
    untrained = ScoreModel(model.config).eval().to(next(model.parameters()).device)
    codes = {
        "trained": tuple(encode_in_batches(model, data) for data in (train, test)),
        "untrained encoder": tuple(encode_in_batches(untrained, data) for data in (train, test)),
        "PCA": pca_codes(train, test, model.config.latent),
    }
    return compare(codes, train.labels, test.labels)


def draw(model: ScoreModel, test: ImageData, path: Path) -> Path:
    """Codes of test images beside samples on a grid of codes."""
    codes = encode_in_batches(model, test).cpu()
    plots.use_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
    plots.scatter_codes(codes[:, :2], test.labels.cpu(), ax=left, classes=test.classes)
    low, high = codes[:, :2].quantile(0.05, 0), codes[:, :2].quantile(0.95, 0)
    images, z = sample_grid(model, low, high, side=10, progress=True)
    plots.image_grid(images.cpu(), 10, 10, ax=right, codes=z[:, :2].cpu())
    right.set_title("samples over the middle 90 % of each coordinate")
    write_figure(fig, path)
    return path


def write_figure(fig, path: Path):
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    fig.savefig(temporary, bbox_inches="tight", facecolor="white")
    temporary.replace(path)
    plt.close(fig)
