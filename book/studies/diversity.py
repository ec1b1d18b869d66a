"""Spread of the samples of one code against the code's dimension (Figure 11).

    python -m book.studies.diversity book/checkpoints/fig11-2 book/checkpoints/fig11-4 ...
    python -m book.studies.diversity book/checkpoints/fig11-2 ... --finish 500 1000 2000

writes results/diversity.csv: 32 codes of test images, 16 samples of each, all models from the same
noises; Heun, 14 steps. With a 95 % bootstrap interval over codes. The first test images are used.
The spread of each code is in results/diversity_codes.csv: models are compared code by code. Rows
have the seed of the model's training; ``components`` adds what principal components leave of each
image, the spread that a code of so many numbers could reach at least.

What a sample shows is decided at high noise, where uniform t pays a score network least. ``finish``
trains it on there, with the code frozen: uniform σ, drawn from a log-normal about 2 and weighted,
as in Figure 3. The spread is measured again after so many iterations. A stopped command goes on.

The shipped rows: fig11-2 and fig11-16 with ``--finish 500 1000 2000``, fig11-4 and fig11-8 with
``--finish 2000``, fig3, fig7 and the plan's code-32 and code-64 without; all else by default.

The plan's seeds go to results/diversity_seeds.csv and results/diversity_seeds_codes.csv.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro

from scorerep.checkpoint import read_card, read_tensors
from scorerep.codes.effects import diversity, samples_of_codes, spreads
from scorerep.codes.learners import PrincipalComponents
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Objective
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import merge_rows
from scorerep.times import UniformSigma, log_normal_sigma
from scorerep.training import Optimisation, make_accelerator, training_loop

SPLITS = ("train", "test")
KEY = ["latent", "model", "finished", "seed", "codes", "samples", "steps", "noise_seed"]


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
    """Samples of each code."""
    steps: int = 14
    """Steps of Heun's method."""
    batch: int = 32
    """Images a step of the further training."""
    learning_rate: float = 5e-4
    """Learning rate of the further training."""
    components: tuple[int, ...] = ()
    """Numbers of principal components to set beside the models."""
    seed: int = 0
    """Seed of the noises, and of the further training."""
    folder: Path = Path("runs/diversity")
    """Where the further training lives."""
    out: Path = Path("book/results/diversity.csv")
    """The table; rows of the same model, length, seed, codes and samples are replaced."""


def sampled(model: ScoreModel, test: ImageData, arguments: Arguments) -> torch.Tensor:
    """Images of shape (codes, samples, channel, height, width)."""
    z = encode_in_batches(model, test.subset(arguments.codes))
    generator = torch.Generator().manual_seed(arguments.seed)
    return samples_of_codes(model, z, arguments.samples, arguments.steps, generator).clamp(-1, 1)


def finished(folder: Path, data: ImageData, arguments: Arguments) -> dict[int, Path]:
    """Train the model on; the folders of its weights after each of the lengths of ``finish``."""
    places = {n: arguments.folder / f"{folder.name}-{n}" for n in sorted(arguments.finish)}
    missing = [n for n, place in places.items() if not (place / "card.json").exists()]
    if not missing:
        return places
    state_file = arguments.folder / f"{folder.name}.safetensors"
    resume = state_file if state_file.exists() else None
    if resume and (step := int(read_tensors(resume)[1]["step"])) >= missing[0]:
        raise ValueError(
            f"finish: {resume} is at iteration {step}, too late for {missing[0]}: remove it"
        )
    optimisation = Optimisation(
        missing[-1], batch_size=arguments.batch, learning_rate=arguments.learning_rate, warmup=50
    )
    model = ScoreModel.from_pretrained(folder)
    sde = model.sde
    objective = Objective(UniformSigma(sde), log_normal_sigma(sde, 2.0, 1.8), frozen_encoder=True)
    loop = training_loop(
        model, data, objective, optimisation, arguments.seed,
        resume=resume, accelerator=make_accelerator(optimisation),
    )  # fmt: skip
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for state in loop:
        if state.step in missing:
            state.averaged.save_pretrained(places[state.step], iterations_done=state.step)
        if state.step % 100 == 0:
            state.save(state_file)
    return places


def left_by_components(count: int, arguments: Arguments, folder: Path) -> list[dict]:
    """Squared error of each image rebuilt from its principal components, mean over pixels."""
    experiment = load_experiment(folder)
    train, test = (load_data(experiment.data, s, experiment.classes or None) for s in SPLITS)
    images = test.subset(arguments.codes).floats()
    pca = PrincipalComponents(train.subset(min(10_000, len(train))), count)
    left = (pca.decode(pca.encode(images)) - images).square().flatten(1).mean(1)
    about = {
        "model": f"PCA-{count}", "latent": count, "finished": 0, "seed": experiment.seed,
        "codes": len(images), "samples": 0, "steps": 0, "noise_seed": 0,
    }  # fmt: skip
    return [about | {"code": i, "spread": float(v)} for i, v in enumerate(left)]


def main(arguments: Arguments):
    each_code = arguments.out.with_name(f"{arguments.out.stem}_codes.csv")
    for count in arguments.components:
        rows = left_by_components(count, arguments, arguments.folders[0])
        merge_rows(pd.DataFrame(rows), each_code, [*KEY, "code"])
    for folder in arguments.folders:
        experiment = load_experiment(folder)
        classes = experiment.classes or None
        test = load_data(experiment.data, "test", classes)
        folders = {0: folder}
        if arguments.finish:
            folders = finished(folder, load_data(experiment.data, "train", classes), arguments)
        for length, place in folders.items():
            about = {
                "model": experiment.name, "latent": experiment.model.latent, "finished": length,
                "seed": experiment.seed, "codes": arguments.codes, "samples": arguments.samples,
                "steps": arguments.steps, "noise_seed": arguments.seed,
            }  # fmt: skip
            images = sampled(ScoreModel.from_pretrained(place), test, arguments)
            row = about | dict(
                zip(("diversity", "low", "high"), diversity(images, arguments.seed), strict=True)
            )
            row |= {"iterations": read_card(folder)["iterations_done"]}
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            merge_rows(pd.DataFrame([row]), arguments.out, KEY)
            each = [about | {"code": i, "spread": float(v)} for i, v in enumerate(spreads(images))]
            merge_rows(pd.DataFrame(each), each_code, [*KEY, "code"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
