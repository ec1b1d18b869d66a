"""Laws of codes, fitted to those of a data set: with one, a model with a code needs no image.

mixture_prior    a Gaussian mixture by scikit-learn: for a few numbers
flow_prior       a score model of the codes, sampled by its probability flow: for many

Both have ``sample(n, generator)`` and ``log_prob(z)`` in nats. Held-out codes can decide between
the two: the better law gives them the larger mean log p(z).
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.mixture import GaussianMixture as Fitted
from torch import Generator, Tensor

from scorerep import sampling
from scorerep.likelihood import log_likelihood
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.times import log_normal_sigma
from scorerep.training import Optimisation, training_loop
from scorerep.types import Codes, Times, checks
from scorerep.types.devices import normal
from scorerep.worlds.mixture import GaussianMixture

COMPONENTS = (1, 2, 5, 10, 20, 40)


class Whitened:
    """Codes as z = m + L u, u with mean 0 and covariance I: what both priors are laws of."""

    def __init__(self, codes: Tensor):
        self.mean, covariance = codes.mean(0), codes.T.cov().reshape(codes.shape[1], -1)
        values = torch.linalg.eigvalsh(covariance)
        if float(values[0]) <= 1e-10 * float(values[-1]):
            raise ValueError("codes must vary in every direction: their covariance is singular")
        self.root = torch.linalg.cholesky(covariance)
        self.log_volume = float(self.root.diagonal().log().sum())

    def there(self, z: Tensor) -> Tensor:
        """u of z, both float64."""
        return torch.linalg.solve_triangular(self.root, (z - self.mean).T, upper=False).T

    def back(self, u: Tensor) -> Codes:
        """z of u, as float32."""
        return (self.mean + u.double() @ self.root.T).float()


class MixturePrior:
    """Σ_k w_k N(m_k, Σ_k), a ``law`` of whitened codes."""

    def __init__(self, law: GaussianMixture, whitened: Whitened):
        self.law, self.whitened = law, whitened

    def sample(self, n: int, generator: Generator | None = None) -> Codes:
        """n codes, float32, on the CPU."""
        return self.whitened.back(self.law.sample(n, generator)[0])

    def log_prob(self, z: Codes) -> Times:
        """log p(z) in nats, shape ``(batch,)``."""
        u = self.whitened.there(_codes("z", z, len(self.whitened.mean)))
        return (self.law.log_prob(u) - self.whitened.log_volume).to(z)


class FlowPrior:
    """The probability flow of a score ``model`` of whitened codes."""

    def __init__(self, model: ScoreModel, whitened: Whitened):
        self.model, self.whitened = model, whitened

    def sample(self, n: int, generator: Generator | None = None) -> Codes:
        """n codes, float32, on the CPU; Heun, 18 steps."""
        n, d = checks.whole("n", n, 0), len(self.whitened.mean)
        x_1 = float(self.model.sde.tau(1.0)) * normal((n, d), torch.zeros(0), generator)
        return self.whitened.back(sampling.heun(self.model.score, self.model.sde, x_1))

    def log_prob(self, z: Codes, tolerance: float = 1e-4) -> Times:
        """log p(z) in nats, shape ``(batch,)``; ``tolerance`` is that of the flow's solver."""
        u = self.whitened.there(_codes("z", z, len(self.whitened.mean))).float()
        found = log_likelihood(self.model.score, self.model.sde, u, tolerance=tolerance)
        return (found - self.whitened.log_volume).to(z)


def mixture_prior(
    codes: ArrayLike, components: int | Sequence[int] = COMPONENTS, seed: int = 0
) -> MixturePrior:
    """A Gaussian mixture with full covariances, fitted to ``codes`` by expectation maximisation.

    Args:
        components: how many; of several numbers the one with the least BIC.
    """
    z = _codes("codes", codes)
    counts = [components] if isinstance(components, int) else list(components)
    counts = [checks.whole("components", count, 1) for count in counts]
    if not counts or (counts := [count for count in counts if count <= len(z)]) == []:
        raise ValueError(f"components must be at most the {len(z)} codes, got {components}")
    seed, whitened = checks.whole("seed", seed, 0, 2**32 - 1), Whitened(z)
    u = whitened.there(z).numpy()
    fits = [Fitted(count, reg_covar=1e-4, random_state=seed).fit(u) for count in counts]
    best = min(fits, key=lambda fit: fit.bic(u))
    # A component that has died is one of weight 0, which no law has.
    alive = best.weights_ > 1e-12
    weights = best.weights_[alive] / best.weights_[alive].sum()
    law = GaussianMixture(weights, best.means_[alive], best.covariances_[alive])
    return MixturePrior(law, whitened)


def flow_prior(
    codes: ArrayLike,
    iterations: int = 1_000,
    batch_size: int = 256,
    channels: Sequence[int] = (128, 128, 128),
    seed: int = 0,
) -> FlowPrior:
    """A dense score network of the codes, trained by denoising score matching (Eq. 5) with Muon.

    Noise levels are log-normal about 0.3 standard deviations of the codes, where their shape is
    decided. With Adam and uniform t the fitted law stays a Gaussian for thousands of steps.

    Args:
        channels: hidden widths of its layers.
    """
    z = _codes("codes", codes)
    seed, whitened = checks.whole("seed", seed, 0, 2**32 - 1), Whitened(z)
    config = ModelConfig(
        image_shape=(z.shape[1],), channels=tuple(channels), latent=0, dropout=0.0,
        sigma_data=1.0, sigma_max=20.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # initial weights come from torch's own stream
        torch.manual_seed(seed)
        model = ScoreModel(config)
    optimisation = Optimisation(
        checks.whole("iterations", iterations, 1), batch_size=min(batch_size, len(z)),
        optimizer="muon", learning_rate=3e-3, warmup=20, ema=0.99, decay=0.5,
    )  # fmt: skip
    data = _Points(whitened.there(z).float())
    objective = Objective(log_normal_sigma(model.sde, 0.3, 1.2))
    loop = training_loop(model, data, objective, optimisation, seed)
    state = deque(loop, maxlen=1).pop()  # the last one
    return FlowPrior(state.averaged.cpu(), whitened)


class _Points:
    """Codes as a data set for the training loop."""

    def __init__(self, points: Tensor):
        self.points = points

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, indices: Tensor) -> Tensor:
        return self.points[indices]

    def to(self, device) -> "_Points":
        return _Points(self.points.to(device))


def _codes(name: str, codes: ArrayLike, latent: int | None = None) -> Tensor:
    """As float64 on the CPU: a covariance wants it."""
    codes = codes if isinstance(codes, Tensor) else torch.as_tensor(np.asarray(codes))
    checks.floating(name, codes, None if latent is None else (latent,))
    if codes.ndim != 2 or latent is None and len(codes) < 2:
        raise ValueError(f"{name} must be (images, latent) of at least 2, got {tuple(codes.shape)}")
    return codes.detach().cpu().double()
