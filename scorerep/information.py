"""Information, noise level by noise level: ½ g²(t) [C(t) − C(t|z)] in nats per unit of t.

For z – x_0 – x_t Markov and E‖x_0‖² finite, its integral over t is exact (I-MMSE: Guo, Shamai and
Verdú, 2005; for diffusion models Kong, Brekelmans and Ver Steeg, 2023; Franzese et al., 2024):

    ½ ∫_a^b g²(t) [C(t) − C(t|z)] dt = I(z; x_a) − I(z; x_b)

so that a *spectrum* says at which noise levels what z holds is hidden in x_t and would be won back.
For labels C(t) − C(t|y) = E ‖∇ log p_t(y|x_t)‖² is the energy of classifier guidance, which has far
less variance than a difference of two errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Generator

from scorerep.mixture import Estimate, ExactLaw
from scorerep.sde import VESDE
from scorerep.types import Codes, Data, Labels

PILOT = 0.25  # share of the draws that find out where the others are needed


@dataclass(frozen=True)
class Spectrum:
    """An information spectrum: nats per unit of t at increasing noise levels, with its errors.

    The grid's end points should lie where nothing is left to count; the integral is the
    trapezoidal rule's, and its standard error that of the draws alone.
    """

    t: np.ndarray  # (levels,)
    value: np.ndarray  # (levels,) nats per unit of t
    standard_error: np.ndarray  # (levels,) of value

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

    def per_octave(self, sde: VESDE) -> np.ndarray:
        """The same in nats per octave of σ: σ doubles every ln 2 / ln(σ_max/σ_min) of t."""
        return self.value * np.log(2) / sde.log_range

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


def label_spectrum(
    law: ExactLaw,
    sde: VESDE,
    times: Sequence[float],
    draws: int = 200,
    generator: Generator | None = None,
) -> Spectrum:
    """What the labels of an exact law are worth at each noise level, by the guidance energy.

    Args:
        law: labelled; a mixture, or the empirical law of a data set.
        times: increasing noise levels t in (0, 1].
        draws: of x_t, on average a level. A quarter of them are spread evenly; the others go
            where weight times standard deviation is largest (Neyman's allocation).

    The integral is I(y; x_a) − I(y; x_b) for the first and last level: H(y) − E H(y|x_0) for a grid
    from where x_t shows the class to where it hides it.

    Raises:
        ValueError: no labels or one class only; times not increasing or not in (0, 1].
    """
    weights = trapezoid_weights(times)
    if not 0 < times[0] or times[-1] > 1:
        raise ValueError(f"times must lie in (0, 1], got {times[0]} to {times[-1]}")
    pilot = max(8, int(PILOT * draws))
    mean, spread, count = (np.zeros(len(times)) for _ in range(3))

    def add(level: int, n: int):
        tau, g2 = float(sde.tau(times[level])), float(sde.g2(times[level]))
        value, error = law.guidance_energy(tau, n, generator)
        total = count[level] + n
        mean[level] += (0.5 * g2 * value - mean[level]) * n / total
        if count[level] == 0:
            spread[level] = 0.5 * g2 * error * np.sqrt(n)
        count[level] = total

    for level in range(len(times)):
        add(level, pilot)
    rest = len(times) * draws - int(count.sum())
    # No level is believed to be free of variance on the pilot's word alone.
    share = weights * np.maximum(spread, 0.02 * spread.max())
    for level, n in enumerate((rest * share / share.sum()).round().astype(int)):
        if n >= 2:
            add(level, int(n))
    return Spectrum(np.asarray(times, dtype=float), mean, spread / np.sqrt(count))


@torch.no_grad()
def code_spectrum(
    model,
    law: ExactLaw,
    sde: VESDE,
    times: Sequence[float],
    draws: int = 200,
    generator: Generator | None = None,
    code: Callable[[Data, Labels | None], Codes | Labels] | None = None,
) -> Spectrum:
    """What a trained model's code is worth to it at each noise level, on an exact law.

    ½ g² (C(t) − E‖x_0 − D(x_t, t, z)‖²/τ⁴) with x_0 and z of the law's own items: the exact
    constant less the model's own loss. Since no denoiser beats E[x_0 | x_t, z], this is a *lower*
    bound of the code's spectrum at every level, and negative where the model is worse than the
    law's best denoiser without any code.

    Args:
        model: has ``denoise(x_t, t, z)`` and ``encode(x_0)``.
        draws: of x_0 and x_t at each level; exact and learned estimate see the same.
        code: z of x_0 and its label instead of ``model.encode``, e.g. the label.
    """
    trapezoid_weights(times)
    code = code or (lambda x_0, y: model.encode(x_0))
    means, errors = [], []
    for t in times:
        tau, g2 = float(sde.tau(t)), float(sde.g2(t))
        x_0, y = law.sample(draws, generator)
        x_t = x_0 + tau * torch.randn(
            x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device
        )
        learned = model.denoise(x_t, float(t), code(x_0, y))
        # Exact over x_0 given x_t for neither: the draw of x_0 is common to both, and cancels.
        gain = (law.posterior_mean(x_t, tau) - x_0).square() - (learned - x_0).square()
        value = Estimate.of(0.5 * g2 / tau**4 * gain.flatten(1).sum(1).double())
        means.append(value.value)
        errors.append(value.standard_error)
    return Spectrum(np.asarray(times, dtype=float), np.array(means), np.array(errors))


def bins_of(attribute: ArrayLike, bins: int = 10) -> torch.Tensor:
    """Labels 0 … bins − 1 of equal counts, of a real attribute such as the stroke width.

    The information of the bins is a lower bound of the attribute's. ``ValueError`` if there are
    NaNs or too few distinct values.
    """
    values = np.asarray(attribute, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("the attribute must be finite: leave out the images where it is NaN")
    labels = pd.qcut(values, bins, labels=False, duplicates="drop")
    if len(np.unique(labels)) != bins:
        raise ValueError(f"the attribute has too few distinct values for {bins} bins")
    return torch.as_tensor(np.ascontiguousarray(labels)).long()


def entropy(labels: torch.Tensor) -> float:
    """H(y) of the labels' frequencies, in nats."""
    p = labels.bincount().double() / len(labels)
    return float(-(p * p.clamp(min=1e-300).log()).sum())
