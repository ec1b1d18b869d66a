"""Checkpoints: a folder of safetensors files and one JSON card. Never pickle.

    model.safetensors      the weights to use (the averaged ones), float32 or float16
    training.safetensors   what resuming needs: raw weights, optimiser and random generators
    card.json              which experiment, how far, how long, on what, from which data

Every file is written under a temporary name and renamed, so that a reader (or a
killed run) sees the old file or the new one, never half of one.
"""

import dataclasses
import json
import os
import tempfile
import typing
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged, unwritable, or of something else."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None):
    """Write named tensors to ``path``, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As bytes: the library's own files may be read by their owner alone, whatever the umask says.
    _replace(path, lambda temporary: Path(temporary).write_bytes(save(tensors, metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of ``path`` on the CPU, and its metadata; ``CheckpointError`` if damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"no weights at {path}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); fetch or train it again"
        ) from None


def write_card(folder: Path, card: dict[str, Any]):
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    _replace(
        Path(folder) / "card.json", lambda temporary: Path(temporary).write_text(text, "utf-8")
    )


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint folder. ``CheckpointError`` if missing or damaged."""
    path = Path(folder) / "card.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"no checkpoint at {folder}: {path} is missing") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def load_weights(model: nn.Module, path: Path):
    """Copy the weights in ``path`` into ``model`` (any float type); names and shapes must fit."""
    tensors, _ = read_tensors(path)
    own = model.state_dict()
    if set(own) != set(tensors):
        missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
        raise CheckpointError(
            f"{path} holds the weights of another model: missing {missing[:3]}, "
            f"not expected {extra[:3]}"
        )
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path} does not fit this model: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(own[name].shape)} (another latent dimension or width?)"
            )
    model.load_state_dict({name: t.to(own[name].dtype) for name, t in tensors.items()})


def check_writable(folder: Path):
    """Make ``folder``; ``CheckpointError`` now rather than after an hour of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own: other processes of the same run look at the same time.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass
    except OSError as error:
        raise CheckpointError(f"cannot write to the checkpoint folder {folder}: {error}") from None


# Frozen dataclasses as JSON


def to_json(value: Any) -> Any:
    """A dataclass as nested plain data (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(value)))


def from_json(cls: type, data: dict[str, Any]) -> Any:
    """The dataclass ``cls`` from what ``to_json`` made. Unknown names raise ``CheckpointError``."""
    types = typing.get_type_hints(cls)
    if unknown := sorted(set(data) - set(types)):
        raise CheckpointError(f"{cls.__name__} has no entry {', '.join(unknown)}")
    values = {}
    for name, value in data.items():
        # An entry is of a dataclass, or of one or None.
        nested = [t for t in (types[name], *typing.get_args(types[name])) if _is_dataclass(t)]
        if nested and value is not None:
            value = from_json(nested[0], value)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return cls(**values)


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


# The state of an optimiser and of random generators, as tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]):
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def random_tensors(generator: torch.Generator) -> dict[str, Tensor]:
    """The generator of batches and noise, and torch's own ones, which dropout uses."""
    states = {"random.generator": generator.get_state(), "random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def load_random_tensors(generator: torch.Generator, tensors: dict[str, Tensor]):
    generator.set_state(tensors["random.generator"])
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _replace(path: Path, write):
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
