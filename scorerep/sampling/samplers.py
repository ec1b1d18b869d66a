"""Five samplers: functions that return x_0. ``sampler`` makes each of a generator of its states."""

import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm.auto import tqdm

from scorerep.sampling.fields import Score, unscaled
from scorerep.sampling.walk import Callback, Walk, counted, on_device, sampler
from scorerep.sde import T_MIN, LinearSDE
from scorerep.types import Data
from scorerep.types.devices import normal


@sampler
def euler_maruyama(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int = 1000,
    generator: torch.Generator | None = None,
    progress: bool = False,
    callback: Callback | None = None,
    gradient: bool = False,
) -> Walk:
    """The reverse SDE (Eq. 2) in equal steps of t; ``steps`` evaluations and one more."""
    times = torch.linspace(t, T_MIN, steps + 1, dtype=torch.float64)
    spread = (sde.g2(times[:-1]) * -times.diff()).sqrt().tolist()
    times, at = times.tolist(), on_device(times, x)
    for i in counted(steps, progress):
        yield times[i], x
        dt = times[i + 1] - times[i]  # negative: time runs backwards
        noise = normal(x.shape, x, generator)
        x = x + sde.reverse_drift(x, score(x, at[i]), at[i]) * dt
        x = x + spread[i] * noise
    yield times[-1], x
    yield 0.0, _last_step(score, sde, x, T_MIN, at[-1])


@sampler
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
    callback: Callback | None = None,
    gradient: bool = False,
) -> Walk:
    """Reverse diffusion with Langevin corrections (Song et al., Algorithm 2).

    The predictor is the exact discretisation of the kernel's variance,
    x + (τ²_i − τ²_{i+1}) s + √(τ²_i − τ²_{i+1}) ε with levels for τ; the corrector's step size
    2 (snr ‖ε‖/‖s‖)² uses the batch means of the two norms, and is 0 where the score is. With
    ``corrections=0`` it is the predictor alone; ``steps · (1 + corrections)`` evaluations and one
    more.
    """
    times = torch.linspace(t, T_MIN, steps + 1, dtype=torch.float64)
    drops, alphas = (-sde.level(times).square().diff()).tolist(), sde.alpha(times).tolist()
    times, at, field = times.tolist(), on_device(times, x), unscaled(score, sde)
    x = x / alphas[0]
    for i in counted(steps, progress):
        yield times[i], alphas[i] * x
        x = x + drops[i] * field(x, at[i]) + drops[i] ** 0.5 * normal(x.shape, x, generator)
        for _ in range(corrections):
            noise, slope = normal(x.shape, x, generator), field(x, at[i + 1])
            norms = [v.flatten(1).norm(dim=1).mean() for v in (noise, slope)]
            ratio = torch.where(norms[1] > 0, norms[0] / norms[1], 0.0)
            step = 2 * (snr * ratio) ** 2
            x = x + step * slope + torch.sqrt(2 * step) * noise
    x = alphas[-1] * x
    yield times[-1], x
    yield 0.0, _last_step(score, sde, x, T_MIN, at[-1])


@sampler
def probability_flow(
    score: Score,
    sde: LinearSDE,
    x: Data,
    t: float = 1.0,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
    tolerance: float = 1e-4,
    callback: Callback | None = None,
    gradient: bool = False,
) -> Walk:
    """The deterministic flow with the SDE's marginals, by an adaptive solver (Dormand–Prince).

    Solved in t, which for VE is log σ, where its speed is even. ``steps`` is ignored (the solver
    chooses) and so is ``generator``; ``tolerance`` bounds the local error, relative and absolute.
    ``callback`` and ``states`` see three states only: at t, at ``T_MIN``, and x_0.
    """
    bar = tqdm(disable=not progress, desc="probability flow", unit=" evaluations")

    def drift(time: Tensor, x_t: Data) -> Data:
        bar.update()
        # Rounding may carry the solver's time a hair beyond its ends.
        time = time.clamp(T_MIN, t)
        value = score(x_t, time)
        if not bool(value.detach().isfinite().all()):  # the solver would halve its step for ever
            raise ValueError(f"score must be finite, got NaN or infinity at t = {float(time):.4g}")
        return sde.probability_flow_drift(x_t, value, time)

    yield float(t), x
    ends = on_device(torch.tensor([t, T_MIN], dtype=torch.float64), x)
    with bar:
        x = odeint(drift, x, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
    yield T_MIN, x
    yield 0.0, _last_step(score, sde, x, T_MIN, ends[-1])


@sampler
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
    callback: Callback | None = None,
    gradient: bool = False,
) -> Walk:
    """Heun's method with fresh noise before each step (Karras et al., Alg. 2).

    Args:
        tau_min: smallest noise level before the last, denoising step, in data units.
        rho: how strongly the grid crowds at low noise.
        churn: total noise added over the run, S_churn; each step raises τ by at most √2 − 1 of it.
    """
    return _heun(score, sde, x, t, steps, generator, progress, tau_min, rho, churn)


@sampler
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
    callback: Callback | None = None,
    gradient: bool = False,
) -> Walk:
    """Heun's second-order method on the flow, on EDM's noise levels (Karras et al., Alg. 1).

    Levels are τ_i = (τ_max^{1/ρ} + i/(steps−1) (τ_min^{1/ρ} − τ_max^{1/ρ}))^ρ, then 0;
    ``2·steps − 1`` evaluations. ``generator`` is ignored: the method is deterministic.
    """
    return _heun(score, sde, x, t, steps, generator, progress, tau_min, rho, churn=0.0)


def _heun(score, sde, x, t, steps, generator, progress, tau_min, rho, churn) -> Walk:
    levels = _levels(sde, t, steps, tau_min, rho)
    top, gamma = float(sde.level(1.0)), min(churn / steps, 2**0.5 - 1)
    raised = [min(tau * (1 + gamma), top) for tau in levels[:-1]]
    times = sde.time_of_level(torch.tensor(levels, dtype=torch.float64))
    high = sde.time_of_level(torch.tensor(raised, dtype=torch.float64))
    alphas, field = sde.alpha(times).tolist(), unscaled(score, sde)
    at, at_high = on_device(times, x), on_device(high, x)
    x = x / float(sde.alpha(t))
    for i in counted(len(raised), progress):
        yield float(times[i]), alphas[i] * x
        if raised[i] > levels[i]:
            x = x + (raised[i] ** 2 - levels[i] ** 2) ** 0.5 * normal(x.shape, x, generator)
        # dx/dτ = −τ s(x) is the probability flow with the level τ as its time.
        slope = -raised[i] * field(x, at_high[i])
        x_next = x + (levels[i + 1] - raised[i]) * slope
        if levels[i + 1] > 0:
            slope_next = -levels[i + 1] * field(x_next, at[i + 1])
            x_next = x + (levels[i + 1] - raised[i]) * 0.5 * (slope + slope_next)
        x = x_next
    yield 0.0, x


def _last_step(score: Score, sde: LinearSDE, x: Data, t: float, at: Tensor) -> Data:
    return (x + float(sde.tau(t)) ** 2 * score(x, at)) / float(sde.alpha(t))


def _levels(sde: LinearSDE, t: float, steps: int, tau_min: float, rho: float) -> list[float]:
    start = float(sde.level(t))
    # Started below tau_min there is only the denoising step left to do.
    low = min(tau_min, start)
    grid = torch.linspace(start ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64) ** rho
    return [start, *grid.tolist()[1:], 0.0] if low < start else [start, 0.0]
