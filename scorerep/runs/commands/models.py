"""Commands on a trained model: sample, encode, evaluate, export."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.data.sources import is_own
from scorerep.model import ScoreModel
from scorerep.runs.commands.data import shown
from scorerep.runs.commands.output import check_out, device
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import load_experiment

Sampler = Literal[
    "heun", "stochastic_heun", "probability_flow", "euler_maruyama", "predictor_corrector"
]


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
    """The folder to write, e.g. book/checkpoints/fig3."""

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


def with_pictures(experiment: Experiment, data: str) -> Experiment:
    """The same with other ``data``: pictures of whatever size are brought to that of its model."""
    if not is_own(data):
        return replace(experiment, data=data, size=None, colour="auto", damaged="refuse")
    channels, *size = experiment.model.image_shape
    colour = "grey" if channels == 1 else "rgb"
    return replace(experiment, data=data, size=tuple(size), colour=colour)


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
