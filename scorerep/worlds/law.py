"""What every exact world shares: from moments within a class to scores, constants and guidance.

From the density and score of x_t = x_0 + τ ε within each class all else follows (``ExactLaw``):
Tweedie's E[x_0 | x_t] = x_t + τ² ∇ log p_t(x_t), the constant C(τ) = E tr Cov(x_0 | x_t) / τ⁴
of Eq. (6), and what labels win back from it, the energy of classifier guidance,
C(τ) − C(τ | y) = E ‖∇ log p_t(y | x_t)‖². Only τ is known here; the SDE stays outside.
"""

import copy
import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from scorerep.types import Data, Labels, Level, Points, Times, checks
from scorerep.types.devices import named_device, normal

Classes = Float[Tensor, "batch classes"]


class Estimate(NamedTuple):
    """A Monte Carlo mean and its standard error."""

    value: float  #: the mean over draws, in the units of what is averaged
    standard_error: float  #: of that mean

    @classmethod
    def of(cls, values: Times) -> "Estimate":
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


class ClassMoments(NamedTuple):
    """What x_t says within each class, in float64; x is flattened to d coordinates."""

    log_joint: Classes  #: log p_t(x_t, y) in nats
    scores: Float[Tensor, "batch classes dimension"]  #: ∇ log p_t(x_t | y)
    variances: Classes  #: tr Cov(x_0 | x_t, y)


