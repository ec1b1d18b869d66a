"""Spread of the samples of one code against the code's dimension (Figure 11).

    python -m benchmarks.diversity checkpoints/fig2ab checkpoints/fig11-4 ...
    python -m benchmarks.diversity checkpoints/fig2ab checkpoints/fig11-4 ... --finish 500 1000 2000

writes results/diversity.csv: 32 codes of test images, 16 samples of each, all models from the same
noises; Heun, 14 steps. With a 95 % bootstrap interval over codes. The first test images are used.

What a sample shows is decided at high noise, where uniform t pays a score network least. ``finish``
trains it on there, with the code frozen: uniform σ, drawn from a log-normal about 2 and weighted,
as in Figure 3. The spread is measured again after so many iterations. A stopped command goes on.
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
from scorerep.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Objective
from scorerep.optimisation import Optimisation
from scorerep.sweep import merge_rows
from scorerep.times import UniformSigma, log_normal_sigma
from scorerep.training import make_accelerator, training_loop

KEY = ["latent", "model", "finished"]


@dataclass(frozen=True)
class Arguments:
    """Measure diversity."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoint folders."""
    finish: tuple[int, ...] = ()
    """Iterations of further training after which to measure again."""
    codes: int = 32
    """Test images whose codes are used."""
    samples: int = 16
    """Samples of each."""
    steps: int = 14
    """Of Heun's method."""
    batch: int = 32
    """Of the further training."""
    learning_rate: float = 5e-4
    """Of the further training."""
    seed: int = 0
    """Of the noises, and of the further training."""
    folder: Path = Path("runs/diversity")
    """Where the further training lives."""
    out: Path = Path("results/diversity.csv")
    """The table; rows of the same model and length are replaced."""


def measure(model: ScoreModel, test: ImageData, arguments: Arguments) -> dict:
    z = encode_in_batches(model, test.subset(arguments.codes))
    generator = torch.Generator().manual_seed(arguments.seed)
    images = samples_of_codes(model, z, arguments.samples, arguments.steps, generator)
    value, low, high = diversity(images.clamp(-1, 1), arguments.seed)
    return {"diversity": value, "low": low, "high": high}


def finished(folder: Path, data: ImageData, arguments: Arguments):
    """The model after each of the lengths of ``finish``, with the length."""
    model = ScoreModel.from_pretrained(folder)
    last = max(arguments.finish)
    optimisation = Optimisation(
        last, batch_size=arguments.batch, learning_rate=arguments.learning_rate, warmup=50
    )
    sde = model.sde
    objective = Objective(UniformSigma(sde), log_normal_sigma(sde, 2.0, 1.8), frozen_encoder=True)
    state_file = arguments.folder / f"{folder.name}.safetensors"
    loop = training_loop(
        model, data, objective, optimisation, arguments.seed,
        resume=state_file if state_file.exists() else None,
        accelerator=make_accelerator(optimisation),
    )  # fmt: skip
    for state in loop:
        if state.step in arguments.finish:
            yield state.step, state.averaged.eval()
        if state.step % 100 == 0:  # after the measurement, which is repeated rather than lost
            arguments.folder.mkdir(parents=True, exist_ok=True)
            state.save(state_file)


def main(arguments: Arguments):
    for folder in arguments.folders:
        experiment = load_experiment(folder)
        classes = experiment.classes or None
        test = load_data(experiment.data, "test", classes)
        if arguments.finish:
            train = load_data(experiment.data, "train", classes)
            models = finished(folder, train, arguments)
        else:
            models = [(0, ScoreModel.from_pretrained(folder))]
        started = time.monotonic()
        for length, model in models:
            row = {
                "model": experiment.name, "latent": experiment.model.latent, "finished": length,
                **measure(model, test, arguments), "codes": arguments.codes,
                "samples": arguments.samples, "iterations": read_card(folder)["iterations_done"],
                "seconds": round(time.monotonic() - started),
            }  # fmt: skip
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            merge_rows(pd.DataFrame([row]), arguments.out, KEY)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
