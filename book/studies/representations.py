"""Learners of codes at equal encoder, code size and training time: results/representations.csv.

    python -m book.studies.representations                                # everything
    python -m book.studies.representations --data mnist --latents 16 --seeds 0 --seconds 60

One run for each data set, code size, learner and seed. The encoder is the same network for all
learners of a data set, and so are optimiser, batch, warm-up and averaging. Time is processor
time of one thread, without the scoring, so that a busy machine changes nothing; PCA and the
untrained encoder have none. Classifiers are fitted on the first 10,000 training images (or on
labels drawn from these) and scored on the 10,000 test images. The score models have the paper's
L1 penalty on the code, which the other learners lack; CONTROLS are the same without it.

Any number of workers may share the folder. A killed run goes on from its last saved state, and a
run whose row is written is never repeated.

The plan's longer runs go to results/representations_long.csv. Its run "penalty" writes
results/representations_penalty.csv: the score models with 16 numbers, with and without the penalty,
on one machine. Mark, written before these runs on 28 November 2026: the penalty costs a form
accuracy if without it the kNN accuracy is higher in all three seeds and by 0.02 in the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import tyro
from filelock import FileLock, Timeout
from torch import nn

from scorerep.codes.learners import Autoencoder, PrincipalComponents, Reconstruction
from scorerep.codes.scores import encode_in_batches, few_label_accuracy
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Objective
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import train_for
from scorerep.runs.paper import at_budget
from scorerep.runs.sweep import Scorer
from scorerep.runs.tables import write_table
from scorerep.sde import VESDE
from scorerep.times import SingleTime
from scorerep.training import Optimisation

ENCODERS = {"mnist": (16, 32), "cifar10": (16, 16, 16)}
NOISE = 1.0  # τ of the denoising autoencoder, half the range of the pixels
BETA = 1e-3  # the rows of representations.csv are older: there it rose over 500 steps
LEARNERS = (
    "score, uniform σ", "score, single t", "score, uniform t", "autoencoder",
    "denoising autoencoder", "β-VAE", "PCA", "untrained",
)  # fmt: skip
UNPENALISED = ", no penalty"
CONTROLS = tuple(name + UNPENALISED for name in LEARNERS if name.startswith("score"))
KEY = ["data", "latent", "learner", "seed", "budget"]


@dataclass(frozen=True)
class Arguments:
    """Compare learners of codes."""

    data: tuple[Literal["mnist", "cifar10"], ...] = ("mnist", "cifar10")
    """Data sets whose images are learned."""
    latents: tuple[int, ...] = (2, 16, 128)
    """Code sizes that are compared."""
    learners: tuple[str, ...] = LEARNERS
    """Names of the learners."""
    without_penalty: bool = False
    """Train each score model a second time, without the L1 penalty."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each is one run, and PCA has the first one only."""
    seconds: float = 40.0
    """Processor seconds of each training; the book's table has 40."""
    most: int = 10_000
    """Images that classifiers are fitted on, and scored on."""
    folder: Path = Path("runs/representations")
    """Where states and rows are, shared by all workers."""
    out: Path = Path("book/results/representations.csv")
    """The table; the rows of the folder join it."""


@dataclass(frozen=True)
class Learner:
    """What a run trains, and how."""

    model: nn.Module
    objective: Objective
    optimisation: Optimisation


def score_experiment(name: str, data: str, latent: int, channels: tuple[int, ...]) -> Experiment:
    """The book's recipes: a dense score network at high noise, a U-Net for uniform t."""
    form = name.removesuffix(UNPENALISED)
    if form == "score, uniform t":
        known = at_budget("fig2ab", "book").first_phase()
        model = replace(known.model, channels=channels)
    else:
        known = at_budget("fig7", "book").first_phase()
        model = replace(known.model, encoder_channels=channels)
    shape = (1, 28, 28) if data == "mnist" else (3, 32, 32)
    known = replace(known, data=data, model=replace(model, latent=latent, image_shape=shape))
    if form == "score, single t":
        known = replace(known, times="single_t", single_t=0.7, proposal="none")
    return replace(known, regulariser="none") if name.endswith(UNPENALISED) else known


def learner(name: str, data: str, latent: int, seed: int) -> Learner:
    """One of LEARNERS or CONTROLS at its start; all encoders of a seed have the same weights."""
    experiment = score_experiment(name, data, latent, ENCODERS[data])
    # One schedule for all; the number of steps is left to the clock.
    common = at_budget("fig7", "book").first_phase().optimisation
    optimisation = replace(common, iterations=1_000_000)
    objective: Objective = Reconstruction()
    config = experiment.model
    if not name.startswith("score"):  # β is meant from the first step; a short run ends before 500
        optimisation = replace(optimisation, regulariser_warmup=0)
    if name == "denoising autoencoder":
        objective = Reconstruction(SingleTime(float(VESDE().time_of_tau(NOISE))))
    if name == "β-VAE":
        config = replace(config, probabilistic=True)
        objective = Reconstruction(regulariser="kl", regulariser_weight=BETA)
    torch.manual_seed(seed)
    model = autoencoder = Autoencoder(config)
    if name.startswith("score"):
        model, objective = ScoreModel(config), experiment.objective()
        model.encoder.load_state_dict(autoencoder.encoder.state_dict())
    return Learner(model, objective, optimisation)


