"""Every run of the book that is still to come, in order of value per core-hour.

    make runs              # python -m scorerep queue work: takes the next, goes on where it was
    make runs-status       # the list: what each decides, its hours, how far it is

A line says what a run decides and how many core-hours it should take on this machine. Rows go to
results/runs.csv, finished weights to checkpoints/. ``schedule`` is the one place for the recipe.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import (
    BOOK,
    JOINT,
    PAPER,
    at_budget,
    muon_schedule,
    then_frozen,
    with_latent,
)
from scorerep.runs.queue import Plan, Run
from scorerep.training import Optimisation

SEEDS = (0, 1, 2)
MNIST_LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)
CIFAR_LEVELS = (0.2, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)
MARKS = {"kl": "KL", "l1": "L1"}


def schedule(iterations: int, **changes) -> Optimisation:
    """How most runs below are trained: by Muon, so far the cheapest in results/recipe_quality.csv.

    Where an encoder learns, its regulariser comes in over the first fifth, and Muon has the blocks
    alone. With Muon for all and 500 steps two L1 codes of CIFAR-10 were lost (28 November 2026,
    ``early_penalty``).
    """
    warmup = {"regulariser_warmup": iterations // 5, "muon_for": "blocks"} if iterations else {}
    return muon_schedule(iterations, **(warmup | changes))


def unet(figure: str, name: str, seed: int, optimisation: Optimisation, **changes) -> Experiment:
    """A figure of the paper with the book's U-Net: its data, code, regulariser, density of t."""
    cifar = PAPER[figure].data == "cifar10"
    budget = replace(BOOK["fig2cd"] if cifar else JOINT, optimisation=optimisation)
    return replace(budget.of(PAPER[figure]), name=name, seed=seed, **changes)


def cheap() -> Iterator[Run]:
    """(a) Next to no training."""
    yield Run(
        "pairs-partners", "Figure 10: does the own code win against partners of the same class?",
        hours=0.3, study=(
            "book.studies.pairs", "book/checkpoints/fig3", "book/checkpoints/fig9",
            "--partners", "other", "same", "--out", "book/results/pairs_partners.csv",
        ),
    )  # fmt: skip
    yield Run(
        "cifar10-classifier", "The classifier that judges samples of CIFAR-10.", hours=0.1, study=(
            "book.studies.image_classifier", "--data", "cifar10", "--iterations", "4000",
        ),
    )  # fmt: skip
    yield Run(
        "cifar-quality", "CIFAR-10: how far are samples of the shipped weights from photographs?",
        hours=0.12, needs=("cifar10-classifier",), study=("book.studies.cifar_quality",),
    )  # fmt: skip
    yield Run(
        "penalty", "Eq. (8) beside other learners: does its L1 penalty cost accuracy?", hours=0.5,
        study=(
            "book.studies.representations", "--latents", "16", "--without-penalty",
            "--learners", "score, uniform σ", "score, single t", "score, uniform t",
            "--folder", "{runs}/penalty/runs", "--out", "book/results/representations_penalty.csv",
        ),
    )  # fmt: skip
    yield Run(
        "seed-codes", "Figures 3 and 7: do codes of other seeds look alike? Which penalty kills?",
        hours=0.25, study=("book.studies.seed_codes", "--folder", "{runs}/seed-codes/runs"),
    )  # fmt: skip
    for seed in SEEDS:
        yield Run(
            f"burden-s{seed}", "Section 1.2 on MNIST: do λ and σ_max come out the same by seed?",
            hours=0.45, study=(
                "book.studies.burden", "lambda", "sigma_max", "--seeds", str(seed),
                "--out", "book/results/burden_seeds.csv",
            ),
        )  # fmt: skip


def frozen() -> Iterator[Run]:
    """(b) The score network on, with the shipped encoder frozen: codes stay, samples improve."""
    for figure, what in {
        "fig2ab": "L1", "fig5": "KL", "fig11-4": "4 numbers", "fig11-8": "8 numbers",
        "fig11-16": "16 numbers",
    }.items():  # fmt: skip
        experiment = at_budget(figure, "book")
        if experiment.encoder_phase is None:  # weights that have had their first phase only
            experiment = replace(then_frozen(JOINT).of(PAPER[figure]), name=figure)
        yield Run(
            f"frozen-{figure}",
            f"Do samples of one code ({what}, uniform t) look like digits after a frozen phase?",
            hours=0.6,
            experiment=experiment,
            start=Path("book/checkpoints") / figure, samples=1_000, ships=figure,
        )  # fmt: skip
    # Its encoder was learned with a dense score network: that phase is not repeated.
    experiment = at_budget("fig7", "book")
    yield Run(
        "frozen-fig7", "Do samples of Figure 7's code (L1, uniform σ) look like digits?", hours=0.6,
        experiment=replace(experiment, optimisation=schedule(0, frozen_iterations=10_000)),
        start=Path("book/checkpoints/fig7"), samples=1_000, ships="fig7",
    )  # fmt: skip