class ExactLaw(ABC):
    """A law of x_0 whose posterior given x_t is known: ``GaussianMixture``, ``EmpiricalLaw``.

    Everywhere x is ``(batch, *shape)`` of any floating dtype and device, which results keep; τ is
    a float, a scalar or ``(batch,)``; y is an int or ``(batch,)`` and conditions on the class. All
    is computed in float64 on the law's own ``device``: move it with ``to``.
    ``ValueError``: another shape, τ out of range, an unknown class, no labels where needed.
    """

    shape: tuple[int, ...]  #: of one x_0
    class_prior: Float[Tensor, " classes"]  #: p(y)
    labelled: bool = True  #: whether its items have classes
    device: torch.device = torch.device("cpu")  #: of its tensors: where all is computed

    def to(self, device: torch.device | str) -> "ExactLaw":
        """The same law on another device; draws are made there, results follow their x."""
        other = copy.copy(self)
        other.__dict__.update(_moved(vars(self), named_device(device)))
        other.device = named_device(device)
        return other

    @abstractmethod
    def sample(self, n: int, generator: Generator | None = None) -> tuple[Data, Labels]:
        """n draws of x_0 and y."""

    @abstractmethod
    def class_moments(self, x: Data, tau2: Times) -> ClassMoments:
        """The moments that all else follows from; x and τ² ``(batch,)`` have been checked."""

    @abstractmethod
    def covariance(self) -> Float[Tensor, "dimension dimension"]:
        """Cov(x_0), of the flattened x_0."""

    def log_prob(self, x: Data, tau: Level = 0.0, y: Labels | int | None = None) -> Times:
        """log p_t(x), or log p_t(x | y), in nats."""
        m, weights, _ = self._posterior(x, tau, y)
        log_p = m.log_joint if y is None else m.log_joint - self.class_prior.log()
        return torch.where(weights > 0, log_p, -math.inf).logsumexp(1).to(x)

    def score(self, x: Data, tau: Level, y: Labels | int | None = None) -> Data:
        """∇ log p_t(x), or ∇ log p_t(x | y)."""
        m, weights, _ = self._posterior(x, tau, y)
        return _average(m.scores, weights).reshape(x.shape).to(x)

    def guidance_score(self, x: Data, tau: Level, y: Labels | int) -> Data:
        """∇ log p_t(y | x_t) = ∇ log p_t(x_t | y) − ∇ log p_t(x_t)  (Section 2.1)."""
        return (self.score(x.double(), tau, y) - self.score(x.double(), tau)).to(x)

    def posterior_mean(self, x: Data, tau: Level, y: Labels | int | None = None) -> Data:
        """E[x_0 | x_t], or E[x_0 | x_t, y]: the best denoiser."""
        m, weights, tau2 = self._posterior(x, tau, y)
        shift = tau2[:, None] * _average(m.scores, weights)
        return (x.to(shift) + shift.reshape(x.shape)).to(x)

    def posterior_variance(self, x: Data, tau: Level, y: Labels | int | None = None) -> Times:
        """tr Cov(x_0 | x_t), or tr Cov(x_0 | x_t, y)."""
        m, weights, tau2 = self._posterior(x, tau, y)
        return ((weights * m.variances).sum(1) + tau2**2 * _energy(m, weights)).to(x)

    def class_posterior(self, x: Data, tau: Level) -> Classes:
        """p_t(y | x_t), the time-dependent classifier of Section 2.1."""
        self._need_classes(1)
        return self._posterior(x, tau)[1].to(x)

    def class_means(self, x: Data, tau: Level) -> tuple[Data, Classes]:
        """E[x_0 | x_t, y] for every y, ``(batch, classes, *shape)``, and p_t(y | x_t)."""
        self._need_classes(1)
        m, weights, tau2 = self._posterior(x, tau)
        means = x.to(m.scores).flatten(1)[:, None] + tau2[:, None, None] * m.scores
        return means.unflatten(2, self.shape).to(x), weights.to(x)

    def constant(
        self, tau: float, n: int, generator: Generator | None = None, conditional: bool = False
    ) -> Estimate:
        """C(τ) = E tr Cov(x_0 | x_t) / τ⁴ (Eq. 6), or C(τ | y), from n draws of x_t; τ > 0.

        The *sum* over the d coordinates, as in the paper's ‖·‖². This package's loss, a mean with
        λ = τ², has the minimum τ² C(τ) / d. The variances are exact: only the draws of x_t err.
        One seed gives the same x_t here and in ``guidance_energy``.
        """
        self._need_classes(1 if conditional else 0)
        m, weights = self._draw(tau, n, generator)
        values = (weights * m.variances).sum(1) / tau**4
        return Estimate.of(values if conditional else values + _energy(m, weights))

    def guidance_energy(self, tau: float, n: int, generator: Generator | None = None) -> Estimate:
        """E ‖∇ log p_t(y | x_t)‖² from n draws of x_t, exact over y given x_t; τ > 0."""
        self._need_classes(2)
        return Estimate.of(_energy(*self._draw(tau, n, generator)))

    def _draw(self, tau: float, n: int, generator: Generator | None):
        n, tau = checks.whole("n", n, 2), checks.number("tau", tau, above=0.0)
        x_0, _ = self.sample(n, generator)
        return self._posterior(x_0 + tau * normal(x_0.shape, x_0, generator), tau)[:2]

    def _posterior(self, x: Data, tau: Level, y: Labels | int | None = None):
        """Moments, weights of the classes (p_t(y | x_t), or 1 for the y that is given), and τ²."""
        x = checks.floating("x", x, self.shape).to(self.device, torch.float64)
        tau = checks.one_or_each("tau", tau, x, torch.float64)
        if not bool(((tau >= 0) & tau.isfinite()).all()):
            raise ValueError(f"tau must not be negative or infinite, got {tau}")
        m = self.class_moments(x, tau.square())
        if y is None:
            return m, m.log_joint.softmax(1), tau.square()
        self._need_classes(1)
        k = len(self.class_prior)
        return m, one_hot(checks.labels("y", y, x, k), k).double(), tau.square()

    def _need_classes(self, least: int) -> None:
        found = len(self.class_prior) if self.labelled else 0
        if found < least:
            raise ValueError(f"labels of {least} or more classes are needed, this law has {found}")


def _average(scores: Float[Tensor, "batch classes dimension"], weights: Classes) -> Points:
    return (weights[:, None] @ scores)[:, 0]


def _energy(m: ClassMoments, weights: Classes) -> Times:
    # Variance of the class's score. Times τ⁴: of the class's mean, in the law of total variance.
    guidance = m.scores - _average(m.scores, weights)[:, None]
    return (weights * guidance.square().sum(2)).sum(1)


def _moved(parts: dict, device: torch.device) -> dict:
    return {name: part.to(device) for name, part in parts.items() if isinstance(part, Tensor)}
