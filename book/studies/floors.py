"""The floors of whole data sets at all noise levels: results/floors.csv.

    python -m book.studies.floors                    # the data sets whose rows are missing
    python -m book.studies.floors --only digits      # these, anew

What ``scorerep floor`` computes for one schedule and target is here for every level, so that the
page's pictures and its calculator have the floor for any of them. Pixels are in [−1, 1]. Columns:
those of ``scorerep.worlds.growth.growing``, and the seconds of one core that a level took. It takes
seconds for the digits, a minute and a half of one core for MNIST and five for CIFAR-10, which
``scorerep data cifar10`` fetches.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from scorerep.data import load_data
from scorerep.runs.tables import has_row, merge_rows
from scorerep.worlds.growth import growing

SETS = ("digits", "mnist", "cifar10")
# Dense where floors turn from nothing into the linear denoiser's; the ends are beyond any schedule.
LEVELS = (
    1e-4, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.35, 1.8, 2.4, 3.2, 4.3,
    5.8, 7.8, 10.5, 14.0, 20.0, 35.0, 75.0, 200.0, 1e3, 1e7,
)  # fmt: skip
KEY = ["data", "sigma", "draws", "seed"]
DRAWS = {"digits": 1600, "mnist": 400, "cifar10": 192}


@dataclass(frozen=True)
class Arguments:
    """Compute floors."""

    only: tuple[str, ...] = ()
    """Data sets to compute anew; if empty, those whose rows are missing."""
    seed: int = 0
    """Seed of the draws, and of the parts that the images are divided into."""
    out: Path = Path("book/results/floors.csv")
    """The table; rows of the same data set, level, draws and seed are replaced."""


def main(arguments: Arguments):
    for name in arguments.only or SETS:
        about = {"data": name, "draws": DRAWS[name], "seed": arguments.seed}
        if not arguments.only and has_row(arguments.out, about):
            continue
        images = load_data(name, "train").images
        generator = torch.Generator().manual_seed(arguments.seed)
        order = torch.randperm(len(images), generator=generator)
        started = time.process_time()
        found = growing(images[order], LEVELS, DRAWS[name], generator)
        seconds = (time.process_time() - started) / len(LEVELS)
        table = found.assign(**about, images=len(images), seconds=round(seconds, 2))
        merge_rows(table, arguments.out, KEY)
        print(f"{name}: {seconds * len(LEVELS):.0f} s of one core", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