def frozen_longer() -> Iterator[Run]:
    """(b) Two models whose samples are further than 50 from digits: they go on from there."""
    for figure in ("fig2ab", "fig5"):
        experiment = at_budget(figure, "book")
        yield Run(
            f"frozen-{figure}-longer",
            "Do samples come nearer than a Fréchet distance of 50 in 30,000 further steps?",
            hours=1.5, needs=(f"frozen-{figure}",),
            experiment=replace(experiment, optimisation=schedule(0, frozen_iterations=30_000)),
            start=Path("book/checkpoints") / figure, samples=1_000, ships=figure,
        )  # fmt: skip


def noise_or_network() -> Iterator[Run]:
    """(c) All four cells of one seed first: a partial queue compares them."""
    for seed in SEEDS:
        for figure, times in (("fig3", "σ"), ("fig5", "t"), ("fig7", "σ"), ("fig2ab", "t")):
            # Ran before the recipe above was known: one recipe for all twelve, so like for like.
            optimisation = schedule(6_000, batch_size=64, regulariser_warmup=500, muon_for="all")
            high = {"proposal": "log_normal"} if times == "σ" else {}
            code = MARKS[PAPER[figure].regulariser]
            experiment = unet(figure, f"{figure}-unet", seed, optimisation, **high)
            yield Run(
                f"{figure}-unet-s{seed}",
                f"Does the noise move the class in, not the network? U-Net, {code}, {times}",
                hours=0.65, experiment=experiment, samples=0 if high else 1_000,
            )  # fmt: skip
    names = [f"{f}-unet-s{s}" for s in SEEDS for f in ("fig3", "fig5", "fig7", "fig2ab")]
    yield Run(
        "steered-codes", "Figures 2b, 3b, 5b and 7b with one network: what do the codes look like?",
        hours=0.01, needs=tuple(names),
        study=("book.studies.run_codes", *(f"{{runs}}/{name}" for name in names)),
    )  # fmt: skip


def levels(figure: str, times: tuple[float, ...], hours: float, name: str) -> Iterator[Run]:
    """(d), (f) Every level of one seed first."""
    for seed in SEEDS:
        for t in times:
            optimisation = schedule(5_000, warmup=100)
            experiment = unet(figure, f"{figure}-unet", seed, optimisation, single_t=t)
            yield Run(
                f"{figure}-unet-t{t:g}-s{seed}",
                f"{name}: what does a code hold that a U-Net learns at t = {t:g} alone?",
                hours, experiment,
            )  # fmt: skip


def three_classes() -> Iterator[Run]:
    """(e) Three seeds for the numbers, then one long run each for the pictures."""
    for seed in SEEDS:
        for figure in ("fig2cd", "fig6"):
            experiment = unet(figure, figure, seed, schedule(10_000))
            code = MARKS[experiment.regulariser]
            yield Run(
                f"{figure}-s{seed}", f"CIFAR-10, three classes, {code}: does the code beat PCA?",
                hours=0.95, experiment=experiment, samples=1_000, needs=("cifar10-classifier",),
            )  # fmt: skip
    for figure in ("fig2cd", "fig6"):
        experiment = unet(figure, f"{figure}-long", 0, schedule(40_000))
        yield Run(
            f"{figure}-long", "CIFAR-10, three classes: are there objects in a grid of samples?",
            hours=3.7, experiment=experiment, samples=1_000, ships=figure,
            needs=("cifar10-classifier",),
        )  # fmt: skip


def three_class_codes() -> Iterator[Run]:
    """(e) The codes of the six runs of ``three_classes``, image by image."""
    names = [f"{figure}-s{seed}" for seed in SEEDS for figure in ("fig2cd", "fig6")]
    yield Run(
        "three-class-codes", "Figures 2d and 6b at three seeds: what do the codes look like?",
        hours=0.01, needs=tuple(names), study=(
            "book.studies.run_codes", *(f"{{runs}}/{name}" for name in names),
            "--attributes", "brightness", *(f"background_{c}" for c in ("red", "green", "blue")),
            "--out", "book/results/three_class_codes.csv",
        ),
    )  # fmt: skip


