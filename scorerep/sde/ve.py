"""The variance-exploding SDE of the paper, whose σ(t) grows geometrically (Eq. 1).

Source: Abstreiter et al. (2021), Section 1.1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scorerep.sde.linear import LinearSDE
from scorerep.sde.tensors import as_level, check_range
from scorerep.types import Level


@dataclass(frozen=True)
class VESDE(LinearSDE):
    """Variance-exploding SDE with geometric σ(t).

    Args:
        sigma_min: σ(0) > 0, in data units (pixels live in [−1, 1]).
        sigma_max: σ(1) > sigma_min.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                "VESDE needs 0 < sigma_min < sigma_max, got "
                f"sigma_min={self.sigma_min}, sigma_max={self.sigma_max}"
            )

    @property
    def log_range(self) -> float:
        """log(σ_max/σ_min), the e-folds of noise that one unit of t spans."""
        return math.log(self.sigma_max / self.sigma_min)

    # Noise levels

    def sigma(self, t: Level) -> Tensor:
        """σ(t) = σ_min (σ_max/σ_min)^t."""
        return self.sigma_min * torch.exp(self.log_range * self._time(t))

    def time_of_sigma(self, sigma: Level) -> Tensor:
        """The t with σ(t) = sigma; ``ValueError`` outside [σ_min, σ_max]."""
        sigma = check_range(as_level(sigma), self.sigma_min, self.sigma_max, "sigma")
        return (torch.log(sigma / self.sigma_min) / self.log_range).clamp(0.0, 1.0)

    def tau(self, t: Level) -> Tensor:
        """Standard deviation of the kernel, τ(t) = √(σ²(t) − σ²(0)); 0 at t = 0."""
        return self.sigma_min * torch.sqrt(torch.expm1(2 * self.log_range * self._time(t)))

    def time_of_tau(self, tau: Level) -> Tensor:
        """The t with τ(t) = tau; ``ValueError`` outside [0, τ(1)]."""
        top = math.sqrt(self.sigma_max**2 - self.sigma_min**2)
        tau = check_range(as_level(tau), 0.0, top, "tau")
        t = torch.log1p((tau / self.sigma_min) ** 2) / (2 * self.log_range)
        return t.clamp(0.0, 1.0)

    def time_of_level(self, level: Level) -> Tensor:
        """``time_of_tau``: without a drift τ is the level."""
        return self.time_of_tau(level)

    def g2(self, t: Level) -> Tensor:
        """Squared diffusion coefficient g²(t) = dσ²/dt = 2 log(σ_max/σ_min) σ²(t) (Eq. 1)."""
        return 2 * self.log_range * self.sigma(t) ** 2


def need_ve(sde, purpose: str) -> VESDE:
    """``sde``, or ``ValueError`` if it is not variance-exploding: ``purpose`` needs its σ(t)."""
    if not isinstance(sde, VESDE):
        raise ValueError(f"sde must be a VESDE for {purpose}, got {type(sde).__name__}")
    return sde
