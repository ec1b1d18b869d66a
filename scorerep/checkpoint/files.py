"""Whole files, and files of tensors that know their own sum."""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged, unwritable, or of something else."""


def write_whole(path: Path, write: Callable[[Path], Any]):
    """``write`` a file under a temporary name, then give it its own: whole or not at all.

    ``OSError`` names ``path``; nothing is left behind but by a kill (see ``remove_parts``).
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with open(part, "r+b") as file:  # or a power cut may leave the new name an empty file
            os.fsync(file.fileno())
        os.replace(part, path)
        with suppress(OSError):  # not every file system lets a folder be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def remove_parts(path: Path):
    """Delete what killed writers of ``path`` left; for callers who know that nobody writes it."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):
            part.unlink()


def check_writable(folder: Path):
    """Make ``folder``; ``CheckpointError`` now rather than after an hour of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own: other processes of the same run look at the same time.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass
    except OSError as error:
        raise CheckpointError(f"cannot write to the checkpoint folder {folder}: {error}") from None


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None):
    """Write named tensors and ``metadata`` to ``path``, whole or not at all, with their SHA-256."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {**(metadata or {}), "sha256": _digest(tensors, metadata or {})}
    # As bytes: the library's own files may be read by their owner alone, whatever the umask says.
    write_bytes(path, save(tensors, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of ``path`` on the CPU, and its metadata; ``CheckpointError`` if damaged."""
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no weights at {path}")
    if not path.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{path} is not a file of weights")
    try:
        path.open("rb").close()  # whether it may be read, which safetensors does not tell
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = dict(file.metadata() or {})
    except PermissionError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); fetch or train it again"
        ) from None
    expected = metadata.pop("sha256", None)
    if expected not in (None, _digest(tensors, metadata)):
        raise CheckpointError(
            f"{path} is damaged (its contents are not those that were written); "
            "fetch or train it again"
        )
    return tensors, metadata


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes, and of the metadata."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_bytes(path: Path, content: bytes):
    """Write ``content`` to ``path``, whole or not at all."""
    try:
        write_whole(path, lambda part: part.write_bytes(content))
    except OSError as error:
        raise CheckpointError(str(error)) from None
