"""Arrays of pictures as ``ImageData``, and ``.npz`` files of them.

A file has ``images`` and perhaps ``labels`` and ``classes``, of which every fifth of a class is a
test picture; or both splits, as ``train_images``, ``train_labels``, ``test_images``,
``test_labels`` (so has MedMNIST), or as ``x_train``, ``y_train``, ``x_test``, ``y_test`` (Keras).

Pictures are ``(n, height, width)``, ``(n, height, width, channels)`` or ``(n, channels, height,
width)``: bytes, 16-bit greys, which are divided by 257, or floats in [0, 1].
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from scorerep.checkpoint import write_whole
from scorerep.data.images import DataError, ImageData

EVERY = 5  # one picture in so many is a test picture
UNLABELLED = "unlabelled"  # the one class of pictures without labels
LAYOUTS = (  # names of images and labels, train and test
    ("train_images", "test_images", "train_labels", "test_labels"),
    ("x_train", "x_test", "y_train", "y_test"),
    ("images", "images", "labels", "labels"),
)
Pixels = UInt8[np.ndarray, "n channels height width"]


def is_test(labels: ArrayLike) -> np.ndarray:
    """Which pictures of these ``(n,)`` labels are test pictures: every fifth of each class."""
    labels = np.asarray(labels)
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return rank % EVERY == EVERY - 1


def every_fifth(data: ImageData) -> tuple[ImageData, ImageData]:
    """``data`` cut in two, train and test: every fifth image of a class is a test image."""
    test = torch.from_numpy(is_test(data.labels.cpu())).to(data.images.device)
    train, test = (
        replace(data._take(rows), split=split) for rows, split in ((~test, "train"), (test, "test"))
    )
    return train, test


def image_data(
    pixels: Pixels,
    labels: ArrayLike,
    classes: Sequence[str],
    name: str,
    split: str,
    files: Sequence[str] = (),
) -> ImageData:
    """The parts as ``ImageData``; ``ValueError`` for a class of fewer than two pictures.

    Of the split "all", which is neither trained on nor scored, any number will do.

    Args:
        pixels: of the pictures, 0 to 255.
        labels: (n,), whole numbers, for which ``classes`` has names.
        name, split: of the data.
        files: where they are from, if from files.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(classes))
    if split != "all" and (few := [f"{n} of {c}" for c, n in zip(classes, counts) if n < 2]):
        raise ValueError(
            f"{name} has too few {split} pictures ({', '.join(few[:10])}): at least two of each "
            f"class are needed, and where there is one set for both, {2 * EVERY}"
        )
    labels = torch.as_tensor(np.asarray(labels, np.int64))
    return ImageData(torch.from_numpy(pixels), labels, tuple(classes), name, split, tuple(files))


