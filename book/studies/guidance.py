"""Conditional score matching (Eq. 7) against classifier guidance, on MNIST's ten classes.

    python -m book.studies.guidance cost            # processor seconds an iteration; a minute
    python -m book.studies.guidance conditional     # Eq. 7; about 21 minutes of one core
    python -m book.studies.guidance classifier      # p_t(y | x_t); about 2 minutes
    python -m book.studies.guidance samples         # 12 settings of 1 to 4 minutes each
    python -m book.studies.guidance entropy         # of the classifier, against t; a minute

Both trainings go on where they were stopped. The unconditional model is book/checkpoints/fig10. The
conditional one has its network, batch and learning rate, and as many iterations as the seconds of
the unconditional model *and* the classifier allow at the rates that ``cost`` measures. Weights go
to book/checkpoints/guidance-conditional and guidance-classifier, tables to results/guidance.csv and
results/guidance-cost.csv. Samples have the labels of 1,000 test images; rows that are there are
not computed again. A model of labels that was trained with some of them left out (``--free``) adds
classifier-free guidance, one network in two; ``frechet_class`` is the mean of the Fréchet
distances within each class, where lost variety shows.

The plan's seeds go to results/guidance_seeds.csv, the classifier's cross-entropy against t to
results/guidance_entropy.csv.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import tyro

from scorerep import checkpoint, sampling
from scorerep.data import load_data
from scorerep.guidance.classifier import (
    ClassifierConfig,
    CrossEntropy,
    NoisyClassifier,
    fit_classifier,
)
from scorerep.guidance.classifier_free import free_guided_score
from scorerep.guidance.guides import (
    LawClassifier,
    ScoreDifference,
    guided_score,
    load_pair,
)
from scorerep.model import ScoreModel
from scorerep.quality import (
    class_accuracy,
    features,
    frechet_distance,
    frechet_interval,
    load_classifier,
)
from scorerep.runs.fit import fit
from scorerep.runs.paper import at_budget
from scorerep.runs.tables import has_row, merge_rows, write_table
from scorerep.times import UniformTime
from scorerep.training import Optimisation, make_accelerator, training_loop
from scorerep.types import Labels
from scorerep.worlds.empirical import EmpiricalLaw

UNCONDITIONAL = at_budget("fig10", "book")
CONFIG = ClassifierConfig()
BUDGET = Optimisation(
    2_000, batch_size=64, learning_rate=1e-3, warmup=100, ema=0.999, precision="bf16"
)
# An iteration of the classifier takes this share of one of the conditional score's (``cost``).
SHARE = 0.17
CONDITIONAL = replace(
    UNCONDITIONAL,
    name="eq7",
    model=replace(UNCONDITIONAL.model, num_classes=10),
    optimisation=replace(
        UNCONDITIONAL.optimisation,
        iterations=UNCONDITIONAL.optimisation.iterations + round(SHARE * BUDGET.iterations),
    ),
)
LEAST = 0.5  # τ below which the empirical law does not guide: the class is settled by then
SETTINGS = [
    ("held-out digits", 1.0), ("unconditional", 1.0), ("conditional", 1.0),
    ("classifier", 1.0), ("classifier", 2.0), ("classifier", 4.0), ("classifier", 8.0),
    ("score difference", 2.0), ("score difference", 4.0),
    ("empirical law", 1.0), ("empirical law", 2.0), ("empirical law", 4.0),
]  # fmt: skip
KEY = ["route", "scale", "seed", "samples"]  # of the table of samples
FREE = [("classifier-free", scale) for scale in (0.0, 1.0, 2.0, 4.0)]
TIMES = [round(0.05 * i, 2) for i in range(2, 21)]  # at which the classifier is asked


@dataclass(frozen=True)
class Arguments:
    """Train, time or sample."""

    what: Annotated[
        Literal["cost", "conditional", "classifier", "samples", "entropy"], tyro.conf.Positional
    ]
    """Measure a step's cost, train a network, draw and judge samples, or ask the classifier."""
    iterations: int = 0
    """Iterations of the training, or of each timing; 0 for the book's."""
    samples: int = 1_000
    """Samples of each setting."""
    images: int = 20_000
    """Training images of the empirical law."""
    steps: int = 14
    """Steps of Heun's method."""
    seed: int = 0
    """Seed of the training and of the samplers' noise."""
    runs: Path = Path("runs")
    """Where trainings live."""
    checkpoints: Path = Path("book/checkpoints")
    """Where shipped weights are."""
    folder: Path = Path("book/results")
    """Where the tables go."""
    table: str = "guidance.csv"
    """Name of the table of samples."""
    unconditional: Path | None = None
    """Weights without a code; book/checkpoints/fig10 if not given."""
    conditional: Path | None = None
    """Weights of Eq. 7; book/checkpoints/guidance-conditional if not given."""
    classifier: Path | None = None
    """Weights of p_t(y | x_t); book/checkpoints/guidance-classifier if not given."""
    free: Path | None = None
    """Weights of labels with code dropout, for classifier-free guidance; none if not given."""


