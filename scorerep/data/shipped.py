"""What comes with the book, in its folder ``book/data``: MNIST, and a part of CIFAR-10.

Read and checked in memory; nothing is ever written beside these files. A library installed without
the repository has none of them.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from scorerep.data.images import DataError
from scorerep.types import Labels, PixelImages

FOLDER = Path(__file__).resolve().parents[2] / "book" / "data"
CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR10_SHA256 = {  # of the bytes of all images in order
    "train": "bef1659afdad70dfb9fa7182ee731ffe55a7a80a133c0f678000d3fe737877d7",
    "test": "764edc32ddc18430b0f6a500c65637c771220865187290702efa2b85d7923924",
}
SIDE, COLUMNS = 32, 25  # of an image in pixels; of a sheet in images


def mnist(split: str, sums: Mapping[str, str]) -> tuple[PixelImages, Labels]:
    """Images and labels of a split; ``sums`` has the MD5 of each unpacked file."""
    prefix, arrays = "train" if split == "train" else "t10k", []
    for kind, header in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8)):
        path = FOLDER / "MNIST" / "raw" / f"{prefix}-{kind}.gz"
        try:
            raw = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(path, error) from None
        if hashlib.md5(raw).hexdigest() != sums[f"{prefix}-{kind}"]:
            raise _damaged(path, "its MD5 is not the published one")
        arrays.append(torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).copy()))
    return arrays[0].reshape(-1, 1, 28, 28), arrays[1].long()


def cifar10_part(split: str) -> tuple[PixelImages, Labels]:
    """Images and labels, the classes in turn: the first 1,250 are 125 of each."""
    folder = FOLDER / "cifar10" / split
    if not folder.exists():
        raise FileNotFoundError(
            f"cifar10-part comes with the book's repository, and {folder} is not there; "
            "'cifar10' is all of it, fetched where there is a network"
        )
    found = []  # (rank within the class, label, image)
    for label, name in enumerate(CIFAR10_CLASSES):
        found += [
            (rank, label, image) for rank, image in enumerate(_tiles(folder / f"{name}.webp"))
        ]
    found.sort(key=lambda entry: entry[:2])
    images = np.stack([image for *_, image in found])
    if hashlib.sha256(images).hexdigest() != CIFAR10_SHA256[split]:
        raise _damaged(folder, "its SHA-256 is another")
    return torch.from_numpy(images), torch.tensor([label for _, label, _ in found])


def _tiles(path: Path) -> np.ndarray:
    """The images of a sheet, (n, 3, 32, 32)."""
    from PIL import Image  # torchvision brings it

    try:
        with Image.open(path) as file:
            sheet = np.asarray(file.convert("RGB"))
        tiles = sheet.reshape(-1, SIDE, COLUMNS, SIDE, 3)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return tiles.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)


def _damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path} is missing or damaged ({why}): 'git checkout' brings it back")
