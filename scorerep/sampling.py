"""Samplers: from noise, or from any x_t in the middle of the diffusion, to an image.

All have one signature,

    sampler(score, sde, x, t=1.0, steps=..., generator=None, progress=False) -> x_0

where ``score`` is a function (x_t, t) -> ∇ log p_t(x_t), for instance an exact world's or
``condition(model, z)``; ``x`` is x_t of shape ``(batch, ...)`` at time ``t`` (draw it with
``sde.prior_sample`` for t = 1). Each ends with the denoising step
x_0 = (x + τ² s(x))/α, the posterior mean, at a noise level too small to see. ``sde`` is any
``LinearSDE``; methods that walk down noise levels do so in x_t/α, where every linear SDE is VE.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm.auto import tqdm

from scorerep.sde import T_MIN, LinearSDE
from scorerep.types import Codes, Data, Labels

Score = Callable[[Data, float], Data]


def condition(model, z: Codes | Labels | None = None) -> Score:
    """The model's score at a fixed code or label for each image of the batch."""
    return lambda x_t, t: model.score(x_t, t, z)


def denoised(score: Score, sde: LinearSDE, x: Data, t: float) -> Data:
    """E[x_0 | x_t] = (x_t + τ² ∇ log p_t(x_t))/α: the last step of every sampler (Tweedie)."""
    return (x + float(sde.tau(t)) ** 2 * score(x, t)) / float(sde.alpha(t))


def unscaled(score: Score, sde: LinearSDE) -> Score:
    """The score of x_t/α = x_0 + (τ/α) ε: α ∇ log p_t(α y) at y; the same score for VE."""

    def field(y: Data, t: float) -> Data:
        alpha = float(sde.alpha(t))
        return alpha * score(alpha * y, t)

    return field


