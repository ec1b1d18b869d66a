"""What is in z and what is in x_1, measured (chapter Using codes).

    python -m book.studies.using_codes prior swap edit     # 5 minutes of one core
    python -m book.studies.using_codes dropout             # 2 minutes: 8×8 digits

prior      results/code_priors.csv: samples of codes that a prior draws, beside those of codes of
           test images and of the model without a code; held-out nats of each prior
swap       results/code_swaps.csv: images rebuilt from one image's code and another's noise
edit       results/code_edits.csv: an attribute measured after edits of growing size
dropout    results/code_dropout.csv: one network with and without its code, guidance between

The defaults are the counts of the shipped tables: 12,000 codes and 16 steps, but 4,000 codes and
12 steps for the edits. Another count or seed makes rows of its own. Rows have the iterations of the
weights they were made with: new weights want new rows, which replace the old ones.
"""

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from scipy.stats import binomtest

from scorerep import quality, sampling
from scorerep.checkpoint import read_card
from scorerep.codes.attributes import slant, stroke_width
from scorerep.codes.effects import pairs_of_classes, spreads
from scorerep.codes.prior import MixturePrior, flow_prior, mixture_prior
from scorerep.codes.scores import bootstrap_interval, encode_in_batches
from scorerep.codes.use import decode, direction, generate, noise_of
from scorerep.data import load_data
from scorerep.guidance import free_guided_score
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.runs.tables import merge_rows
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop

HOURS = 0.12  # five minutes of one core and two, as above
CHECKPOINTS = Path("book/checkpoints")
ATTRIBUTES = {"slant": slant, "stroke_width": stroke_width}
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of guidance
KEYS = {  # table → what tells its rows apart; ``draws_seed`` is of the noise, seed of the training
    "code_priors": ["model", "prior", "samples", "codes", "seed"],
    "code_swaps": ["model", "code", "noise", "pairs", "steps", "seed"],
    "code_edits": [
        "model", "attribute", "direction", "amount", "images", "codes", "steps", "seed",
    ],
    "code_dropout": ["code_dropout", "weight", "seed", "samples", "iterations", "draws_seed"],
}  # fmt: skip
CODES = {"prior": 12_000, "edit": 4_000}
STEPS = {"swap": 16, "edit": 12}


@dataclass(frozen=True)
class Arguments:
    """Measure uses of codes."""

    parts: Annotated[tuple[Literal["prior", "swap", "edit", "dropout"], ...], tyro.conf.Positional]
    """Tables to write."""
    models: tuple[str, ...] = ("fig3", "fig11-16")
    """Names of the models with a code, in book/checkpoints."""
    without: str = "fig10"
    """Name of the model without a code, in book/checkpoints."""
    samples: int = 300
    """Samples of each prior."""
    pairs: int = 40
    """Pairs of test images of different classes, whose codes and noises are exchanged."""
    images: int = 12
    """Test images that are edited."""
    codes: int = 0
    """Training images whose codes are fitted; 0 for the book's: 12,000 (prior) or 4,000 (edit)."""
    steps: int = 0
    """Steps of the flow each way, of four evaluations; 0 for the book's: 16 (swap) or 12 (edit)."""
    iterations: int = 600
    """Iterations of each training with code dropout."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings with code dropout."""
    seed: int = 0
    """Seed of the noises, the pairs and the draws."""
    out: Path = Path("book/results")
    """Folder where the tables go."""

    def of(self, part: str) -> "Arguments":
        """With the book's counts of this part in the place of zeros."""
        codes, steps = CODES.get(part, 0), STEPS.get(part, 0)
        return replace(self, codes=self.codes or codes, steps=self.steps or steps)


def write(row: dict, table: str, a: Arguments):
    print(row, flush=True)
    merge_rows(pd.DataFrame([row]), a.out / f"{table}.csv", KEYS[table])


def loaded(name: str) -> tuple[ScoreModel, dict]:
    folder = CHECKPOINTS / name
    model = ScoreModel.from_pretrained(folder)
    iterations = read_card(folder)["iterations_done"]
    return model, {"model": name, "latent": model.config.latent, "iterations": iterations}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(name: str, hits: torch.Tensor) -> dict[str, float]:
    """A share with its 95 % Wilson interval."""
    found = binomtest(int(hits.sum()), len(hits))
    interval = found.proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    return {name: float(hits.double().mean()), f"{name}_low": low, f"{name}_high": high}


