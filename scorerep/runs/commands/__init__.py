"""The commands of the command line, as dataclasses that tyro reads.

An experiment's values depend on its budget, and every one of them can be overridden: the budget is
looked for first, and then all arguments are read with the values of that budget as defaults.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro

from scorerep.runs.commands.data import Data
from scorerep.runs.commands.features import Features
from scorerep.runs.commands.floor import Floor
from scorerep.runs.commands.models import Encode, Evaluate, Export, Sample
from scorerep.runs.commands.training import Queue, Sweep, Train
from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import PAPER, BudgetName, at_budget

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
    "own": "Your own pictures: --data FOLDER (or an .npz file), and --size 32 32 if sizes differ.",
}


@dataclass(frozen=True)
class Budget:
    """What is looked for first."""

    budget: BudgetName = "book"


def parse(arguments: Sequence[str] | None = None) -> Any:
    """The command that ``arguments`` (``sys.argv`` if None) ask for; ``SystemExit`` if none."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    budget = "book"
    if "--budget" in " ".join(given):
        budget = tyro.cli(
            Budget, args=given, prog="scorerep", return_unknown_args=True, add_help=False
        )[0].budget
    runs = {name: at_budget(name, budget) for name in PAPER}
    single = {name: run for name, run in runs.items() if run.times == "single_t"}
    every, levels = (_choice(group) for group in (runs, single))
    commands = [
        Annotated[kind, tyro.conf.subcommand(name)]
        for name, kind in {
            "train": Train[every], "sweep": Sweep[levels], "sample": Sample, "encode": Encode,
            "evaluate": Evaluate, "export": Export, "data": Data, "queue": Queue,
            "floor": Floor, "features": Features,
        }.items()
    ]  # fmt: skip
    return tyro.cli(
        Union[tuple(commands)],  # noqa: UP007, made at run time
        prog="scorerep",
        description="Representation learning with score-based generative models.",
        args=given,
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands),
    )


def _choice(runs: dict[str, Experiment]) -> Any:
    """A subcommand for each run; --seed, not --experiment.seed."""
    about = {name: DESCRIPTIONS[name] for name in runs}
    choice = tyro.extras.subcommand_type_from_defaults(runs, about)
    return Annotated[choice, tyro.conf.arg(name="")]