def early_penalty() -> Iterator[Run]:
    """(e) Why the regulariser comes in over a fifth of a run: here over 500 steps, Muon for all."""
    for seed in SEEDS:
        optimisation = schedule(10_000, regulariser_warmup=500, muon_for="all")
        yield Run(
            f"fig2cd-early-s{seed}", "CIFAR-10, three classes: does a lost code come back?",
            hours=0.95, experiment=unet("fig2cd", "fig2cd-early", seed, optimisation),
        )  # fmt: skip


def sizes_of_codes() -> Iterator[Run]:
    """(g) Figure 11 at length; then the spread of samples of one code, seed by seed."""
    figures = ("fig2ab", "fig11-4", "fig11-8", "fig11-16")
    for seed in SEEDS:
        names = [f"{figure}-long-s{seed}" for figure in figures]
        for figure, name in zip(figures, names, strict=True):
            optimisation = schedule(10_000, batch_size=64)
            experiment = unet(figure, figure, seed, optimisation)
            yield Run(
                name, f"Figure 11: what do {experiment.model.latent} numbers hold in the end?",
                hours=1.05, experiment=experiment, samples=1_000,
            )  # fmt: skip
        yield Run(
            f"diversity-s{seed}", "Figure 11: do samples of one code vary less, the larger it is?",
            hours=0.2, needs=tuple(names), study=(
                "book.studies.diversity", *(f"{{runs}}/{name}" for name in names),
                "--components", "2", "16", "--out", "book/results/diversity_seeds.csv",
            ),
        )  # fmt: skip


def ten_classes() -> Iterator[Run]:
    """(h) Both encoders of one seed first."""
    for seed in SEEDS:
        for figure in ("fig8", "fig9"):
            experiment = unet(figure, figure, seed, schedule(10_000))
            code = MARKS[experiment.regulariser]
            yield Run(
                f"{figure}-s{seed}", f"CIFAR-10, ten classes, {code}: is brightness what it holds?",
                hours=0.9, experiment=experiment,
            )  # fmt: skip


def other_learners() -> Iterator[Run]:
    """(i) Ten minutes for each of 36 trainings a seed; Eq. (8) with and without its penalty."""
    for seed in SEEDS:
        yield Run(
            f"learners-s{seed}", "At ten minutes each, does a score model's code beat other codes?",
            hours=6.2, study=(
                "book.studies.representations", "--seeds", str(seed), "--latents", "2", "16",
                "--without-penalty", "--seconds", "600",
                "--folder", "{runs}/representations",
                "--out", "book/results/representations_long.csv",
            ),
        )  # fmt: skip


def guidance() -> Iterator[Run]:
    """(j) Eq. (7) and the classifier of Section 2.1 at the cost of each other, seed by seed."""
    plain = schedule(10_000, batch_size=64)
    # As many steps more as the noisy classifier costs: book/studies/guidance.py, SHARE.
    labelled = replace(plain, iterations=10_340)
    for seed in SEEDS:
        unconditional = unet("fig10", "fig10", seed, plain)
        model = replace(unconditional.model, num_classes=10)
        conditional = replace(unconditional, name="eq7", model=model, optimisation=labelled)
        dropped = replace(model, code_dropout=0.1)
        free = replace(conditional, name="eq7-dropout", model=dropped)
        yield Run(
            f"fig10-s{seed}", "MNIST without a code: how good are samples after long training?",
            hours=0.95, experiment=unconditional, samples=1_000,
        )  # fmt: skip
        yield Run(
            f"eq7-s{seed}", "MNIST with labels (Eq. 7): how good are samples after long training?",
            hours=1.0, experiment=conditional, samples=1_000,
        )  # fmt: skip
        yield Run(
            f"eq7-dropout-s{seed}", "The same with a tenth of the labels left out, at equal cost.",
            hours=1.0, experiment=free, samples=1_000,
        )  # fmt: skip
        common = ("--seed", str(seed), "--classifier", f"{{runs}}/noisy-classifier-s{seed}/weights")
        yield Run(
            f"noisy-classifier-s{seed}", "The classifier p_t(y | x_t) that guidance needs.",
            hours=0.1, study=(
                "book.studies.guidance", "classifier", *common,
                "--runs", f"{{runs}}/noisy-classifier-s{seed}",
            ),
        )  # fmt: skip
        yield Run(
            f"classifier-entropy-s{seed}", "What does the classifier leave open at each t?",
            hours=0.03, needs=(f"noisy-classifier-s{seed}",),
            study=("book.studies.guidance", "entropy", *common),
        )  # fmt: skip
        trained = {"unconditional": "fig10", "conditional": "eq7", "free": "eq7-dropout"}
        yield Run(
            f"guidance-s{seed}", "Does guidance reach the classes that Eq. (7) reaches?",
            hours=0.7,
            needs=(*(f"{run}-s{seed}" for run in trained.values()), f"noisy-classifier-s{seed}"),
            study=(
                "book.studies.guidance", "samples", *common, "--table", "guidance_seeds.csv",
                *(w for k, run in trained.items() for w in (f"--{k}", f"{{runs}}/{run}-s{seed}")),
            ),
        )  # fmt: skip


