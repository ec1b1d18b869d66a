"""The command ``scorerep floor``: how much of a denoising loss no training can remove.

The mathematics is in ``scorerep.worlds.floor``, the sentences in ``scorerep.runs.losses``; here are
the options, the table and the picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep.data.own import Reading
from scorerep.runs.commands.output import check_out
from scorerep.runs.losses import ROWS, answer, at_times, binned, grid, read_loss
from scorerep.types import checks
from scorerep.types.devices import named_device
from scorerep.worlds.floor import Target, Weight, average, floor_of
from scorerep.worlds.growth import LEAST, growing, limit_at
from scorerep.worlds.schedule import Density, Schedule
from scorerep.worlds.schedule import Path as NoisePath

LOSSES = ["floor", "standard_error", "linear", "ceiling"]  # columns that scale with the loss


@dataclass(frozen=True)
class Floor(Reading):
    """Why does my loss stop falling? The least denoising loss that your images allow.

    Predicting noise (or x0, v, the score, a velocity) can never be perfect: a noisy image does not
    say everything. The table has this floor at every noise level, beside the loss of the best
    linear denoiser and of always answering the mean. Start with: floor digits --loss 0.05
    """

    name: Annotated[str, tyro.conf.Positional]
    """digits, mnist, cifar10, cifar10-part, or the path of your own images, a folder or an .npz
    file: the training split, pixels in [-1, 1]."""
    target: Target = "eps"
    """What your network predicts: noise, clean image, v, score, EDM's F, or flow's velocity."""
    schedule: NoisePath = "vp-linear"
    """How images become noise: vp-linear is DDPM's, flow the straight line, edm has t = sigma."""
    density: Density | None = None
    """How you draw t: uniform, except for edm, where ln sigma is normal (log-normal)."""
    mean: float | None = None
    """Of ln sigma or logit t, if it is normal; EDM's -1.2, or 0."""
    std: float | None = None
    """Its standard deviation; EDM's 1.2, or 1."""
    weighting: Weight = "none"
    """Of your loss at t. tau2 is usual for the score; snr, min-snr (5), edm: as if it were x0's."""
    sigma_data: float = 0.5
    """Of EDM."""
    scale: float = 1.0
    """What your pixels are multiplied by, from [-1, 1]: 0.5 if they lie in [0, 1]."""
    pixels: Literal["mean", "sum"] = "mean"
    """Whether your loss is a mean or a sum over the pixels."""
    factor: float = 1.0
    """What your code multiplies its loss by, such as 0.5."""
    loss: str | None = None
    """Your loss: a number, or a CSV file with columns loss and t (or sigma, noise over signal)."""
    out: Path = Path("floor.png")
    """The picture to write; the table goes beside it, as .csv."""
    limit: int | None = None
    """Only so many images, drawn at random."""
    levels: int = 16
    """Noise levels at which the floor is computed."""
    draws: int = 200
    """Noisy images at each level: four times as many halve the standard error."""
    seed: int = 0
    """Of the draws."""
    device: str | None = None
    """Where to compute, such as cpu or cuda:1; an NVIDIA GPU if there is one."""

    def run(self):
        import matplotlib.pyplot as plt

        from scorerep.data import load_data
        from scorerep.runs.report import write_figure
        from scorerep.runs.tables import write_table

        check_out(self.out, tuple(plt.figure().canvas.get_supported_filetypes()))
        plt.close("all")
        checks.number("factor", self.factor, above=0.0)
        checks.whole("levels", self.levels, 2, 1000)
        checks.whole("seed", self.seed, 0, 2**63 - 1)
        device = place(self.device)
        loss = None if self.loss is None else read_loss(self.loss)
        schedule = Schedule(self.schedule, self.density, self.mean, self.std)
        times = schedule.spread(self.levels)
        if isinstance(loss, pd.DataFrame):
            loss = at_times(loss, schedule)
            times = torch.tensor(loss["t"].to_numpy())
        images = load_data(self.name, "train", **self.reading()).images
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(images), generator=generator)
        n = len(images)
        if self.limit is not None:
            n = checks.whole("limit", self.limit, LEAST, n)
        images = images[order[:n]].to(device)
        levels = grid(schedule.level(times), self.levels)
        found = growing(images, levels, self.draws, generator, self.scale)
        units = self.factor * (images[0].numel() if self.pixels == "sum" else 1)

        def floors(left) -> pd.DataFrame:
            of = found.assign(mmse=left)
            return floor_of(of, schedule, times, self.target, self.weighting, self.sigma_data)

        table = floors(found["mmse"])
        table[f"floor_{n // 4}"] = floors(found["quarter"])["floor"]
        table[f"floor_{n // 16}"] = floors(found["sixteenth"])["floor"]
        known = limit_at(found, table["sigma"].tolist()).notna()
        table["limit"] = floors(found["limit"].fillna(found["mmse"]))["floor"].where(known)
        table[[*LOSSES, *table.columns[table.columns.get_loc("memorised") + 1 :]]] *= units
        if isinstance(loss, pd.DataFrame):
            table["loss"] = loss["loss"]
        shown = binned(table, ROWS)
        print(f"{self.name}: {n:,d} images, target {self.target}, schedule {self.schedule}")
        print(shown.to_string(index=False, float_format="{:.3g}".format))
        given = average(table, "loss").value if isinstance(loss, pd.DataFrame) else loss
        print("\n".join(answer(table, given)))
        write_table(table, self.out.with_suffix(".csv"))
        write_figure(draw(table, n, self, loss), self.out)
        print(f"table: {self.out.with_suffix('.csv')}, picture: {self.out}")


