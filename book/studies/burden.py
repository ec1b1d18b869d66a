"""Section 1.2 of the paper on MNIST: hyperparameters by the loss, with and without the constant.

    python -m book.studies.burden lambda sigma_max      # 9 jobs of 3 minutes of one core at most

write results/burden.csv, tidy: one number a row. Jobs that are there are not repeated; several
processes may share the table. The law is the empirical one of the 60,000 training images, whose
constant and score are exact; the score network is dense. All this concerns the levels τ ≥ 1.4:
below, the empirical law has picked one of its images, and its constant has all but vanished.

lambda: a weighting learned against the network on the loss ("loss"), on the loss less the exact
constant ("less constant"), or held even ("even"). sigma_max: one network for each, at one budget;
samples are drawn by it down to τ = 1.4 and finished by book/checkpoints/fig10, the same for all.

The plan's seeds go to results/burden_seeds.csv.
"""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro
from filelock import FileLock
from torch import Generator

from book.studies.adversary import Adversary
from scorerep import sampling
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective, denoising_score_matching
from scorerep.quality import features, frechet_interval, load_classifier
from scorerep.runs.tables import has_row, merge_rows
from scorerep.sde import VESDE
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.law import Estimate

LEAST = 1.4  # τ below which the empirical law is as good as one image
BINS = 10
KINDS = ("even", "loss", "less constant")
SIGMAS = (2.8, 5.0, 10.0, 20.0, 50.0, 200.0)
COUNTS = ("iterations", "batch", "draws", "samples", "images")
KEY = ["part", "setting", "seed", *COUNTS, "quantity", "t"]


@dataclass(frozen=True)
class Arguments:
    """Train and measure."""

    parts: Annotated[tuple[Literal["lambda", "sigma_max"], ...], tyro.conf.Positional]
    """Hyperparameters that are chosen: the weighting λ, or σ_max."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; each has one set of jobs."""
    iterations: int = 1_500
    """Iterations of each network's training."""
    batch: int = 250
    """Images a step of the training."""
    draws: int = 100
    """Draws of x_t a bin for the exact quantities; four times as many for a whole schedule."""
    samples: int = 500
    """Samples of each network, for the Fréchet distance."""
    images: int = 60_000
    """Training images, of the law and of the networks."""
    out: Path = Path("book/results/burden.csv")
    """The table; rows that are there are not made again."""


def dense(sigma_max: float = 50.0) -> ModelConfig:
    return ModelConfig(
        network="dense", channels=(512, 512, 512), latent=0, dropout=0.0, sigma_max=sigma_max
    )


def lowest(sde: VESDE) -> float:
    """The t of τ = LEAST."""
    return float(sde.time_of_tau(LEAST))


@torch.no_grad()
def exact(law: EmpiricalLaw, model: ScoreModel | None, sde: VESDE, t, generator: Generator):
    """τ²-weighted squares over d at each t: the constant; of a model also its loss and error."""
    x_0, _ = law.sample(len(t), generator)
    tau = sde.tau(t.double())
    x_t = sde.perturb(x_0, t, torch.randn(x_0.shape, generator=generator))
    moments = law.class_moments(x_t, tau.square())
    unit = tau.square() * math.prod(law.shape)
    found = {"constant": moments.variances[:, 0] / unit}
    if model is not None:
        best = x_t.flatten(1) + tau[:, None].square() * moments.scores[:, 0]
        denoised = model.denoise(x_t, t).flatten(1).double()
        found["loss"] = (denoised - x_0.flatten(1)).square().sum(1) / unit
        found["error"] = (denoised - best).square().sum(1) / unit
    return {name: values.double() for name, values in found.items()}


def bin_times(bin_: int, sde: VESDE, n: int) -> torch.Tensor:
    """n evenly spaced times in one of the equal bins of [lowest, 1]."""
    low = lowest(sde)
    return low + (1 - low) * (bin_ + (torch.arange(n) + 0.5) / n) / BINS


