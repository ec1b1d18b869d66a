"""The command ``scorerep features``: which layer to read, of a network without a code.

The scores are those of ``scorerep.codes.features``; here are options, table and picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import locate, shipped
from scorerep.codes.features import SCORES, Split, best, feature_table
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs.commands.output import check_out, device
from scorerep.types import checks

TITLES = {"probe": "linear probe", "knn": "kNN accuracy", "cknna": "CKNNA"}


@dataclass(frozen=True)
class Features:
    """At which layer and noise level should I read a score network's features?

    For a network that was trained without a code. Every layer at every level is scored by a linear
    probe, by kNN, and by how alike its neighbourhoods are to a supervised network's (CKNNA). Beside
    each stand the same layer before training, PCA of as many numbers, and the pixels.
    Start with: features mnist fig10 --images 500
    """

    name: Annotated[Literal["digits", "mnist", "cifar10", "cifar10-part"], tyro.conf.Positional]
    """The images."""
    run_name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The network: a folder, a run that comes with the book (fig10), or a hub's user/repo."""
    levels: tuple[float, ...] = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8)
    """Noise levels t, in (0, 1]."""
    images: int = 2_000
    """Images to fit on, and as many to score on, drawn at random."""
    input: Literal["noisy", "clean"] = "noisy"
    """What the network is shown: x_t, or x_0 and the t of a noisier image."""
    pool: int = 2
    """Features are averaged over pool x pool fields."""
    classifier: str | None = None
    """Folder of the supervised network; if not given the book's for mnist, else trained here."""
    steps: int = 400
    """Of training the supervised network, where none is given."""
    out: Path = Path("features.png")
    """The picture to write; the table goes beside it, as .csv."""
    seed: int = 0
    """Of the images, the noise and the untrained network."""

    def run(self):
        import matplotlib.pyplot as plt

        from scorerep.data import load_data
        from scorerep.runs.report import write_figure
        from scorerep.runs.tables import write_table

        check_out(self.out, tuple(plt.figure().canvas.get_supported_filetypes()))
        plt.close("all")
        model = ScoreModel.from_pretrained(self.run_name, device())
        generator = torch.Generator().manual_seed(checks.whole("seed", self.seed, 0, 2**31 - 1))
        parts = []
        for data in (load_data(self.name, split) for split in ("train", "test")):
            count = checks.whole("images", self.images, 32)
            parts.append(data.subset(min(count, len(data)), generator))
        split = Split(*parts, supervised(self, *parts))
        table = feature_table(
            model, split, self.levels, self.input == "noisy", self.pool, seed=self.seed
        )
        print(f"{self.run_name} on {self.name}: {len(parts[0]):,d} images to fit on, "
              f"{len(parts[1]):,d} to score on, input {self.input}")  # fmt: skip
        print("\n".join(answer(table)))
        write_table(table, self.out.with_suffix(".csv"))
        write_figure(draw(table), self.out)
        print(f"table: {self.out.with_suffix('.csv')}, picture: {self.out}")


def supervised(options: Features, train: ImageData, test: ImageData) -> torch.Tensor:
    """Last features of the ``test`` images by a classifier: given, the book's, or trained here.

    Args:
        options: the command.
        train: the images that one is trained on.
    """
    from scorerep import quality

    known = options.classifier
    if known is None and options.name == "mnist" and "mnist-classifier" in shipped():
        known = "mnist-classifier"
    if known is not None:
        judge = quality.load_classifier(locate(known))
    else:
        batch = min(128, len(train))
        judge = quality.train_classifier(train, options.steps, batch, options.seed)
    print(f"supervised network: {known or 'trained here'}, accuracy on the images to score on "
          f"{quality.accuracy(judge, test):.3f}", flush=True)  # fmt: skip
    return quality.features(judge, test.floats())


def answer(table: pd.DataFrame) -> list[str]:
    """The layer × level tables of the trained network in ``table``, and the best cell of each."""
    said = []
    for score in SCORES:
        own = grid(table, score)
        said += [f"\n{TITLES[score]}:", own.round(3).to_string()]
        row = best(table, score)
        said.append(
            f"highest: {row['layer']} at t = {row['t']:g}, {row[score]:.3f} with {row['numbers']} "
            f"numbers; the best control there is {row['control_source']}, {row['control']:.3f}"
        )
    return said


def grid(table: pd.DataFrame, score: str, source: str = "trained") -> pd.DataFrame:
    """The ``score`` of one ``source`` in ``table``, layers as rows and t as columns."""
    part = table[table["source"] == source]
    found = part.pivot(index="layer", columns="t", values=score)
    return found.loc[list(dict.fromkeys(part["layer"]))]  # in the network's order


def draw(table: pd.DataFrame):
    """Upper row: the trained network's scores in ``table``; lower row: less the best control's."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    from scorerep import plots

    plots.use_style()
    fig, axes = plt.subplots(2, 3, figsize=(1.4 * plots.WIDTH, 5), sharex=True, sharey=True)
    for column, score in zip(axes.T, SCORES, strict=True):
        own = grid(table, score)
        rivals = [grid(table, score, name) for name in set(table["source"]) - {"trained"}]
        gain = own - pd.concat(rivals).groupby(level=0).max().loc[own.index]
        style = {"annot": True, "fmt": ".2f", "cbar": False, "annot_kws": {"size": 7}}
        sns.heatmap(own, ax=column[0], cmap=plots.CONTINUOUS, **style)
        sns.heatmap(gain, ax=column[1], cmap="vlag_r", center=0, vmin=-0.5, vmax=0.5, **style)
        column[0].set(title=TITLES[score], xlabel="", ylabel="")
        column[1].set(title="less the best control", xlabel="t", ylabel="")
    return fig
