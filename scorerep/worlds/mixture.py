"""Gaussian mixtures with labels: densities, scores and posteriors of x_t in closed form."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from scorerep.types import Labels, Points, Times, checks
from scorerep.types.devices import normal
from scorerep.worlds.law import ClassMoments, ExactLaw


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
            torch.as_tensor(value, dtype=torch.float64).cpu()
            for value in (means, weights, covariances)
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
        self.labels = torch.as_tensor(range(k) if labels is None else labels).long().cpu()
        classes = self.labels.unique().tolist()
        if self.labels.shape != (k,) or classes != list(range(len(classes))):
            raise ValueError(f"labels must be {k} integers covering 0, 1, …, got {self.labels}")
        self.class_prior = one_hot(self.labels).double().T @ self.weights
        self.device = torch.device("cpu")

    def sample(self, n: int, generator: Generator | None = None) -> tuple[Points, Labels]:
        """n draws of x_0 and y."""
        n = checks.whole("n", n, 0)
        where = self.device if generator is None else generator.device
        component = torch.multinomial(
            self.weights.to(where), max(n, 1), replacement=True, generator=generator
        )[:n].to(self.device)
        noise = normal((n, *self.shape), self.means, generator)
        x_0 = self.variances[component].sqrt() * noise
        for k in range(len(self.weights) if self.basis is not None else 0):
            x_0[component == k] = x_0[component == k] @ self.basis[k].T
        return (self.means[component] + x_0).to(self.dtype), self.labels[component]

    def covariance(self) -> Float[Tensor, "dimension dimension"]:
        """Cov(x_0): of the components, and between their means."""
        weighted = self.weights[:, None] * self.variances
        within = torch.diag(weighted.sum(0))
        if self.basis is not None:
            within = torch.einsum("kij,kj,klj->il", self.basis, weighted, self.basis)
        offsets = self.means - self.weights @ self.means
        return within + offsets.T @ (self.weights[:, None] * offsets)

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
    """Equal round components on a circle of a ``radius`` in the plane, each a class.

    ``std`` is a component's standard deviation in each direction.
    """
    angles = 2 * math.pi * torch.arange(components, dtype=torch.float64) / components
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    return GaussianMixture([1 / components] * components, means, std**2)


def labelled_quartet() -> GaussianMixture:
    """Four overlapping elongated components in the plane, two for each of two classes."""
    means = [[-0.7, 0.5], [0.6, 0.7], [-0.5, -0.6], [0.7, -0.5]]
    narrow, wide = [[0.06, -0.03], [-0.03, 0.12]], [[0.15, 0.05], [0.05, 0.08]]
    return GaussianMixture([0.3, 0.2, 0.25, 0.25], means, [wide, narrow] * 2, [0, 1, 1, 0])
