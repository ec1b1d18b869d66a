"""Levels as tensors that broadcast, and values that may be checked.

A check of values must read a tensor. On an accelerator that would stop the queue at every step,
and a compiled graph would break there: such checks are made on numbers and on the CPU only.
"""

import torch
from torch import Tensor

from scorerep.types import Level
from scorerep.types.devices import readable, single_at_least


def as_level(value: Level) -> Tensor:
    """A time or noise level as a tensor of single precision at least: half overflows at t = 0.65.

    A Python number stays on the CPU and keeps its double precision until it meets the data;
    PyTorch takes such a scalar along to any device without a copy.
    """
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=torch.float64)
    return value.to(single_at_least(value.dtype))


def expand_as(level: Tensor, x: Tensor) -> Tensor:
    """Reshape a ``level``, ``(batch,)`` or a scalar, so that it broadcasts over the rest of x."""
    return level.reshape(level.shape + (1,) * (x.ndim - level.ndim)) if level.ndim else level


def check_range(value: Tensor, low: float, high: float, name: str) -> Tensor:
    """``value``, or ``ValueError`` if any of it is readable and not in [low, high].

    Rounding is forgiven: a relative 1e-6. The error calls it ``name``.
    """
    if not readable(value):
        return value
    if not bool(((value >= low * (1 - 1e-6)) & (value <= high * (1 + 1e-6))).all()):
        raise ValueError(
            f"{name} must lie in [{low:.6g}, {high:.6g}], got values in "
            f"[{float(value.min()):.8g}, {float(value.max()):.8g}]"
        )
    return value
