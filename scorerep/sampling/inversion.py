"""The probability flow from data to noise, and the same way back.

    x_1 = invert(score, sde, x_0)      # the noise that the flow turns into x_0
    x_0 = restore(score, sde, x_1)     # and does so

In the level ℓ = τ/α and y = x_t/α the flow of every linear SDE is dy/d log ℓ = −ℓ² ∇ log p(y)
(Song et al., 2021, Section 4.3; Karras et al., 2022, Eq. 4). torchdiffeq's Runge–Kutta method of
fourth order takes equal steps of log ℓ, the same ones in both directions: the error of going there
and back is far below that of an adaptive solver with as many evaluations, whose two ways differ.
"""

import math

import torch
from torch import Tensor
from torchdiffeq import odeint

from scorerep.sampling.fields import Score, unscaled
from scorerep.sampling.walk import Asked, check_ends, on_device
from scorerep.sde import LinearSDE
from scorerep.types import Data, checks
from scorerep.types.devices import readable, single_at_least

STEPS, TAU_MIN = 24, 0.005


def invert(
    score: Score,
    sde: LinearSDE,
    x_0: Data,
    t: float = 1.0,
    steps: int = STEPS,
    tau_min: float = TAU_MIN,
    gradient: bool = False,
) -> Data:
    """x_t of the flow that started at x_0; with t = 1, the noise of x_0. In the dtype of x_0.

    Args:
        score: function (x_t, t) -> score, t a scalar tensor, as for the samplers.
        x_0: taken to be at the level ``tau_min``, where the noise is too small to see. If the
            score finds it improbable, its x_1 looks like no draw of the prior.
        steps: of four evaluations each.
        tau_min: in data units.

    ``ValueError`` for options out of range and for a score that is not finite.
    """
    return _follow(score, sde, "x_0", x_0, t, steps, tau_min, gradient, up=True)


def restore(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = STEPS,
    tau_min: float = TAU_MIN,
    gradient: bool = False,
) -> Data:
    """x_0 of the flow that comes from x_t, down to ``tau_min``: what ``invert`` went up.

    A sampler too, from noise that was drawn; ``4 · steps`` evaluations.
    """
    return _follow(score, sde, "x", x, t, steps, tau_min, gradient, up=False)


def _follow(score, sde, name, x, t, steps, tau_min, gradient, up) -> Data:
    t = check_ends(score, sde, name, x, t)
    steps, top = checks.whole("steps", steps, 1), float(sde.level(t))
    if not 0 < checks.number("tau_min", tau_min, above=0.0) < top:
        raise ValueError(f"tau_min must lie below the level of t, {top:.3g}, got {tau_min}")
    if not len(x):
        return x.clone()
    logs = torch.linspace(math.log(tau_min), math.log(top), steps + 1, dtype=torch.float64)
    field, alpha = unscaled(Asked(score, x.dtype), sde), float(sde.alpha(t))

    def slope(log_level: Tensor, y: Data) -> Data:
        level = log_level.exp().clamp(max=top)  # rounding may carry it a hair beyond
        value = field(y, sde.time_of_level(level))
        if readable(value) and not bool(value.detach().isfinite().all()):
            raise ValueError(f"score must be finite, got NaN or infinity at τ/α = {level:.3g}")
        return -(level.to(y) ** 2) * value

    with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
        y = x.to(single_at_least(x.dtype))
        grid = on_device(logs if up else logs.flip(0), x)
        y = odeint(slope, y if up else y / alpha, grid, method="rk4")[-1]
        return (alpha * y if up else y).to(x.dtype)