def train_conditional(a: Arguments):
    experiment = replace(CONDITIONAL, seed=a.seed)
    if a.iterations:
        budget = replace(experiment.optimisation, iterations=a.iterations)
        experiment = replace(experiment, optimisation=budget)
    source = a.runs / "guidance-conditional"
    model = fit(experiment, load_data("mnist", "train"), source)
    card = {k: v for k, v in checkpoint.read_card(source).items() if k != "model"}
    model.save_pretrained(a.checkpoints / "guidance-conditional", torch.float16, **card)


def train_noisy_classifier(a: Arguments):
    budget = replace(BUDGET, iterations=a.iterations) if a.iterations else BUDGET
    source, data = a.runs / "guidance-classifier", load_data("mnist", "train")
    model = fit_classifier(CONFIG, data, budget, source, a.seed)
    card = checkpoint.read_card(source)
    card.pop("noisy_classifier")
    model.save_pretrained(
        a.classifier or a.checkpoints / "guidance-classifier", torch.float16, **card
    )


def measure_cost(a: Arguments):
    """Processor seconds an iteration of each training, in turns, and parameters.

    Unlike a clock's they do not count what else the machine does; one thread, no GPU.
    """
    data, chunk = load_data("mnist", "train"), 5
    rounds = max(1, (a.iterations or 20) // chunk)
    score = CONDITIONAL.objective()
    entries: dict[str, tuple] = {
        "unconditional": (ScoreModel(UNCONDITIONAL.model), score),
        "conditional": (ScoreModel(CONDITIONAL.model), score),
        "classifier": (NoisyClassifier(CONFIG), CrossEntropy(UniformTime())),
    }
    iterations = {
        "unconditional": UNCONDITIONAL.optimisation.iterations,
        "conditional": CONDITIONAL.optimisation.iterations,
        "classifier": BUDGET.iterations,
    }
    loops, seconds = {}, {name: [] for name in entries}
    budget = replace(BUDGET, iterations=(rounds + 1) * chunk)
    accelerator = make_accelerator(budget)
    for name, (model, objective) in entries.items():
        loops[name] = training_loop(model, data, objective, budget, accelerator=accelerator)
    for turn in range(rounds + 1):
        for name, loop in loops.items():
            started = time.process_time()
            for _ in range(chunk):
                next(loop)
            if turn:  # the first round warms up
                seconds[name].append((time.process_time() - started) / chunk)
    rows = []
    for name, (model, _) in entries.items():
        each = float(pd.Series(seconds[name]).median())
        rows.append({
            "route": name, "parameters": sum(p.numel() for p in model.parameters()),
            "iterations": iterations[name], "seconds_each": each,
            "seconds": each * iterations[name],
        })  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    each = table.set_index("route").seconds_each
    print(f"classifier / conditional: {each.classifier / each.conditional:.3f}; SHARE is {SHARE}")
    write_table(table, a.folder / "guidance-cost.csv")


def sample(a: Arguments):
    judge, out = load_classifier(a.checkpoints / "mnist-classifier"), a.folder / a.table
    plain, classifier = load_pair(
        a.unconditional or a.checkpoints / "fig10",
        a.classifier or a.checkpoints / "guidance-classifier",
    )
    conditional = ScoreModel.from_pretrained(
        a.conditional or a.checkpoints / "guidance-conditional"
    )
    # In random order: the first and the second half of MNIST's test images have other writers.
    test = load_data("mnist", "test")
    test = test.subset(len(test), torch.Generator().manual_seed(0))
    real, labels = features(judge, test.batch(slice(2_000, None))), test.labels[: a.samples]
    real_labels = test.labels[2_000:]
    free = ScoreModel.from_pretrained(a.free) if a.free else None
    guides = {"classifier": classifier, "score difference": ScoreDifference(conditional, plain)}

    def score_of(route: str, scale: float, y: Labels) -> sampling.Score:
        if route == "unconditional":
            return plain.score
        if route == "conditional":
            return sampling.condition(conditional, y)
        if route == "classifier-free":
            return free_guided_score(free, y, scale)
        return guided_score(plain, guides[route], y, scale)

    for route, scale in [*SETTINGS, *(FREE if free else ())]:
        # Another process may have written it meanwhile.
        if has_row(out, dict(zip(KEY, (route, scale, a.seed, a.samples), strict=True))):
            continue
        if route == "empirical law" and route not in guides:
            train = load_data("mnist", "train").subset(a.images)
            law = EmpiricalLaw(train.images, train.labels)
            guides[route] = LawClassifier(law, plain.sde, LEAST)
        generator = torch.Generator().manual_seed(a.seed)
        noise = plain.sde.prior_sample(len(labels), *plain.config.image_shape, generator=generator)
        started = time.monotonic()
        if route == "held-out digits":
            images = test.batch(slice(0, a.samples))
        else:
            parts = zip(noise.split(250), labels.split(250), strict=True)
            images = torch.cat([
                sampling.heun(score_of(route, scale, y), plain.sde, x, steps=a.steps)
                for x, y in parts
            ])  # fmt: skip
        seconds = time.monotonic() - started
        row = {"route": route, "scale": scale}
        # Asked for nothing, unconditional samples are right by chance.
        accuracy = class_accuracy(judge, images, labels)
        found = features(judge, images)
        distance = frechet_interval(real, found, seed=a.seed)
        for name, values in (("accuracy", accuracy), ("frechet", distance)):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
        row["frechet_class"] = within_classes(real, real_labels, found, labels)
        row |= {"samples": len(images), "seconds": round(seconds), "seed": a.seed}
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        merge_rows(pd.DataFrame([row]), out, KEY)


def within_classes(real, real_labels, fake, labels) -> float:
    """Mean over classes of the Fréchet distance between features (image, feature) of one class.

    Few samples a class make it larger than 0 for equal laws, too: compare equal numbers.
    """
    return sum(
        frechet_distance(real[real_labels == y], fake[labels == y]) for y in labels.unique()
    ) / len(labels.unique())


@torch.no_grad()
def entropy(a: Arguments):
    """How much the classifier leaves open at each t, in nats, and how often it is right."""
    classifier = NoisyClassifier.from_pretrained(
        a.classifier or a.checkpoints / "guidance-classifier"
    )
    test = load_data("mnist", "test")
    test = test.subset(min(a.samples, len(test)), torch.Generator().manual_seed(a.seed))
    x_0, y, rows = test.floats(), test.labels.long(), []
    for t in TIMES:
        generator = torch.Generator().manual_seed(a.seed)
        noise = torch.randn(x_0.shape, generator=generator)
        log_p = classifier(x_0 + classifier.sde.tau(torch.tensor(t)) * noise, t)
        nats = -log_p.gather(1, y[:, None])[:, 0].double()
        rows.append({
            "t": t, "cross_entropy": float(nats.mean()),
            "standard_error": float(nats.std() / len(nats) ** 0.5),
            "accuracy": float((log_p.argmax(1) == y).double().mean()),
            "images": len(y), "seed": a.seed,
        })  # fmt: skip
    merge_rows(pd.DataFrame(rows), a.folder / "guidance_entropy.csv", ["t", "images", "seed"])


COMMANDS = {
    "cost": measure_cost, "conditional": train_conditional,
    "classifier": train_noisy_classifier, "samples": sample, "entropy": entropy,
}  # fmt: skip


def main(arguments: Arguments):
    COMMANDS[arguments.what](arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
