"""Where tensors live and how exact they are: one rule for the library.

Work is done where the model or the law is, in its precision. What comes back is on the device and
in the dtype of what was given, unless a function says otherwise. Random numbers are drawn where
their generator is and then moved, so that one seed of a CPU generator is one picture everywhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn


class Place(NamedTuple):
    """A device and a floating-point type: ``x.to(*place)``."""

    device: torch.device  #: of the tensors
    dtype: torch.dtype  #: a floating-point type


def place_of(model, otherwise: Tensor) -> Place:
    """Where a model computes: its floating-point parameters', else buffers', else ``otherwise``'s.

    ``otherwise`` stands in for a model without any, such as a function with methods.
    """
    if isinstance(model, nn.Module):
        for tensors in (model.parameters(), model.buffers()):
            for tensor in tensors:
                if tensor.is_floating_point():
                    return Place(tensor.device, tensor.dtype)
    return Place(otherwise.device, otherwise.dtype)


def named_device(device: torch.device | str) -> torch.device:
    """The device of this name; ``ValueError`` for a name that torch does not know."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be a name like 'cpu' or 'cuda:0', got {device!r}") from None


def single_at_least(dtype: torch.dtype) -> torch.dtype:
    """``dtype``, or float32 where that is half: sums and noise levels need it."""
    return torch.promote_types(dtype, torch.float32)


def readable(value: Tensor) -> bool:
    """Whether a ``value`` may be checked: it is on the CPU, and no graph is being compiled."""
    return value.device.type == "cpu" and not torch.compiler.is_compiling()


def normal(shape: Sequence[int], like: Tensor, generator: Generator | None = None) -> Tensor:
    """Standard normal numbers of a ``shape``, on the device and in the dtype of ``like``."""
    where = like.device if generator is None else generator.device
    return torch.randn(*shape, generator=generator, device=where, dtype=like.dtype).to(like.device)


def permutation(n: int, generator: Generator | None = None) -> Tensor:
    """A random order of n items, on the CPU."""
    where = None if generator is None else generator.device
    return torch.randperm(n, generator=generator, device=where).cpu()
