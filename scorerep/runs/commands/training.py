"""Commands that train: one run, a sweep of noise levels, a queue of runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from scorerep.data.images import ImageData
from scorerep.data.sources import is_own
from scorerep.runs.commands.data import shown
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.paper import OWN, SEEDS, TIMES, BudgetName
from scorerep.sde import VESDE
from scorerep.training import make_accelerator

Chosen = TypeVar("Chosen")  # one of the experiments that a command offers


@dataclass(frozen=True)
class Train(Generic[Chosen]):
    """Train a model, or go on with a run that was stopped. Start with: train digits

    The runs are named after the paper's figures; for your own pictures: train own --data FOLDER.
    At the end the codes are scored, and codes and samples are drawn into the run's folder.
    """

    experiment: Chosen
    """Which run; each of its settings can be changed by an option (train NAME --help)."""
    budget: BudgetName = "book"
    """How large and how long: paper (for a GPU), book (minutes on two cores), smoke (seconds)."""
    folder: Path | None = None
    """Where the run lives, and goes on if it was stopped; runs/NAME-BUDGET-seedSEED otherwise."""
    tensorboard: bool = False
    """Also write TensorBoard event files."""
    report: bool = True
    """Score and draw at the end."""

    def run(self):
        experiment, train, test = read(self.experiment)
        name = f"{experiment.name}-{self.budget}-seed{experiment.seed}"
        folder = self.folder or Path("runs") / name
        first = make_accelerator(experiment.optimisation).is_main_process
        if first:
            print(
                f"{experiment.name}, {self.budget} budget: {len(train)} images, effective "
                "regulariser weight per image "
                f"{experiment.effective_regulariser_weight():.3g} "
                f"(relative to ½ Σ_pixels), {folder}/",
                flush=True,
            )
            if is_own(experiment.data) and experiment.times == "single_t":
                from scorerep.runs.report import first_level

                latent = max(experiment.model.latent, 1)
                t = first_level(train, VESDE(), latent)
                print(
                    f"the code is learned at t = {experiment.single_t:g}; principal direction "
                    f"{latent} of these pictures is as strong as the noise at t = {t:.2f}"
                )
        model = fit(experiment, train, folder, tensorboard=self.tensorboard)
        if not first or not self.report:
            return
        from scorerep.runs.report import overview, score_table

        if model.config.latent:
            print(shown(score_table(model, train, test), train))
        if model.config.latent > 1:  # a picture of codes has two axes
            print(f"picture: {overview(model, test, folder / 'overview.png')}")


@dataclass(frozen=True)
class Sweep(Generic[Chosen]):
    """Train one run at each of many noise levels, and tabulate the codes' scores (Figure 4).

    The command can be stopped at any moment; given again, or given several times at once, it
    goes on with what is missing.
    """

    experiment: Chosen
    """Which run; its single_t and seed are replaced."""
    budget: BudgetName = "book"
    """How large and how long each run: paper, book or smoke, as for train."""
    folder: Path | None = None
    """Where the runs and table.csv live; runs/NAME-BUDGET if not given."""
    times: Annotated[tuple[float, ...], tyro.conf.arg(name="levels")] = TIMES
    """Noise levels t, in (0, 1]."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds."""
    workers: int = 1
    """Processes that share the work, each with its share of the cores."""

    def run(self):
        from scorerep.runs import sweep

        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        folder = self.folder or Path("runs") / f"{self.experiment.name}-{self.budget}"
        sweep.runs(self.experiment, self.times, self.seeds)  # before anything is read
        experiment, train, test = read(self.experiment)
        experiment = experiment.first_phase()  # which learns the code, and codes alone are scored
        planned = sweep.runs(experiment, self.times, self.seeds)
        sweep.check_folder(folder, experiment, train, planned)
        if self.workers > 1:
            sweep.sweep_together(self.workers, experiment, folder, self.times, self.seeds)
        table = sweep.sweep(experiment, train, test, folder, self.times, self.seeds)
        print(shown(table, train))
        print(f"table: {folder / 'table.csv'}")


@dataclass(frozen=True)
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


def read(experiment: Experiment) -> tuple[Experiment, ImageData, ImageData]:
    """Both splits of an experiment's data, and the experiment for pictures of their size."""
    if experiment.data == OWN and not Path(OWN).exists():
        raise ValueError("data: say where your pictures are, --data FOLDER (or an .npz file)")
    train, test = (experiment.load(split) for split in ("train", "test"))
    return experiment.fitted_to(train) if is_own(experiment.data) else experiment, train, test