def numbered(
    labels: ArrayLike | None, count: int, classes: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers 0, 1, …, and names of the classes; without ``labels`` one class for all.

    Args:
        labels: (count,) or (count, 1), whole numbers or texts.
        classes: a name for each number; the sorted labels themselves if not given.
    """
    if labels is None:
        return np.zeros(count, np.int64), (UNLABELLED,)
    labels = np.asarray(labels)
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    if labels.shape != (count,) or labels.dtype.kind not in "iuUSb":
        raise ValueError(
            f"labels must be {count} whole numbers or names, got {labels.dtype} {labels.shape}"
        )
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels)
    if classes is None or labels.dtype.kind == "U":
        values, places = np.unique(labels, return_inverse=True)
        known = [str(value) for value in values.tolist()]
        if classes is None:
            return places, tuple(known)
        if unknown := sorted(set(known) - set(classes)):
            raise ValueError(f"classes must name all labels, and lack {unknown[0]}")
        return np.array([list(classes).index(name) for name in known])[places], tuple(classes)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels must lie in 0..{len(classes) - 1} for {len(classes)} classes")
    return labels.astype(np.int64), tuple(str(name) for name in classes)


def in_bytes(values: np.ndarray) -> np.ndarray:
    """Pixel ``values`` of any shape as uint8; ``ValueError`` unless of a kind named above."""
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    if kind in "iu" and 0 <= low and high <= 255:
        return values.astype(np.uint8)
    if kind == "f" and 0 <= low and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    raise ValueError(
        "pictures must be bytes, 16-bit greys or floats in [0, 1] (leave normalisation out), got "
        f"{values.dtype} in [{low:.4g}, {high:.4g}]"
    )


def channels_first(values: np.ndarray) -> Pixels:
    """``values`` of pictures in any layout named above as bytes, channels first."""
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4 and values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
        values = values.transpose(0, 3, 1, 2)
    if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.size:
        raise ValueError(
            "pictures must be (n, height, width), grey, or (n, height, width, 3), got "
            f"{values.shape}"
        )
    return np.ascontiguousarray(in_bytes(values))


def brought_to(pixels: Pixels, size: tuple[int, int] | None, colour: str) -> Pixels:
    """``pixels`` of another ``size`` (height, width) and ``colour``, as far as they are asked for.

    As in ``pictures.pixels``; nothing is done to pictures that are as they should be.
    """
    channels = {"auto": pixels.shape[1], "grey": 1, "rgb": 3}[colour]
    size = tuple(size or pixels.shape[2:])
    if (channels, *size) == pixels.shape[1:]:
        return pixels
    from PIL import Image

    from scorerep.data import pictures

    result = np.empty((len(pixels), channels, *size), np.uint8)
    for place, one in zip(result, pixels):
        one = one[0] if len(one) == 1 else np.ascontiguousarray(one.transpose(1, 2, 0))
        place[:] = pictures.pixels(Image.fromarray(one), size, channels)
    return result


def load_npz(path: Path, split: str, size: tuple[int, int] | None, colour: str) -> ImageData:
    """The ``split`` of the pictures in the file ``path``.

    Args:
        size, colour: as in ``own.load_own``.

    Raises:
        DataError: it is no ``.npz`` file, is damaged, or its arrays are not those named above.
    """
    arrays = read_arrays(path)
    known = (names for names in LAYOUTS if all(key in arrays for key in names[:2]))
    if (names := next(known, None)) is None:
        raise DataError(
            f"{path} must have arrays named images, or train_images and test_images, or x_train "
            f"and x_test, got {', '.join(sorted(arrays)) or 'none'}"
        )
    train, test, *labels = names
    try:
        parts = [arrays[key] for key in dict.fromkeys((train, test))]
        count = sum(len(part) for part in parts)
        known = [np.asarray(arrays[key]) for key in dict.fromkeys(labels) if key in arrays]
        classes = arrays["classes"].tolist() if "classes" in arrays else None
        # Both splits together, so that both have the same classes.
        numbers, classes = numbered(np.concatenate(known) if known else None, count, classes)
        if split == "all":
            chosen = np.full(count, True)
        elif train == test:
            chosen = is_test(numbers) == (split == "test")
        else:
            chosen = (np.arange(count) >= len(parts[0])) == (split == "test")
        whole = {"train": parts[:1], "test": parts[-1:], "all": parts}[split]
        pixels = parts[0][chosen] if train == test else np.concatenate(whole)
        pixels, numbers = brought_to(channels_first(pixels), size, colour), numbers[chosen]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return image_data(pixels, numbers, classes, path.stem, split)


def save_npz(path: Path, train: ImageData, test: ImageData):
    """Write both splits to one file, which ``load_npz`` reads as the same pictures."""
    arrays: dict[str, Any] = {f"{d.split}_images": d.images.cpu().numpy() for d in (train, test)}
    if train.labelled:
        arrays |= {f"{d.split}_labels": d.labels.cpu().numpy() for d in (train, test)}
        arrays["classes"] = np.array(train.classes)

    def write(part: Path):
        with open(part, "wb") as file:  # given a name, numpy appends one
            np.savez_compressed(file, **arrays)

    write_whole(path, write)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in the file ``path``; ``DataError`` if it is no ``.npz`` file, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (
        OSError, EOFError, ValueError, LookupError, AttributeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(f"{path} is damaged or not a data file ({error})") from None
