"""Cards: what a checkpoint says of itself, and frozen dataclasses as JSON."""

import dataclasses
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

from scorerep.checkpoint.files import CheckpointError, write_bytes

FORMAT = 1  # of cards; a card without it was written before there was one, and is read alike
WEIGHTS = "model.safetensors"
CARD = "card.json"


def write_card(folder: Path, card: dict[str, Any]):
    """Write ``card``, its format and the SHA-256 of the weights that lie beside it."""
    folder, own = Path(folder), {"format": FORMAT}
    if (folder / WEIGHTS).exists():
        own["weights_sha256"] = _sha256(folder / WEIGHTS)
    text = json.dumps({**card, **own}, indent=2, ensure_ascii=False) + "\n"
    write_bytes(folder / CARD, text.encode())


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint folder. ``CheckpointError`` if missing, damaged or of the future."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"no checkpoint at {folder}: {path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(card, dict):
        raise CheckpointError(f"{path} is not a card: it holds {_short(card)}")
    version = card.get("format", FORMAT)
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{path} has format {_short(version)}, and this version of scorerep reads "
            f"{FORMAT}: it needs a newer one"
        )
    return card


def read_entry(folder: Path, name: str, cls: type) -> Any:
    """The dataclass ``cls`` from the entry ``name`` of a folder's card; errors name the card."""
    path, card = Path(folder) / CARD, read_card(folder)
    if name not in card:
        raise CheckpointError(f"{path} holds no {cls.__name__}: it has no entry {name!r}")
    try:
        return from_json(cls, card[name])
    except CheckpointError as error:
        raise CheckpointError(f"{path} holds no {cls.__name__} that can be read: {error}") from None


def check_weights(folder: Path):
    """``CheckpointError`` if the weights in ``folder`` are not those that its card tells of.

    A card of the time before checksums has nothing to compare with.
    """
    path = Path(folder) / WEIGHTS
    expected = read_card(folder).get("weights_sha256")
    if expected is not None and _sha256(path) != expected:
        raise CheckpointError(
            f"{path} is damaged, or not the file that {CARD} beside it was written with; "
            "fetch or train it again"
        )


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None


# Frozen dataclasses as JSON


def to_json(value: Any) -> Any:
    """A dataclass ``value`` as nested plain data (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(value)))


def from_json(cls: type, data: Any) -> Any:
    """The dataclass ``cls`` from ``data``, what ``to_json`` made.

    An entry that is not there has its default: it did not exist when the card was written.
    Unknown entries, wrong types and values that ``cls`` refuses raise ``CheckpointError``.
    """
    if not isinstance(data, dict):
        raise CheckpointError(f"{cls.__name__} must be an object, got {_short(data)}")
    hints = typing.get_type_hints(cls)
    if unknown := sorted(set(data) - set(hints)):
        raise CheckpointError(f"{cls.__name__} has no entry {', '.join(unknown)}")
    values = {
        name: _value(f"{cls.__name__}.{name}", hints[name], value) for name, value in data.items()
    }
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{cls.__name__}: {error}") from None


def _value(where: str, hint: Any, value: Any) -> Any:
    """``value`` as the type ``hint`` has it; the kinds that a configuration is made of."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value)
    if kind in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _value(where, next(part for part in inner if part is not type(None)), value)
    if kind is Literal and value in inner:
        return value
    if kind is tuple and isinstance(value, list):
        if inner[1:] == (...,):
            return tuple(_value(where, inner[0], item) for item in value)
        if len(inner) == len(value):
            return tuple(_value(where, part, item) for part, item in zip(inner, value))
    if hint in (int, float, str, bool):
        wanted = (int, float) if hint is float else (hint,)
        if type(value) in wanted:  # and so no bool for an int
            return value
    raise CheckpointError(
        f"{where} must be {hint if kind else hint.__name__}, got {_short(value)}".replace(
            "typing.", ""
        )
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