def scores(model: nn.Module, scorer: Scorer) -> pd.Series:
    """All scores of ``codes.scores.score_codes``, those from few labels, and the squared error."""
    codes = [encode_in_batches(model, data) for data in (scorer.train, scorer.test)]
    pairs = (codes[0], scorer.train.labels, codes[1], scorer.test.labels)
    found = scorer.codes(*codes)
    for count, draws in ((100, 10), (1_000, 5)):
        if count <= len(scorer.train) // 2:
            found[f"labels_{count}"] = few_label_accuracy(*pairs, count=count, draws=draws)
    if hasattr(model, "decode"):
        found["pixels"] = pixel_error(model, codes[1], scorer.test)
    return found


@torch.no_grad()
def pixel_error(model: nn.Module, codes: torch.Tensor, data: ImageData, batch: int = 500) -> float:
    """Squared error of the decoded codes, mean over pixels and images."""
    errors = [
        (model.decode(codes[i : i + batch]) - data.batch(slice(i, i + batch))).square().sum()
        for i in range(0, len(data), batch)
    ]
    return float(sum(errors)) / data.images.numel()


def runs(arguments: Arguments) -> list[dict]:
    """Seeds outermost: a table that is stopped early has every learner."""
    again = [name + UNPENALISED for name in arguments.learners if name.startswith("score")]
    return [
        {
            "data": data, "latent": latent, "learner": name,
            "seed": 0 if name == "PCA" else seed, "budget": budget,
        }
        for seed in arguments.seeds
        for data in arguments.data
        for latent in arguments.latents
        for name in (*arguments.learners, *(again if arguments.without_penalty else ()))
        # PCA has nothing to draw: one row.
        if name != "PCA" or seed == arguments.seeds[0]
        for budget in [0.0 if name in ("PCA", "untrained") else arguments.seconds]
    ]  # fmt: skip


def place_of(run: dict, folder: Path) -> Path:
    number = (LEARNERS + CONTROLS).index(run["learner"])
    return folder / (f"{run['data']}-{run['latent']}-{number}-seed{run['seed']}-{run['budget']:g}s")


def row(run: dict, scorer: Scorer, train: ImageData, place: Path) -> dict:
    """Train (or go on training) and score one run."""
    steps = 0
    if run["learner"] == "PCA":
        model: nn.Module = PrincipalComponents(scorer.train, run["latent"])
    else:
        new = learner(run["learner"], run["data"], run["latent"], run["seed"])
        model = new.model
        if run["budget"]:
            model, steps = train_for(
                run["budget"], model, train, new.objective, new.optimisation, run["seed"],
                place / "training.safetensors",
            )  # fmt: skip
    encoder = getattr(model, "encoder", None)
    sizes = [sum(p.numel() for p in m.parameters()) if m else 0 for m in (encoder, model)]
    return {
        **run, "iterations": steps, "encoder_parameters": sizes[0],
        "other_parameters": sizes[1] - sizes[0], **scores(model, scorer),
    }  # fmt: skip


def work(arguments: Arguments) -> pd.DataFrame:
    """All runs that nobody has done or is doing; the table so far."""
    sets: dict[str, tuple[ImageData, Scorer]] = {}
    if unknown := set(arguments.learners) - set(LEARNERS):
        raise ValueError(f"no learner {min(unknown)!r}; there are {', '.join(LEARNERS)}")
    for run in runs(arguments):
        place = place_of(run, arguments.folder)
        place.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place / ".lock", timeout=0):
                if (place / "row.csv").exists():
                    continue
                if run["data"] not in sets:
                    train, test = (load_data(run["data"], split) for split in ("train", "test"))
                    sets[run["data"]] = train, Scorer(train, test, arguments.most)
                train, scorer = sets[run["data"]]
                found = row(run, scorer, train, place)
                write_table(pd.DataFrame([found]), place / "row.csv")
                (place / "training.safetensors").unlink(missing_ok=True)
                shown = {
                    k: round(found[k], 3) for k in ("probe", "knn", "labels_100") if k in found
                }
                print(*place.parts[-1:], run["learner"], found["iterations"], shown, flush=True)
        except Timeout:
            print(f"{place} is another worker's", flush=True)
        collect(arguments.folder, arguments.out)
    return collect(arguments.folder, arguments.out)


def collect(folder: Path, out: Path) -> pd.DataFrame:
    """The rows of ``folder`` join those of the table; a run has one row."""
    with FileLock(folder / ".lock"):
        parts = [pd.read_csv(path) for path in sorted(folder.glob("*/row.csv"))]
        if out.exists():
            parts.insert(0, pd.read_csv(out))
        table = pd.concat(parts, ignore_index=True).drop_duplicates(KEY, keep="last")
        table = table.sort_values(KEY, ignore_index=True)
        write_table(table, out)
        return table


def summary(table: pd.DataFrame, columns: Sequence[str] = ("probe", "knn", "labels_100")):
    """Mean over seeds."""
    keys = ["data", "latent", "learner"]
    return table.groupby(keys)[list(columns)].mean().round(3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(summary(work(tyro.cli(Arguments))).to_string())
