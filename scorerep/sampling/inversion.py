"""The probability flow from data to noise: the x_1 that the flow would turn back into x_0.

    x_1 = invert(score, sde, x_0)
    probability_flow(score, sde, x_1)      # x_0 again, up to the solvers' tolerance

The flow dx/dt = f x − ½ g² ∇ log p_t(x) (Song et al., 2021, Section 4.3) is solved from T_MIN up
by torchdiffeq's Dormand–Prince method, the one that ``probability_flow`` takes down. An x_0 that
the score finds improbable has an x_1 that no draw of the prior looks like.
"""

import torch
from torch import Tensor
from torchdiffeq import odeint

from scorerep.sampling.fields import Score
from scorerep.sampling.walk import Asked, on_device
from scorerep.sde import T_MIN, LinearSDE, need_linear
from scorerep.types import Data, checks
from scorerep.types.devices import readable, single_at_least


def invert(
    score: Score,
    sde: LinearSDE,
    x_0: Data,
    t: float = 1.0,
    tolerance: float = 1e-4,
    gradient: bool = False,
) -> Data:
    """x_t of the flow that started at x_0: the noise of x_0 where t = 1. In the dtype of x_0.

    Args:
        score: function (x_t, t) -> score, t a scalar tensor, as for the samplers.
        x_0: taken to be the state at time T_MIN, where the noise is too small to see.
        t: where the flow ends, in (T_MIN, 1].
        tolerance: of the adaptive solver, relative and absolute; the error of x_0 after the way
            there and back is of its order.

    ``ValueError`` for options out of range and for a score that is not finite.
    """
    if not callable(score):
        raise TypeError(f"score must be a function (x_t, t), got {type(score).__name__}")
    need_linear(sde)
    checks.floating("x_0", x_0)
    if not T_MIN < t <= 1:
        raise ValueError(f"t must lie in ({T_MIN}, 1], got {t}")
    exact = single_at_least(x_0.dtype)
    least = torch.finfo(exact).eps
    if checks.number("tolerance", tolerance, above=0.0) < least:
        raise ValueError(f"tolerance must be at least {least:.2g} for {x_0.dtype}: {tolerance}")
    if not len(x_0):
        return x_0.clone()
    asked = Asked(score, x_0.dtype)

    def drift(time: Tensor, x: Data) -> Data:
        # Rounding may carry the solver's time a hair beyond its ends.
        time = time.clamp(T_MIN, t)
        value = asked(x, time)
        if readable(value) and not bool(value.detach().isfinite().all()):
            raise ValueError(f"score must be finite, got NaN or infinity at t = {float(time):.4g}")
        return sde.probability_flow_drift(x, value, time)

    ends = on_device(torch.tensor([T_MIN, float(t)], dtype=torch.float64), x_0)
    with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
        x = odeint(drift, x_0.to(exact), ends, rtol=tolerance, atol=tolerance, method="dopri5")
    return x[-1].to(x_0.dtype)
