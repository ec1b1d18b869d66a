"""Sample quality of the shipped MNIST models, and of samplers against network evaluations.

    python -m book.studies.samplers quality book/checkpoints/fig2ab book/checkpoints/fig3
    python -m book.studies.samplers compare book/checkpoints/fig3

write results/quality.csv and results/samplers.csv. Samples have the codes or labels of test images,
where the model knows any; the digit classifier scores them: the Fréchet distance of its features to
those of 8,000 other test images, and the share of samples that it is at least 90 % sure of, with
95 % bootstrap intervals. Held-out real digits are the floor, draws of one Gaussian fitted to the
pixels the ceiling. Rows that are there are not computed again.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep import sampling
from scorerep.checkpoint import read_card
from scorerep.codes.scores import encode_in_batches
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.quality import features, frechet_interval, gaussian_fit, load_classifier, sure_share
from scorerep.runs.tables import has_row, merge_rows

# sampler, steps, network evaluations for each sample
SAMPLERS = [
    ("heun", 5, 9), ("heun", 9, 17), ("heun", 14, 27), ("heun", 25, 49), ("heun", 50, 99),
    ("heun", 125, 249), ("stochastic_heun", 9, 17), ("stochastic_heun", 14, 27),
    ("stochastic_heun", 25, 49), ("stochastic_heun", 50, 99), ("stochastic_heun", 125, 249),
    ("predictor_corrector", 125, 251), ("euler_maruyama", 250, 251),
    ("euler_maruyama", 1000, 1001),
]  # fmt: skip
SAMPLES = {"quality": 2_000, "compare": 500}
KEY = ["model", "sampler", "evaluations", "seed", "samples"]
# The book's grids are drawn by the first; the second is the cheapest of the comparison.
QUALITY = [("heun", 14, 27), ("stochastic_heun", 9, 17)]


@dataclass(frozen=True)
class Arguments:
    """Measure sample quality."""

    what: Annotated[Literal["quality", "compare"], tyro.conf.Positional]
    """One sampler on several models (quality), or many samplers on one model (compare)."""
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Checkpoint folders of the models."""
    samples: int = 0
    """Samples of each setting; 0 for the book's: 2,000 (quality) or 500 (compare)."""
    most: int = 2_000
    """Network evaluations a sample, above which a setting is skipped."""
    seed: int = 0
    """Seed of the noise, and of the bootstrap."""
    classifier: Path = Path("book/checkpoints/mnist-classifier")
    """Weights of the classifier that judges samples."""
    folder: Path = Path("book/results")
    """Where the tables go."""


def draw(model: ScoreModel, z: torch.Tensor | None, n: int, sampler: str, steps: int, seed: int):
    """n samples in batches of 250, clamped to [−1, 1], and their seconds."""
    generator = torch.Generator().manual_seed(seed)
    noise = model.sde.prior_sample(n, *model.config.image_shape, generator=generator)
    started, parts = time.monotonic(), []
    for i in range(0, n, 250):
        score = model.score
        if z is not None:
            score = sampling.condition(model, z[i : i + 250])
        run = getattr(sampling, sampler)
        parts.append(run(score, model.sde, noise[i : i + 250], steps=steps, generator=generator))
    return torch.cat(parts).clamp(-1, 1), time.monotonic() - started


def main(arguments: Arguments):
    classifier = load_classifier(arguments.classifier)
    n = arguments.samples or SAMPLES[arguments.what]
    # In random order: the first and the second half of MNIST's test images have other writers.
    test = load_data("mnist", "test")
    test = test.subset(len(test), torch.Generator().manual_seed(0))
    real = features(classifier, test.batch(slice(2_000, None)))

    def scored(images, **about):
        distance = frechet_interval(real, features(classifier, images), seed=arguments.seed)
        share = sure_share(classifier, images, seed=arguments.seed)
        names = [f"{name}{end}" for name in ("frechet", "sure") for end in ("", "_low", "_high")]
        row = about | dict(zip(names, (*distance, *share), strict=True))
        row |= {"samples": len(images), "seed": arguments.seed}
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        return row

    measured = {"quality": ("quality.csv", QUALITY), "compare": ("samplers.csv", SAMPLERS)}
    name, samplers = measured[arguments.what]
    path = arguments.folder / name
    sizes = set(pd.read_csv(path).samples) if path.exists() else set()
    if sizes := sizes - {n}:
        raise ValueError(
            f"{path} has rows of {sorted(sizes)} samples; distances of {n} do not compare with them"
        )

    def add(row: dict):
        merge_rows(pd.DataFrame([row]), path, KEY)

    if arguments.what == "quality" and not has_row(path, {"seed": arguments.seed}):
        fit = gaussian_fit(
            load_data("mnist", "train").subset(20_000).floats(), n,
            torch.Generator().manual_seed(arguments.seed),
        )  # fmt: skip
        for images, name in ((test.batch(slice(0, n)), "held-out digits"), (fit, "Gaussian fit")):
            add(scored(images, model=name, sampler="none", evaluations=0))
    for folder in arguments.folders:
        model, card = ScoreModel.from_pretrained(folder), read_card(folder)
        name = card["experiment"]["name"]
        z = encode_in_batches(model, test.subset(n)) if model.config.latent else None
        if model.config.num_classes:
            z = test.labels[:n]
        for sampler, steps, evaluations in samplers:
            row = dict(zip(KEY, (name, sampler, evaluations, arguments.seed, n), strict=True))
            # Weights that were trained on since are drawn from again, and their rows replaced.
            row |= {"iterations": card["iterations_done"]}
            if evaluations > arguments.most or has_row(path, row):
                continue
            images, seconds = draw(model, z, n, sampler, steps, arguments.seed)
            add(scored(
                images, model=name, iterations=card["iterations_done"], sampler=sampler,
                steps=steps, evaluations=evaluations, seconds=round(seconds),
            ))  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
