"""A pretended accelerator: tensors with real data of the CPU that say they live elsewhere.

``fake(tensor)`` says its device is "meta", the one that PyTorch can differentiate on without
hardware. Within ``Counting()`` every operation runs on the data inside; what a real accelerator
would refuse, a mix of devices, raises, and what it would wait for is counted: a number read
(``item``, ``bool``, ``float``), a copy to the host, an index by a mask.
"""

import collections
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
INDEXING = ("index", "index_put", "index_put_", "_unsafe_index")


class Fake(torch.Tensor):
    """Data of the CPU in ``inner`` behind a tensor on ``DEVICE``."""

    @staticmethod
    def __new__(cls, inner):
        fake = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=DEVICE,
        )  # fmt: skip
        fake.inner = inner
        return fake

    def __repr__(self):
        return f"Fake({self.inner})"

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        raise RuntimeError("tensors of the pretended accelerator are used within Counting() only")


def fake(tensor: torch.Tensor) -> Fake:
    return Fake(tensor.detach().clone())


class Counting(TorchDispatchMode):
    """``reads`` says where a value of the device was read, and how often."""

    def __init__(self):
        super().__init__()
        self.reads: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = dict(options or {})
        name = function.overloadpacket.__name__
        tensors = [a for a in tree_flatten((arguments, options))[0] if isinstance(a, torch.Tensor)]
        there = [a for a in tensors if isinstance(a, Fake)]
        here = [a for a in tensors if not isinstance(a, Fake)]
        target = options.get("device")
        if target is not None:
            target = torch.device(target)
            options["device"] = torch.device("cpu")
        if there and name in ("_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero"):
            self._read(name)
        if name == "_to_copy":
            if there and target is not None and target != DEVICE:
                self._read("copy to the host")
        elif name == "copy_":
            if there and not isinstance(arguments[0], Fake):
                self._read("copy to the host")
        elif name in INDEXING:
            chosen = [a for a in tree_flatten(arguments[1])[0] if isinstance(a, Fake)]
            if any(a.dtype == torch.bool for a in chosen):
                self._read("index by a mask")
        elif there and any(a.ndim for a in here):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        result = function(*tree_map(_inside, arguments), **tree_map(_inside, options))
        on_device = bool(there) if target is None else target == DEVICE
        if name.endswith("_") and isinstance(arguments[0], torch.Tensor):
            return arguments[0]  # changed in place, through the data inside
        return tree_map(_wrapped, result) if on_device else result

    def _read(self, what: str):
        frames = [f for f in traceback.extract_stack() if "/scorerep/" in f.filename]
        where = (
            f"{frames[-1].filename.rsplit('/scorerep/')[-1]}: {frames[-1].line}" if frames else ""
        )
        self.reads[f"{what} in {where}"] += 1


@contextmanager
def pretended() -> Iterator[Counting]:
    """A process whose accelerator is the pretended one; its generators are the CPU's."""
    generator = torch.Generator
    with pytest.MonkeyPatch.context() as patch, Counting() as counting:
        patch.setattr(Accelerator, "device", DEVICE)
        patch.setattr(torch, "Generator", lambda device=None: generator())
        for name in ("tensor", "as_tensor"):  # they fill a tensor before any mode sees it
            patch.setattr(torch, name, _filled(getattr(torch, name)))
        yield counting


def _filled(make):
    def filled(value, *arguments, device=None, **options):
        if isinstance(value, Fake):
            return value.to(device=device, **options) if device or options else value
        made = make(value, *arguments, **options)
        return made if device is None else made.to(device)

    return filled


def _inside(value):
    return value.inner if isinstance(value, Fake) else value


def _wrapped(value):
    is_plain = isinstance(value, torch.Tensor) and not isinstance(value, Fake)
    return Fake(value) if is_plain else value
