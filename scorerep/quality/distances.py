"""Distances between features of real images and of samples, by torchmetrics, with intervals."""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from scorerep.types import Images, checks
from scorerep.types.devices import normal

Features = Float[Tensor, "batch features"]


def frechet_distance(real: Features, fake: Features) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½) of two sets of features, by torchmetrics."""
    real, fake = _features(real, fake)
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def frechet_interval(
    real: Features, fake: Features, resamples: int = 200, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The distance and the ends of a bootstrap interval over the fake samples.

    Resampling repeats samples, which adds the same to every distance; the resamples' spread
    is therefore laid about the distance itself.
    """
    resamples, tails = checks.whole("resamples", resamples, 1), _tails(confidence)
    generator = torch.Generator().manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
    real, fake = _features(real, fake)
    value = frechet_distance(real, fake)
    draws = [
        frechet_distance(real, fake[torch.randint(len(fake), (len(fake),), generator=generator)])
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, tails)
    centre = float(np.mean(draws))
    return value, value + float(low) - centre, value + float(high) - centre


def kernel_distance(real: Features, fake: Features, seed: int = 0) -> float:
    """The squared distance of two laws under the kernel (x·y/d + 1)³, by torchmetrics.

    d is the number of features. Unbiased: 0 on average for two samples of one law. Of the larger
    set as many are drawn, with ``seed``, as the smaller one has.
    """
    real, fake = _features(real, fake)
    return float(_kernel_distances(real, fake, min(len(real), len(fake)), 1, seed)[0])


def kernel_interval(
    real: Features,
    fake: Features,
    subsets: int = 100,
    subset_size: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The mean kernel distance of ``subsets`` parts of the two sets, and the ends of an interval.

    Parts are drawn without repetition and have ``subset_size`` images, or half of the smaller set
    if that is less. The distances of parts of m among n vary more than that of the whole does, by
    √(n/m), and miss a share m/n of its variance: their quantiles about the mean are scaled by
    √(m/(n − m)) (subsampling, Politis and Romano, 1994). Both sets count as samples.
    """
    tails, subsets = _tails(confidence), checks.whole("subsets", subsets, 2)
    real, fake = _features(real, fake, least=4)
    n = min(len(real), len(fake))
    m = min(checks.whole("subset_size", subset_size, 2), n // 2)
    draws = _kernel_distances(real, fake, m, subsets, seed)
    value, scale = float(draws.mean()), (m / (n - m)) ** 0.5
    low, high = np.quantile(draws - value, tails) * scale
    return value, value + float(low), value + float(high)


def gaussian_fit(images: Images, n: int, generator: torch.Generator | None = None) -> Images:
    """n draws of one Gaussian with the images' mean and covariance, clamped to [−1, 1]."""
    checks.floating("images", images)
    if len(images) < 2:
        raise ValueError(f"images must be at least 2 for a covariance, got {len(images)}")
    flat = images.flatten(1).cpu().double()
    mean, covariance = flat.mean(0), flat.T.cov()
    values, vectors = torch.linalg.eigh(covariance)
    noise = normal((checks.whole("n", n, 0), len(mean)), flat, generator)
    draws = mean + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return draws.clamp(-1, 1).to(images).unflatten(1, images.shape[1:])


def _features(real: Features, fake: Features, least: int = 2) -> tuple[Tensor, Tensor]:
    """On the CPU in float64: square roots of matrices need it."""
    for name, given in (("real", real), ("fake", fake)):
        checks.floating(name, given)
        if given.ndim != 2 or len(given) < least or given.shape[1] != real.shape[1]:
            raise ValueError(
                f"{name} must be (images, {real.shape[1]}) features of at least {least} images, "
                f"got {tuple(given.shape)}"
            )
    return real.detach().cpu().double(), fake.detach().cpu().double()


def _kernel_distances(real, fake, size: int, subsets: int, seed: int) -> np.ndarray:
    """One of each of ``subsets`` parts of ``size`` images."""
    with warnings.catch_warnings():  # that it keeps the features, as it must
        warnings.simplefilter("ignore", UserWarning)
        metric = KernelInceptionDistance(
            _Given(real.shape[1]), subsets=1, subset_size=size, compute_with_cache=False
        ).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):  # the metric draws from torch's own generator
        torch.manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
        return np.array([float(metric.compute()[0]) for _ in range(subsets)])


def _tails(confidence: float) -> list[float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return [(1 - confidence) / 2, (1 + confidence) / 2]


class _Given(nn.Module):
    """Features that are already there, in the place of a network that makes them."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x
