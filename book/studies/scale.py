"""What size costs, measured: results/scale_constant.csv and results/scale_training.csv.

    python -m book.studies.scale constant      # time and memory of the exact constant against N
    python -m book.studies.scale training      # seconds and operations of a training step

Everything runs on one thread of the CPU. The constant is that of MNIST's first N images at one
noise level; its memory is what a process of its own needs at most beyond what it held before, data
and libraries included. A training step is forward, backward, Adam and averaging of score network
and encoder; operations are those of convolutions and dense layers, as PyTorch's counter has them.
On a machine with a GPU the training steps are timed there.
"""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs.costs import step_operations
from scorerep.runs.paper import PAPER
from scorerep.runs.tables import write_table
from scorerep.sde import VESDE
from scorerep.training import Optimisation, training_loop
from scorerep.worlds.empirical import EmpiricalLaw

BASE = ModelConfig(image_shape=(1, 32, 32), channels=(16, 32), latent=2, parametrisation="edm")
PLAIN = replace(PAPER["fig2ab"], weighting="tau2")
CHANGES = {
    "image size": [
        {"image_shape": (1, size, size)} for size in (16, 32, 48, 64)
    ],
    "width": [
        {"channels": channels} for channels in ((8, 16), (16, 32), (32, 64), (64, 128))
    ],
    "code size": [{"latent": latent} for latent in (2, 16, 128, 512)],
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Measure what size costs."""

    what: Annotated[Literal["constant", "training"], tyro.conf.Positional]
    """The table to make: seconds of the exact constant, or of a training step."""
    counts: tuple[int, ...] = (1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 60_000)
    """Images of the empirical law."""
    draws: int = 200
    """Draws of x_t for each constant."""
    t: float = 0.68
    """Time t at which the constant is computed."""
    batch: int = 32
    """Images a training step."""
    repeats: int = 5
    """Timed steps; the table has their median."""
    folder: Path = Path("book/results")
    """Where the tables go."""


def constant(arguments: Arguments, n: int, out=None) -> dict:
    """Seconds and megabytes of C(t) under the empirical law of n images."""
    torch.set_num_threads(1)
    sde, images = VESDE(), load_data("mnist", "train").images[:n].clone()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tau = float(sde.tau(arguments.t))
    seconds = []
    for seed in range(arguments.repeats):
        started = time.perf_counter()
        law = EmpiricalLaw(images)
        generator = torch.Generator().manual_seed(seed)
        value = law.constant(tau, arguments.draws, generator=generator)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = {
        "images": n, "draws": arguments.draws, "t": arguments.t,
        "seconds": statistics.median(seconds), "megabytes": (peak - before) / 1024,
        "constant": value.value,
    }  # fmt: skip
    if out is not None:
        out.put(row)
    return row


def step_seconds(loop: Iterable) -> Iterator[float]:
    """Seconds of each step of a training loop, the GPU's work included."""
    started = time.perf_counter()
    for _ in loop:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        yield now - started
        started = now


def training(arguments: Arguments, config: ModelConfig) -> dict:
    """Seconds of a training step of this model on random images of its shape."""
    torch.manual_seed(0)
    experiment = replace(PLAIN, model=config)
    shape = (4 * arguments.batch, *config.image_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    labels = torch.zeros(len(images), dtype=torch.long)
    data = ImageData(images, labels, ("noise",), "noise", "train")
    optimisation = Optimisation(arguments.repeats + 2, batch_size=arguments.batch, warmup=1)
    loop = training_loop(ScoreModel(config), data, experiment.objective(), optimisation)
    seconds = list(step_seconds(loop))
    return {
        "image_size": config.image_shape[-1], "channels": "/".join(map(str, config.channels)),
        "latent": config.latent, "batch": arguments.batch,
        "parameters": sum(p.numel() for p in ScoreModel(config).parameters()),
        "gflop_an_image": step_operations(experiment) / 1e9,
        "seconds": statistics.median(seconds[2:]),
    }  # fmt: skip


def main(arguments: Arguments):
    torch.set_num_threads(1)
    rows, path = [], arguments.folder / f"scale_{arguments.what}.csv"
    if arguments.what == "constant":
        context = multiprocessing.get_context("spawn")
        for n in arguments.counts:
            # Processes of their own: the highest resident set never falls again. For the memory,
            # the allocator of the second gives back at once what is freed: it counts what is used.
            measured = []
            for threshold in (None, "65536"):
                os.environ.pop("MALLOC_MMAP_THRESHOLD_", None)
                if threshold is not None:
                    os.environ["MALLOC_MMAP_THRESHOLD_"] = threshold
                queue = context.Queue()
                process = context.Process(target=constant, args=(arguments, n, queue))
                process.start()
                measured.append(queue.get())
                process.join()
            rows.append(measured[0] | {"megabytes": measured[1]["megabytes"]})
            print(rows[-1], flush=True)
    else:
        for varied, changes in CHANGES.items():
            for change in changes:
                rows.append({"varied": varied} | training(arguments, replace(BASE, **change)))
                print(rows[-1], flush=True)
    write_table(pd.DataFrame(rows), path)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
