"""What needs all of CIFAR-10 is skipped, with a reason, where it is not at hand."""

import pytest

from scorerep.data import data_root


def pytest_runtest_setup(item):
    if item.get_closest_marker("all_of_cifar") is None:
        return
    root = data_root().absolute()
    known = ("cifar10/train.npz", "cache/cifar10-train.safetensors", "cifar-10-batches-py")
    if not any((root / name).exists() for name in known):
        pytest.skip(f"needs all of CIFAR-10, and {root} has only what comes with the book")
