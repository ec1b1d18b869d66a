"""The commands of the command line, as dataclasses that tyro reads.

An experiment's values depend on its budget, and every one of them can be overridden: the budget is
looked for first, and then all arguments are read with the values of that budget as defaults.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

import torch
import tyro

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.data import data_root, load_data
from scorerep.data.arrays import save_npz
from scorerep.data.images import ImageData
from scorerep.data.own import Reading
from scorerep.data.sources import is_own
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.features import Features
from scorerep.runs.fit import fit, load_experiment
from scorerep.runs.floor import Floor
from scorerep.runs.paper import OWN, PAPER, SEEDS, TIMES, BudgetName, at_budget
from scorerep.sde import VESDE
from scorerep.training import make_accelerator

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
Sampler = Literal[
    "heun", "stochastic_heun", "probability_flow", "euler_maruyama", "predictor_corrector"
]
Chosen = TypeVar("Chosen")  # one of the experiments that a command offers


@dataclass(frozen=True)
class Budget:
    """What is looked for first."""

    budget: BudgetName = "book"


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
class Sample:
    """Draw images of a trained model from a grid over the first two numbers of the code."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or book/checkpoints/fig3 and the like."""
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
        import matplotlib.pyplot as plt

        from scorerep import plots
        from scorerep.codes.effects import sample_grid
        from scorerep.runs.report import write_figure

        check_out(self.out, tuple(plt.figure().canvas.get_supported_filetypes()))
        plt.close("all")
        if not -math.inf < self.low <= self.high < math.inf:
            raise ValueError(
                f"low and high must be finite, and low at most high, got {self.low} and {self.high}"
            )
        for name, value, top in (("side", self.side, 100), ("steps", self.steps, 10**6)):
            if not 1 <= value <= top:
                raise ValueError(f"{name} must lie in 1..{top}, got {value}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in 0..2**63 - 1, got {self.seed}")
        model = ScoreModel.from_pretrained(self.folder, device())
        grid, _ = sample_grid(
            model, self.low, self.high, self.side, self.sampler, self.steps, self.seed,
            progress=True,
        )  # fmt: skip
        plots.use_style()
        fig, ax = plt.subplots(figsize=(6, 6))
        plots.image_grid(grid.cpu(), self.side, self.side, ax=ax)
        write_figure(fig, self.out)
        print(f"picture: {self.out}")


@dataclass(frozen=True)
class Encode:
    """Write the codes of images to a CSV file: of the run's data, or of pictures that it never saw.

    A row has the code, of your own pictures the file, and the label if there are labels.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or book/checkpoints/fig3 and the like."""
    out: Path = Path("codes.csv")
    """The table to write."""
    split: Literal["train", "test", "all"] | None = None
    """Which images; test if not given, and all of --data."""
    data: str | None = None
    """Other pictures to encode: a folder or an .npz file, brought to the size of the run's."""
    damaged: Literal["refuse", "skip"] | None = None
    """Whether a picture that cannot be read ends the command, or is skipped; as in training."""

    def run(self):
        import pandas as pd

        from scorerep.codes.scores import encode_in_batches

        check_out(self.out)
        experiment, model = coded(self.folder)
        if self.data is not None:
            experiment = replace(with_pictures(experiment, self.data), classes=())
        if self.damaged is not None:
            experiment = replace(experiment, damaged=self.damaged)
        split = self.split or ("all" if is_own(experiment.data) and self.data else "test")
        whole = split != "all" or is_own(experiment.data)
        tables = []
        for part in (split,) if whole else ("train", "test"):
            data = experiment.load(part)
            codes = encode_in_batches(model, data).cpu().numpy()
            table = pd.DataFrame(codes, columns=[f"z{i + 1}" for i in range(codes.shape[1])])
            if data.files:
                table["file"] = data.files
            if data.labelled:
                table["label"] = [data.classes[label] for label in data.labels.tolist()]
            tables.append(table)
        table = pd.concat(tables, ignore_index=True)
        checkpoint.write_whole(self.out, lambda part: table.to_csv(part, index=False))
        print(f"{len(table)} codes: {self.out}")


@dataclass(frozen=True)
class Evaluate:
    """Score the codes of a trained model beside an untrained encoder's and PCA's."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or book/checkpoints/fig3 and the like."""
    data: str | None = None
    """Other images to score codes of, or where the run's own pictures are now."""

    def run(self):
        from scorerep.runs.report import score_table

        experiment, model = coded(self.folder)
        if self.data is not None:
            experiment = with_pictures(experiment, self.data)
        train, test = (experiment.load(split) for split in ("train", "test"))
        if train.checksum() != checkpoint.read_card(self.folder).get("data_checksum"):
            print("note: these are not the images that the model was trained on")
        print(shown(score_table(model, train, test), train))


