"""Reads what ``spectra`` wrote, and says where on the axis of noise the nats of a spectrum lie.

    spectrum, row = stored("class", 6_000)      # of MNIST; size 0 is all images
    tail(spectrum), median_sigma(spectrum), mean_weight(spectrum)

All of it is for the book's VE-SDE, whose spectra the tables hold.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from scorerep import plots
from scorerep.codes.information import Spectrum
from scorerep.sde import VESDE
from scorerep.times import UniformSigma

SDE = VESDE()
RESULTS = Path(__file__).parents[1] / "results"


@cache
def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / name).fillna({"code": ""})


def stored(labels: str, size: int = 0, code: str = "") -> tuple[Spectrum, pd.Series]:
    """A spectrum of MNIST's labels, and the first row of the table that it was read from.

    ``ValueError`` if the table has no such rows.
    """
    rows = _table("spectra.csv").query("data == 'mnist' and labels == @labels and size == @size")
    return _read(rows[rows.code == code], f"{labels}, {size}, {code}")


def of_model(name: str, kind: str) -> Spectrum:
    """The spectrum of a trained model: ``law``, a lower bound, or ``held out``, a difference."""
    rows = _table("code_spectra.csv").query("code == @name and labels == @kind")
    return _read(rows, f"{name}, {kind}")[0]


def _read(rows: pd.DataFrame, name: str) -> tuple[Spectrum, pd.Series]:
    if rows.empty:
        raise ValueError(f"no spectrum is stored of {name}")
    rows = rows.sort_values("t")
    columns = (rows[column].to_numpy() for column in Spectrum.__annotations__)
    return Spectrum(*columns), rows.iloc[0]


def above(spectrum: Spectrum, t: float) -> Spectrum:
    """The part of a spectrum beyond a time."""
    keep = spectrum.t > t
    return Spectrum(*(getattr(spectrum, column)[keep] for column in Spectrum.__annotations__))


def tail(spectrum: Spectrum) -> float:
    """I(z; x_1) in nats, what is left at the end: far beyond the data a spectrum falls as 1/σ²."""
    return spectrum.value[-1] / (2 * SDE.log_range)


def weighted(spectrum: Spectrum) -> Spectrum:
    """A spectrum times the density that uniform σ gives to t."""
    p = UniformSigma(SDE).density(torch.tensor(spectrum.t)).numpy()
    return Spectrum(spectrum.t, p * spectrum.value, p * spectrum.standard_error)


def mean_weight(spectrum: Spectrum) -> tuple[float, float]:
    """Mean weight of a spectrum's nats under uniform σ, and its standard error."""
    t, area = spectrum.t, spectrum.integral().value
    p = UniformSigma(SDE).density(torch.tensor(t)).numpy()
    mean = np.trapezoid(p * spectrum.value, t) / area
    parts = Spectrum(t, p * spectrum.value, (p - mean) * spectrum.standard_error)
    return mean, parts.integral().standard_error / area


def median_sigma(spectrum: Spectrum) -> float:
    """The σ below and above which half of the nats lie."""
    steps = np.diff(spectrum.t) * (spectrum.value[1:] + spectrum.value[:-1]) / 2
    total = np.append(0, steps.cumsum())
    return float(SDE.sigma(np.interp(total[-1] / 2, total, spectrum.t)))


def plot_octaves(ax: Axes, spectrum: Spectrum, **line):
    """Nats an octave against σ, with a band of two standard errors."""
    octaves = spectrum.per_octave(SDE)
    sigma = SDE.tau(torch.tensor(spectrum.t))
    plots.plot_curve(sigma, octaves.value, 2 * octaves.standard_error, ax=ax, **line)
    ax.set(xscale="log", xlim=(0.3, 50), xlabel="σ")
