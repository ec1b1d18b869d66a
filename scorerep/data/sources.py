"""Where the images come from: scikit-learn's digits, MNIST, CIFAR-10, or a folder of yours.

    train = load_data("mnist", "train", classes=["3", "8"])
    x_0 = train.batch(torch.arange(64))
    mine = load_data("photos", "train", size=(32, 32))

``digits`` is part of scikit-learn. ``mnist`` and ``cifar10`` are looked for in the data root
(the environment variable ``SCOREREP_DATA``, else ``data/``). MNIST also comes with the book; what
is nowhere is fetched by torchvision. Files are checked against published sums, and kept in a
compact cache in the data root. ``cifar10-part``, some thousand images of CIFAR-10, comes with
the book and stands for nothing else: who asks for ``cifar10`` gets all of it or an error. A
damaged file is named and never half used. One process at a time fetches and converts; others
wait, and then read what it made.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import scorerep.data.shipped as shipped
from scorerep.checkpoint import CheckpointError, read_tensors, remove_parts, write_tensors
from scorerep.data.arrays import read_arrays
from scorerep.data.download import alone, check_md5, download, first_that_answers
from scorerep.data.images import DataError, ImageData
from scorerep.data.own import Colour, Reading, load_own

DIGITS = tuple("0123456789")
CLASSES = {  # of the data sets as they are published
    "digits": DIGITS,
    "mnist": DIGITS,
    "cifar10": shipped.CIFAR10_CLASSES,
    "cifar10-part": shipped.CIFAR10_CLASSES,
}
DATASETS = (*CLASSES,)
MNIST_MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def data_root() -> Path:
    """The folder of the environment variable ``SCOREREP_DATA``, else ``data``.

    Seen from the folder ``book``, ``data`` is what comes with the book, where nothing is ever
    written: then the root is the ``data`` beside it.
    """
    root = Path(os.environ.get("SCOREREP_DATA") or "data")
    return shipped.FOLDER.parents[1] / "data" if root.resolve() == shipped.FOLDER else root


def load_data(
    name: str | Path,
    split: Literal["train", "test", "all"] = "train",
    classes: Sequence[str | int] | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    colour: Colour = "auto",
    damaged: Literal["refuse", "skip"] = "refuse",
) -> ImageData:
    """A data set, or the images of some of its classes.

    Args:
        name: "digits" (1×8×8; every fifth image of a class is a test image), "mnist"
            (1×28×28), "cifar10" (3×32×32), or "cifar10-part": of each split 125 images a
            class, class by class in turn, then 375 more of each of the first three; or the path
            of a folder of pictures or of an .npz file (see ``folders``, ``arrays``, ``pictures``).
        split: of your own pictures also "all".
        classes: names or indices to keep; labels become 0, 1, … in this order.
        root: where the files are; ``data_root()`` if not given.
        limit: at most this many images, the first ones.
        size: (height, width) to which pictures of your own are scaled and cut.
        colour: of your own, "grey" or "rgb"; "auto" is grey if all of them are.
        damaged: one of your own that cannot be read is refused, or skipped and named ("skip").

    Raises:
        ValueError: unknown data set, split or class, empty ``classes``; too few pictures of your
            own, or of several sizes and no ``size``.
        FileNotFoundError: the files are neither there nor to be downloaded.
        DataError: a file is damaged; the message names it.
    """
    loaders = {
        "digits": _digits, "mnist": _mnist, "cifar10": _cifar10, "cifar10-part": _cifar10_part,
    }  # fmt: skip
    own, reading = is_own(name), Reading(size=size, colour=colour, damaged=damaged)
    if not own and reading != Reading():
        raise ValueError(f"size, colour and damaged are of your own pictures; {name} has its own")
    if own and not Path(name).exists():
        raise ValueError(
            f"unknown data set {str(name)!r}: there are {', '.join(DATASETS)}, and no folder or "
            "file of your own is there"
        )
    if split not in ("train", "test", *(["all"] if own else [])):
        raise ValueError(
            f"split must be 'train' or 'test', or 'all' of pictures of your own, got {split!r}"
        )
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be at least 1 and whole, got {limit}")
    if own:
        data = load_own(name, split, reading)
    else:
        data = loaders[str(name)](Path(root) if root is not None else data_root(), split)
    if classes is not None:
        data = data.select(classes)
    if limit is not None:
        data = data.subset(min(limit, len(data)))
    return data.to(device)


def is_own(name: str | Path) -> bool:
    """Whether ``name`` is none of the known data sets, and so the path of pictures of your own."""
    return str(name) not in CLASSES


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
        from torchvision.datasets import MNIST, mnist

        folder = root / "MNIST" / "raw"
        if absent := [file for file in MNIST_MD5 if not (folder / file).exists()]:
            if (shipped.FOLDER / "MNIST").exists():
                return ImageData(*shipped.mnist(split, MNIST_MD5), DIGITS, "mnist", split)

            def fetch(place: Path):
                for file, md5 in MNIST.resources:
                    if file.removesuffix(".gz") in absent:
                        first_that_answers(
                            MNIST.mirrors,
                            lambda mirror, file=file, md5=md5: mnist.download_and_extract_archive(
                                mirror + file, download_root=str(place), filename=file, md5=md5
                            ),
                        )

            download("mnist", root, fetch, absent, folder)
        prefix = "train" if split == "train" else "t10k"
        for file, md5 in MNIST_MD5.items():
            if file.startswith(prefix):
                check_md5(folder / file, md5)
        source = MNIST(root, train=split == "train")
        return ImageData(source.data[:, None], source.targets.long(), DIGITS, "mnist", split)

    return _cached(root, "mnist", split, convert)


def _cifar10(root: Path, split: str) -> ImageData:
    prepared = root / "cifar10" / f"{split}.npz"
    if prepared.exists():
        return _read_npz(prepared, "cifar10", split)

    def convert() -> ImageData:
        from torchvision.datasets import CIFAR10

        folder = root / CIFAR10.base_folder
        files = dict(CIFAR10.train_list + CIFAR10.test_list)
        files[CIFAR10.meta["filename"]] = CIFAR10.meta["md5"]
        for file, md5 in files.items():
            if (folder / file).exists():
                check_md5(folder / file, md5)
        if absent := [file for file in files if not (folder / file).exists()]:

            def fetch(place: Path):
                CIFAR10(place, download=True)
                for file in absent:
                    (place / CIFAR10.base_folder / file).replace(place / file)

            download("cifar10", root, fetch, absent, folder)
        source = CIFAR10(root, train=split == "train")
        images = torch.from_numpy(np.ascontiguousarray(source.data.transpose(0, 3, 1, 2)))
        labels = torch.tensor(source.targets)
        return ImageData(images, labels, tuple(source.classes), "cifar10", split)

    return _cached(root, "cifar10", split, convert)


def _cifar10_part(root: Path, split: str) -> ImageData:
    images, labels = shipped.cifar10_part(split)
    return ImageData(images, labels, CLASSES["cifar10"], "cifar10-part", split)


def _cached(root: Path, name: str, split: str, convert: Callable[[], ImageData]) -> ImageData:
    """The data in the cache, checked against their sum; made by ``convert`` if not there."""
    path = root / "cache" / f"{name}-{split}.safetensors"
    if path.exists():
        return _read_cache(path, name, split)
    with alone(root, name):
        if path.exists():  # made by the process that this one waited for
            return _read_cache(path, name, split)
        data = convert()
        metadata = {"checksum": data.checksum(), "classes": json.dumps(data.classes)}
        remove_parts(path)
        try:
            write_tensors(path, {"images": data.images, "labels": data.labels}, metadata)
        except CheckpointError:
            pass  # a data root that cannot be written to serves as well, only more slowly
        return data


def _read_cache(path: Path, name: str, split: str) -> ImageData:
    try:
        tensors, metadata = read_tensors(path)  # whose own sum is of the class names too
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
    arrays = read_arrays(path)
    if absent := [name for name in ("images", "labels", "classes") if name not in arrays]:
        raise DataError(f"{path} is damaged or not a data file (it has no {absent[0]})")
    images, labels, classes = arrays["images"], arrays["labels"], arrays["classes"]
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
