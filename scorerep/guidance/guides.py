"""Classifier guidance (Section 2.1): what steers an unconditional score to a class.

    ∇ log p_t(x_t | y) = ∇ log p_t(x_t) + ∇ log p_t(y | x_t)

Three guides give the last term: ``NoisyClassifier``, a network trained on x_t by cross-entropy;
``LawClassifier``, exact on a mixture or on the empirical law of a data set, and free of training;
``ScoreDifference`` of a conditional and an unconditional score model (classifier-free guidance).

    score = guided_score(model, guide, y, scale=2.0)
    x_0 = sampling.heun(score, model.sde, model.sde.prior_sample(len(y), 1, 28, 28))

With a scale other than 0 and 1 the sum is in general not the score of a diffused law.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from scorerep import checkpoint
from scorerep.guidance.classifier import NoisyClassifier
from scorerep.model import ScoreModel
from scorerep.sampling import Score
from scorerep.sde import VESDE, expand_as, need_ve
from scorerep.types import Data, Labels, Level, Times, checks
from scorerep.types.devices import named_device
from scorerep.worlds.law import ExactLaw


@runtime_checkable
class Guide(Protocol):
    """Whatever gives ∇ log p_t(y | x_t) for data of one shape under one SDE."""

    sde: VESDE
    image_shape: tuple[int, ...]

    def gradient(self, x_t: Data, t: Level, y: Labels) -> Data:
        """Of the shape, dtype and device of x_t; t one number or ``(batch,)``, y alike."""


class LawClassifier:
    """∇ log p_t(y | x_t) of a law whose posterior is known: nothing is trained.

    Args:
        law: of two classes or more.
        least: no guidance below this τ. The empirical law of a data set has by then picked one
            of its images, and its gradient only pulls towards an image of the class.
    """

    def __init__(self, law: ExactLaw, sde: VESDE, least: float = 0.0):
        if not law.labelled or len(law.class_prior) < 2:
            raise ValueError("guidance needs a law with labels of at least two classes")
        self.law, self.sde, self.image_shape = law, need_ve(sde, "LawClassifier"), tuple(law.shape)
        self.least = checks.number("least", least, least=0.0)

    def gradient(self, x_t: Data, t: Level, y: Labels) -> Data:
        """Exact: the class's posterior mean less the mean of all, over τ²."""
        checks.floating("x_t", x_t, self.image_shape, finite=False)
        tau = self.sde.tau(checks.one_or_each("t", t, x_t, torch.float64))
        y = checks.labels("y", y, x_t, len(self.law.class_prior))
        near = tau >= self.least  # the others need no law, which may be the larger cost
        if not bool(near.all()):
            guide = torch.zeros_like(x_t)
            if bool(near.any()):
                guide = guide.index_put((near,), self._gradient(x_t[near], tau[near], y[near]))
            return guide
        return self._gradient(x_t, tau, y)

    def _gradient(self, x_t: Data, tau: Times, y: Labels) -> Data:
        if not bool((tau > 0).all()):
            raise ValueError("t must be positive: at t = 0 there is no guidance")
        means, weights = self.law.class_means(x_t.double(), tau)
        own = means[torch.arange(len(x_t), device=means.device), y]
        mean = (weights[:, None] @ means.flatten(2))[:, 0].view_as(own)
        return ((own - mean) / expand_as(tau.square(), own)).to(x_t)


class ScoreDifference:
    """s(x_t, t, y) − s(x_t, t) of two score models: what the first implies about p_t(y | x_t)."""

    def __init__(self, conditional: ScoreModel, unconditional: ScoreModel):
        if not conditional.config.num_classes:
            raise ValueError("conditional must be a model of labels: its num_classes is 0")
        _check_unconditional(unconditional)
        _check_fit(conditional.sde, conditional.config.image_shape, unconditional)
        self.conditional, self.unconditional = conditional, unconditional
        self.sde, self.image_shape = conditional.sde, tuple(conditional.config.image_shape)

    def gradient(self, x_t: Data, t: Level, y: Labels) -> Data:
        """The difference of the two scores."""
        return self.conditional.score(x_t, t, y) - self.unconditional.score(x_t, t)


def guided_score(
    model: ScoreModel | Score, guide: Guide, y: Labels | None, scale: float = 1.0
) -> Score:
    """(x_t, t) -> ∇ log p_t(x_t) + scale · ∇ log p_t(y | x_t), for any sampler.

    Args:
        model: an unconditional score model, or a function (x_t, t) -> score.
        y: the label of each image of the batch, or one for all of them.
        scale: a finite number; 0 does not guide.

    Raises:
        ValueError: no labels; a model of another SDE or shape than the guide's, or with a code.
    """
    if y is None:
        raise ValueError("y must be given: without labels there is nothing to guide to")
    if not isinstance(guide, Guide):
        raise TypeError(
            f"guide must have sde, image_shape and gradient(x_t, t, y), got {type(guide).__name__}"
        )
    scale = checks.number("scale", scale)
    score = model
    if isinstance(model, ScoreModel):
        _check_unconditional(model)
        _check_fit(guide.sde, guide.image_shape, model)
        score = model.score
    y = torch.as_tensor(y)

    def guided(x_t: Data, t: Level) -> Data:
        return score(x_t, t) + scale * guide.gradient(x_t, t, checks.labels("y", y, x_t))

    return guided


def load_pair(
    model: str | Path, classifier: str | Path, device: torch.device | str = "cpu"
) -> tuple[ScoreModel, NoisyClassifier]:
    """A score model and a classifier from their folders, trained on the same data.

    ``ValueError`` if their cards name other data, another SDE or another shape.
    """
    sums = [checkpoint.read_card(Path(f)).get("data_checksum") for f in (model, classifier)]
    if None in sums or sums[0] != sums[1]:
        raise ValueError(f"{model} and {classifier} were trained on different data: {sums}")
    device = named_device(device)
    pair = tuple(
        kind.from_pretrained(folder, device)
        for kind, folder in ((ScoreModel, model), (NoisyClassifier, classifier))
    )
    _check_fit(pair[1].sde, pair[1].image_shape, pair[0])
    return pair


def _check_unconditional(model: ScoreModel):
    if model.config.num_classes or model.config.latent:
        raise ValueError("guidance adds to an unconditional score, but this model is conditional")


def _check_fit(sde: VESDE, image_shape: tuple[int, ...], model: ScoreModel):
    if sde != model.sde:
        raise ValueError(f"the guide's SDE {sde} is not the score model's {model.sde}")
    if tuple(image_shape) != tuple(model.config.image_shape):
        raise ValueError(
            f"the guide is for data of shape {tuple(image_shape)}, the score model for "
            f"{tuple(model.config.image_shape)}"
        )
