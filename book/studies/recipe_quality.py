"""Which recipe makes the best score network of MNIST for the same processor seconds.

    python -m book.studies.recipe_quality              # the whole plan, the most telling first
    python -m book.studies.recipe_quality --recipes adam muon --seconds 400 133 --seeds 0 1 2
    python -m book.studies.recipe_quality --most 1     # one run; several processes may share

write results/recipe_quality.csv, one row for each (recipe, seconds, seed); runs that are there are
not repeated, and a stopped one goes on. One thread each.

Protocol, fixed before the runs. A recipe is a U-Net of 16 and 32 channels at 28×28 and 14×14,
uniform t, bfloat16, and a way to train it. Its budget is processor seconds of training on one
thread. They are turned into steps by the seconds that a step took in a calm measurement, kept in
results/recipe_quality_steps.csv, so that what else the machine does changes no run; the seconds
that it took are in the table too ("measured"). Scored are averaged weights, in float32:

loss: λ(t)-weighted squared error with λ = τ², 1 for the zero score, at t = 0.1, 0.2 … 0.9 (an
    octave of noise is 0.081 of t) on 1,000 test images, with the same noise for all; and its mean.
frechet: of 1,000 samples by Heun's method, 14 steps, from the same noise for all, to 8,000 other
    test images in the digit classifier's features, with a 95 % bootstrap interval.
code_std, knn: of recipes with a code, the smallest standard deviation of a coordinate over the
    batches of the last tenth of the steps, and the accuracy of 15 neighbours.

The mark: a recipe counts as k times cheaper when at 400/k seconds the median of three seeds reaches
the mean held-out loss that "adam", the book's recipe so far, has at 400 (its median of three).
Recipes are chosen by seed 0 at 133 seconds; seeds 1 and 2 then judge what was chosen.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Literal
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import tyro
from filelock import FileLock, Timeout

from book.studies.samplers import draw
from scorerep.checkpoint import read_card, read_tensors
from scorerep.codes.scores import encode_in_batches, knn_accuracy
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Draws, Objective, denoising_score_matching
from scorerep.quality import features, frechet_interval, load_classifier
from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import PAPER, Budget, with_latent
from scorerep.runs.tables import merge_rows, rows_of
from scorerep.times import T_MIN, DensityTime
from scorerep.training import Optimisation, training_loop
from scorerep.training.optimisers import MuonAndAdam

TIMES = tuple(i / 10 for i in range(1, 10))
KEY = ["recipe", "seconds", "seed", "samples", "images"]
ADAM = Optimisation(1, batch_size=32, learning_rate=1e-3, warmup=300, precision="bf16")
MUON = replace(ADAM, optimizer="muon", muon_learning_rate=0.02, warmup=50, decay=0.4)


class StratifiedObjective(Objective):
    """One t in each of n equal parts of [T_MIN, 1]: each is uniform, a batch covers them all."""

    def draw(self, x_0, latent, generator=None) -> Draws:
        draws = super().draw(x_0, latent, generator)
        n = len(draws.t)
        inside = (draws.t - T_MIN) / (1 - T_MIN)
        return draws._replace(t=T_MIN + (1 - T_MIN) * (torch.arange(n).to(inside) + inside) / n)


class PairedObjective(Objective):
    """Draws in pairs of one image and one t: ε and −ε."""

    def draw(self, x_0, latent, generator=None) -> Draws:
        draws = super().draw(x_0, latent, generator)
        draws.t[1::2], draws.weight[1::2] = draws.t[::2], draws.weight[::2]
        draws.noise[1::2] = -draws.noise[::2]
        return draws


@dataclass(frozen=True)
class Recipe:
    """A way to train. ``optimisation.iterations`` is set by the seconds of a run."""

    optimisation: Optimisation = MUON
    data: Literal["mnist", "cifar10"] = "mnist"
    latent: int = 0
    """Dimension of the code; 0 for none."""
    channels: tuple[int, ...] = (16, 32)
    objective: type[Objective] = Objective
    draws_per_image: int = 1
    proposal: bool = False
    """Draw t in proportion to √loss of "adam" at 400 seconds, and weight."""
    muon: Literal["score network", "all", "hidden"] = "score network"
    """Which matrices Muon has: all but the encoder's, all, or all but first and last layers."""

    def experiment(self, steps: int, seed: int) -> Experiment:
        optimisation = replace(self.optimisation, iterations=steps)
        budget = Budget(optimisation, channels=self.channels, draws_per_image=self.draws_per_image)
        name = {"mnist": "fig2ab", "cifar10": "fig8"}[self.data]
        return replace(budget.of(with_latent(PAPER[name], self.latent)), seed=seed)

    @property
    def shape(self) -> str:
        """What decides the cost of a step."""
        o = self.optimisation
        names = [o.optimizer, f"{o.batch_size} images", f"{self.draws_per_image} draws"]
        names += ["cifar10"] if self.data == "cifar10" else []
        return ", ".join([*names, f"channels {self.channels}", f"latent {self.latent}"])


