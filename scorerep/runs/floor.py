"""The command ``scorerep floor``: how much of a denoising loss no training can remove.

The mathematics is in ``scorerep.worlds.floor``; here are the options, the loss that is compared, the
table, the picture and the sentences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import tyro

from scorerep.types import checks
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import Target, Weight, average, floor_of, mmse
from scorerep.worlds.schedule import Density, Schedule
from scorerep.worlds.schedule import Path as NoisePath

ROWS = 16  # of the table that is printed
LOSSES = ["floor", "standard_error", "linear", "ceiling"]  # columns that scale with the loss


@dataclass(frozen=True)
class Floor:
    """Why does my loss stop falling? The least denoising loss that your images allow.

    Predicting noise (or x0, v, the score, a velocity) can never be perfect: a noisy image does not
    say everything. The table has this floor at every noise level, beside the loss of the best
    linear denoiser and of always answering the mean. Start with: floor digits --loss 0.05
    """

    name: Annotated[Literal["digits", "mnist", "cifar10", "cifar10-part"], tyro.conf.Positional]
    """The images: the training split, pixels in [-1, 1]."""
    target: Target = "eps"
    """What your network predicts: the noise, the clean image, v, the score, EDM's F, or the
    velocity of flow matching."""
    schedule: NoisePath = "vp-linear"
    """How images become noise: vp-linear is DDPM's, flow the straight line, edm has t = sigma."""
    density: Density | None = None
    """How you draw t: uniform, except for edm, where ln sigma is normal (log-normal)."""
    mean: float | None = None
    """Of ln sigma or logit t, if it is normal; EDM's -1.2, or 0."""
    std: float | None = None
    """Its standard deviation; EDM's 1.2, or 1."""
    weighting: Weight = "none"
    """How your loss is weighted at t: tau2 times the score's is usual; snr, min-snr (5) and edm
    are weights of the loss of x0, and the same loss in any other target."""
    sigma_data: float = 0.5
    """Of EDM."""
    scale: float = 1.0
    """What your pixels are multiplied by, from [-1, 1]: 0.5 if they lie in [0, 1]."""
    pixels: Literal["mean", "sum"] = "mean"
    """Whether your loss is a mean or a sum over the pixels."""
    factor: float = 1.0
    """What your code multiplies its loss by, such as 0.5."""
    loss: str | None = None
    """Your loss: a number, or a CSV file with the columns t (or sigma, noise over signal) and
    loss."""
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

    def run(self):
        import matplotlib.pyplot as plt

        from scorerep.data import load_data
        from scorerep.runs.commands import check_out
        from scorerep.runs.report import write_figure
        from scorerep.runs.tables import write_table

        check_out(self.out, tuple(plt.figure().canvas.get_supported_filetypes()))
        plt.close("all")
        checks.number("factor", self.factor, above=0.0)
        checks.whole("levels", self.levels, 2, 1000)
        checks.whole("seed", self.seed, 0, 2**63 - 1)
        loss = None if self.loss is None else read_loss(self.loss)
        schedule = Schedule(self.schedule, self.density, self.mean, self.std)
        times = schedule.spread(self.levels)
        if isinstance(loss, pd.DataFrame):
            loss = at_times(loss, schedule)
            times = torch.from_numpy(loss["t"].to_numpy())
        images = load_data(self.name, "train").images
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(images), generator=generator)
        n = len(images) if self.limit is None else checks.whole("limit", self.limit, 32, len(order))
        table = None
        for count in (n, n // 4, n // 16):
            levels = grid(schedule.level(times), self.levels)
            law = EmpiricalLaw(images[order[:count]])
            found = mmse(law, levels, self.draws, generator, self.scale)
            part = floor_of(found, schedule, times, self.target, self.weighting, self.sigma_data)
            part[LOSSES] *= self.factor * (images[0].numel() if self.pixels == "sum" else 1)
            if table is None:
                table = part
            else:
                table[f"floor_{count}"] = part["floor"]
        if isinstance(loss, pd.DataFrame):
            table["loss"] = loss["loss"]
        shown = binned(table, ROWS)
        print(f"{self.name}: {n:,d} images, target {self.target}, {self.schedule}")
        print(shown.to_string(index=False, float_format="{:.3g}".format))
        given = average(table, "loss").value if isinstance(loss, pd.DataFrame) else loss
        print("\n".join(answer(table, given)))
        write_table(table, self.out.with_suffix(".csv"))
        write_figure(draw(table, n, self, loss), self.out)
        print(f"table: {self.out.with_suffix('.csv')}, picture: {self.out}")


def read_loss(text: str) -> float | pd.DataFrame:
    """A number, or the table of a CSV file with the columns loss and t or sigma; ``text`` says it.

    ``ValueError`` for anything else, or values that are not finite or levels that are not positive.
    """
    try:
        return checks.number("loss", float(text), above=0.0)
    except ValueError:
        if not Path(text).exists():
            raise ValueError(
                f"loss must be a positive number or a CSV file, got {text!r}"
            ) from None
    try:
        table = pd.read_csv(text, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        raise ValueError(f"loss: {text} is not a CSV file") from None
    axes = [name for name in ("t", "sigma") if name in table]
    if "loss" not in table or len(axes) != 1 or not len(table):
        raise ValueError(
            f"loss: {text} must have rows and the columns loss and either t or sigma, got "
            f"{', '.join(map(str, table))}"
        )
    table = table[[*axes, "loss"]].apply(pd.to_numeric, errors="coerce").astype(float)
    if not np.isfinite(table).all().all() or not (table[axes[0]] > 0).all():
        raise ValueError(f"loss: {text} must hold finite numbers, and {axes[0]} be positive")
    return table


def at_times(loss: pd.DataFrame, schedule: Schedule) -> pd.DataFrame:
    """The ``loss`` by increasing t, rows of the same t averaged."""
    if "sigma" in loss:
        t = schedule.time_of_level(torch.tensor(loss["sigma"].to_numpy()))
        loss = pd.DataFrame({"t": t.numpy(), "loss": loss["loss"]})
    return loss.groupby("t", as_index=False)["loss"].mean()


def grid(sigma: torch.Tensor, count: int) -> torch.Tensor:
    """The levels ``sigma`` themselves, or ``count`` between them if they are more."""
    if len(sigma) <= count:
        return sigma
    low, high = float(sigma.min().log()), float(sigma.max().log())
    return torch.linspace(low, high, count, dtype=torch.float64).exp()


def binned(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The ``table`` in at most so many ``rows``, each a mean by probability of its neighbours."""
    if len(table) <= rows:
        return table
    group = np.arange(len(table)) * rows // len(table)
    p = table["probability"].clip(lower=1e-300)
    means = table.drop(columns=["probability", "memorised"]).mul(p, axis=0).groupby(group).sum()
    means = means.div(p.groupby(group).sum(), axis=0)
    means.insert(2, "probability", table["probability"].groupby(group).sum())
    return means.assign(memorised=table["memorised"].groupby(group).any())


def answer(table: pd.DataFrame, loss: float | None = None) -> list[str]:
    """What the ``table`` says, of a ``loss`` averaged over the training if there is one."""
    floor, linear, ceiling = (average(table, name) for name in ("floor", "linear", "ceiling"))
    least, error = floor
    said = [
        f"average over the training: floor {least:.4g} ± {error:.2g}, best linear denoiser "
        f"{linear.value:.4g}, answering the mean {ceiling.value:.4g}"
    ]
    if loss is not None:
        said += _of_loss(loss, least, error, linear.value, ceiling.value)
    if "loss" in table:
        said += _where(table)
    for name in table.columns[table.columns.str.startswith("floor_")]:
        count, value = int(name.removeprefix("floor_")), average(table, name).value
        said.append(f"with {count:,d} of the images the floor is {value:.4g}")
    known = table["probability"][table["memorised"]].sum()
    said.append(
        f"{known:.0%} of the training is at levels marked memorised: only a network that has "
        "memorised the images reaches this floor, and for new images it is higher. A loss of "
        "held-out images above the floor need not be bad; the floor rises with the images' number."
    )
    return said


def _of_loss(loss: float, least: float, error: float, linear: float, ceiling: float) -> list[str]:
    if loss < least - 3 * error:
        return [
            f"loss {loss:.4g} is below the floor: of these images no network that sees x_t and t "
            "alone has that. Compare the target, weighting, scale, pixels, factor and density of "
            "t; or it is told more (a label, a code), or was trained and measured on fewer images, "
            "which it memorises."
        ]
    won = max(loss - least, 0.0)
    said = [
        f"of the loss {loss:.4g}, {least / loss:.0%} is floor; at most {won:.4g} could still be won"
    ]
    if loss > ceiling:
        said.append(
            "it is larger than that of answering the mean: either nothing has been learned, or "
            "the loss is another one (target, weighting, scale, pixels, factor)"
        )
    elif loss > linear:
        said.append(
            f"the best linear denoiser has {linear:.4g}: at least {loss - linear:.3g} can be won"
        )
    return said


def _where(table: pd.DataFrame) -> list[str]:
    rows = binned(table, ROWS)
    left = (rows["probability"] * (rows["loss"] - rows["floor"])).clip(lower=0)
    if not left.sum() > 0:
        return []
    top = left.sort_values(ascending=False).index[:3]
    parts = [
        f"{left[i] / left.sum():.0%} at t = {rows['t'][i]:.3g} (sigma {rows['sigma'][i]:.3g}"
        + (", memorised)" if rows["memorised"][i] else ")")
        for i in top
    ]
    said = ["of what could be won, " + ", ".join(parts)]
    below = table["loss"] < table["floor"] - 3 * table["standard_error"]
    if below.any():
        said.append(f"{below.sum()} of {len(table)} rows are below the floor: see above or average")
    worse = table["loss"] > table["linear"]
    if worse.any():
        said.append(
            f"{worse.sum()} of {len(table)} rows, t = {table['t'][worse].min():.3g} to "
            f"{table['t'][worse].max():.3g}, are above the best linear denoiser"
        )
    return said


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
    for column in table.columns[table.columns.str.startswith("floor")]:
        count = int(column.removeprefix("floor_")) if column != "floor" else images
        share = {"lw": 1.8} if column == "floor" else {"lw": 1.0, "alpha": 0.6}
        ax.plot(t, table[column], color=colours[0], label=f"floor, {count:,d} images", **share)
    if isinstance(loss, pd.DataFrame):
        ax.plot(t, table["loss"], ".", color=colours[3], label="your loss")
    elif loss is not None:
        ax.axhline(loss, color=colours[3], lw=1, label="your loss, averaged over t")
    if table["memorised"].any():
        ax.axvspan(
            t.min(), t[table["memorised"]].max(), color=colours[7], alpha=0.15, lw=0,
            label="memorised",
        )  # fmt: skip
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
