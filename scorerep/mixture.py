"""Exact worlds, and the first of them: Gaussian mixtures.

From the density and score of x_t = x_0 + τ ε within each class all else follows (``ExactLaw``):
Tweedie's E[x_0 | x_t] = x_t + τ² ∇ log p_t(x_t), the constant C(τ) = E tr Cov(x_0 | x_t) / τ⁴
of Eq. (6), and what labels win back from it, the energy of classifier guidance,
C(τ) − C(τ | y) = E ‖∇ log p_t(y | x_t)‖². Only τ is known here; the SDE stays outside.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from scorerep.types import Data, Labels, Level, Points, Times

Classes = Float[Tensor, "batch classes"]


class Estimate(NamedTuple):
    """A Monte Carlo mean and its standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, values: Times) -> "Estimate":
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


class ClassMoments(NamedTuple):
    """What x_t says within each class, in float64; x is flattened to d coordinates."""

    log_joint: Classes  # log p_t(x_t, y) in nats
    scores: Float[Tensor, "batch classes dimension"]  # ∇ log p_t(x_t | y)
    variances: Classes  # tr Cov(x_0 | x_t, y)


class ExactLaw(ABC):
    """A law of x_0 whose posterior given x_t is known: ``GaussianMixture``, ``EmpiricalLaw``.

    Everywhere x is ``(batch, *shape)`` of any floating dtype, which results keep; τ is a float,
    a scalar or ``(batch,)``; y is an int or ``(batch,)`` and conditions on the class.
    ``ValueError``: another shape, τ out of range, an unknown class, no labels where needed.
    """

    shape: tuple[int, ...]  # of one x_0
    class_prior: Float[Tensor, " classes"]  # p(y)
    labelled: bool = True

    @abstractmethod
    def sample(self, n: int, generator: Generator | None = None) -> tuple[Data, Labels]:
        """n draws of x_0 and y."""

    @abstractmethod
    def class_moments(self, x: Data, tau2: Times) -> ClassMoments:
        """The moments that all else follows from; x and τ² ``(batch,)`` have been checked."""

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
        return (x + shift.reshape(x.shape)).to(x)

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
        means = x.flatten(1)[:, None] + tau2[:, None, None] * m.scores
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
        if n < 2 or not 0 < tau < math.inf:
            raise ValueError(f"n must be at least 2 and tau positive, got n={n} and tau={tau}")
        x_0, _ = self.sample(n, generator)
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)
        return self._posterior(x_0 + tau * noise, tau)[:2]

    def _posterior(self, x: Data, tau: Level, y: Labels | int | None = None):
        """Moments, weights of the classes (p_t(y | x_t), or 1 for the y that is given), and τ²."""
        if x.shape[1:] != self.shape or not x.is_floating_point():
            wanted = ("batch", *self.shape)
            raise ValueError(f"x must be floating {wanted}, got {x.dtype} {tuple(x.shape)}")
        tau = _one_or_each("tau", torch.as_tensor(tau, dtype=torch.float64, device=x.device), x)
        if not bool(((tau >= 0) & tau.isfinite()).all()):
            raise ValueError(f"tau must not be negative or infinite, got {tau}")
        m = self.class_moments(x, tau.square())
        if y is None:
            return m, m.log_joint.softmax(1), tau.square()
        self._need_classes(1)
        y, k = _one_or_each("y", torch.as_tensor(y, device=x.device), x), len(self.class_prior)
        if y.is_floating_point() or bool(((y < 0) | (y >= k)).any()):
            raise ValueError(f"y must be integers in 0..{k - 1}, got {y}")
        return m, one_hot(y.long(), k).double(), tau.square()

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


def _one_or_each(name: str, value: Tensor, x: Data) -> Tensor:
    if value.shape not in ((), (len(x),)):
        raise ValueError(f"{name} must be a scalar or ({len(x)},), got {tuple(value.shape)}")
    return value.expand(len(x))


