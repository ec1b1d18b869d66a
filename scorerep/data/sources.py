"""Where the images come from: scikit-learn's digits, MNIST, CIFAR-10.

    train = load_data("mnist", "train", classes=["3", "8"])
    x_0 = train.batch(torch.arange(64))

``digits`` is part of scikit-learn and needs no download. ``mnist`` and ``cifar10``
are looked for in the data root (the environment variable ``SCOREREP_DATA``, else
``data/``), fetched by torchvision if they are not there, checked against published
sums, and kept in a compact cache. A damaged file is named and never half used.
"""

import hashlib
import json
import os
import socket
import zipfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import numpy as np
import torch

from scorerep.checkpoint import CheckpointError, read_tensors, write_tensors
from scorerep.data.images import ImageData

DIGITS = tuple("0123456789")
CLASSES = {  # of the data sets as they are published
    "digits": DIGITS,
    "mnist": DIGITS,
    "cifar10": tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
}
DATASETS = tuple(CLASSES)
DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer, for each connection
MNIST_MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DataError(RuntimeError):
    """A data file that is damaged, or not what its name says."""


def data_root() -> Path:
    """The folder of the environment variable ``SCOREREP_DATA``, else ``data``."""
    return Path(os.environ.get("SCOREREP_DATA") or "data")


def load_data(
    name: str,
    split: Literal["train", "test"] = "train",
    classes: Sequence[str | int] | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    device: torch.device | str = "cpu",
) -> ImageData:
    """A data set, or the images of some of its classes.

    Args:
        name: "digits" (1×8×8; every fifth image of a class is a test image), "mnist"
            (1×28×28) or "cifar10" (3×32×32).
        classes: names or indices to keep; labels become 0, 1, … in this order.
        root: where the files are; ``data_root()`` if not given.
        limit: at most this many images, the first ones.

    Raises:
        ValueError: unknown data set, split or class, empty ``classes``.
        FileNotFoundError: the files are neither there nor to be downloaded.
        DataError: a file is damaged; the message names it.
    """
    loaders = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}
    if name not in loaders:
        raise ValueError(f"unknown data set {name!r}: there are {', '.join(DATASETS)}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    data = loaders[name](Path(root) if root is not None else data_root(), split)
    if classes is not None:
        data = data.select(classes)
    if limit is not None:
        data = data.subset(min(limit, len(data)))
    return data.to(device)


def _digits(root: Path, split: str) -> ImageData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = torch.from_numpy(bunch.target).long()
    images = torch.from_numpy(bunch.images)[:, None] * (255 / 16)
    # The file repeats 0 to 9 in places: count within each class, not overall.
    rank = torch.nn.functional.one_hot(labels, 10).cumsum(0).gather(1, labels[:, None])[:, 0]
    chosen = (rank % 5 == 0) == (split == "test")
    return ImageData(
        images[chosen].round().to(torch.uint8), labels[chosen], DIGITS, "digits", split
    )


def _mnist(root: Path, split: str) -> ImageData:
    def convert() -> ImageData:
        from torchvision.datasets import MNIST

        folder = root / "MNIST" / "raw"
        if not all((folder / file).exists() for file in MNIST_MD5):
            _download("mnist", root, lambda: MNIST(root, download=True))
        prefix = "train" if split == "train" else "t10k"
        for file, md5 in MNIST_MD5.items():
            if file.startswith(prefix):
                _check_md5(folder / file, md5)
        source = MNIST(root, train=split == "train")
        return ImageData(source.data[:, None], source.targets.long(), DIGITS, "mnist", split)

    return _cached(root / "cache" / f"mnist-{split}.safetensors", "mnist", split, convert)


def _cifar10(root: Path, split: str) -> ImageData:
    prepared = root / "cifar10" / f"{split}.npz"
    if prepared.exists():
        return _read_npz(prepared, "cifar10", split)

    def convert() -> ImageData:
        from torchvision.datasets import CIFAR10

        for file, md5 in CIFAR10.train_list + CIFAR10.test_list:
            if (path := root / CIFAR10.base_folder / file).exists():
                _check_md5(path, md5)
        source = _download(
            "cifar10", root, lambda: CIFAR10(root, train=split == "train", download=True)
        )
        images = torch.from_numpy(np.ascontiguousarray(source.data.transpose(0, 3, 1, 2)))
        labels = torch.tensor(source.targets)
        return ImageData(images, labels, tuple(source.classes), "cifar10", split)

    return _cached(root / "cache" / f"cifar10-{split}.safetensors", "cifar10", split, convert)


def _download(name: str, root: Path, fetch):
    """``fetch()``; a failed download becomes one sentence."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return fetch()
    except (URLError, HTTPException, ConnectionError, TimeoutError, EOFError, RuntimeError):
        raise FileNotFoundError(
            f"{name} is not in {root.absolute()} and could not be downloaded: set SCOREREP_DATA "
            f"to a folder that has it, or run 'python -m scorerep data {name}' with a network"
        ) from None
    except OSError as error:
        raise DataError(f"cannot store {name} in {root.absolute()}: {error}") from None
    finally:
        socket.setdefaulttimeout(before)


def _cached(path: Path, name: str, split: str, convert) -> ImageData:
    """The data in ``path``, checked against their sum; made by ``convert`` if not there."""
    if not path.exists():
        data = convert()
        metadata = {"checksum": data.checksum(), "classes": json.dumps(data.classes)}
        try:
            write_tensors(path, {"images": data.images, "labels": data.labels}, metadata)
        except CheckpointError:
            pass  # a data root that cannot be written to serves as well, only more slowly
        return data
    try:
        tensors, metadata = read_tensors(path)
        classes = tuple(json.loads(metadata["classes"]))
        data = ImageData(tensors["images"], tensors["labels"], classes, name, split)
        intact = data.checksum() == metadata["checksum"]
    except (CheckpointError, KeyError, ValueError):
        intact = False
    if not intact:
        raise DataError(f"{path} is damaged or unreadable: delete it to have it made again")
    return data


def _read_npz(path: Path, name: str, split: str) -> ImageData:
    """Arrays ``images`` (N, 3, 32, 32) uint8, ``labels`` (N,) integers and ``classes`` (names)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels, classes = file["images"], file["labels"], file["classes"]
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or not a data file ({error})") from None
    if images.shape[1:] != (3, 32, 32) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path} must hold images (N, 3, 32, 32) and integer labels, got images "
            f"{images.shape} and labels {labels.dtype}"
        )
    try:
        labels = torch.from_numpy(labels.astype(np.int64))
        return ImageData(torch.from_numpy(images), labels, tuple(classes.tolist()), name, split)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a data file of this package: {error}") from None


def _check_md5(path: Path, published: str):
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "md5").hexdigest() == published:
            return
    raise DataError(
        f"{path} is damaged (its MD5 is not the published one): "
        "delete it to have it downloaded again"
    )