def codes_of_time() -> Iterator[Run]:
    """(k) With the U-Net, two processor hours each."""
    for seed in SEEDS:
        name = f"time-codes-s{seed}"
        yield Run(
            name, "A code for every t, with a U-Net: the training.", hours=2.0, study=(
                "book.studies.time_codes", "train", "--network", "unet", "--seconds", "7200",
                "--seed", str(seed), "--folder", f"{{runs}}/{name}",
                "--out", f"{{runs}}/{name}/weights",
            ),
        )  # fmt: skip
        yield Run(
            f"{name}-probe", "Does a code of t hold the stroke at low noise, the class at high?",
            hours=0.1, needs=(name,), study=(
                "book.studies.time_codes", "probe", "--folder", f"{{runs}}/{name}/weights",
                "--out", "book/results/time_codes_unet.csv",
            ),
        )  # fmt: skip


def larger_codes() -> Iterator[Run]:
    """(l) Codes of 32 and 64 numbers at the budget of the shipped ones; then their spread."""
    names = []
    for latent in (32, 64):
        experiment = JOINT.of(with_latent(PAPER["fig11-16"], latent))
        experiment = replace(experiment, name=f"code-{latent}")
        names.append(experiment.name)
        yield Run(
            names[-1], f"Beyond Figure 11: what do {latent} numbers leave open?",
            hours=0.35, experiment=experiment,
        )  # fmt: skip
    yield Run(
        "diversity-larger", "Beyond Figure 11: do samples of one code of 32 and 64 numbers agree?",
        hours=0.05, needs=tuple(names),
        study=("book.studies.diversity", *(f"{{runs}}/{name}" for name in names)),
    )  # fmt: skip


PLAN = Plan(
    runs=(
        *cheap(),
        *frozen(),
        *larger_codes(),
        *noise_or_network(),
        *levels("fig4-mnist", MNIST_LEVELS, 0.3, "Figure 4, MNIST"),
        *three_classes(),
        *three_class_codes(),
        *frozen_longer(),
        *levels("fig4-cifar", CIFAR_LEVELS, 0.43, "Figure 4, CIFAR-10"),
        *sizes_of_codes(),
        *ten_classes(),
        *other_learners(),
        *guidance(),
        *codes_of_time(),
        *early_penalty(),
    )
)


def at_paper(budget: str = "paper") -> Iterator[Run]:
    """The paper's own budgets, for a GPU: Figures 3 and 2, the sweep of Figure 4, CIFAR-10."""
    levels = [("fig4-mnist", t) for t in (0.7, 0.4, 1.0, 0.6, 0.8, 0.2, 0.9, 0.65, 0.5, 0.75, 0.3)]
    for figure, t in [("fig3", None), ("fig2ab", None), *levels, ("fig2cd", None), ("fig6", None)]:
        experiment = at_budget(figure, budget)
        fast = {"precision": "bf16", "compile": True} if budget == "paper" else {}
        level = {} if t is None else {"single_t": t}
        name = f"{figure}-{budget}"
        yield Run(
            name if t is None else f"{name}-t{t:g}",
            f"{figure} at the paper's own budget: what does the book's smaller one miss?",
            hours=0.3 if figure != "fig3" else 0.6,  # of a GPU
            experiment=replace(
                experiment, name=name, **level,
                optimisation=replace(experiment.optimisation, **fast),
            ),
            samples=1_000 if t is None and experiment.data == "mnist" else 0,
            ships=name if t is None else "", most_mb=16.0,
        )  # fmt: skip


AT_PAPER = Plan(runs=tuple(at_paper()))
ON_GPU = replace(AT_PAPER, scored=False)  # that machine trains, this one scores
TRIAL = replace(ON_GPU, runs=tuple(at_paper("smoke"))[:4])
