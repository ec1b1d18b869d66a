"""Samplers: from noise, or from any x_t in the middle of the diffusion, to an image.

All have one signature,

    sampler(score, sde, x, t=1.0, steps=..., generator=None, progress=False) -> x_0

where ``score`` is a function (x_t, t) -> ∇ log p_t(x_t), for instance an exact world's or
``condition(model, z)``; ``x`` is x_t of shape ``(batch, ...)`` at time ``t`` (draw it with
``sde.prior_sample`` for t = 1). Each ends with the denoising step
x_0 = (x + τ² s(x))/α, the posterior mean, at a noise level too small to see. ``sde`` is any
``LinearSDE``; methods that walk down noise levels do so in x_t/α, where every linear SDE is VE.

All also take

    callback    called as (step, t, x_t) before every step, t a float, and with t = 0 at x_0
    gradient    True keeps the graph, so that x_0 can be differentiated in x or in the score

``score`` is asked with x_t in the dtype of ``x`` and with t as a scalar tensor on its device, which
was put there once: no step waits for the device. Half-precision states are kept in float32.
"""

import functools
import inspect
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm.auto import tqdm

from scorerep import checks
from scorerep.devices import normal, single_at_least
from scorerep.sde import T_MIN, LinearSDE, need_linear
from scorerep.types import Codes, Data, Labels, Level

Score = Callable[[Data, Level], Data]
Callback = Callable[[int, float, Data], None]


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


def _sampler(method: Callable[..., Iterator[tuple[float, Data]]]) -> Callable[..., Data]:
    """What all samplers share, around a generator that yields t and x_t, and at last 0 and x_0."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def run(*args, **kwargs) -> Data:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        options = bound.arguments
        x, callback = options["x"], options["callback"]
        _check(options)
        if not len(x):
            return x.clone()
        options["x"] = x.to(single_at_least(x.dtype))
        options["score"] = _asked(options["score"], x.dtype)
        with torch.set_grad_enabled(options["gradient"] and torch.is_grad_enabled()):
            for step, (now, state) in enumerate(method(**options)):
                if callback is not None:
                    callback(step, now, state.to(x.dtype))
        if not bool(state.detach().isfinite().all()):
            raise ValueError("score must be finite, but its samples contain NaN or infinity")
        return state.to(x.dtype)

    return run


@_sampler
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
) -> Data:
    """The reverse SDE (Eq. 2) in equal steps of t; ``steps`` evaluations and one more."""
    times = torch.linspace(t, T_MIN, steps + 1, dtype=torch.float64)
    spread = (sde.g2(times[:-1]) * -times.diff()).sqrt().tolist()
    times, at = times.tolist(), _on_device(times, x)
    for i in _steps(steps, progress):
        yield times[i], x
        dt = times[i + 1] - times[i]  # negative: time runs backwards
        noise = normal(x.shape, x, generator)
        x = x + sde.reverse_drift(x, score(x, at[i]), at[i]) * dt
        x = x + spread[i] * noise
    yield times[-1], x
    yield 0.0, _last_step(score, sde, x, T_MIN, at[-1])


@_sampler
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
) -> Data:
    """Reverse diffusion with Langevin corrections (Song et al., Algorithm 2).

    The predictor is the exact discretisation of the kernel's variance,
    x + (τ²_i − τ²_{i+1}) s + √(τ²_i − τ²_{i+1}) ε with levels for τ; the corrector's step size
    2 (snr ‖ε‖/‖s‖)² uses the batch means of the two norms, and is 0 where the score is. With
    ``corrections=0`` it is the predictor alone; ``steps · (1 + corrections)`` evaluations and one
    more.
    """
    times = torch.linspace(t, T_MIN, steps + 1, dtype=torch.float64)
    drops, alphas = (-sde.level(times).square().diff()).tolist(), sde.alpha(times).tolist()
    times, at, field = times.tolist(), _on_device(times, x), unscaled(score, sde)
    x = x / alphas[0]
    for i in _steps(steps, progress):
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


@_sampler
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
) -> Data:
    """The deterministic flow with the SDE's marginals, by an adaptive solver (Dormand–Prince).

    Solved in t, which for VE is log σ, where its speed is even. ``steps`` is ignored (the solver
    chooses) and so is ``generator``; ``tolerance`` bounds the local error, relative and absolute.
    ``callback`` sees both ends alone.
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
    ends = _on_device(torch.tensor([t, T_MIN], dtype=torch.float64), x)
    with bar:
        x = odeint(drift, x, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
    yield T_MIN, x
    yield 0.0, _last_step(score, sde, x, T_MIN, ends[-1])


@_sampler
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
) -> Data:
    """Heun's method with fresh noise before each step (Karras et al., Alg. 2).

    Args:
        tau_min: smallest noise level before the last, denoising step, in data units.
        rho: how strongly the grid crowds at low noise.
        churn: total noise added over the run, S_churn; each step raises τ by at most √2 − 1 of it.
    """
    levels = _levels(sde, t, steps, tau_min, rho)
    top, gamma = float(sde.level(1.0)), min(churn / steps, 2**0.5 - 1)
    raised = [min(tau * (1 + gamma), top) for tau in levels[:-1]]
    times = sde.time_of_level(torch.tensor(levels, dtype=torch.float64))
    high = sde.time_of_level(torch.tensor(raised, dtype=torch.float64))
    alphas, field = sde.alpha(times).tolist(), unscaled(score, sde)
    at, at_high = _on_device(times, x), _on_device(high, x)
    x = x / float(sde.alpha(t))
    for i in _steps(len(raised), progress):
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
) -> Data:
    """Heun's second-order method on the flow, on EDM's noise levels (Karras et al., Alg. 1).

    Levels are τ_i = (τ_max^{1/ρ} + i/(steps−1) (τ_min^{1/ρ} − τ_max^{1/ρ}))^ρ, then 0;
    ``2·steps − 1`` evaluations. ``generator`` is ignored: the method is deterministic.
    """
    options = {"churn": 0.0, "callback": callback, "gradient": gradient}
    return stochastic_heun(score, sde, x, t, steps, generator, progress, tau_min, rho, **options)


