"""The command line, ``scorerep train fig3 --budget book`` or ``python -m scorerep …``.

What goes wrong becomes one line and a status: 2 for input, 130 for Ctrl-C, 143 for SIGTERM.
The commands themselves are in ``commands``.
"""

import logging
import os
import signal
import sys

PARTS = {  # module: the extra of pyproject.toml that brings it
    "tyro": "cli", "pandas": "codes", "scipy": "codes", "sklearn": "codes", "skimage": "codes",
    "torchvision": "data", "PIL": "data", "matplotlib": "plots", "seaborn": "plots",
    "onnx": "export", "onnxscript": "export", "tensorboard": "tensorboard",
}  # fmt: skip


def main(arguments: list[str] | None = None):
    """Parse ``arguments`` and run; ``SystemExit`` with a status unless all is well."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without τ, a name not in UTF-8
            stream.reconfigure(errors="backslashreplace")
    # Threads that wait for work otherwise spin, and on busy cores take the time of those that have
    # it. OpenMP reads this when torch is imported, which nothing has done so far.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _run(arguments)
    except KeyboardInterrupt as error:
        stopped = getattr(error, "signal", signal.SIGINT)
        raise _end(str(error) or "stopped", 128 + stopped) from None
    except ModuleNotFoundError as error:
        extra = PARTS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        message = f"{error.name} is not installed: pip install 'scorerep[{extra}]'"
        raise _end(message, 2) from None
    except ImportError as error:
        if error.name is not None:  # Python's own
            raise
        raise _end(f"ImportError: {error}", 2) from None  # a version too old for what is asked


def _run(arguments: list[str] | None):
    from scorerep.checkpoint import CheckpointError
    from scorerep.data import DataError
    from scorerep.runs.commands import parse
    from scorerep.runs.stop import WorkerError
    from scorerep.training import TrainingDiverged

    command = parse(arguments)
    expected = (ValueError, OSError, CheckpointError, DataError, TrainingDiverged, WorkerError)
    try:
        command.run()
    except expected as error:
        raise _end(f"{type(error).__name__}: {error}", 2) from None
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise _end("not enough memory: ask for a smaller model, batch or grid", 2) from None


def _out_of_memory(error: Exception) -> bool:
    """torch has a class for a GPU's memory, and only a sentence for the processor's."""
    import torch

    kinds = (MemoryError, torch.OutOfMemoryError)
    words = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
    return isinstance(error, kinds) or any(word in str(error) for word in words)


def _end(message: str, status: int) -> SystemExit:
    print(" ".join(message.splitlines()), file=sys.stderr)
    return SystemExit(status)
