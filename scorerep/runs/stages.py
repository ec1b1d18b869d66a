"""Train an experiment in stages, and a row of scores at each: how a code comes about.

    for row in train_in_stages(experiment, folder, judge): ...

A stage is a number of steps. The run stops there, is scored, and goes on as if it had not. Scored
are the codes (beside an untrained encoder's, PCA's and, in colour, brightness and background) and,
at the last stage, samples (beside held-out images and draws of one Gaussian). A killed run goes
on; a stage whose row was given is not given again.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch

from scorerep import checkpoint, sampling
from scorerep.codes.scores import encode_in_batches
from scorerep.data import ImageData, load_data
from scorerep.data.sources import CLASSES
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.types import Images, Labels

STAGES = (
    250, 500, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000, 15_000, 20_000, 30_000, 40_000,
    60_000, 80_000,
)  # fmt: skip
KEY = ["run", "t", "seed", "code", "frozen", "iterations", "images", "samples"]
"""What tells one row from another: two runs of the same name, t and seed are the same run."""


class Judge:
    """Scores of models of one data set: codes, and samples where a classifier knows the images.

    Args:
        data, classes: as an experiment's.
        classifier: folder of the classifier of all classes of ``data`` that judges samples; None
            for no such scores.
        most: training images that probes are fitted on, and test images they are scored on.
    """

    def __init__(
        self, data: str, classes: Sequence[str] = (), classifier: Path | None = None,
        most: int = 10_000,
    ):  # fmt: skip
        self.name, self.most, self.classifier_folder = data, most, classifier
        self.train, self.test = (load_data(data, s, classes or None) for s in ("train", "test"))

    @property
    def images(self) -> int:
        """Test images that codes are scored on."""
        return min(self.most, len(self.test))

    @cached_property
    def scorer(self):
        # Its attributes need scikit-image, which training does not.
        from scorerep.runs.sweep import Scorer

        return Scorer(self.train, self.test, self.most)

    def codes(self, model: ScoreModel) -> dict[str, float]:
        """``Scorer.model`` and the largest standard deviation of a coordinate; {} of no code."""
        if not model.config.latent:
            return {}
        train, test = (encode_in_batches(model, d) for d in (self.scorer.train, self.scorer.test))
        return {**self.scorer.codes(train, test), "code_std_max": float(test.std(0).max())}

    def colours(self) -> list[dict[str, float]]:
        """Brightness and the background's three colours as a code, for pictures in colour."""
        names = [c for c in self.scorer.attributes[0] if c.startswith(("background", "brightness"))]
        if len(names) < 4:
            return []
        return [dict(self.scorer.codes(*(a[names].to_numpy() for a in self.scorer.attributes)))]

    def pca(self, latent: int) -> dict[str, float]:
        return dict(self.scorer.pca(latent))

    @cached_property
    def _quality(self):
        """Classifier, its features of real images, and the images whose codes are sampled."""
        from scorerep.quality import features, load_classifier

        classifier = load_classifier(self.classifier_folder)
        # In random order: the first and the second half of MNIST's test images have other writers.
        test = self.test.subset(len(self.test), torch.Generator().manual_seed(0))
        # The first ones are sampled from; the others are what samples should be like.
        first = max(len(test) // 5, min(1_000, len(test) // 3))
        real = features(classifier, test.batch(slice(first, None)))
        return classifier, real, test.subset(first)

    def classes_of(self, test: ImageData) -> Labels:
        """The classes of ``test``, which may be some of a data set's, as the classifier counts."""
        known = {name: i for i, name in enumerate(CLASSES[self.name])}
        return torch.tensor([known[name] for name in test.classes])[test.labels.long()]

    def samples(self, model: ScoreModel, count: int, steps: int = 14) -> dict[str, float]:
        """Scores of ``count`` samples by Heun's method, with the codes or labels of test images.

        Fewer where there are fewer such images.
        """
        *_, test = self._quality
        test = test.subset(min(count, len(test)))
        count, z = len(test), None
        if model.config.latent:
            z = encode_in_batches(model, test)
        elif model.config.num_classes:
            z = test.labels
        generator = torch.Generator().manual_seed(0)
        noise = model.sde.prior_sample(count, *model.config.image_shape, generator=generator)
        parts = []
        for i in range(0, count, 250):
            score = model.score if z is None else sampling.condition(model, z[i : i + 250])
            parts.append(sampling.heun(score, model.sde, noise[i : i + 250], steps=steps))
        return self.quality(torch.cat(parts), None if z is None else test)

    def quality(self, images: Images, asked: ImageData | None = None) -> dict[str, float]:
        """How near ``images`` are to other test images, in the classifier's features.

        Fréchet and kernel distance, the share of images that it is sure of and, if the images
        have the codes or labels of ``asked``, the share with their class; 95 % intervals.
        """
        from scorerep.quality import (
            class_accuracy,
            features,
            frechet_interval,
            kernel_interval,
            sure_share,
        )

        classifier, real, _ = self._quality
        found = features(classifier, images)
        scores = {
            "frechet": frechet_interval(real, found), "kernel": kernel_interval(real, found),
            "sure": sure_share(classifier, images),
        }  # fmt: skip
        if asked is not None:
            scores["own_class"] = class_accuracy(classifier, images, self.classes_of(asked))
        ends = ("", "_low", "_high")
        named = {
            f"{name}{end}": value
            for name, values in scores.items()
            for end, value in zip(ends, values, strict=True)
        }
        return named | {"samples": len(images)}

    def floor_and_ceiling(self, count: int) -> list[dict]:
        """Of ``count`` held-out images and draws of one Gaussian: samplers should lie between."""
        from scorerep.quality import gaussian_fit

        *_, test = self._quality
        test = test.subset(min(count, len(test)))
        some = self.train.subset(min(20_000, len(self.train))).floats()
        drawn = gaussian_fit(some, len(test), torch.Generator().manual_seed(0))
        part = len(test.classes) < len(CLASSES[self.name])
        name = f"{self.name}-{len(test.classes)}" if part else self.name
        about = {"run": name, "seed": 0, "frozen": 0, "iterations": 0, "images": 0}
        return [
            {**about, "code": "held-out images", **self.quality(test.floats(), test)},
            {**about, "code": "Gaussian fit", **self.quality(drawn, test)},
        ]


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
        "network": experiment.model.network, "optimizer": optimisation.optimizer,
        "precision": optimisation.precision, "batch": optimisation.batch_size,
        "draws": experiment.draws_per_image, "frozen": optimisation.frozen_iterations,
        "seed": experiment.seed,
        "images": judge.images if experiment.model.latent else 0,
    }  # fmt: skip


def measured(experiment: Experiment, judge: Judge, card: dict) -> dict:
    """Columns of how far a run is by its ``card``: epochs, seconds of training, matching loss."""
    done = card["iterations_done"]
    # The last tenth: a single entry is the mean over few images.
    losses = [entry["matching"] for entry in card["losses"] if entry["step"] > 0.9 * done]
    return {
        "iterations": done,
        "epochs": done * experiment.optimisation.batch_size / len(judge.train),
        "seconds": card["seconds"],
        "matching": sum(losses) / len(losses) if losses else None,
    }
