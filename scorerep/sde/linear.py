"""Linear SDEs: the kernel, the reverse process and the prior that all of them share (Eqs. 1, 2).

    dx = f(t) x dt + g(t) dw,   t ∈ [0, 1],   x_t = α(t) x_0 + τ(t) ε

VE:   f = 0,   g² = dσ²/dt with σ(t) = σ_min (σ_max/σ_min)^t,   α = 1,   τ² = σ²(t) − σ²(0)

Adding noise is all that VE does. σ and τ differ only near t = 0, where σ stays at σ_min while
the noise that was actually added vanishes. ``scorerep.sde`` has VP and sub-VP, which also shrink
x_0. What x_t says about x_0 depends on the *level* τ/α alone, since x_t/α = x_0 + (τ/α) ε: the
SDEs differ in how they run through the levels.

Source: Abstreiter et al. (2021), Section 1.1; Song et al. (2021), Appendix C.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from scorerep.sde.tensors import as_level, check_range, expand_as
from scorerep.types import Data, Level, Times, checks
from scorerep.types.devices import normal, readable, single_at_least

T_MIN = 1e-5  # smallest time used for training and sampling; the kernel has no score at t = 0


class LinearSDE(ABC):
    """dx = f(t) x dt + g(t) dw, whose kernel p_0t(x_t | x_0) = N(α x_0, τ² I) is known.

    Every method takes t as a float, a scalar tensor or a ``(batch,)`` tensor in [0, 1]
    and raises ``ValueError`` outside it, unless t is on an accelerator, where its values are
    not read. Shapes and dtypes of x are kept; noise levels have single precision at least.
    """

    @abstractmethod
    def tau(self, t: Level) -> Tensor:
        """Standard deviation of the kernel; 0 at t = 0."""

    @abstractmethod
    def g2(self, t: Level) -> Tensor:
        """Squared diffusion coefficient g²(t) = dτ²/dt − 2 f τ²."""

    @abstractmethod
    def time_of_level(self, level: Level) -> Tensor:
        """The t with τ/α = level; ``ValueError`` outside [0, level(1)]."""

    def alpha(self, t: Level) -> Tensor:
        """α(t), what is left of x_0 in the kernel's mean; 1 unless there is a drift."""
        return torch.ones_like(self._time(t))

    def drift_rate(self, t: Level) -> Tensor:
        """f(t) = d log α/dt; 0 unless there is a drift."""
        return torch.zeros_like(self._time(t))

    def level(self, t: Level) -> Tensor:
        """τ/α, the noise in the units of x_0; its inverse square is the signal-to-noise ratio."""
        return self.tau(t) / self.alpha(t)

    def log_snr(self, t: Level) -> Tensor:
        """log(α²/τ²); its slope is −g²/τ²."""
        return -2 * torch.log(self.level(t))

    # The perturbation kernel p_0t(x_t | x_0) = N(α x_0, τ² I)

    def perturbation_kernel(self, x_0: Data, t: Level) -> tuple[Data, Tensor]:
        """Mean (shape and dtype of x_0) and standard deviation (broadcastable to it)."""
        mean, std = self._kernel(x_0, t)
        return mean.to(x_0.dtype), std

    def perturb(self, x_0: Data, t: Level, noise: Data) -> Data:
        """x_t = α x_0 + τ ε for standard normal ``noise`` ε of the shape of x_0."""
        mean, std = self._kernel(x_0, t)
        checks.same_shape("noise", noise, "x_0", x_0)
        return (mean + std * noise.to(mean.dtype)).to(x_0.dtype)

    def kernel_score(self, x_t: Data, x_0: Data, t: Level) -> Data:
        """∇ log p_0t(x_t | x_0) = (α x_0 − x_t)/τ²; ``ValueError`` at t = 0: there is none."""
        mean, std = self._kernel(x_0, t)
        checks.same_shape("x_t", x_t, "x_0", x_0)
        if readable(std) and bool((std == 0).any()):
            raise ValueError("t must be positive: the kernel has no score at t = 0")
        return ((mean - x_t) / std**2).to(x_0.dtype)

    # The reverse process

    def reverse_drift(self, x: Data, score: Data, t: Level) -> Data:
        """Drift f x − g² ∇log p_t of the reverse SDE (Eq. 2); ``score`` is ∇log p_t(x)."""
        return self._drift(x, score, t, 1.0)

    def probability_flow_drift(self, x: Data, score: Data, t: Level) -> Data:
        """Drift f x − ½ g² ∇log p_t of the ODE with the same marginals (Song et al., Eq. 13)."""
        return self._drift(x, score, t, 0.5)

    def _drift(self, x: Data, score: Data, t: Level, factor: float) -> Data:
        rate, g2 = (self._coefficient(a, t, x) for a in (self.drift_rate, self.g2))
        checks.same_shape("score", score, "x", x)
        drift = rate * x.to(rate.dtype) - factor * g2 * score.to(g2.dtype)
        return drift.to(x.dtype)

    # The prior p_1 ≈ N(0, τ²(1) I)

    def prior_sample(self, *shape: int, generator=None, device=None, dtype=None) -> Data:
        """Draw x_1 of the given shape, e.g. ``prior_sample(16, 1, 28, 28)``.

        A ``generator`` draws it where it is; it is moved to ``device``, if given.
        """
        if device is None and generator is not None:
            device = generator.device
        like = torch.empty(0, device=device, dtype=dtype)
        return float(self.tau(1.0)) * normal(shape, like, generator)

    def prior_log_prob(self, x_1: Data) -> Times:
        """log N(x_1; 0, τ²(1) I) in nats, shape ``(batch,)``."""
        variance, d = float(self.tau(1.0)) ** 2, x_1[0].numel()
        square = x_1.flatten(1).square().sum(1)
        return -0.5 * (square / variance + d * math.log(2 * math.pi * variance))

    def _time(self, t: Level) -> Tensor:
        return check_range(as_level(t), 0.0, 1.0, "t")

    def _kernel(self, x_0: Data, t: Level) -> tuple[Data, Tensor]:
        # Mean and deviation in single precision at least.
        alpha, tau = (self._coefficient(a, t, x_0) for a in (self.alpha, self.tau))
        return alpha * x_0.to(alpha.dtype), tau

    @staticmethod
    def _coefficient(function, t: Level, x: Data) -> Tensor:
        """α, τ, f or g² at t, to be multiplied with x: on its device, in its precision or more."""
        if not isinstance(x, Tensor):
            raise TypeError(f"data to diffuse must be a tensor of floats, got {type(x).__name__}")
        if not x.is_floating_point():
            raise ValueError(f"data to diffuse must be floating-point numbers, got {x.dtype}")
        level = function(t).to(single_at_least(x.dtype))
        if level.shape not in ((), x.shape[:1]):
            shapes = f"({len(x)},), got {tuple(level.shape)}"
            raise ValueError(f"t must be one number or one for each item of x, {shapes}")
        if level.ndim or level.device.type != "cpu":
            level = level.to(x.device)  # a scalar of the CPU meets any device without a copy
        return expand_as(level, x)


def need_linear(sde) -> LinearSDE:
    """``sde``, or ``ValueError`` if it is no SDE whose kernel is known in closed form."""
    if not isinstance(sde, LinearSDE):
        raise ValueError(
            "sde must have a kernel in closed form (VESDE, VPSDE, SubVPSDE or another LinearSDE), "
            f"got {type(sde).__name__}"
        )
    return sde
