"""Layer by noise level, what the features of a score network are worth: results/features.csv.

    python -m book.studies.features                    # some minutes; every row that is missing
    python -m book.studies.features --seeds 3

MNIST and the network of Figure 10, which has no code. A seed draws the images to fit on and to
score on, the noise and the untrained network. The trained network is one, whatever the seed.
CKNNA is against the digit classifier that the book judges samples by. Rows of a seed and noise
level are written together; the command can be stopped and given again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from scorerep.checkpoint import locate
from scorerep.codes.features import Split, best, feature_table
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.quality import features, load_classifier
from scorerep.runs.tables import has_row, merge_rows

KEY = ["input", "source", "layer", "t", "seed", "images"]


@dataclass(frozen=True)
class Arguments:
    """Score the features of a score network without a code."""

    times: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    """Noise levels t at which the features are read."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the images, the noise and the untrained weights."""
    images: int = 600
    """Images to fit on, and as many to score on."""
    input: Literal["noisy", "clean"] = "noisy"
    """What the network is shown."""
    run_name: str = "fig10"
    """Name of the shipped score network without a code."""
    out: Path = Path("book/results/features.csv")
    """The table; rows of the same input, t, seed and images that are there are not made again."""


def work(arguments: Arguments):
    """Write every missing group of rows."""
    model = ScoreModel.from_pretrained(arguments.run_name)
    judge = load_classifier(locate("mnist-classifier"))
    for seed in arguments.seeds:
        generator = torch.Generator().manual_seed(seed)
        parts = [
            load_data("mnist", split).subset(arguments.images, generator)
            for split in ("train", "test")
        ]
        split = Split(*parts, features(judge, parts[1].floats()))
        for t in arguments.times:
            group = {"input": arguments.input, "seed": seed, "images": arguments.images}
            if has_row(arguments.out, group | {"t": t}):
                continue
            table = feature_table(model, split, (t,), arguments.input == "noisy", seed=seed)
            table = table.assign(**group)
            merge_rows(table, arguments.out, KEY)
            row = best(table)
            shown = {k: row[k] for k in ("layer", "probe", "control_source", "control")}
            print(f"seed {seed}, t = {t:g}: {shown}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(tyro.cli(Arguments))