def place(device: str | None) -> torch.device:
    """The device of this name; None: an NVIDIA GPU if there is one, else the CPU."""
    gpu = torch.cuda.is_available()
    found = named_device(device or ("cuda" if gpu else "cpu"))
    if found.type not in (("cpu", "cuda") if gpu else ("cpu",)):
        raise ValueError(f"device must be cpu, or a GPU that PyTorch sees by CUDA, got {device!r}")
    return found


def draw(table: pd.DataFrame, images: int, options: Floor, loss: float | pd.DataFrame | None):
    """The figure: floors of ``images`` and fewer, the two yardsticks, and the ``loss``.

    Args:
        options: the command, for the names on the axes.
    """
    import matplotlib.pyplot as plt

    from scorerep import plots

    plots.use_style()
    fig, ax = plt.subplots()
    t, colours = table["t"], plots.class_palette(10)
    ax.plot(t, table["ceiling"], color=colours[7], ls=":", label="answering the mean")
    ax.plot(t, table["linear"], color=colours[7], ls="--", label="best linear denoiser")
    floors = table.columns[table.columns.str.startswith("floor")]
    for column, width, opacity in zip(floors, (2.0, 1.3, 0.8), (1, 0.7, 0.5), strict=True):
        count = int(column.removeprefix("floor_")) if column != "floor" else images
        label = f"floor, {count:,d} images"
        ax.plot(t, table[column], color=colours[0], lw=width, alpha=opacity, label=label)
    if isinstance(loss, pd.DataFrame):
        ax.plot(t, table["loss"], ".", color=colours[3], label="your loss")
    elif loss is not None:
        ax.axhline(loss, color=colours[3], lw=1, label="your loss, averaged over t")
    if table["memorised"].any():
        ax.axvspan(
            t.min(), t[table["memorised"]].max(), color=colours[7], alpha=0.15, lw=0,
            label="memorised",
        )  # fmt: skip
    if table["limit"].notna().any():
        ax.plot(t, table["limit"], color=colours[2], lw=1.3, label="floor, ever more images")
    low = table["floor"][~table["memorised"]]
    ax.set(
        yscale="log",
        xscale="log" if options.schedule == "edm" else "linear",
        xlabel="t = σ" if options.schedule == "edm" else "t",
        ylabel=f"loss of {options.target}",
        title=f"{options.name}, {options.schedule}",
    )
    ax.set_ylim(bottom=0.3 * (low.min() if len(low) else table["linear"].min()))
    ax.legend()
    return fig