class OfImages:
    """Codes of images that are there, in the place of a prior."""

    def __init__(self, codes: torch.Tensor):
        self.codes = codes

    def sample(self, n, generator=None):
        return self.codes[:n]


# Codes that nobody encoded


def priors(a: Arguments):
    judge = quality.load_classifier(CHECKPOINTS / "mnist-classifier")
    test, train = load_data("mnist", "test"), load_data("mnist", "train", limit=a.codes)
    real = quality.features(judge, test.floats()[2_000:10_000])

    def save(row: dict, images: torch.Tensor):
        found = quality.frechet_interval(real, quality.features(judge, images), seed=a.seed)
        sure = quality.sure_share(judge, images)
        for stem, values in (("frechet", found), ("sure", sure)):
            row |= dict(zip((stem, f"{stem}_low", f"{stem}_high"), values, strict=True))
        row |= {"samples": len(images), "codes": a.codes, "seed": a.seed}
        write(row, "code_priors", a)

    for name in a.models:
        model, about = loaded(name)
        codes = encode_in_batches(model, train)
        held_out = encode_in_batches(model, test.subset(2_000))
        gaussian = mixture_prior(codes, 1).log_prob(held_out)
        laws = {"mixture": mixture_prior(codes)}
        if model.config.latent > 2:
            laws["flow"] = flow_prior(codes)
        for kind, law in {"codes of images": OfImages(held_out), **laws}.items():
            row = about | {"prior": kind}
            if kind in laws:
                some = slice(0, 500)
                gain = (law.log_prob(held_out[some]) - gaussian[some]).numpy()
                low, high = bootstrap_interval(gain)
                row |= {"gain_nats": gain.mean(), "gain_nats_low": low, "gain_nats_high": high}
            if isinstance(law, MixturePrior):
                row |= {"components": len(law.law.weights)}
            save(row, generate(model, law, a.samples, generator=seeded(a.seed)))
    model, about = loaded(a.without)
    generator = seeded(a.seed)
    x_1 = model.sde.prior_sample(a.samples, *model.config.image_shape, generator=generator)
    images = [
        sampling.stochastic_heun(model.score, model.sde, x, steps=9, generator=generator)
        for x in x_1.split(128)
    ]
    save(about | {"prior": "no code"}, torch.cat(images))


# One image's code, another's noise


def swaps(a: Arguments):
    judge = quality.load_classifier(CHECKPOINTS / "mnist-classifier")
    pairs = pairs_of_classes(load_data("mnist", "test"), a.pairs, seeded(a.seed))
    labels = {"own": pairs.labels, "other": pairs.other_labels}
    images = {"own": pairs.x_0, "other": pairs.other}
    widths = {key: stroke_width(x) for key, x in images.items()}
    for name in (*a.models, a.without):
        model, about = loaded(name)
        coded = bool(model.config.latent)
        z = {key: model.encode(x) if coded else None for key, x in images.items()}
        noises = {key: noise_of(model, x, z[key], a.steps) for key, x in images.items()}
        shape = pairs.x_0.shape
        noises["fresh"] = model.sde.prior_sample(*shape, generator=seeded(a.seed))
        cases = [("own", "own"), ("own", "other"), ("other", "own"), ("own", "fresh")]
        for code, noise in cases if coded else [("own", "own"), ("own", "fresh")]:
            found = decode(model, z[code], noises[noise], a.steps)
            classes = quality.probabilities(judge, found).argmax(1)
            row = about | {"code": code if coded else "none", "noise": noise, "pairs": a.pairs}
            row |= {"steps": a.steps, "seed": a.seed}
            row |= {"noise_std": float(noises[noise].std() / model.sde.tau(1.0))}
            ends = {"code": code} | ({"noise": noise} if noise in images else {})
            for end, key in ends.items():
                error = (found - images[key]).square().flatten(1).mean(1)
                row |= {f"to_{end}": float(error.mean())}
                row |= shares(f"class_of_{end}", classes == labels[key])
                both = np.stack([stroke_width(found).numpy(), widths[key].numpy()])
                both = both[:, np.isfinite(both).all(0)]
                row |= {f"width_of_{end}": float(np.corrcoef(both)[0, 1])}
            write(row, "code_swaps", a)


# Edits of growing size


