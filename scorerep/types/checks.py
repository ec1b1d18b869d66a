"""Arguments checked early: one sentence that names the argument and says what was expected.

Each function returns the argument as it is to be used, or raises ``ValueError`` that calls it
``name``. Shapes and types are checked everywhere, values on the CPU only: on an accelerator that
would stop its queue.
"""

import math
import operator

import torch
from torch import Tensor

from scorerep.types.devices import readable


def whole(name: str, value, least: int, most: int | None = None) -> int:
    """``value``, a whole number in ``least``..``most``; numpy's count, 2.5, 2.0 and True do not."""
    try:
        number = operator.index(value) if not isinstance(value, bool) else None
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if most is not None and not least <= number <= most:
        raise ValueError(f"{name} must lie in {least}..{most}, got {number}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def wholes(name: str, values, least: int):
    """``values``, whole numbers of at least ``least`` each; there may be none."""
    try:
        for value in values:
            whole(name, value, least)
    except (TypeError, ValueError):
        wanted = f"whole numbers of at least {least} each"
        raise ValueError(f"{name} must be {wanted}, got {values!r}") from None
    return values


def number(name: str, value, least: float = -math.inf, above: float = -math.inf) -> float:
    """``value``, a finite number of at least ``least`` and larger than ``above``."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # the last: a tensor of several numbers
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(number) or number < least or number <= above:
        limit = f" larger than {above:g}" if math.isfinite(above) else ""
        limit = f" of at least {least:g}" if math.isfinite(least) else limit
        raise ValueError(f"{name} must be a finite number{limit}, got {value}")
    return number


def truth(name: str, value) -> bool:
    """``value``, True or False: "no" and 1 are neither."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def floating(name: str, x, shape: tuple[int, ...] | None = None, finite: bool = True) -> Tensor:
    """x, a floating-point tensor ``(batch, *shape)``, without NaN or infinity if ``finite``."""
    wanted = "(batch, ...)" if shape is None else f"(batch, {', '.join(map(str, shape))})"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor of floats {wanted}, got {type(x).__name__}")
    fits = x.ndim >= 2 if shape is None else tuple(x.shape[1:]) == tuple(shape) and x.ndim > 0
    if not fits or not x.is_floating_point():
        raise ValueError(f"{name} must be floats of shape {wanted}, got {x.dtype} {tuple(x.shape)}")
    if finite and readable(x) and not bool(x.detach().isfinite().all()):
        raise ValueError(f"{name} must be finite, but contains NaN or infinity")
    return x


def same_shape(name: str, x, whose: str, like: Tensor) -> Tensor:
    """x, a tensor of the shape that ``like`` has, which the error calls ``whose``."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.shape != like.shape:
        raise ValueError(
            f"{name} must have the shape of {whose}, {tuple(like.shape)}, got {tuple(x.shape)}"
        )
    return x


def some(name: str, x: Tensor) -> Tensor:
    """x of at least one item: of none there is no mean."""
    if not len(x):
        raise ValueError(f"{name} must have at least one item, got none")
    return x


def one_or_each(name: str, value, x: Tensor, dtype: torch.dtype) -> Tensor:
    """``value``, one number or one for each item of x, as ``(batch,)`` on x's device."""
    value = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else dtype)
    if value.shape not in ((), (len(x),)):
        raise ValueError(f"{name} must be a scalar or ({len(x)},), got {tuple(value.shape)}")
    return value.to(x.device, dtype).expand(len(x))


def chosen(name: str, mask, x: Tensor) -> Tensor:
    """``mask``, one truth value for each item of x, on x's device."""
    mask = torch.as_tensor(mask)
    if mask.dtype != torch.bool or mask.shape != (len(x),):
        raise ValueError(
            f"{name} must be ({len(x)},) truth values, got {mask.dtype} {tuple(mask.shape)}"
        )
    return mask.to(x.device)


def labels(name: str, y, x: Tensor, classes: int | None = None) -> Tensor:
    """y, one of ``classes`` or one for each item of x, as ``(batch,)`` integers on x's device."""
    y, wanted = torch.as_tensor(y), "" if classes is None else f" in 0..{classes - 1}"
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{name} must be integers{wanted}, got {y.dtype}")
    if y.shape not in ((), (len(x),)):
        raise ValueError(f"{name} must be a scalar or ({len(x)},), got {tuple(y.shape)}")
    if classes is not None and readable(y) and bool(((y < 0) | (y >= classes)).any()):
        raise ValueError(f"{name} must be integers{wanted}, got {y.unique().tolist()}")
    return y.to(device=x.device, dtype=torch.long).expand(len(x))
