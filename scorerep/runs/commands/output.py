"""What every command asks first: can its file be written, and on which device does it run?"""

from collections.abc import Sequence
from pathlib import Path

import torch

from scorerep import checkpoint


def check_out(path: Path, kinds: Sequence[str] = ()):
    """``ValueError`` or ``OSError`` now rather than after the work, if ``path`` cannot be written.

    Args:
        kinds: the suffixes that say a format; any if empty.
    """
    if kinds and path.suffix[1:].lower() not in kinds:
        known = ".npz" if kinds == ("npz",) else ".png, .pdf, .svg or the like"
        raise ValueError(f"out must end in {known}, got {path}")
    if path.is_dir():
        raise ValueError(f"out must be a file, and {path} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"out is to be written to {path.parent}, which is not a folder")
    checkpoint.check_writable(path.parent)


def device() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type