class GaussianMixture(ExactLaw):
    """Σ_k w_k N(m_k, Σ_k) in d dimensions, each component belonging to one class.

    Args:
        weights: (K,) positive, with sum 1.
        means: (K, d). Draws have its dtype (float64 for lists); all else is done in float64.
        covariances: (K, d, d); or (K,) variances, or one, of isotropic components. Where one is
            singular, τ must be positive.
        labels: (K,) class of each component, from 0 up; by default each is a class of its own.
    """

    def __init__(self, weights, means, covariances, labels=None):
        self.dtype = means.dtype if isinstance(means, Tensor) else torch.float64
        self.means, self.weights, covariances = (
            torch.as_tensor(value, dtype=torch.float64) for value in (means, weights, covariances)
        )
        if self.means.ndim != 2 or 0 in self.means.shape:
            raise ValueError(f"means must be (components, d), got {tuple(self.means.shape)}")
        k, d = self.means.shape
        self.shape = (d,)
        one = float(self.weights.sum())
        if self.weights.shape != (k,) or not (self.weights.min() > 0 and abs(one - 1) < 1e-5):
            raise ValueError(f"weights must be {k} positive numbers of sum 1, got {self.weights}")
        self.weights = self.weights / one
        if covariances.shape not in ((), (k,), (k, d, d)):
            shapes = f"({k},) or ({k}, {d}, {d}), got {tuple(covariances.shape)}"
            raise ValueError(f"covariances must be a number, {shapes}")
        # One eigendecomposition: Σ_k + τ² I is diagonal in the same basis at every τ.
        self.variances, self.basis, symmetric = covariances.reshape(-1, 1), None, True
        if covariances.ndim == 3:
            symmetric = torch.allclose(covariances, covariances.mT, atol=1e-6)
            self.variances, self.basis = torch.linalg.eigh(covariances)
        if not symmetric or not bool((self.variances >= -1e-9).all()):
            raise ValueError("covariances must be symmetric and positive semidefinite")
        self.variances = self.variances.clamp(min=0).expand(k, d)
        self.labels = torch.as_tensor(range(k) if labels is None else labels).long()
        classes = self.labels.unique().tolist()
        if self.labels.shape != (k,) or classes != list(range(len(classes))):
            raise ValueError(f"labels must be {k} integers covering 0, 1, …, got {self.labels}")
        self.class_prior = one_hot(self.labels).double().T @ self.weights

    def sample(self, n: int, generator: Generator | None = None) -> tuple[Points, Labels]:
        """n draws of x_0 and y."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)
        x_0 = self.variances[component].sqrt() * noise
        for k in range(len(self.weights) if self.basis is not None else 0):
            x_0[component == k] = x_0[component == k] @ self.basis[k].T
        return (self.means[component] + x_0).to(self.dtype), self.labels[component]

    def class_moments(self, x: Points, tau2: Times) -> ClassMoments:
        """The moments within classes, from those of the components."""
        offset, spread = x[:, None] - self.means, self.variances + tau2[:, None, None]
        if not bool((spread > 0).all()):
            raise ValueError("tau must be positive: a covariance of this mixture is singular")
        if self.basis is not None:
            offset = torch.einsum("bki,kij->bkj", offset, self.basis)
        log_density = -0.5 * (offset.square() / spread + torch.log(2 * math.pi * spread)).sum(2)
        scores = -offset / spread
        if self.basis is not None:
            scores = torch.einsum("bkj,kij->bki", scores, self.basis)
        variances = (self.variances * tau2[:, None, None] / spread).sum(2)
        members = torch.where(one_hot(self.labels).T > 0, self.weights, 0).log()  # (classes, K)
        by_class = members + log_density[:, None]
        log_joint = by_class.logsumexp(2)
        weights = (by_class - log_joint[..., None]).exp()  # p(component | x_t, y)
        means = weights @ scores
        second = (weights @ scores.square().sum(2)[..., None])[..., 0]
        within = (weights @ variances[..., None])[..., 0]
        between = tau2[:, None] ** 2 * (second - means.square().sum(2))
        return ClassMoments(log_joint, means, within + between)


def ring(components: int = 8, radius: float = 1.0, std: float = 0.15) -> GaussianMixture:
    """Equal round components on a circle in the plane, each a class."""
    angles = 2 * math.pi * torch.arange(components, dtype=torch.float64) / components
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    return GaussianMixture([1 / components] * components, means, std**2)


def labelled_quartet() -> GaussianMixture:
    """Four overlapping elongated components in the plane, two for each of two classes."""
    means = [[-0.7, 0.5], [0.6, 0.7], [-0.5, -0.6], [0.7, -0.5]]
    narrow, wide = [[0.06, -0.03], [-0.03, 0.12]], [[0.15, 0.05], [0.05, 0.08]]
    return GaussianMixture([0.3, 0.2, 0.25, 0.25], means, [wide, narrow] * 2, [0, 1, 1, 0])
