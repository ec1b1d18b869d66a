"""The floor of the denoising loss: the least that any network reaches on given images.

Every network of a diffusion or flow model is trained on noisy images x_t = α x_0 + τ ε to predict
a target a x_0 + b ε. Given x_t, ε is (x_t − α x_0)/τ, so the target is known up to a multiple of
x_0: what no network knows of it is (a − b α/τ)² mmse, with mmse(σ) = E ‖x_0 − E[x_0 | x_t]‖²
at the level σ = τ/α. One curve, mmse, is thus the floor of all of them:

    target    x0     eps     score    v = α ε − τ x_0    F of EDM              flow: ε − x_0
    a, b      1, 0   0, 1    0, −1/τ  −τ, α              D = c_skip x + c_out F   −1, 1
    factor²   1      1/σ²    α²/τ⁴    (α² + τ²)²/τ²      1/c_out²              (1 + 1/σ)²

For the empirical law of the training images this is exact, up to draws of x_t: even a network
that has memorised them has no smaller mean training loss, unless it is told more than x_t (a label,
a code). The law of all such images has on average a higher floor (mmse is concave): where the
empirical floor grows with the number of images it says little about new ones.

Sources: Vincent (2011); Karras et al. (2022), Table 1; Salimans and Ho (2022), Appendix D; Lipman
et al. (2023); Hang et al. (2023) for min-SNR. Eq. (6) of the paper calls mmse/τ⁴ its constant.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from scorerep.types import Times, checks
from scorerep.types.devices import normal
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.law import Estimate, ExactLaw
from scorerep.worlds.schedule import Schedule, one_of

Target = Literal["eps", "x0", "v", "score", "F", "flow"]
Weight = Literal["none", "tau2", "snr", "min-snr", "edm"]

MEMORISED = 0.01  # share of what the best linear denoiser leaves open


def mmse(
    law: ExactLaw | Tensor, levels: Sequence[float] | Times, draws: int = 200,
    generator: Generator | None = None, scale: float = 1.0,
) -> pd.DataFrame:  # fmt: skip
    """What x_0 + σ ε leaves open of x_0: one row a level, all per pixel and in float64.

    Columns: sigma; mmse and its standard_error, too small where mmse is near 0 and no draw met the
    rare x_t that two images share; linear, what the best linear denoiser leaves
    open, Σ λ σ²/(λ + σ²) over the eigenvalues λ of Cov(x_0); and variance, that of x_0.

    Args:
        law: an exact law, or the images themselves, as ``EmpiricalLaw`` takes them.
        levels: σ > 0, in the units of the scaled images.
        draws: of x_t at each level, each level having its own; 2 or more.
        scale: what the pixels are multiplied by before training, 1 for [−1, 1], 0.5 for [0, 1].
    """
    law = law if isinstance(law, ExactLaw) else EmpiricalLaw(law)
    draws, scale = checks.whole("draws", draws, 2), checks.number("scale", scale, above=0.0)
    pixels, rows = math.prod(law.shape), []
    spectrum = torch.linalg.eigvalsh(law.covariance()).clamp(min=0)
    for level in torch.as_tensor(levels, dtype=torch.float64).cpu().tolist():
        level = checks.number("levels", level, above=0.0) / scale
        x_0 = law.sample(draws, generator)[0].double()
        left = law.posterior_variance(x_0 + level * normal(x_0.shape, x_0, generator), level)
        value, error = Estimate.of(left / pixels)
        linear = float((spectrum * level**2 / (spectrum + level**2)).mean())
        found = (value, error, linear, float(spectrum.mean()))
        rows.append((level * scale, *(scale**2 * number for number in found)))
    return pd.DataFrame(rows, columns=["sigma", "mmse", "standard_error", "linear", "variance"])


def floor(
    law: ExactLaw | Tensor, schedule: Schedule, target: Target = "eps",
    times: Times | None = None, draws: int = 200, generator: Generator | None = None,
    weighting: Weight | Callable[[Times], Times] = "none", sigma_data: float = 0.5,
    scale: float = 1.0,
) -> pd.DataFrame:  # fmt: skip
    """The least loss at each of ``times``, a mean over pixels: ``floor_of`` what ``mmse`` finds.

    Args:
        law: an exact law, or images.
        times: increasing; None: 16 that are trained equally often.
        draws: of x_t at each time.
        scale: what the pixels are multiplied by, as in ``mmse``.
        target, weighting, sigma_data: as in ``floor_of``.
    """
    times = schedule.spread(16) if times is None else times
    found = mmse(law, schedule.level(times), draws, generator, scale)
    return floor_of(found, schedule, times, target, weighting, sigma_data)


def floor_of(
    found: pd.DataFrame, schedule: Schedule, times: Times, target: Target = "eps",
    weighting: Weight | Callable[[Times], Times] = "none", sigma_data: float = 0.5,
) -> pd.DataFrame:  # fmt: skip
    """The floor for a target, from ``mmse`` at the levels of these times.

    Columns: t; sigma; probability (of the training, that the row stands for); floor and its
    standard_error; linear, the loss of the best linear denoiser, which a good network reaches;
    ceiling, the loss of a network that always answers the target's mean, as most do at the start;
    memorised, whether the floor is below 1 % of linear: the law tells its images apart at this
    level, so that only a network which has memorised them comes near.

    Args:
        found: of ``mmse``. It need not have all levels of ``times``, but those at the ends: between
            its levels, mmse's share of linear and the logarithm of linear are linear in log σ.
        times: increasing.
        target: what the network predicts.
        weighting: of the loss at t: "none", or a function of t; "tau2" is τ² (of the score's
            loss: then it is that of ε); "snr", "min-snr" (at most 5) and "edm" are those that x_0's
            loss would have: any other target is weighted to be equivalent.
        sigma_data: of EDM's F and weighting.
    """
    one_of("target", target, Target)
    if not callable(weighting):
        one_of("weighting", weighting, Weight)
    data = checks.number("sigma_data", sigma_data, above=0.0)
    times = torch.as_tensor(times, dtype=torch.float64).cpu()
    if times.ndim != 1 or not len(times) or bool((times.diff() <= 0).any()):
        raise ValueError(f"times must increase, (times,), at least one, got {tuple(times.shape)}")
    alpha, tau = schedule.kernel(times)
    sigma = schedule.level(times)
    left, error, linear, variance = _between(found, sigma)
    c_out = sigma * data / (sigma.square() + data**2).sqrt()
    a, b = {
        "x0": (1 + 0 * tau, 0 * tau),
        "eps": (0 * tau, 1 + 0 * tau),
        "score": (0 * tau, -1 / tau),
        "v": (-tau, alpha),
        "F": (c_out / data**2, -c_out / sigma),
        "flow": (-1 + 0 * tau, 1 + 0 * tau),
    }[target]
    factor2 = (a - b * alpha / tau).square()
    snr = (alpha / tau).square()
    if callable(weighting):
        weight = torch.as_tensor(weighting(times)).double().expand(len(times))
    else:
        of_x_0 = {"snr": snr, "min-snr": snr.clamp(max=5), "edm": snr + 1 / data**2}
        weight = {"none": 1 + 0 * tau, "tau2": tau.square()}.get(weighting)
        weight = of_x_0[weighting] / factor2 if weight is None else weight
    share = schedule.share_below(times)
    edges = torch.cat([share.new_zeros(1), (share[1:] + share[:-1]) / 2, share.new_ones(1)])
    columns = {
        "t": times,
        "sigma": sigma,
        "probability": edges.diff(),
        "floor": weight * factor2 * left,
        "standard_error": weight * factor2 * error,
        "linear": weight * factor2 * linear,
        "ceiling": weight * (a.square() * variance + b.square()),
        "memorised": left < MEMORISED * linear,
    }
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def average(table: pd.DataFrame, column: str = "floor") -> Estimate:
    """A column of ``table`` (floor, linear or ceiling) over the whole training, by probability."""
    p = table["probability"]
    error = table["standard_error"] if column == "floor" else 0 * p
    return Estimate(float((p * table[column]).sum()), math.sqrt((p * error).pow(2).sum()))


def _between(found: pd.DataFrame, sigma: Times) -> tuple[Times, Times, Times, Times]:
    """mmse, its standard error, linear and variance at levels σ that lie between those found.

    In log σ, the logarithm of linear is linear, and so is the share of it that mmse is: linear is
    nearly a power of σ, and the share goes from 0 to 1.
    """
    known = found.sort_values("sigma")
    low, high = known["sigma"].min(), known["sigma"].max()
    if float(sigma.min()) < low * (1 - 1e-6) or float(sigma.max()) > high * (1 + 1e-6):
        raise ValueError(
            f"times must have levels between those found, {low:.4g} and {high:.4g}, got "
            f"{float(sigma.min()):.4g} to {float(sigma.max()):.4g}"
        )
    at, levels = sigma.log().numpy(), np.log(known["sigma"])
    linear = np.exp(np.interp(at, levels, np.log(known["linear"].clip(lower=1e-300))))
    shares = known[["mmse", "standard_error"]].div(known["linear"].clip(lower=1e-300), axis=0)
    left, error = (linear * np.interp(at, levels, shares[name]) for name in shares)
    variance = np.interp(at, levels, known["variance"])
    return tuple(torch.from_numpy(column) for column in (left, error, linear, variance))
