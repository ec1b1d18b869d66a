"""What all samplers share: checks before the first step, precision, gradients, their states."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scorerep.sampling.fields import Score
from scorerep.sde import T_MIN, LinearSDE, need_linear
from scorerep.types import Data, checks
from scorerep.types.devices import readable, single_at_least

Callback = Callable[[int, float, Data], None]
Walk = Iterator[tuple[float, Data]]  # t and x_t before each step, and at last 0 and x_0


class State(NamedTuple):
    """Where a sampler is: before a step, and at last at x_0."""

    t: float  #: 0 at the last state
    x: Data  #: x_t, in the dtype that the sampler was given
    evaluations: int  #: of the score so far


def sampler(method: Callable[..., Walk]) -> Callable[..., Data]:
    """What all samplers share, around a ``method``, a generator of its states."""
    signature = inspect.signature(method)

    def begin(*args, **kwargs) -> Iterator[State]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        _check(bound.arguments)
        return _walk(method, bound.arguments)

    @functools.wraps(method)
    def run(*args, **kwargs) -> Data:
        callback = signature.bind(*args, **kwargs).arguments.get("callback")
        for step, state in enumerate(begin(*args, **kwargs)):
            if callback is not None:
                callback(step, state.t, state.x)
        return state.x

    # Documented and called as what it is: a function that returns x_0.
    run.__signature__ = signature.replace(return_annotation=Data)
    run.states = begin
    return run


def states(sampler: Callable[..., Data], *args, **kwargs) -> Iterator[State]:
    """The states that a ``sampler`` goes through, one before every step and x_0 at last.

        for t, x_t, evaluations in sampling.states(sampling.heun, score, sde, x, steps=12):
            ...

    Args:
        sampler: one of this package's.
        args, kwargs: as for the sampler, but for ``callback``: who asks for states is the caller.

    Between two states the caller's own modes hold; leave the loop and the sampler stops. The
    arguments are checked at once. ``TypeError`` for what is not a sampler, or for a callback.
    """
    if not hasattr(sampler, "states"):
        raise TypeError(f"sampler must be one of scorerep.sampling's, got {sampler!r}")
    if kwargs.get("callback") is not None:
        raise TypeError("callback must not be given to states: the loop over them is the callback")
    return sampler.states(*args, **kwargs)


def _walk(method: Callable[..., Walk], options: dict) -> Iterator[State]:
    x, gradient = options["x"], options["gradient"] and torch.is_grad_enabled()
    if not len(x):
        yield State(0.0, x.clone(), 0)
        return
    score = Asked(options["score"], x.dtype)
    walk = method(**(options | {"score": score, "x": x.to(single_at_least(x.dtype))}))
    while True:
        # A generator's own "with" would hold in the caller's code too, between two states.
        with torch.set_grad_enabled(gradient):
            now, state = next(walk, (None, None))
        if state is None:
            return
        if now == 0.0 and readable(state) and not bool(state.detach().isfinite().all()):
            raise ValueError("score must be finite, but its samples contain NaN or infinity")
        yield State(now, state.to(x.dtype), score.evaluations)


def check_ends(score: Score, sde: LinearSDE, name: str, x: Data, t: float) -> float:
    """t as a float; errors for what neither a sampler nor the flow's inversion can begin with.

    Args:
        name: what the caller calls x, for the message.
    """
    if not callable(score):
        raise TypeError(f"score must be a function (x_t, t), got {type(score).__name__}")
    need_linear(sde)
    checks.floating(name, x)
    if not T_MIN < t <= 1:
        raise ValueError(f"t must lie in ({T_MIN}, 1], got {t}")
    return float(t)


def _check(options: dict):
    """Refuse what no sampler can use; steps, rho and the like where the sampler has them."""
    x = options["x"]
    options["t"] = check_ends(options["score"], options["sde"], "x", x, options["t"])
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


class Asked:
    """The score for states of higher precision than it takes; its shape is checked, it counts."""

    def __init__(self, score: Score, dtype: torch.dtype):
        self.score, self.dtype, self.evaluations = score, dtype, 0

    def __call__(self, x: Data, t: Tensor) -> Data:
        """∇ log p_t(x_t) in the dtype of x."""
        self.evaluations += 1
        value = self.score(x.to(self.dtype), t)
        if value.shape != x.shape:
            raise ValueError(
                f"score must return the shape of x_t, {tuple(x.shape)}, got {tuple(value.shape)}"
            )
        return value.to(x)


def on_device(times: Tensor, x: Data) -> Tensor:
    # Times are in double precision, which Apple's GPUs do not have.
    return times.to(x.device, torch.float32 if x.device.type == "mps" else torch.float64)


def counted(steps: int, progress: bool):
    return tqdm(range(steps), disable=not progress, desc="sampling")