@torch.no_grad()
def euler_maruyama(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = 1000,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Data:
    """The reverse SDE (Eq. 2) in equal steps of t; ``steps`` evaluations and one more."""
    times = _times(t, steps)
    for now, after in _pairs(times, progress):
        dt = after - now  # negative: time runs backwards
        noise = _noise(x, generator)
        x = x + sde.reverse_drift(x, score(x, now), now) * dt
        x = x + float(sde.g2(now) * -dt) ** 0.5 * noise
    return denoised(score, sde, x, times[-1])


@torch.no_grad()
def predictor_corrector(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = 1000,
    generator: torch.Generator | None = None,
    progress: bool = False,
    snr: float = 0.16,
    corrections: int = 1,
) -> Data:
    """Reverse diffusion with Langevin corrections (Song et al., Algorithm 2).

    The predictor is the exact discretisation of the kernel's variance,
    x + (τ²_i − τ²_{i+1}) s + √(τ²_i − τ²_{i+1}) ε with levels for τ; the corrector's step size
    2 (snr ‖ε‖/‖s‖)² uses the batch means of the two norms. ``corrections=0`` is the
    predictor alone; ``steps · (1 + corrections)`` evaluations and one more.
    """
    times, field = _times(t, steps), unscaled(score, sde)
    x = x / float(sde.alpha(t))
    for now, after in _pairs(times, progress):
        drop = float(sde.level(now) ** 2 - sde.level(after) ** 2)
        x = x + drop * field(x, now) + drop**0.5 * _noise(x, generator)
        for _ in range(corrections):
            noise, gradient = _noise(x, generator), field(x, after)
            ratio = noise.flatten(1).norm(dim=1).mean() / gradient.flatten(1).norm(dim=1).mean()
            step = 2 * (snr * ratio) ** 2
            x = x + step * gradient + torch.sqrt(2 * step) * noise
    return denoised(score, sde, x * float(sde.alpha(times[-1])), times[-1])


@torch.no_grad()
def probability_flow(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
    tolerance: float = 1e-4,
) -> Data:
    """The deterministic flow with the SDE's marginals, by an adaptive solver (Dormand–Prince).

    Solved in t, which for VE is log σ, where its speed is even. ``steps`` is ignored (the solver
    chooses) and so is ``generator``; ``tolerance`` bounds the local error, relative and absolute.
    """
    _check_time(t)
    bar = tqdm(disable=not progress, desc="probability flow", unit=" evaluations")

    def drift(time: Tensor, x_t: Data) -> Data:
        bar.update()
        # Rounding may carry the solver's time a hair beyond its ends.
        time = float(time.clamp(T_MIN, t))
        return sde.probability_flow_drift(x_t, score(x_t, time), time)

    ends = torch.tensor([t, T_MIN], dtype=torch.float64, device=x.device)
    ends = ends.to(x.dtype) if x.device.type == "mps" else ends
    x = odeint(drift, x, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
    bar.close()
    return denoised(score, sde, x, T_MIN)


@torch.no_grad()
def heun(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = 18,
    generator: torch.Generator | None = None,
    progress: bool = False,
    tau_min: float = 0.01,
    rho: float = 7.0,
) -> Data:
    """Heun's second-order method on the flow, on EDM's noise levels (Karras et al., Alg. 1).

    Levels are τ_i = (τ_max^{1/ρ} + i/(steps−1) (τ_min^{1/ρ} − τ_max^{1/ρ}))^ρ, then 0;
    ``2·steps − 1`` evaluations. ``generator`` is ignored: the method is deterministic.
    """
    return stochastic_heun(score, sde, x, t, steps, generator, progress, tau_min, rho, churn=0.0)


@torch.no_grad()
def stochastic_heun(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = 18,
    generator: torch.Generator | None = None,
    progress: bool = False,
    tau_min: float = 0.01,
    rho: float = 7.0,
    churn: float = 10.0,
) -> Data:
    """Heun's method with fresh noise before each step (Karras et al., Alg. 2).

    Args:
        tau_min: smallest noise level before the last, denoising step, in data units.
        rho: how strongly the grid crowds at low noise.
        churn: total noise added over the run, S_churn; each step raises τ by at most √2 − 1 of it.
    """
    levels, field = _levels(sde, t, steps, tau_min, rho), unscaled(score, sde)
    top, x = float(sde.level(1.0)), x / float(sde.alpha(t))
    gamma = min(churn / steps, 2**0.5 - 1)
    for tau, after in _pairs(levels, progress):
        raised = min(tau * (1 + gamma), top)
        if raised > tau:
            x = x + (raised**2 - tau**2) ** 0.5 * _noise(x, generator)
        # dx/dτ = −τ s(x) is the probability flow with the level τ as its time.
        slope = -raised * field(x, float(sde.time_of_level(raised)))
        x_next = x + (after - raised) * slope
        if after > 0:
            slope_next = -after * field(x_next, float(sde.time_of_level(after)))
            x_next = x + (after - raised) * 0.5 * (slope + slope_next)
        x = x_next
    return x


def _times(t: float, steps: int) -> list[float]:
    _check_time(t)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return torch.linspace(t, T_MIN, steps + 1, dtype=torch.float64).tolist()


def _levels(sde: LinearSDE, t: float, steps: int, tau_min: float, rho: float) -> list[float]:
    _check_time(t)
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    start = float(sde.level(t))
    # Started below tau_min there is only the denoising step left to do.
    low = min(tau_min, start)
    grid = torch.linspace(start ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64) ** rho
    return [start, *grid.tolist()[1:], 0.0] if low < start else [start, 0.0]


def _pairs(grid: list[float], progress: bool):
    return tqdm(list(zip(grid, grid[1:])), disable=not progress, desc="sampling")


def _noise(x: Data, generator: torch.Generator | None) -> Data:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def _check_time(t: float):
    if not T_MIN < t <= 1:
        raise ValueError(f"t must lie in ({T_MIN}, 1], got {t}")
