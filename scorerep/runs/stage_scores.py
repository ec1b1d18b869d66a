"""What is scored at a stage of a run: codes and, at the end, samples, each beside its baselines."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from scorerep import sampling
from scorerep.codes.scores import encode_in_batches
from scorerep.data import ImageData, load_data
from scorerep.data.sources import CLASSES
from scorerep.model import ScoreModel
from scorerep.types import Images, Labels


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

    def classes_of(self, test: ImageData) -> tuple[Labels, list[int]]:
        """Of each image, and all there are in ``test``, as the classifier of all counts."""
        known = {name: i for i, name in enumerate(CLASSES[self.name])}
        of_test = [known[name] for name in test.classes]
        return torch.tensor(of_test)[test.labels.long()], of_test

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

        Fréchet and kernel distance, the share the classifier is sure of and, if the images
        have the codes or labels of ``asked``, the share with their class, among the classes of
        ``asked``; 95 % intervals.
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
            scores["own_class"] = class_accuracy(classifier, images, *self.classes_of(asked))
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
