"""Your own pictures as ``ImageData``: from a folder, an ``.npz`` file, or a data set in Python.

    train = load_data("photos", "train", size=(32, 32))      # photos/cat/1.jpg, photos/dog/…
    train = load_data("pictures.npz", "train")
    train = from_dataset(torchvision.datasets.CIFAR100("data"), "train")

What a folder looks like is in ``folders``, a file in ``arrays``, and what becomes of a picture in
``pictures``. Without labels all pictures are of one class, ``data.labelled`` is false, and scores
that need labels are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from scorerep.data.arrays import (
    Pixels,
    brought_to,
    channels_first,
    image_data,
    load_npz,
    numbered,
)
from scorerep.data.images import ImageData
from scorerep.types import checks

KEYS = {"image": ("image", "img"), "label": ("label", "labels", "fine_label", "target")}
Colour = Literal["auto", "grey", "rgb"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How your own pictures are read; data sets with a name of their own are taken as they are."""

    size: tuple[int, int] | None = None
    """Of your own pictures: height and width to scale and cut them to; their own if not given."""
    colour: Colour = "auto"
    """Of your own pictures; auto reads them as grey if all of them are, else as rgb."""
    damaged: Literal["refuse", "skip"] = "refuse"
    """Of your own pictures: one that cannot be read ends the command, or is named and skipped."""

    def __post_init__(self):
        if self.size is not None:
            if len(self.size) != 2:
                raise ValueError(f"size must be (height, width), got {self.size}")
            for side in self.size:
                checks.whole("size", side, 1, 4096)
        for name, known in (("colour", ("auto", "grey", "rgb")), ("damaged", ("refuse", "skip"))):
            if getattr(self, name) not in known:
                choices = " or ".join(map(repr, known))
                raise ValueError(f"{name} must be {choices}, got {getattr(self, name)!r}")

    def reading(self) -> dict[str, Any]:
        """Size, colour and damaged, as arguments of ``load_data``."""
        return {field.name: getattr(self, field.name) for field in fields(Reading)}


def load_own(
    path: str | Path, split: Literal["train", "test", "all"], reading: Reading
) -> ImageData:
    """The ``split`` of the pictures in a folder or an ``.npz`` file at ``path``.

    Args:
        split: "all" is every picture, of whatever number: for a model that is trained already.
        reading: size, colour, and what is done about damaged pictures.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        DataError: a picture is damaged and not to be skipped, or the file is no ``.npz``.
        ValueError: no or too few pictures, or several sizes and none chosen.
    """
    path = Path(path)
    if path.is_dir():
        from scorerep.data.folders import read_folder  # which needs Pillow

        return read_folder(path, split, **reading.reading())
    if not path.exists():
        raise FileNotFoundError(f"there is no folder and no file {path}")
    return load_npz(path, split, reading.size, reading.colour)


def from_dataset(
    dataset: Any,
    split: Literal["train", "test", "all"] = "train",
    size: tuple[int, int] | None = None,
    colour: Colour = "auto",
    labelled: bool = True,
    name: str | None = None,
) -> ImageData:
    """All of a data set of torchvision or of Hugging Face's ``datasets``, or any like them.

    Args:
        dataset: of a length, whose items are pictures, tuples (picture, label) or dictionaries
            with ``image`` or ``img`` and perhaps ``label``. Pictures are Pillow's, tensors
            (channels, height, width), or arrays (height, width) or (height, width, channels).
        split: what it is called; ``every_fifth`` cuts one set in two.
        size, colour: as in ``load_data``.
        labelled: whether its labels are taken, if it has any.
        name: of the data; that of the class of ``dataset`` if not given.

    Raises:
        ValueError: no pictures, several sizes and none chosen, labels that are not whole numbers,
            or pixels that are neither bytes nor floats in [0, 1].
    """
    reading, pictures, labels = Reading(size=size, colour=colour), [], []
    checks.whole("length of dataset", len(dataset), 1)
    for i in tqdm(range(len(dataset)), desc="reading pictures", delay=2):
        image, label = _item(dataset[i])
        pictures.append(_picture(image, reading))
        labels.append(label)
        first, this = pictures[0].shape[1:], pictures[-1].shape[1:]
        if this != first:
            raise ValueError(
                f"dataset has pictures of several sizes, such as {first[0]}×{first[1]} and "
                f"{this[0]}×{this[1]} (height × width): give a size"
            )
    channels = max(len(picture) for picture in pictures)
    pixels = np.stack([np.broadcast_to(p, (channels, *p.shape[1:])) for p in pictures])
    known = labelled and labels[0] is not None
    numbers, classes = numbered(labels if known else None, len(pixels), _classes_of(dataset))
    return image_data(pixels, numbers, classes, name or type(dataset).__name__, split)


def _item(item: Any) -> tuple[Any, Any]:
    """Picture and label, or None, of one item."""
    if isinstance(item, Mapping):
        found = {kind: next((k for k in keys if k in item), None) for kind, keys in KEYS.items()}
        if found["image"] is None:
            raise ValueError(f"dataset must have an entry image or img, got {', '.join(item)}")
        return item[found["image"]], item.get(found["label"])
    if isinstance(item, tuple | list):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _picture(image: Any, reading: Reading) -> Pixels:
    """One picture as ``(channels, height, width)`` bytes."""
    if hasattr(image, "getexif"):  # Pillow's
        from scorerep.data import pictures

        grey = reading.colour == "grey" or (
            reading.colour == "auto" and image.mode in pictures.GREY
        )
        return pictures.pixels(image, reading.size, 1 if grey else 3)
    values = image.numpy(force=True) if isinstance(image, Tensor) else np.asarray(image)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"dataset must hold Pillow's pictures, tensors or arrays, got {type(image).__name__} "
            f"of shape {values.shape}"
        )
    return brought_to(channels_first(values[None]), reading.size, reading.colour)[0]


def _classes_of(dataset: Any) -> list[str] | None:
    """Names of the classes, if it has any, or the whole of which it is a part."""
    while getattr(dataset, "classes", None) is None and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    if getattr(dataset, "classes", None) is not None:
        return [str(name) for name in dataset.classes]
    for key in KEYS["label"]:
        names = getattr((getattr(dataset, "features", None) or {}).get(key), "names", None)
        if names:
            return list(names)
    return None
