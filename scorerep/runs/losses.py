"""A denoising loss beside its floor: read from a file, put into rows, and told in sentences."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scorerep.types import Times, checks
from scorerep.worlds.floor import average
from scorerep.worlds.schedule import Schedule

ROWS = 16  # of a table that is printed


def read_loss(text: str) -> float | pd.DataFrame:
    """The number that ``text`` is, or the table of the CSV file that it names: loss and t or sigma.

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


def grid(sigma: Times, count: int) -> Times:
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
    means = table.drop(columns=["probability", "memorised"]).mul(p, axis=0).groupby(group)
    means = means.agg(lambda column: column.sum(skipna=False))
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
    if "limit" in table:
        told = table[table["limit"].notna()]
        p = told["probability"]
        now, limit = float((p * told["floor"]).sum()), float((p * told["limit"]).sum())
        said.append(
            f"with ever more images: at levels with {p.sum():.0%} of the training its part of the "
            f"floor goes from {now:.4g} to {limit:.4g}; at the others the images do not tell it, "
            "between this floor and the best linear denoiser"
        )
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
        f"of the loss {loss:.4g}, {least / loss:.0%} is floor; at most {won:.4g} could still be "
        "won on these very images"
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
    top = left[left > 0.01 * left.sum()].sort_values(ascending=False).index[:3]
    parts = [
        f"{left[i] / left.sum():.0%} at t = {rows['t'][i]:.3g} (sigma {rows['sigma'][i]:.3g}"
        + (", memorised)" if rows["memorised"][i] else ")")
        for i in top
    ]
    said = ["of what could be won, " + ", ".join(parts)]
    below = table["loss"] < table["floor"] - 3 * table["standard_error"]
    if below.any():
        said.append(f"{below.sum()} of {len(table)} rows are below the floor: see above or average")
    # By more than the draws' error: at high levels the best denoiser is the linear one.
    worse = table["loss"] > 1.01 * table["linear"] + 3 * table["standard_error"]
    if worse.any():
        said.append(
            f"{worse.sum()} of {len(table)} rows, t = {table['t'][worse].min():.3g} to "
            f"{table['t'][worse].max():.3g}, are above the best linear denoiser"
        )
    return said