def lambda_job(kind: str, seed: int, data: ImageData, law: EmpiricalLaw, a: Arguments):
    """Masses of the weighting, and loss, constant and error of the network, bin by bin."""
    sde = VESDE()
    generator = Generator().manual_seed(1_000)  # the same constants for all jobs
    constants = torch.stack([
        exact(law, None, sde, bin_times(b, sde, a.draws), generator)["constant"].mean()
        for b in range(BINS)
    ])  # fmt: skip
    torch.manual_seed(seed)
    model, generator = ScoreModel(dense()), Generator().manual_seed(seed)
    adversary = Adversary(
        constants if kind == "less constant" else torch.zeros(BINS),
        step=0.0 if kind == "even" else 0.01,
        t_min=lowest(sde),
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, a.iterations)
    masses = torch.zeros(BINS)
    for step in range(a.iterations):
        index = torch.randint(len(data), (a.batch,), generator=generator)
        x_0, t = data.batch(index), adversary.times(a.batch, generator)
        noise = torch.randn(x_0.shape, generator=generator)
        errors = denoising_score_matching(model, x_0, t, noise)
        optimiser.zero_grad()
        (adversary.weight(t) * errors).mean().backward()
        optimiser.step()
        schedule.step()
        adversary.ascend(t, errors)
        if step >= a.iterations - max(1, a.iterations // 5):  # the last fifth
            masses += adversary.masses
    masses /= masses.sum()
    generator = Generator().manual_seed(2_000)
    for b in range(BINS):
        t = bin_times(b, sde, a.draws)
        middle = float(t.mean())
        yield {"quantity": "mass", "t": middle, "value": float(masses[b]), "standard_error": 0.0}
        for name, values in exact(law, model.eval(), sde, t, generator).items():
            value, error = Estimate.of(values)
            yield {"quantity": name, "t": middle, "value": value, "standard_error": error}


def sigma_job(sigma: float, seed: int, data: ImageData, law: EmpiricalLaw, a: Arguments):
    """Means over t of loss, constant and error, the prior's mismatch, and samples' distance."""
    torch.manual_seed(seed)
    model = ScoreModel(dense(sigma))
    sde, low = model.sde, lowest(model.sde)
    budget = Optimisation(
        a.iterations, batch_size=a.batch, learning_rate=1e-3, warmup=100, ema=0.99
    )
    *_, last = training_loop(model, data, Objective(UniformTime(low)), budget, seed)
    model, generator = last.averaged.eval(), Generator().manual_seed(2_000)
    t = low + (1 - low) * (torch.arange(4 * a.draws) + 0.5) / (4 * a.draws)
    for name, values in exact(law, model, sde, t, generator).items():
        value, error = Estimate.of(values)
        yield {"quantity": name, "value": value, "standard_error": error}
    # Nats: ½ ∫ g² ‖·‖² dt over the levels from τ = LEAST up is this many times a mean over t.
    span = math.prod(law.shape) * sde.log_range * (1 - low)
    yield {"quantity": "nats a unit", "value": span, "standard_error": 0.0}
    x_0, _ = law.sample(2 * a.draws, generator)
    x_1 = sde.perturb(x_0, 1.0, torch.randn(x_0.shape, generator=generator)).double()
    mismatch = law.log_prob(x_1, float(sde.tau(1.0))) - sde.prior_log_prob(x_1)
    value, error = Estimate.of(mismatch)
    yield {"quantity": "prior mismatch", "value": value, "standard_error": error}

    finish = ScoreModel.from_pretrained("book/checkpoints/fig10")

    def score(x, t):
        tau = float(sde.tau(t))
        if tau >= LEAST:
            return model.score(x, t)
        return finish.score(x, float(finish.sde.time_of_tau(tau)))

    noise = sde.prior_sample(a.samples, *law.shape, generator=generator)
    x_0 = torch.cat([sampling.heun(score, sde, part, steps=14) for part in noise.split(250)])
    judge, test = load_classifier("book/checkpoints/mnist-classifier"), load_data("mnist", "test")
    test = test.subset(len(test), Generator().manual_seed(0)).batch(slice(2_000, None))
    value, least, most = frechet_interval(features(judge, test), features(judge, x_0))
    yield {"quantity": "frechet", "value": value, "standard_error": (most - least) / 3.92}


def main(a: Arguments):
    data = load_data("mnist", "train").subset(a.images)
    law = EmpiricalLaw(data.images)
    lock = FileLock(Path(tempfile.gettempdir()) / f"{a.out.name}.lock")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = [
        (part, setting, seed)
        for seed in a.seeds
        for part in a.parts
        for setting in (KINDS if part == "lambda" else SIGMAS)
    ]
    for part, setting, seed in jobs:
        about = {"part": part, "setting": str(setting), "seed": seed}
        about |= {name: getattr(a, name) for name in COUNTS}
        if has_row(a.out, about, dtype={"setting": str}):
            continue
        started = time.monotonic()
        job = lambda_job if part == "lambda" else sigma_job
        rows = list(job(setting, seed, data, law, a))
        seconds = time.monotonic() - started
        rows.append({"quantity": "seconds", "value": round(seconds), "standard_error": 0.0})
        new = pd.DataFrame([about | {"t": math.nan} | row for row in rows])
        with lock:
            new = merge_rows(new, a.out, KEY, dtype={"setting": str})
        shown = new[new.t.isna() & (new.setting == about["setting"]) & (new.part == part)]
        print(about, shown.set_index("quantity").value.round(4).to_dict(), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
