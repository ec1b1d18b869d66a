"""What all samplers share: checks before the first step, precision, gradients, who looks on."""

import functools
import inspect
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scorerep.sampling.fields import Score
from scorerep.sde import T_MIN, need_linear
from scorerep.types import Data, checks
from scorerep.types.devices import readable, single_at_least

Callback = Callable[[int, float, Data], None]
Walk = Iterator[tuple[float, Data]]  # t and x_t before each step, and at last 0 and x_0


def sampler(method: Callable[..., Walk]) -> Callable[..., Data]:
    """What all samplers share, around a ``method``, a generator of its states."""
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
        if readable(state) and not bool(state.detach().isfinite().all()):
            raise ValueError("score must be finite, but its samples contain NaN or infinity")
        return state.to(x.dtype)

    # Documented and called as what it is: a function that returns x_0.
    run.__signature__ = signature.replace(return_annotation=Data)
    return run


def _check(options: dict):
    """Refuse what no sampler can use; steps, rho and the like where the sampler has them."""
    if not callable(options["score"]):
        raise TypeError(f"score must be a function (x_t, t), got {type(options['score']).__name__}")
    need_linear(options["sde"])
    x = checks.floating("x", options["x"])
    t = options["t"]
    if not T_MIN < t <= 1:
        raise ValueError(f"t must lie in ({T_MIN}, 1], got {t}")
    options["t"] = float(t)
    if "tolerance" in options:  # of the solver, which takes as many steps as it likes
        tolerance = checks.number("tolerance", options["tolerance"], above=0.0)
        least = torch.finfo(single_at_least(x.dtype)).eps
        if tolerance < least:
            raise ValueError(f"tolerance must be at least {least:.2g} for {x.dtype}: {tolerance}")
    else:
        options["steps"] = checks.whole("steps", options["steps"], 2 if "rho" in options else 1)
    for name in {"tau_min", "rho", "snr"} & options.keys():
        options[name] = checks.number(name, options[name], above=0.0)
    if "churn" in options:
        options["churn"] = checks.number("churn", options["churn"], least=0.0)
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


def on_device(times: Tensor, x: Data) -> Tensor:
    # Times are in double precision, which Apple's GPUs do not have.
    return times.to(x.device, torch.float32 if x.device.type == "mps" else torch.float64)


def counted(steps: int, progress: bool):
    return tqdm(range(steps), disable=not progress, desc="sampling")
