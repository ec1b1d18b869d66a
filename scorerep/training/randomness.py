"""Randomness of a step as a function of (seed, step, process): nothing random is ever stored.

A run that was stopped draws what it would have drawn, on this device or on another kind; there
its numbers differ, as every device has its own, and stay as random. Torch's own stream, which
dropout reads, is set for a step and given back: what a caller draws between two steps changes
nothing, and no step changes what the caller draws.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from numpy.random import SeedSequence

DRAWS = 0  # what a number stands for: the draws of the global batch, or a process's dropout


def step_seed(seed: int, step: int, stream: int) -> int:
    """64 bits that look independent for each (seed, step, stream), all of them 0 or more."""
    return int(SeedSequence((seed, step, stream)).generate_state(1, "uint64")[0])


def seed_draws(generator: torch.Generator, seed: int, step: int) -> torch.Generator:
    """``generator`` at the start of a step's draws, the same ones in every process."""
    return generator.manual_seed(step_seed(seed, step, DRAWS))


@contextmanager
def dropout_of(seed: int, step: int, rank: int, device: torch.device) -> Iterator[None]:
    """Torch draws within it what is of this step and process ``rank``; then its stream goes on."""
    number = step_seed(seed, step, DRAWS + 1 + rank)
    # Of accelerators only the process's own: their streams live on the host, nothing waits.
    module = getattr(torch, device.type, None) if device.type != "cpu" else None
    states = [(torch, torch.get_rng_state())]
    torch.default_generator.manual_seed(number)
    if hasattr(module, "get_rng_state"):
        states.append((module, module.get_rng_state()))
        module.manual_seed(number)
    try:
        yield
    finally:
        for owner, state in states:
            owner.set_rng_state(state)
