"""Spread of the samples of one code against the code's dimension (Figure 11).

writes results/diversity.csv:

    python -m benchmarks.diversity checkpoints/fig2ab checkpoints/fig11-4 ...

32 codes of test images, 16 samples of each, all models from the same noises; Heun, 14 steps. With a
95 % bootstrap interval over codes. The first test images are used.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import read_card
from scorerep.conditioning import diversity, samples_of_codes
from scorerep.data import load_data
from scorerep.evaluation import encode_in_batches
from scorerep.fit import load_experiment
from scorerep.model import ScoreModel
from scorerep.sweep import merge_rows


@dataclass(frozen=True)
class Arguments:
    """Measure diversity."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoint folders."""
    codes: int = 32
    """Test images whose codes are used."""
    samples: int = 16
    """Samples of each."""
    steps: int = 14
    """Of Heun's method."""
    seed: int = 0
    """Of the noises."""
    out: Path = Path("results/diversity.csv")
    """The table; rows of the same model are replaced."""


def main(arguments: Arguments):
    for folder in arguments.folders:
        model, experiment = ScoreModel.from_pretrained(folder), load_experiment(folder)
        test = load_data(experiment.data, "test", experiment.classes or None)
        z = encode_in_batches(model, test.subset(arguments.codes))
        generator = torch.Generator().manual_seed(arguments.seed)
        started = time.monotonic()
        images = samples_of_codes(model, z, arguments.samples, arguments.steps, generator)
        value, low, high = diversity(images.clamp(-1, 1), arguments.seed)
        row = {
            "model": experiment.name, "latent": experiment.model.latent, "diversity": value,
            "low": low, "high": high, "codes": arguments.codes, "samples": arguments.samples,
            "iterations": read_card(folder)["iterations_done"],
            "seconds": round(time.monotonic() - started),
        }  # fmt: skip
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        merge_rows(pd.DataFrame([row]), arguments.out, ["latent", "model"])


if __name__ == "__main__":
    main(tyro.cli(Arguments))
