"""What training asks of a data set, and which of its items a step sees.

    class Spheres:                                   # a data set of your own
        def __len__(self): return 10_000             # items in an epoch
        def batch(self, indices): return draw(indices)        # floats, one for each index
        def to(self, device): return self

These three methods are all that ``training_loop`` asks: of images (``ImageData``), of points
(``PointData``), or of items that are made when they are asked for. The order is a function of
seed and epoch alone, so that nothing has to be stored.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scorerep.types import Data, Labels
from scorerep.types.devices import named_device


@runtime_checkable
class Batches(Protocol):
    """A data set to train on: images, as ``ImageData`` has them, or points of a toy world.

    A model of class labels also asks for ``labels``, ``(len(self),)`` integers on the device of
    the data.
    """

    def __len__(self) -> int:
        """How many items there are."""

    def batch(self, indices: Tensor) -> Data:
        """The items with these ``(batch,)`` indices as floats, on the device of the data."""

    def to(self, device: torch.device | str) -> "Batches":
        """The same data on ``device``; as they are if ``batch`` moves what it takes."""


@dataclass(frozen=True, eq=False)
class PointData:
    """Points of a toy world, or any floats ``(n, *shape)``, as a data set to train on.

    ``ValueError`` if they are no floats, or ``labels`` are not one integer for each.
    """

    points: Data  #: used as they are
    labels: Labels | None = None  #: classes, for a model of labels

    def __post_init__(self):
        if self.points.ndim < 2 or not self.points.is_floating_point() or not len(self.points):
            raise ValueError(
                "points must be floats (n, dimension), got "
                f"{self.points.dtype} {tuple(self.points.shape)}"
            )
        if self.labels is not None and (
            self.labels.shape != (len(self.points),) or self.labels.is_floating_point()
        ):
            raise ValueError(f"labels must be {len(self.points)} integers, one for each point")

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, indices: Tensor) -> Data:
        """The points with these ``(batch,)`` indices."""
        return self.points[indices]

    def to(self, device: torch.device | str) -> "PointData":
        """The same points on another device."""
        device = named_device(device)
        labels = None if self.labels is None else self.labels.to(device)
        return PointData(self.points.to(device), labels)


def batch_indices(
    step: int, images: int, batch_size: int, seed: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Indices of a step's batch of so many ``images``, on ``device``.

    An epoch's order is of seed and epoch alone.
    """
    epoch, position = divmod(step, images // batch_size)
    order = epoch_order(epoch, images, seed, torch.device(device))
    return order[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=4)
def epoch_order(epoch: int, images: int, seed: int, device: torch.device) -> Tensor:
    """The permutation of ``images`` in an epoch; kept on the device, as every step asks for it."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(images, generator=generator).to(device)
