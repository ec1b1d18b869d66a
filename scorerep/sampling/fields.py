"""Scores as functions (x_t, t) -> ∇ log p_t(x_t): what samplers and the likelihood ask for."""

from collections.abc import Callable

from scorerep.sde import LinearSDE
from scorerep.types import Codes, Data, Labels, Level, checks
from scorerep.types.devices import single_at_least

Score = Callable[[Data, Level], Data]


def condition(model, z: Codes | Labels | None = None) -> Score:
    """The model's score at a fixed code or label for each image of the batch."""
    return lambda x_t, t: model.score(x_t, t, z)


def denoised(score: Score, sde: LinearSDE, x: Data, t: float) -> Data:
    """E[x_0 | x_t] = (x_t + τ² ∇ log p_t(x_t))/α: the last step of every sampler (Tweedie)."""
    checks.floating("x", x, finite=False)
    exact = single_at_least(x.dtype)
    tau2, alpha = float(sde.tau(t)) ** 2, float(sde.alpha(t))
    return ((x.to(exact) + tau2 * score(x, t).to(exact)) / alpha).to(x)


def unscaled(score: Score, sde: LinearSDE) -> Score:
    """The score of x_t/α = x_0 + (τ/α) ε: α ∇ log p_t(α y) at y; the same score for VE."""

    def field(y: Data, t: Level) -> Data:
        alpha = sde.alpha(t).to(y)
        return alpha * score(alpha * y, t)

    return field
