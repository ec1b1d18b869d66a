"""Train an experiment in stages, and a row of scores at each: how a code comes about.

    for row in train_in_stages(experiment, folder, judge): ...

A stage is a number of steps. The run stops there, is scored, and goes on as if it had not. Scored
are the codes (beside an untrained encoder's, PCA's and, in colour, brightness and background) and,
at the last stage, samples (beside held-out images and draws of one Gaussian). A killed run goes
on; a stage whose row was given is not given again.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from scorerep import checkpoint
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.stage_scores import Judge
from scorerep.training import Optimisation

STAGES = (
    250, 500, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000, 15_000, 20_000, 30_000, 40_000,
    60_000, 80_000,
)  # fmt: skip
KEY = ["run", "t", "seed", "code", "frozen", "iterations", "images", "samples"]
"""What tells one row from another: two runs of the same name, t and seed are the same run."""


def train_in_stages(
    experiment: Experiment,
    folder: Path,
    judge: Judge,
    samples: int = 0,
    start: Path | None = None,
    stages: Sequence[int] = STAGES,
    written: Sequence[int] = (),
    save_every: float = 120.0,
) -> Iterator[list[dict]]:
    """Train, or go on; gives the rows of each stage as soon as it is reached.

    The first rows are those of the untrained encoder and of PCA; the last ones also have scores
    of samples. Rows are to be stored before the next ones are asked for.

    Args:
        samples: how many to draw at the end; 0 for no such scores.
        start: a folder of weights to begin with, instead of random ones.
        stages: steps at which to score, as far as the run has them; its last step always is one.
        written: stages whose rows are there already; 0 is that of the untrained encoder.
    """
    total = experiment.optimisation.total_iterations
    for stage in [0, *(s for s in sorted(stages) if s < total), total]:
        if stage in written or 0 < stage < steps_done(folder):
            continue
        if stage == 0:
            yield baselines(experiment, judge)
            continue
        if steps_done(folder) < stage:
            fit(experiment, judge.train, folder, save_every, False, start=start, stop_after=stage)
        model, card = averaged(folder)
        scored = {**judge.codes(model), "samples": 0}
        rows = [
            {**about(experiment, judge), "code": "trained", **measured(experiment, judge, card)}
        ]
        if stage == total and samples:
            scored |= judge.samples(model, samples)
            rows += judge.floor_and_ceiling(samples)
        rows[0] |= scored
        yield rows


def steps_done(folder: Path) -> int:
    """Steps of the last saved state, 0 without one. The card may be older: it is written last."""
    path = folder / "training.safetensors"
    return int(checkpoint.read_tensors(path)[1]["step"]) if path.exists() else 0


def averaged(folder: Path) -> tuple[ScoreModel, dict]:
    """The averaged model of a run's last saved state, and its card, from that one file."""
    tensors, metadata = checkpoint.read_tensors(folder / "training.safetensors")
    card = json.loads(metadata["card"])
    experiment = checkpoint.from_json(Experiment, card["experiment"])
    model = ScoreModel(experiment.model)
    model.load_state_dict(
        {k.removeprefix("ema."): v for k, v in tensors.items() if k.startswith("ema.")}
    )
    return model.eval(), card


def baselines(experiment: Experiment, judge: Judge) -> list[dict]:
    """What codes score without training: the encoder at its first step, PCA, and colours."""
    if not experiment.model.latent:
        return []
    known = about(experiment, judge) | {"iterations": 0, "samples": 0}
    torch.manual_seed(experiment.seed)  # as in ``fit``
    untrained = ScoreModel(experiment.first_phase().model)
    return [
        {**known, "code": "untrained", **judge.codes(untrained)},
        {**known, "code": "PCA", **judge.pca(experiment.model.latent)},
        *({**known, "code": "colours", **colours} for colours in judge.colours()),
    ]


def about(experiment: Experiment, judge: Judge) -> dict:
    """Columns that say what a run is."""
    optimisation = experiment.optimisation
    return {
        "run": experiment.name, "data": experiment.data, "classes": len(judge.test.classes),
        "times": experiment.times,
        "t": experiment.single_t if experiment.times == "single_t" else None,
        "regulariser": experiment.regulariser, "latent": experiment.model.latent,
        "network": experiment.model.network, "optimizer": made_by(optimisation),
        "precision": optimisation.precision, "batch": optimisation.batch_size,
        "draws": experiment.draws_per_image, "frozen": optimisation.frozen_iterations,
        "total": optimisation.total_iterations,
        "seed": experiment.seed,
        "images": judge.images if experiment.model.latent else 0,
    }  # fmt: skip


def made_by(optimisation: Optimisation) -> str:
    """The optimiser in words: "adam", "muon", or "muon for blocks"."""
    if optimisation.optimizer == "muon" and optimisation.muon_for == "blocks":
        return "muon for blocks"
    return optimisation.optimizer


def measured(experiment: Experiment, judge: Judge, card: dict) -> dict:
    """Columns of how far a run is by its ``card``: epochs, seconds of training, matching loss."""
    done = card["iterations_done"]
    # The last tenth: a single entry is the mean over few images.
    recent = [entry for entry in card["losses"] if entry["step"] > 0.9 * done]
    losses = [entry["matching"] for entry in recent or card["losses"][-1:]]
    return {
        "iterations": done,
        "epochs": done * experiment.optimisation.batch_size / len(judge.train),
        "seconds": card["seconds"],
        "matching": sum(losses) / len(losses) if losses else None,
    }