@dataclass(frozen=True)
class Export:
    """Copy a run's averaged weights and card to another folder in half precision, to ship them."""

    folder: Annotated[Path, tyro.conf.Positional]
    """A run's folder."""
    out: Annotated[Path, tyro.conf.Positional]
    """The folder to write, e.g. checkpoints/fig3."""

    def run(self):
        source = checkpoint.locate(self.folder)
        model, card = ScoreModel.from_pretrained(source), checkpoint.read_card(source)
        for name, tensor in model.state_dict().items():
            if not bool(tensor.half().isfinite().all()):
                raise CheckpointError(
                    f"{self.folder}: {name} has weights beyond 65504, the largest of half precision"
                )
        checkpoint.check_writable(self.out)
        if self.out.resolve() == source.resolve():
            raise ValueError(f"out must be another folder than {self.folder}")
        card.pop("model")
        model.save_pretrained(self.out, dtype=torch.float16, **card)
        size = (self.out / "model.safetensors").stat().st_size / 1e6
        print(f"{self.out}: {size:.2f} MB")


@dataclass(frozen=True)
class Data(Reading):
    """Fetch and check a data set, so that later commands need no network; or look at your pictures.

    Of your own pictures it says what would be trained on: how many, their size, their classes.
    """

    name: Annotated[str, tyro.conf.Positional]
    """digits, mnist, cifar10, cifar10-part, or the path of a folder of pictures or an .npz file."""
    out: Path | None = None
    """Also write them to this .npz file, both splits, which is read faster and can be moved."""

    def run(self):
        if self.out is not None:
            check_out(self.out, ("npz",))
        source = {
            "digits": "scikit-learn's",
            "cifar10-part": "the part of CIFAR-10 that comes with the book",
        }.get(self.name, f"full, in {data_root().absolute()}")
        if is_own(self.name):
            source = "your own"
        parts = [load_data(self.name, split, **self.reading()) for split in ("train", "test")]
        for data in parts:
            shape = "×".join(map(str, data.image_shape))
            print(
                f"{self.name} {data.split}: {len(data):,d} images of {shape}, {source}, "
                f"checksum {data.checksum()}"
            )
            if is_own(self.name):
                print(f"  {counts(data)}")
        if is_own(self.name):
            from scorerep.runs.report import first_level

            t = first_level(parts[0], VESDE(), latent=2)
            print(f"a first noise level for two numbers: t = {t:.2f}, as in --single-t {t:.2f}")
        if self.out is not None:
            save_npz(self.out, *parts)
            print(f"pictures: {self.out}")


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


def load_split(experiment: Experiment, split: Literal["train", "test"]) -> ImageData:
    """The ``split`` of an experiment's data, its classes only."""
    return experiment.load(split)


def read(experiment: Experiment) -> tuple[Experiment, ImageData, ImageData]:
    """Both splits of an experiment's data, and the experiment for pictures of their size."""
    if experiment.data == OWN and not Path(OWN).exists():
        raise ValueError("data: say where your pictures are, --data FOLDER (or an .npz file)")
    train, test = (experiment.load(split) for split in ("train", "test"))
    return experiment.fitted_to(train) if is_own(experiment.data) else experiment, train, test


def with_pictures(experiment: Experiment, data: str) -> Experiment:
    """The same with other ``data``: pictures of whatever size are brought to that of its model."""
    if not is_own(data):
        return replace(experiment, data=data, size=None, colour="auto", damaged="refuse")
    channels, *size = experiment.model.image_shape
    colour = "grey" if channels == 1 else "rgb"
    return replace(experiment, data=data, size=tuple(size), colour=colour)


def shown(table: Any, data: ImageData) -> str:
    """A table of scores for the terminal; says so if ``data`` have no labels to score by."""
    text = table.round(3).to_string()
    if data.labelled:
        return text
    return f"{text}\nno labels (all are of one class): silhouette, knn and probe are left out"


def counts(data: ImageData, most: int = 20) -> str:
    """How many images of each class; the first ``most`` classes."""
    if not data.labelled:
        return "no labels: scores that need them will be left out"
    numbers = data.labels.bincount(minlength=len(data.classes)).tolist()
    named = [f"{n} {name}" for name, n in zip(data.classes, numbers)]
    left = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{len(named)} classes: {', '.join(named[:most])}{left}"


def coded(folder: Path) -> tuple[Experiment, ScoreModel]:
    """The experiment and the model of a folder; ``ValueError`` for one without a code.

    Args:
        folder: or the name of a run that comes with the book, or a hub's repository.
    """
    folder = checkpoint.locate(folder)
    experiment, model = load_experiment(folder), ScoreModel.from_pretrained(folder, device())
    if not model.config.latent:
        raise ValueError(f"the model in {folder} has no code: its latent is 0")
    return experiment, model


def check_out(path: Path, kinds: Sequence[str] = ()):
    """``ValueError`` or ``OSError`` now rather than after the work, if ``path`` cannot be written.

    Args:
        kinds: the suffixes that say a format; any if empty.
    """
    if kinds and path.suffix[1:].lower() not in kinds:
        known = ".npz" if kinds == ("npz",) else ".png, .pdf, .svg or the like"
        raise ValueError(f"out must end in {known}, got {path}")
    if path.is_dir():
        raise ValueError(f"out must be a file, and {path} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"out is to be written to {path.parent}, which is not a folder")
    checkpoint.check_writable(path.parent)


def device() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type
