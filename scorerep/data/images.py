"""A labelled set of images in memory: uint8 on the device, floats in [−1, 1] by the batch."""

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scorerep.types import Images, Labels, PixelImages, checks
from scorerep.types.devices import named_device, permutation, single_at_least


class DataError(RuntimeError):
    """A data file that is damaged, or not what its name says."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A labelled set of images, whole in memory. ``ValueError`` if the parts do not fit."""

    images: PixelImages  #: uint8, (batch, channel, height, width)
    labels: Labels  #: int64, (batch,), values 0..len(classes) − 1
    classes: tuple[str, ...]  #: the name of each label
    name: str  #: of the data set
    split: str  #: "train", "test" or "all"
    files: tuple[str, ...] = ()  #: where each image is from, if they were files

    def __post_init__(self):
        n, k = len(self.images), len(self.classes)
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or n == 0:
            raise ValueError(
                "images must be uint8 (batch, channel, height, width) and not empty, got "
                f"{self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != (n,):
            raise ValueError(
                f"labels must be int64 ({n},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(self.files) not in (0, n):
            raise ValueError(
                f"files must name each of the {n} images or none, got {len(self.files)}"
            )
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < k:
            raise ValueError(f"labels must lie in 0..{k - 1} for {k} classes")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channel, height, width)."""
        return tuple(self.images.shape[1:])

    @property
    def labelled(self) -> bool:
        """Whether there is more than one class, so that a label says something."""
        return len(self.classes) > 1

    def batch(self, indices: Tensor | slice | Sequence[int]) -> Images:
        """The images at ``indices`` as float32 in [−1, 1], (batch, channel, height, width)."""
        return to_float(self.images[indices])

    def floats(self) -> Images:
        """All images as float32 in [−1, 1]: four times the memory."""
        return to_float(self.images)

    def to(self, device: torch.device | str) -> "ImageData":
        """The same data on another device."""
        device = named_device(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, n: int, generator: torch.Generator | None = None) -> "ImageData":
        """The first n images or, with a generator, n drawn without replacement."""
        n = checks.whole("n", n, 1, len(self))
        if generator is None:
            return self._take(slice(n))
        return self._take(permutation(len(self), generator)[:n].to(self.images.device))

    def select(self, classes: Sequence[str | int]) -> "ImageData":
        """Only these classes, by name or index; labels become 0, 1, … in the order given."""
        one = isinstance(classes, str | int) or not hasattr(classes, "__iter__")
        wanted = [classes] if one else list(classes)
        known = f"{self.name} has the classes {', '.join(self.classes)}"
        if not wanted:
            raise ValueError(f"classes is empty: {known}")
        indices = []
        for item in wanted:
            if not isinstance(item, str | bool) and hasattr(item, "__index__"):  # numpy's too
                index = operator.index(item)
                if not 0 <= index < len(self.classes):
                    raise ValueError(f"unknown class {index}: {known}")
                indices.append(index)
            elif isinstance(item, str) and item in self.classes:
                indices.append(self.classes.index(item))
            else:
                raise ValueError(f"unknown class {item!r}: {known}")
        if len(set(indices)) < len(indices):
            raise ValueError(f"classes names a class twice: {wanted}")
        new = torch.full((len(self.classes),), -1, device=self.labels.device)
        new[indices] = torch.arange(len(indices), device=new.device)
        labels = new[self.labels]
        kept = labels >= 0
        for index in indices:
            if not bool((self.labels == index).any()):
                raise ValueError(f"no {self.split} image of class {self.classes[index]!r}: {known}")
        names = tuple(self.classes[index] for index in indices)
        return replace(replace(self, labels=labels.clamp(min=0))._take(kept), classes=names)

    def checksum(self) -> str:
        """First 16 hex digits of the SHA-256 over the shape, the images and the labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for part in (self.images, self.labels):
            digest.update(part.cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def _take(self, indices: Tensor | slice) -> "ImageData":
        rows = torch.arange(len(self))[indices.cpu() if isinstance(indices, Tensor) else indices]
        files = tuple(self.files[row] for row in rows.tolist()) if self.files else ()
        return replace(self, images=self.images[indices], labels=self.labels[indices], files=files)


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0..255 to [−1, 1], float32."""
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, 0..255, got {images.dtype}")
    return images.float() / 127.5 - 1


def to_uint8(images: Images) -> PixelImages:
    """[−1, 1] to 0..255, rounded; values outside are clipped. Inverse of ``to_float``."""
    if not images.is_floating_point() or not bool(images.isfinite().all()):
        raise ValueError(f"images must be finite floats in [−1, 1], got {images.dtype}")
    exact = images.to(single_at_least(images.dtype))  # half precision rounds to another grey
    return ((exact + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
