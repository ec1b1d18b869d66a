"""Mutual information of two arrays, by two denoisers: one of x, one of x that is told y.

    found = estimate(x, y)                         # arrays (points, dimension), or labels y
    found.value, found.standard_error              # nats
    found.spectrum.integral()                      # where it is won back: nats per unit of t
    estimate(images, codes, (plain, conditional))  # by two models that are trained already

For x_τ = x + τ ε the information that y has about x is an integral over the noise levels of the gap
of two least squared errors (I-MMSE: Guo, Shamai and Verdú, 2005),

    I(x_a; y) − I(x_b; y) = ∫_a^b (E ‖x − E[x | x_τ]‖² − E ‖x − E[x | x_τ, y]‖²) / τ³ dτ.

Networks in the place of the two posterior means make it an estimator; Franzese et al. (2024) take
the square of their difference. The errors are those of points that training did not see. The gap is
too small by what the conditional network could still learn, too large by what the other one could:
it is no bound.

Information is the same after an invertible map of x alone, and of y alone, so each coordinate is
replaced by the normal score of its rank, and both arrays are whitened: heavy tails are gone, and a
noise level means the same for all arrays. Ranks are of all points, held-out ones too. That leaks
nothing: they are taken of x without y and of y without x, and of independent x and y every pairing
of the points is as likely after as before.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata
from torch import Generator, Tensor, nn

from scorerep.codes.spectrum import Spectrum, trapezoid_weights
from scorerep.model import ModelConfig, ScoreModel
from scorerep.networks.unet import DenseNetwork
from scorerep.objective import Draws, Losses, Objective, denoising_score_matching
from scorerep.sde import VESDE, LinearSDE
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop
from scorerep.types import Data, Points, checks
from scorerep.types.devices import normal, place_of
from scorerep.worlds.law import Estimate

SDE = VESDE(0.01, 20.0)  # of whitened x: beyond τ = 20 are at most dimension/800 nats
BUDGET = Optimisation(
    iterations=1_500, batch_size=256, learning_rate=3e-3, warmup=100, decay=0.8, ema=0.995
)
OTHER = 0x9E3779B9
LOWEST = 0.01  # noise level at which the integral begins
NULL = 1e-8  # a direction of less than this share of the largest variance follows from the others


@dataclass(frozen=True)
class MutualInformation:
    """What ``estimate`` found; nats throughout."""

    value: float
    """The gap of held-out errors, integrated over the noise levels."""
    standard_error: float
    """Of the held-out points and their noise; what the networks have not learned is not in it."""
    energy: float
    """The same with ‖D(x_τ) − D(x_τ, y)‖² for the gap: they agree if both networks are best."""
    spectrum: Spectrum
    """Nats per unit of t of the noise levels."""
    points: int
    """How many were held out."""


class Pair(nn.Module):
    """Two dense score models of x: ``plain``, and ``given``, which is told y in place of a code.

    Args:
        x: the dimension of x.
        y: the dimension of y.
        channels: hidden widths of each.
        sde: the noise levels.
    """

    def __init__(self, x: int, y: int, channels: tuple[int, ...] = (64, 64), sde: VESDE = SDE):
        super().__init__()
        self.config = ModelConfig(
            image_shape=(x,), channels=channels, latent=0, sigma_data=1.0,
            sigma_min=sde.sigma_min, sigma_max=sde.sigma_max,
        )  # fmt: skip
        self.plain = ScoreModel(self.config)
        self.given = ScoreModel(replace(self.config, latent=y))
        self.given.encoder = self.encoder = None  # its code is not learned: it is y
        for model in (self.plain, self.given):
            he_initialised(model.network)


def he_initialised(network: DenseNetwork) -> DenseNetwork:
    """``network`` with hidden weights after He et al. (2015), which keep the size of what enters.

    The fan-average weights of ``DenseNetwork`` make of two numbers y an embedding of size 0.03, of
    which the part that y and −y have in common is below 0.01: training may never use |y|.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer is not network.out:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return network


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
        total, nothing = plain + given, x.new_zeros(())
        return Losses(total, total.detach(), nothing, nothing)