def muon(**changes) -> Recipe:
    return Recipe(replace(MUON, **changes))


RECIPES: dict[str, Recipe] = {
    "adam": Recipe(ADAM),
    "adam, decay": Recipe(replace(ADAM, warmup=50, decay=0.4)),
    "adam, rate 3e-3, decay": Recipe(replace(ADAM, warmup=50, decay=0.4, learning_rate=3e-3)),
    "muon": muon(),
    "muon, rate 0.01": muon(muon_learning_rate=0.01),
    "muon, rate 0.03": muon(muon_learning_rate=0.03),
    "muon, rate 0.03, decay 1": muon(muon_learning_rate=0.03, decay=1.0),
    "muon, rate of Adam 3e-3": muon(learning_rate=3e-3),
    "muon, no decay": muon(decay=0.0),
    "muon, decay 1": muon(decay=1.0),
    "muon, batch 16": muon(batch_size=16),
    "muon, batch 64": muon(batch_size=64),
    "muon, averaging 0.99": muon(ema=0.99),
    "muon, hidden layers": replace(muon(), muon="hidden"),
    "muon, stratified t": replace(muon(), objective=StratifiedObjective),
    "muon, t by loss": replace(muon(), proposal=True),
    "muon, pairs": replace(muon(batch_size=16), objective=PairedObjective, draws_per_image=2),
    "muon, 8/16 channels": replace(muon(), channels=(8, 16)),
    "adam, code": Recipe(ADAM, latent=2),
    "muon, code": replace(muon(), latent=2, muon="all"),
    "muon, code, encoder by Adam": replace(muon(), latent=2),
    "muon, code, regulariser over 300 steps": replace(
        muon(regulariser_warmup=300), latent=2, muon="all"
    ),
    "muon, code, encoder by Adam, regulariser over 300 steps": replace(
        muon(regulariser_warmup=300), latent=2
    ),
    "muon for blocks": muon(muon_for="blocks"),
    "muon for blocks, code, regulariser over 300 steps": replace(
        muon(muon_for="blocks", regulariser_warmup=300), latent=2
    ),
    "adam, CIFAR": Recipe(ADAM, "cifar10", 2, (16, 32, 32, 32)),
    "muon, CIFAR": Recipe(MUON, "cifar10", 2, (16, 32, 32, 32)),
    "muon for blocks, CIFAR": Recipe(
        replace(MUON, muon_for="blocks"), "cifar10", 2, (16, 32, 32, 32)
    ),
}
"""Where a name is silent: Muon's rate 0.02 for the score network's matrices, Adam's 1e-3, 32 images
a step, warm-up of 50 steps, linear decay over the last 40 %, averaging 0.999, no code. "muon, code"
and "muon, code, regulariser …" have Muon for the encoder's matrices too; "muon for blocks" leaves
Adam those that embed noise level and code."""

PLAN: list[tuple[str, int, int]] = [
    *[("adam", 400, 0), ("muon", 400, 0), ("muon", 133, 0), ("muon", 200, 0)],
    *[("muon, rate 0.03", 133, 0), ("muon, stratified t", 133, 0), ("muon, code", 133, 0)],
    *[("muon", 133, 1), ("muon, code, regulariser over 300 steps", 133, 0)],
    *[("muon, code, encoder by Adam", 133, 0), ("adam, code", 133, 0)],
    ("muon, code, encoder by Adam, regulariser over 300 steps", 133, 0),
    *[("muon", 133, 2), ("muon, decay 1", 133, 0), ("muon, t by loss", 133, 0)],
    *[("muon, batch 16", 133, 0), ("adam", 400, 1), ("adam", 400, 2)],
    *[("muon, CIFAR", 200, 0), ("adam, CIFAR", 400, 0)],
    *[("muon", 100, 0), ("muon, rate 0.01", 133, 0), ("muon, hidden layers", 133, 0)],
    *[("muon, batch 64", 133, 0), ("muon, averaging 0.99", 133, 0), ("muon, pairs", 133, 0)],
    *[("muon", 400, 1), ("muon", 400, 2), ("adam, decay", 133, 0), ("adam", 133, 0)],
    *[("adam, rate 3e-3, decay", 133, 0), ("muon, 8/16 channels", 133, 0)],
    *[("muon, rate of Adam 3e-3", 133, 0), ("muon, no decay", 133, 0)],
    *[("muon, rate 0.03, decay 1", 133, 0), ("muon for blocks", 133, 0)],
    ("muon for blocks, code, regulariser over 300 steps", 133, 0),
    ("muon for blocks, CIFAR", 200, 0),
]
"""What the table holds: recipe, seconds, seed; the most telling first."""


