"""What ``scorerep floor`` takes on the largest data sets of the book: results/floor_times.csv.

    python -m book.studies.floor_times

Each command runs as a reader gives it, on two threads: processor seconds, seconds of the clock and
peak memory of its process. Images are those of the training split: 60,000 of MNIST,
50,000 of CIFAR-10, which has to be there. Clock times want a machine that does nothing else.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from scorerep.data import load_data
from scorerep.runs.tables import merge_rows


@dataclass(frozen=True)
class Arguments:
    """Time the command that computes floors."""

    data: tuple[str, ...] = ("mnist", "cifar10")
    """Data sets."""
    threads: tuple[int, ...] = (2,)
    """How many threads the command may use."""
    out: Path = Path("book/results/floor_times.csv")
    """The table; rows of the same data and threads are replaced."""


def timed(name: str, threads: int) -> dict:
    """One run of the command, as a row."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "scorerep", "floor", name, "--out", f"{folder}/floor.png"]
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
        )
        _, status, used = os.wait4(process.pid, 0)  # of this process alone, its peak as well
        clock = time.monotonic() - start
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    images = len(load_data(name, "train"))
    spent = used.ru_utime + used.ru_stime
    return {
        "data": name, "threads": threads, "images": images, "processor_seconds": round(spent, 1),
        "seconds": round(clock, 1), "peak_mb": used.ru_maxrss // 1024,
    }  # fmt: skip


def main(arguments: Arguments):
    for name in arguments.data:
        for threads in arguments.threads:
            row = timed(name, threads)
            print(row, flush=True)
            merge_rows(pd.DataFrame([row]), arguments.out, ["data", "threads"])


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