def estimate(
    x: ArrayLike | Data,
    y: ArrayLike | Data,
    pair: tuple[nn.Module, nn.Module] | None = None,
    held_out: float = 0.2,
    normal_scores: bool = True,
    channels: tuple[int, ...] = (64, 64),
    optimisation: Optimisation = BUDGET,
    levels: int = 40,
    seed: int = 0,
) -> MutualInformation:
    """I(x; y) in nats, of paired points: about 13 s of one core for 10,000 points of few numbers.

    x is put under noise, y is the condition: I is symmetric, the estimate is not, and the other
    order is a check. A dependence sharper than τ = 0.01 of the whitened x is not seen in full. Too
    little is found for spirals, for x on a curve in the plane, and from 25 dimensions on with
    10,000 points (results/mutual_information.csv): the error does not tell, an energy far above
    the value may.

    Args:
        x: (points, ...), what the noise is added to; better the one of fewer dimensions.
        y: (points, ...) numbers, or (points,) whole numbers, which are labels.
        pair: two trained models with ``denoise`` and one ``sde``, without and with y. Nothing is
            trained then, x and y (as z) are taken as they are, and all points are held out.
        held_out: share of the points, in (0, 1), whose errors count; no network is trained on them.
        normal_scores: replace each coordinate by the normal score of its rank before whitening.
        channels: hidden widths of the two dense networks.
        optimisation: their training.
        levels: noise levels of the integral.
        seed: of the split, the weights, the batches and the noise.

    Raises:
        ValueError: x and y of different lengths, of fewer than 20 points, not finite, or constant;
            a pair of two SDEs.
    """
    levels, seed = checks.whole("levels", levels, 2), checks.whole("seed", seed, 0, 2**32 - 1)
    generator = Generator().manual_seed(seed)
    if pair is None:
        rows = [prepared(*named, normal_scores) for named in (("x", x), ("y", y))]
        _same_length(*rows)
        share = checks.number("held_out", held_out, above=0.0)
        if share >= 1:
            raise ValueError(f"held_out must lie in (0, 1), got {held_out}")
        order = torch.randperm(len(rows[0]), generator=generator)
        n = min(max(2, round(share * len(order))), len(order) - 2)
        tested, learned = order[:n], order[n:]
        networks = trained(*(part[learned] for part in rows), channels, optimisation, seed)
        pair, (x, y) = (networks.plain, networks.given), (part[tested] for part in rows)
    else:
        x, y = checks.floating("x", x), torch.as_tensor(y)
        generator.manual_seed(seed ^ OTHER)  # the noise must not be what x was drawn with
        _same_length(x, y)
    plain, given = pair
    sde = plain.sde
    if given.sde != sde:
        raise ValueError(f"pair must be of one SDE, got {plain.sde} and {given.sde}")
    times = np.linspace(float(sde.time_of_level(LOWEST)), 1, levels)
    gap, energy = gaps(plain, given, x, y, sde, times, generator)
    weights, root = torch.tensor(trapezoid_weights(times)), len(x) ** 0.5
    value, error = Estimate.of(gap @ weights)  # of whole points, whose levels are not independent
    spectrum = Spectrum(times, gap.mean(0).numpy(), (gap.std(0) / root).numpy())
    return MutualInformation(value, error, float((energy @ weights).mean()), spectrum, len(x))


@torch.enable_grad()
def trained(
    x: Points, y: Points, channels: tuple[int, ...], optimisation: Optimisation, seed: int
) -> Pair:
    """A ``Pair`` with averaged weights, trained on x and y with ``channels`` and ``optimisation``.

    t is uniform: the gap of the two losses is then the information itself, up to a factor.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = Pair(x.shape[1], y.shape[1], channels)
    objective = _Both(UniformTime(float(SDE.time_of_tau(LOWEST))))
    budget = replace(optimisation, batch_size=min(optimisation.batch_size, len(x)))
    *_, last = training_loop(pair, _Pairs(torch.cat([x, y], 1)), objective, budget, seed)
    return last.averaged.cpu()


@torch.no_grad()
def gaps(
    plain: nn.Module,
    given: nn.Module,
    x: Data,
    y: Data,
    sde: LinearSDE,
    times: np.ndarray,
    generator: Generator | None = None,
    batch: int = 2_000,
) -> tuple[Float[Tensor, "points levels"], Float[Tensor, "points levels"]]:
    """Gap of errors and energy of each point at each noise level: nats per unit of t, float64.

    Args:
        plain: has ``denoise(x_t, t)``.
        given: has ``denoise(x_t, t, y)``.
        sde: of both.
        times: (levels,) t in (0, 1].
    """
    place, found = place_of(plain, x), []
    for t in map(float, times):
        rate = float(0.5 * sde.g2(t) / sde.level(t) ** 4 / sde.alpha(t) ** 2)
        parts, noise = [], normal(x.shape, x, generator)
        for x_0, z, e in zip(*(tensor.split(batch) for tensor in (x, y, noise))):
            x_t = sde.perturb(x_0, t, e).to(*place)
            denoised = plain.denoise(x_t, t), given.denoise(x_t, t, z.to(place.device))
            # float64, where it always is: errors of nearly the same size are subtracted.
            alone, told, clean = (part.cpu().double() for part in (*denoised, x_0))
            gap = (alone - clean).square() - (told - clean).square()
            both = torch.stack([gap, (alone - told).square()])
            parts.append(rate * both.flatten(2).sum(2))
        found.append(torch.cat(parts, 1))
    return tuple(torch.stack(found, 2))


def prepared(name: str, values: ArrayLike | Data, normal_scores: bool = True) -> Points:
    """Normal scores of ``values``, whitened, float32; directions that do not vary are left out.

    Args:
        name: what the values are called in an error.
        values, normal_scores: as for ``estimate``.
    """
    values = torch.as_tensor(values).detach().cpu()
    if values.ndim == 1 and not values.is_floating_point():  # labels
        values = (values[:, None] == values.unique()).double()
    if not values.ndim or len(values) < 20:
        raise ValueError(f"{name} must be of at least 20 points, got {tuple(values.shape)}")
    rows = values.double().reshape(len(values), -1).numpy()
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, but contains NaN or infinity")
    if normal_scores:
        # Strictly increasing on the data, and equal where they are equal. (scikit-learn's
        # QuantileTransformer puts the two end points at ±5.2, however few points there are.)
        rows = norm.ppf((rankdata(rows, axis=0) - 0.5) / len(rows))
    rows = rows - rows.mean(0)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
    if variances[-1] <= 0:
        raise ValueError(f"{name} must vary, but all its points are the same")
    varying = variances > NULL * variances[-1]
    return torch.tensor(rows @ (directions[:, varying] / np.sqrt(variances[varying]))).float()


def _same_length(x: Data, y: Data):
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x and y must have a row a point, and 2 at least: {len(x)}, {len(y)}")
