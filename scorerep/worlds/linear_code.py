"""A linear encoder and denoiser, trained: what ``LinearGaussian`` solves exactly."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from scorerep.objective import denoising_score_matching
from scorerep.sde import VESDE, need_ve
from scorerep.types import Codes, Level, Points, Scalar, checks
from scorerep.types.devices import normal
from scorerep.worlds.linear_gaussian import LinearGaussian


class LinearCode(nn.Module):
    """Encoder z = A x_0 and denoiser D(x_t, z) = W x_t + U z at a single t, in float64.

    It computes where its weights are, in their precision, and has what ``Objective`` asks of a
    model; ``encoder.weight`` is A, drawn with ``generator``.
    ``ValueError`` unless t is in (0, 1] and ``latent`` in 1..dimension.
    """

    def __init__(
        self, sde: VESDE, t: float, dimension: int, latent: int, generator: Generator | None = None
    ):
        super().__init__()
        if not 0 < t <= 1:
            raise ValueError(f"t must lie in (0, 1], got {t}")
        latent = checks.whole("latent", latent, 1, checks.whole("dimension", dimension, 1))
        self.sde, self.t, self.tau = need_ve(sde, "LinearCode"), t, float(sde.tau(t))
        self.encoder = nn.Linear(dimension, latent, bias=False, dtype=torch.float64)
        nn.init.normal_(self.encoder.weight, std=dimension**-0.5, generator=generator)
        self.of_x_t = nn.Parameter(torch.zeros(dimension, dimension, dtype=torch.float64))
        self.of_z = nn.Parameter(torch.zeros(dimension, latent, dtype=torch.float64))

    def encode(self, x_0: Points) -> Codes:
        """A x_0."""
        checks.floating("x_0", x_0, (len(self.of_z),), finite=False)
        return self.encoder(x_0.to(self.of_z)).to(x_0)

    def code_distribution(self, x_0: Points) -> tuple[Codes, None]:
        """The code and no variance: what the objective asks for."""
        return self.encode(x_0), None

    def denoiser(self) -> tuple[Float[Tensor, "dimension dimension"], Tensor]:
        """W and U."""
        # W starts as for data of variance 1 without a code. The parameters are of order 1 at every
        # noise level, so that one learning rate suits all.
        start = torch.eye(len(self.of_z)).to(self.of_z)
        return (start + self.of_x_t) / (1 + self.tau**2), self.of_z

    def denoise(self, x_t: Points, t: Level, z: Codes) -> Points:
        """W x_t + U z; ``ValueError`` at any t but the model's."""
        if not bool(((torch.as_tensor(t) - self.t).abs() < 1e-6).all()):
            raise ValueError(f"this model is for t = {self.t} only, got {t}")
        checks.floating("x_t", x_t, (len(self.of_z),), finite=False)
        if z.shape != (len(x_t), self.of_z.shape[1]):
            wanted = (len(x_t), self.of_z.shape[1])
            raise ValueError(f"z must have shape {wanted}, got {tuple(z.shape)}")
        of_x_t, of_z = self.denoiser()
        return (x_t.to(of_z) @ of_x_t.T + z.to(of_z) @ of_z.T).to(x_t)

    def score(self, x_t: Points, t: Level, z: Codes) -> Points:
        """(D(x_t, z) − x_t)/τ²."""
        exact = x_t.to(self.of_z)
        return ((self.denoise(exact, t, z) - exact) / self.tau**2).to(x_t)

    def expected_loss(self, world: LinearGaussian) -> Scalar:
        """Eq. (8) for this model in closed form (λ = τ², mean over coordinates); differentiable."""
        of_x_t, of_z = self.denoiser()
        signal = of_x_t + of_z @ self.encoder.weight - torch.eye(world.dimension).to(of_x_t)
        signal = signal @ world.directions.to(signal).T * world.variances.sqrt().to(signal)
        return (signal.square() / self.tau**2 + of_x_t.square()).sum() / world.dimension


def train_linear_code(
    model: LinearCode,
    world: LinearGaussian,
    steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    generator: Generator | None = None,
    exact: bool = False,
    optimiser: Callable[..., Optimizer] = torch.optim.Adam,
) -> Iterator[float]:
    """Train ``model`` in place, the learning rate falling to 0; yields the loss of every step.

    Args:
        exact: descend ``expected_loss``, without any draws, instead of the loss of fresh draws.
        optimiser: one of torch's classes, called with the parameters and ``lr``.
    """
    steps, batch_size = checks.whole("steps", steps, 1), checks.whole("batch_size", batch_size, 1)
    learning_rate = checks.number("learning_rate", learning_rate, above=0.0)
    descent = optimiser(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    t = torch.full((batch_size,), model.t).to(model.of_z)
    for _ in range(steps):
        if exact:
            loss = model.expected_loss(world)
        else:
            x_0 = world.sample(batch_size, generator).to(model.of_z)
            noise = normal(x_0.shape, x_0, generator)
            loss = denoising_score_matching(model, x_0, t, noise, model.encode(x_0)).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        schedule.step()
        yield float(loss.detach())
