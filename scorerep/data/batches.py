"""Which images a step sees: a function of seed and step alone, so that nothing has to be stored."""

from functools import lru_cache

import torch


def batch_indices(step: int, images: int, batch_size: int, seed: int) -> torch.Tensor:
    """Indices of a step's batch; an epoch's permutation depends on seed and epoch alone."""
    epoch, position = divmod(step, images // batch_size)
    return epoch_order(epoch, images, seed)[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=1)
def epoch_order(epoch: int, images: int, seed: int) -> torch.Tensor:
    """The permutation of an epoch; kept, since its every step asks for it."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(images, generator=generator)
