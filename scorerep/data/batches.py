"""What training asks of a data set, and which of its items a step sees.

The order is a function of seed and epoch alone, so that nothing has to be stored.
"""

from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scorerep.types import Data


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
