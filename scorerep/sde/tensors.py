"""Levels that broadcast, values that may be checked, and noise from any device's generator.

A check of values must read a tensor. On an accelerator that would stop the queue at every step,
and a compiled graph would break there: such checks are made on numbers and on the CPU only.
"""

import torch
from torch import Tensor

from scorerep.types import Data, Level


def as_level(value: Level) -> Tensor:
    """A time or noise level as a tensor of single precision at least: half overflows at t = 0.65.

    A Python number stays on the CPU and keeps its double precision until it meets the data;
    PyTorch takes such a scalar along to any device without a copy.
    """
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=torch.float64)
    return value.to(at_least_single(value.dtype))


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """The precision of noise levels and losses for data of ``dtype``: float32, or float64."""
    return torch.promote_types(dtype, torch.float32)


def expand_as(level: Tensor, x: Tensor) -> Tensor:
    """Reshape a ``level``, ``(batch,)`` or a scalar, so that it broadcasts over the rest of x."""
    return level.reshape(level.shape + (1,) * (x.ndim - level.ndim)) if level.ndim else level


def readable(value: Tensor) -> bool:
    """Whether a ``value`` may be checked: it is on the CPU, and no graph is being compiled."""
    return value.device.type == "cpu" and not torch.compiler.is_compiling()


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


def standard_normal(
    *shape: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Data:
    """Noise drawn where the generator lives, then moved: one seed gives one noise everywhere.

    ``device`` and ``dtype`` are those of the result; without a generator it is drawn there.
    """
    place = device if generator is None else generator.device
    noise = torch.randn(*shape, generator=generator, device=place, dtype=dtype)
    return noise if device is None else noise.to(device)