def _check(options: dict):
    """Refuse what no sampler can use; steps, rho and the like where the sampler has them."""
    if not callable(options["score"]):
        raise TypeError(f"score must be a function (x_t, t), got {type(options['score']).__name__}")
    need_linear(options["sde"])
    x = checks.floating("x", options["x"])
    options["t"] = t = float(options["t"])
    if not T_MIN < t <= 1:
        raise ValueError(f"t must lie in ({T_MIN}, 1], got {t}")
    if "tolerance" in options:  # of the solver, which takes as many steps as it likes
        tolerance = checks.number("tolerance", options["tolerance"], above=0)
        least = torch.finfo(single_at_least(x.dtype)).eps
        if tolerance < least:
            raise ValueError(f"tolerance must be at least {least:.2g} for {x.dtype}: {tolerance}")
    else:
        options["steps"] = checks.whole("steps", options["steps"], 2 if "rho" in options else 1)
    for name in {"tau_min", "rho", "snr"} & options.keys():
        options[name] = checks.number(name, options[name], above=0)
    if "churn" in options:
        options["churn"] = checks.number("churn", options["churn"], least=0)
    if "corrections" in options:
        options["corrections"] = checks.whole("corrections", options["corrections"], 0)


def _asked(score: Score, dtype: torch.dtype) -> Score:
    """The score for states of higher precision than it takes; its shape is checked."""

    def field(x: Data, t: Tensor) -> Data:
        value = score(x.to(dtype), t)
        if value.shape != x.shape:
            raise ValueError(
                f"score must return the shape of x_t, {tuple(x.shape)}, got {tuple(value.shape)}"
            )
        return value.to(x)

    return field


def _last_step(score: Score, sde: LinearSDE, x: Data, t: float, at: Tensor) -> Data:
    return (x + float(sde.tau(t)) ** 2 * score(x, at)) / float(sde.alpha(t))


def _levels(sde: LinearSDE, t: float, steps: int, tau_min: float, rho: float) -> list[float]:
    start = float(sde.level(t))
    # Started below tau_min there is only the denoising step left to do.
    low = min(tau_min, start)
    grid = torch.linspace(start ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64) ** rho
    return [start, *grid.tolist()[1:], 0.0] if low < start else [start, 0.0]


def _on_device(times: Tensor, x: Data) -> Tensor:
    # Times are in double precision, which Apple's GPUs do not have.
    return times.to(x.device, torch.float32 if x.device.type == "mps" else torch.float64)


def _steps(steps: int, progress: bool):
    return tqdm(range(steps), disable=not progress, desc="sampling")