@dataclass(frozen=True)
class Arguments:
    """Train by recipes and measure."""

    recipes: tuple[str, ...] = ()
    """Names of recipes; the whole plan if there are none."""
    seconds: tuple[int, ...] = (133,)
    """Processor seconds of training, for ``recipes``."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of initial weights, batches and noise, for ``recipes``."""
    most: int = 0
    """Runs after which to stop; 0 for no limit."""
    frechet: bool = True
    """Draw samples as well, a minute a run; later, from the weights, if not at once."""
    samples: int = 1_000
    """Samples of each model, for the Fréchet distance."""
    images: int = 1_000
    """Test images for the held-out loss."""
    folder: Path = Path("runs/recipe_quality")
    """Where the runs' states, weights and locks are."""
    classifier: Path = Path("book/checkpoints/mnist-classifier")
    """Weights of the classifier that judges samples."""
    out: Path = Path("book/results/recipe_quality.csv")
    """The table; that of the steps lies beside it."""


def loop_of(recipe: Recipe, steps: int, seed: int, data: ImageData, resume: Path | None = None):
    """The training by a recipe; yields the state after each step."""
    experiment = recipe.experiment(steps, seed)
    torch.manual_seed(seed)
    model, plain = ScoreModel(experiment.model), experiment.objective()
    if recipe.proposal:
        plain = replace(plain, proposal=DensityTime.from_function(root_loss))
    objective = recipe.objective(**vars(plain))
    changed = nullcontext()
    if recipe.muon != "score network":
        changed = patch("scorerep.training.make_optimizer", optimizer_of(recipe))
    with changed:
        yield from training_loop(model, data, objective, experiment.optimisation, seed, resume)


def root_loss(t: torch.Tensor) -> torch.Tensor:
    """√loss of "adam" at 400 seconds, seed 0, through TIMES; level beyond, at least 0.05."""
    losses = [0.153, 0.131, 0.104, 0.071, 0.044, 0.029, 0.013, 0.0032, 0.0006]
    return torch.as_tensor(np.interp(t, TIMES, np.sqrt(losses))).clamp(min=0.05)


def optimizer_of(recipe: Recipe) -> Callable:
    """In place of ``make_optimizer``: Muon for a part of the matrices."""
    edges = ("network.down.head.", "network.out.", "network.conditioning.noise.1.")
    left = {"hidden": edges, "all": ()}[recipe.muon]

    def make(model: ScoreModel, optimisation: Optimisation) -> MuonAndAdam:
        named = list(model.named_parameters())
        ours = [p.ndim >= 2 and not name.startswith(left) for name, p in named]
        parts = [[p for (_, p), own in zip(named, ours) if own == muons] for muons in (False, True)]
        return MuonAndAdam(*parts, optimisation.learning_rate, optimisation.muon_learning_rate)

    return make


def seconds_a_step(recipe: Recipe, data: ImageData, a: Arguments) -> float:
    """Processor seconds of a step; measured once for each shape.

    Five steps in turn with five of "adam", whose seconds come from a calm machine: the median
    of eight ratios to them tells a shape's cost whatever else the machine does then.
    """
    path = a.out.with_name(f"{a.out.stem}_steps.csv")
    known = pd.read_csv(path, index_col="shape").seconds if path.exists() else {}
    if recipe.shape in known:
        return float(known[recipe.shape])
    reference = RECIPES["adam"]
    if recipe.shape == reference.shape:
        seconds = median(turns([(recipe, data)])[0])
    else:
        unit = seconds_a_step(reference, load_data(reference.data), a)
        ours, theirs = turns([(recipe, data), (reference, load_data(reference.data))])
        seconds = unit * median(x / y for x, y in zip(ours, theirs, strict=True))
    with FileLock(a.folder / "table.lock"):
        merge_rows(pd.DataFrame([{"shape": recipe.shape, "seconds": seconds}]), path, ["shape"])
    return seconds_a_step(recipe, data, a)


def turns(recipes: list[tuple[Recipe, ImageData]]) -> list[list[float]]:
    """Processor seconds of a step of each recipe: eight means of five steps, in turn."""
    loops = [loop_of(recipe, 1_000, 0, data) for recipe, data in recipes]
    means: list[list[float]] = [[] for _ in loops]
    for chunk in range(9):
        for loop, found in zip(loops, means, strict=True):
            started = time.process_time()
            for _ in range(5):
                next(loop)
            if chunk:  # the first one prepares kernels
                found.append((time.process_time() - started) / 5)
    return means