def edits(a: Arguments):
    train = load_data("mnist", "train", limit=a.codes)
    images = load_data("mnist", "test").floats()[: a.images]
    for name in a.models:
        model, about = loaded(name)
        codes, z = encode_in_batches(model, train), encode_in_batches(model, images)
        x_1 = noise_of(model, images, z, a.steps)
        for attribute, measure in ATTRIBUTES.items():
            values = measure(train.floats())
            spread, line = float(values[values.isfinite()].std()), direction(codes, values)
            before = measure(decode(model, z, x_1, a.steps))
            # As likely a move of the codes, in a direction that knows nothing of the attribute
            chance = direction(codes, torch.randn(len(codes), generator=seeded(a.seed)))
            moves = {"fit": (line, (-2.0, -1.0, 1.0, 2.0)), "chance": (chance, (-2.0, 2.0))}
            for kind, (along, amounts) in moves.items():
                unit = float(along.fitted(codes).std())  # by which a likely code moves the fit
                for amount in amounts:
                    moved = along.moved(z, amount * unit)
                    asked = float((line.fitted(moved) - line.fitted(z)).mean())
                    change = measure(decode(model, moved, x_1, a.steps)) - before
                    change = change[change.isfinite()].numpy()
                    low, high = bootstrap_interval(change)
                    row = about | {
                        "attribute": attribute, "direction": kind, "amount": amount,
                        "asked": asked, "change": float(change.mean()),
                        "change_low": low, "change_high": high, "deviation": spread,
                        "r2_fit": line.r2, "images": len(images), "measured": len(change),
                        "codes": a.codes, "steps": a.steps, "seed": a.seed,
                    }  # fmt: skip
                    write(row, "code_edits", a)


# One network with its code and without


def dropouts(a: Arguments):
    train, test = load_data("digits", "train"), load_data("digits", "test")
    judge = quality.train_classifier(train, 200)
    accuracy = quality.accuracy(judge, test)
    config = ModelConfig(
        image_shape=(1, 8, 8), network="dense", channels=(192, 192, 192), dropout=0.0,
        encoder_channels=(8, 16), blocks=1, latent=4, code_dropout=0.2,
    )  # fmt: skip
    # Ten images of each class give codes; all weights start from the same noises.
    chosen = torch.cat([(test.labels == y).nonzero()[:10, 0] for y in range(10)])
    images, labels = test.batch(chosen), test.labels[chosen]
    optimisation = Optimisation(
        a.iterations, batch_size=64, optimizer="muon", learning_rate=2e-3, warmup=50, ema=0.99,
        decay=0.5,
    )  # fmt: skip
    for seed in a.seeds:
        for share in (0.2, 0.0):
            torch.manual_seed(seed)
            model = ScoreModel(replace(config, code_dropout=share))
            objective = Objective(
                UniformTime(), regulariser="l1", regulariser_weight=1e-5, code_dropout=share
            )
            loop = training_loop(model, train, objective, optimisation, seed)
            model = deque(loop, maxlen=1).pop().averaged
            with torch.no_grad():
                z = model.encode(images).repeat_interleave(4, 0)
            x_1 = model.sde.prior_sample(len(z), 1, 8, 8, generator=seeded(a.seed))
            for weight in WEIGHTS if share else (1.0,):
                score = free_guided_score(model, z, weight) if share else None
                score = score or sampling.condition(model, z)
                found = sampling.heun(score, model.sde, x_1, steps=12)
                classes = quality.probabilities(judge, found).argmax(1)
                row = {"seed": seed, "code_dropout": share, "weight": weight}
                row |= shares("same_class", classes == labels.repeat_interleave(4))
                row |= {"diversity": float(spreads(found.unflatten(0, (-1, 4))).mean())}
                sure = quality.sure_share(judge, found)
                row |= dict(zip(("sure", "sure_low", "sure_high"), sure, strict=True))
                row |= {"samples": len(found), "accuracy": accuracy}
                row |= {"iterations": a.iterations, "draws_seed": a.seed}
                write(row, "code_dropout", a)


def main(a: Arguments):
    parts = {"prior": priors, "swap": swaps, "edit": edits, "dropout": dropouts}
    with torch.no_grad():
        for part in a.parts:
            with torch.set_grad_enabled(part in ("prior", "dropout")):  # which train
                parts[part](a.of(part))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
