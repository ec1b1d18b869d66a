"""Spectra: nats per unit of t at many noise levels, and their integrals.

spectrum.integral()          nats, with the standard error of the draws
spectrum.per_octave(sde)     the same in nats per octave of noise
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from scorerep.sde import LinearSDE, need_linear
from scorerep.worlds.law import Estimate


@dataclass(frozen=True)
class Spectrum:
    """An information spectrum: nats per unit of t at increasing noise levels, with its errors.

    The grid's end points should lie where nothing is left to count; the integral is the
    trapezoidal rule's, and its standard error that of the draws alone.
    """

    t: np.ndarray  #: (levels,)
    value: np.ndarray  #: (levels,) nats per unit of t
    standard_error: np.ndarray  #: (levels,) of value

    def integral(self) -> Estimate:
        """∫ value dt in nats."""
        weight = trapezoid_weights(self.t)
        error = np.sqrt((weight**2 * self.standard_error**2).sum())
        return Estimate(float((weight * self.value).sum()), float(error))

    def peak(self) -> float:
        """The t of the largest value, by a parabola through it and its neighbours."""
        k = int(np.clip(self.value.argmax(), 1, len(self.t) - 2))
        a, b, _ = np.polyfit(self.t[k - 1 : k + 2], self.value[k - 1 : k + 2], 2)
        return float(np.clip(-b / (2 * a), self.t[k - 1], self.t[k + 1])) if a < 0 else self.t[k]

    def per_log_snr(self, sde: LinearSDE) -> "Spectrum":
        """The same in nats per unit of log(α²/τ²), whose slope in t is −g²/τ².

        t is kept, so that ``integral`` is for spectra per unit of t only.
        """
        t = torch.tensor(self.t)
        factor = (need_linear(sde).tau(t) ** 2 / sde.g2(t)).numpy()
        return Spectrum(self.t, factor * self.value, factor * self.standard_error)

    def per_octave(self, sde: LinearSDE) -> "Spectrum":
        """The same in nats per octave of the noise level τ/α; t is kept."""
        other, octave = self.per_log_snr(sde), 2 * np.log(2)
        return Spectrum(self.t, octave * other.value, octave * other.standard_error)

    def frame(self, **columns) -> pd.DataFrame:
        """A tidy table, with further columns that are the same in every row."""
        table = {"t": self.t, "value": self.value, "standard_error": self.standard_error}
        return pd.DataFrame(table | columns)


def trapezoid_weights(t: ArrayLike) -> np.ndarray:
    """The weights of the values at t in their trapezoidal integral."""
    t = np.asarray(t, dtype=float)
    if t.ndim != 1 or len(t) < 2 or not (np.diff(t) > 0).all():
        raise ValueError("t must be at least two increasing noise levels")
    gaps = np.diff(t)
    return 0.5 * (np.append(gaps, 0) + np.insert(gaps, 0, 0))
