"""Variance-preserving and sub-variance-preserving SDEs, beside the paper's variance-exploding one.

    VP:      dx = −½ β x dt + √β dw,                   α² = e^{−B},   τ² = 1 − e^{−B}
    sub-VP:  dx = −½ β x dt + √(β (1 − e^{−2B})) dw,   α² = e^{−B},   τ  = 1 − e^{−B}

with β(t) = β_min + t (β_max − β_min) and B(t) = ∫_0^t β. Exact laws, samplers, likelihood, the
objective and information spectra take them; trained models and distributions of σ are VE.

Source: Song et al. (2021), Appendices B and C.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scorerep.sde.linear import LinearSDE
from scorerep.sde.tensors import as_level, check_range
from scorerep.types import Level


@dataclass(frozen=True)
class VPSDE(LinearSDE):
    """Variance-preserving SDE: data of unit variance keep it, and x_1 is close to N(0, I).

    Args:
        beta_min: β(0) > 0.
        beta_max: β(1) ≥ beta_min; β is linear between.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"{type(self).__name__} needs 0 < beta_min ≤ beta_max, got "
                f"beta_min={self.beta_min}, beta_max={self.beta_max}"
            )

    def beta(self, t: Level) -> Tensor:
        """β(t)."""
        return self.beta_min + self._time(t) * (self.beta_max - self.beta_min)

    def beta_integral(self, t: Level) -> Tensor:
        """B(t) = ∫_0^t β."""
        return 0.5 * self._time(t) * (self.beta_min + self.beta(t))

    def alpha(self, t: Level) -> Tensor:
        """α(t) = e^{−B/2}."""
        return torch.exp(-0.5 * self.beta_integral(t))

    def drift_rate(self, t: Level) -> Tensor:
        """f(t) = −½ β(t)."""
        return -0.5 * self.beta(t)

    def tau(self, t: Level) -> Tensor:
        """τ(t) = √(1 − e^{−B})."""
        return torch.sqrt(-torch.expm1(-self.beta_integral(t)))

    def g2(self, t: Level) -> Tensor:
        """g²(t) = β(t)."""
        return self.beta(t)

    def time_of_level(self, level: Level) -> Tensor:
        """The t with τ/α = level; ``ValueError`` outside [0, level(1)]."""
        level = check_range(as_level(level), 0.0, float(self.level(1.0)), "level")
        total = self._integral_of_level(level)
        # B = β_min t + ½ (β_max − β_min) t², solved so that nothing cancels at small t
        root = torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * total)
        return (2 * total / (self.beta_min + root)).clamp(0.0, 1.0)

    def _integral_of_level(self, level: Tensor) -> Tensor:
        return torch.log1p(level**2)


class SubVPSDE(VPSDE):
    """Sub-VP: the drift of VP with less noise; its variance never exceeds VP's."""

    def tau(self, t: Level) -> Tensor:
        """τ(t) = 1 − e^{−B}."""
        return -torch.expm1(-self.beta_integral(t))

    def g2(self, t: Level) -> Tensor:
        """g²(t) = β (1 − e^{−2B})."""
        return self.beta(t) * -torch.expm1(-2 * self.beta_integral(t))

    def _integral_of_level(self, level: Tensor) -> Tensor:
        return 2 * torch.asinh(level / 2)
