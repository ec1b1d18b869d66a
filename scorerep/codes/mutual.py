"""Mutual information of two arrays, by two denoisers: one of x, one of x that is told y.

    found = estimate(x, y, seed=0)                 # (points, dimension) each, or labels y
    found.value, found.standard_error              # nats
    found.spectrum                                 # at which noise levels of x it is won back

For the noisy x_τ = x + τ ε the information that y has about x is an integral of gaps of least
squared errors (I-MMSE: Guo, Shamai and Verdú, 2005),

    I(x_a; y) − I(x_b; y) = ∫_a^b [mmse(x | x_τ) − mmse(x | x_τ, y)] / τ³ dτ

which with networks in place of the two least errors is the estimator of Franzese et al. (2024),
read as a difference of losses. The losses are of held-out points: the gap then lies below the truth
by what the second network could still learn, and above it by what the first one could.

Information is the same after any invertible map of x alone and of y alone. So each coordinate is
replaced by its normal scores (heavy tails and cusps are gone), and x and y are whitened.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata
from torch import Generator, Tensor, nn

from scorerep.codes.spectrum import Spectrum, trapezoid_weights
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Draws, Losses, Objective, denoising_score_matching
from scorerep.sde import VESDE, need_ve
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop
from scorerep.types import Points, checks
from scorerep.types.devices import normal, place_of

SDE = VESDE(0.01, 20.0)  # of whitened data: what is beyond 20 is at most dimension/800 nats
BUDGET = Optimisation(
    iterations=2_000, batch_size=512, learning_rate=2e-3, warmup=100, decay=0.8, ema=0.995
)
LEVELS = 40
NULL = 1e-8  # directions whose share of the variance is below this are functions of the others


@dataclass(frozen=True)
class MutualInformation:
    """What ``estimate`` found, in nats."""

    value: float
    """The gap of held-out denoising errors, integrated over the noise levels."""
    standard_error: float
    """Of the held-out points and their noise alone; the networks' own errors are not in it."""
    energy: float
    """The same by ‖D(x_τ) − D(x_τ, y)‖² in place of the gap: it agrees if both networks are best."""
    spectrum: Spectrum
    """Nats per unit of t."""
    pair: nn.Module
    """The two networks: ``plain`` and ``given``."""


class Pair(nn.Module):
    """Two dense score models of x: ``plain``, and ``given`` y in the place of a code.

    Args:
        x, y: their dimensions.
        channels: hidden widths of both.
        sde: the noise levels.
    """

    def __init__(self, x: int, y: int, channels: tuple[int, ...] = (128, 128), sde: VESDE = SDE):
        super().__init__()
        self.config = ModelConfig(
            image_shape=(x,), channels=channels, latent=0, sigma_data=1.0,
            sigma_min=sde.sigma_min, sigma_max=sde.sigma_max,
        )  # fmt: skip
        self.plain = ScoreModel(self.config)
        self.given = ScoreModel(replace(self.config, latent=y))
        self.given.encoder = None  # its code is not learned: it is y
        self.encoder = None


@dataclass(frozen=True)
class _Pairs:
    """Rows of x and y side by side, to train on."""

    rows: Points

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor) -> Points:
        return self.rows[indices]

    def to(self, device) -> "_Pairs":
        return _Pairs(self.rows.to(device))


class _Both(Objective):
    """Eq. (4) of x plus Eq. (7) of x given y, with the same noise."""

    def __call__(self, model: Pair, x_0: Points, draws: Draws, y=None) -> Losses:
        d = model.config.image_shape[0]
        x, y, noise = x_0[:, :d], x_0[:, d:], draws.noise[:, :d]
        plain = denoising_score_matching(model.plain, x, draws.t, noise).mean()
        given = denoising_score_matching(model.given, x, draws.t, noise, y).mean()
        total = plain + given
        return Losses(total, total.detach(), x.new_zeros(()), x.new_zeros(()))


def whitened(x: np.ndarray, scores: bool = True) -> np.ndarray:
    x = np.asarray(x, float)
    if scores:
        x = norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
    keep = values > NULL * values.max()
    return x @ vectors[:, keep] / np.sqrt(values[keep])


def train(x, y, budget, channels, seed, sde=SDE):
    torch.manual_seed(seed)
    pair = Pair(x.shape[1], y.shape[1], channels, sde)
    t_min = float(sde.time_of_tau(sde.sigma_min))
    for state in training_loop(pair, _Pairs(torch.cat([x, y], 1)), _Both(UniformTime(t_min)), budget, seed):
        pass
    return state.averaged


@torch.no_grad()
def gaps(pair, x, y, sde, times, generator):
    v, e = [], []
    for t in times:
        t = float(t)
        tau2 = float(sde.tau(t)) ** 2
        rate = 0.5 * float(sde.g2(t)) / tau2**2
        x_t = sde.perturb(x, t, normal(x.shape, x, generator))
        a, b = pair.plain.denoise(x_t, t), pair.given.denoise(x_t, t, y)
        gap = (a - x).square() - (b - x).square()
        v.append(rate * gap.sum(1).double())
        e.append(rate * (a - b).square().sum(1).double())
    return torch.stack(v, 1), torch.stack(e, 1)


def estimate(x, y, seed=0, budget=BUDGET, channels=(128, 128), scores=True, sde=SDE):
    x, y = (torch.tensor(whitened(a, scores), dtype=torch.float32) for a in (x, y))
    g = Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=g)
    n = len(x) // 5
    held, rest = order[:n], order[n:]
    pair = train(x[rest], y[rest], budget, channels, seed, sde)
    t0 = float(sde.time_of_tau(sde.sigma_min))
    times = np.linspace(t0, 1, LEVELS)
    w = torch.tensor(trapezoid_weights(times))
    out = {}
    for name, idx in (("held", held), ("train", rest[:n])):
        v, e = gaps(pair, x[idx], y[idx], sde, times, g)
        out[name] = (float((v @ w).mean()), float((v @ w).std() / n**0.5), float((e @ w).mean()))
    return out