def trained(name: str, seconds: int, seed: int, data: ImageData, a: Arguments):
    """The averaged model of a run, and what is to be said of the training."""
    recipe, place = RECIPES[name], a.folder / f"{name}-{seconds}-{seed}".replace("/", "_")
    place.mkdir(parents=True, exist_ok=True)
    steps = round(seconds / seconds_a_step(recipe, data, a))
    path, used = place / "training.safetensors", 0.0
    if (place / "card.json").exists():  # trained, and not scored in full
        return ScoreModel.from_pretrained(place), read_card(place)["about"]
    if path.exists():
        used = float(read_tensors(path)[1]["seconds"])
    saved, spreads = used, []
    started = time.process_time() - used
    for state in loop_of(recipe, steps, seed, data, path if path.exists() else None):
        now = time.process_time() - started
        if recipe.latent and state.step > 0.9 * steps:
            spreads.append(float(state.losses.code_std))
        if now - saved > 60 or state.step == steps:
            state.save(path, seconds=repr(now))
            saved = now
    about = {
        "recipe": name, "seconds": seconds, "seed": seed, "steps": steps, "measured": now,
        "epochs": steps * recipe.optimisation.batch_size / len(data),
    }  # fmt: skip
    if spreads:
        about["code_std"] = mean(spreads)
    state.averaged.save_pretrained(place, about=about)
    return state.averaged.eval(), about


@torch.no_grad()
def held_out(model: ScoreModel, data: ImageData) -> dict[str, float]:
    """The loss at each of TIMES and their mean, of images with their own codes."""
    generator, losses = torch.Generator().manual_seed(0), {}
    for t in TIMES:
        parts = []
        for i in range(0, len(data), 250):
            x_0 = data.batch(slice(i, i + 250))
            z = model.encode(x_0) if model.config.latent else None
            noise = torch.randn(x_0.shape, generator=generator)
            parts.append(denoising_score_matching(model, x_0, torch.full((len(x_0),), t), noise, z))
        losses[f"loss_{t:.1f}"] = float(torch.cat(parts).mean())
    return {"loss": mean(losses.values())} | losses


class Judge:
    """Scores of a model: held-out loss, Fréchet distance, and of a code its neighbours."""

    def __init__(self, train: ImageData, a: Arguments):
        # In random order: the first and the second half of MNIST's test images have other writers.
        test = load_data(train.name, "test")
        test = test.subset(len(test), torch.Generator().manual_seed(0))
        self.arguments, self.data, self.train = a, train, train.subset(10_000)
        self.test = test.subset(a.images)
        self.conditions = test.subset(a.samples)
        self.frechet = a.frechet and train.name == "mnist"
        if self.frechet:
            self.classifier = load_classifier(a.classifier)
            self.real = features(self.classifier, test.batch(slice(2_000, None)))

    def scores(self, model: ScoreModel) -> dict[str, float]:
        z, row = None, held_out(model, self.test)
        if model.config.latent:
            z = encode_in_batches(model, self.conditions)
            codes = encode_in_batches(model, self.train)
            row["knn"] = knn_accuracy(codes, self.train.labels, z, self.conditions.labels)
        if not self.frechet:
            return row
        images, _ = draw(model, z, self.arguments.samples, "heun", 14, seed=0)
        distance = frechet_interval(self.real, features(self.classifier, images))
        return row | dict(zip(("frechet", "frechet_low", "frechet_high"), distance, strict=True))


def done(a: Arguments, *key) -> bool:
    """Whether there is a row that holds all that is asked for."""
    rows = rows_of(a.out, dict(zip(KEY, key, strict=True)))
    if a.frechet:
        scored = rows.frechet.notna() if "frechet" in rows else False
        rows = rows[rows.recipe.str.endswith("CIFAR") | scored]
    return not rows.empty


def main(a: Arguments):
    a.folder.mkdir(parents=True, exist_ok=True)
    judges, runs = {}, 0
    asked = [(name, n, seed) for seed in a.seeds for n in a.seconds for name in a.recipes]
    for name, seconds, seed in asked or PLAN:
        lock = FileLock(a.folder / f"{name}-{seconds}-{seed}.lock".replace("/", "_"), timeout=0)
        try:
            with lock:
                if done(a, name, seconds, seed, a.samples, a.images):
                    continue
                kind = RECIPES[name].data
                judge = judges.setdefault(kind, judges.get(kind) or Judge(load_data(kind), a))
                model, about = trained(name, seconds, seed, judge.data, a)
                row = about | {"samples": a.samples, "images": a.images} | judge.scores(model)
                with FileLock(a.folder / "table.lock"):
                    merge_rows(pd.DataFrame([row]), a.out, KEY)
        except Timeout:
            continue
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        runs += 1
        if runs == a.most:
            return


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
