"""The list of a queue: what each run is for, and where rows and weights go.

A run is an experiment to train and score in stages, or a study: a module that is run as a program
and can be stopped and started again. The list is a ``Plan`` in a module of its own.
"""

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from scorerep.runs.experiment import Experiment
from scorerep.runs.stages import STAGES


@dataclass(frozen=True)
class Run:
    """One entry of the list: an experiment or a study, and what it is for."""

    name: str
    """Of its folder; one of a kind."""
    decides: str
    """What is known when it is done, in one sentence."""
    hours: float
    """Expected core-hours."""
    experiment: Experiment | None = None
    """What to train and score."""
    study: tuple[str, ...] = ()
    """Or a module to run as a program, and its arguments; ``{runs}`` is the queue's folder."""
    start: Path | None = None
    """Weights that the experiment begins with, instead of random ones."""
    samples: int = 0
    """Samples of the finished model to score; 0 for none."""
    ships: str = ""
    """Name of the folder that gets the finished weights, in half precision; none if empty."""
    encoder_only: bool = False
    """Ship the encoder alone."""
    most_mb: float = 6.0
    """Largest size of the shipped weights."""
    needs: tuple[str, ...] = ()
    """Names of the runs that must be done before."""

    def __post_init__(self):
        if (self.experiment is None) != bool(self.study):
            raise ValueError(f"run {self.name!r} needs an experiment or a study, and not both")
        if self.hours <= 0:
            raise ValueError(f"hours of {self.name!r} must be positive, got {self.hours}")


@dataclass(frozen=True)
class Plan:
    """Runs in order of value, and where their rows and weights go."""

    runs: tuple[Run, ...]
    table: Path = Path("book/results/runs.csv")
    """Rows of experiments."""
    checkpoints: Path = Path("book/checkpoints")
    """Shipped weights."""
    classifiers: Path = Path("book/checkpoints")
    """The judges of samples: ``mnist-classifier`` and one for each other data set."""
    stages: tuple[int, ...] = STAGES
    """Steps at which experiments are scored."""
    most: int = 10_000
    """Images that codes are scored on."""
    save_every: float = 120.0
    """Seconds between two saved states."""
    scored: bool = True
    """False on a machine that only trains: the folders of the runs are scored on another one."""

    def __post_init__(self):
        names = [run.name for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the plan has two runs of the name {', '.join(twice)}")
        for run in self.runs:
            if missing := set(run.needs) - set(names):
                raise ValueError(f"{run.name} needs {', '.join(missing)}, which the plan has not")

    def named(self, name: str) -> Run:
        """The run that has this name."""
        for run in self.runs:
            if run.name == name:
                return run
        raise ValueError(f"the plan has no run {name!r}; see scorerep queue status")


def load_plan(module: str) -> Plan:
    """The ``PLAN`` of a module, or ``module:NAME``; the current folder is looked in too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, name = module.partition(":")
    try:
        return getattr(importlib.import_module(module), name or "PLAN")
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"plan: {module!r} is no module with a {name or 'PLAN'} ({error})"
        ) from None


def default_folder() -> Path:
    """$SCOREREP_RUNS, else ~/scorerep-runs."""
    return Path(os.environ.get("SCOREREP_RUNS") or Path.home() / "scorerep-runs")
