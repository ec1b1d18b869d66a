"""How t is drawn: the part of the objective that steers what a code holds.

The paper keeps λ(t) = σ² and varies the distribution of t (Sections 3.1 and 3.2).
A distribution has ``sample(n, generator)``, on the generator's device, and a ``density`` on [0, 1].
``importance`` draws from another density and returns weights that leave the
objective as it was.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorerep.sde import T_MIN, VESDE, need_ve
from scorerep.types import Times, checks
from scorerep.types.devices import readable


@dataclass(frozen=True)
class UniformTime:
    """t uniform on [t_min, 1]: every octave of noise counts alike (Section 3.1)."""

    t_min: float = T_MIN

    def __post_init__(self):
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min of UniformTime must lie in (0, 1), got {self.t_min}")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Times:
        return self.t_min + (1 - self.t_min) * _uniform(n, generator)

    def density(self, t: Times) -> Times:
        return torch.where((t >= self.t_min) & (t <= 1), 1 / (1 - self.t_min), 0.0)


@dataclass(frozen=True)
class UniformSigma:
    """σ uniform on [σ_min, σ_max]: high noise dominates (Section 3.2.1)."""

    sde: VESDE

    def __post_init__(self):
        need_ve(self.sde, "UniformSigma")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Times:
        low, high = self.sde.sigma_min, self.sde.sigma_max
        sigma = low + (high - low) * _uniform(n, generator)
        return self.sde.time_of_sigma(sigma).clamp(min=T_MIN)

    def density(self, t: Times) -> Times:
        slope = self.sde.log_range * self.sde.sigma(t)  # dσ/dt
        return slope / (self.sde.sigma_max - self.sde.sigma_min)


@dataclass(frozen=True)
class SingleTime:
    """One noise level only (Section 3.2.2); it has no density."""

    t: float

    def __post_init__(self):
        if not 0 < self.t <= 1:
            raise ValueError(f"t of SingleTime must lie in (0, 1], got {self.t}")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Times:
        device = generator.device if generator is not None else None
        return torch.full((n,), self.t, device=device)

    def density(self, t: Times) -> Times:
        raise ValueError("SingleTime has no density: it cannot be combined with a proposal")


@dataclass(frozen=True, eq=False)
class DensityTime:
    """Any density on [t_min, 1], as a step function.

    Args:
        edges: (bins + 1,) increasing, within [T_MIN, 1].
        values: (bins,) non-negative; they need not be normalised.
    """

    edges: Tensor
    values: Tensor
    cumulative: Tensor = field(init=False, repr=False)
    _copies: dict = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self):
        edges, values = self.edges.cpu().double(), self.values.cpu().double()
        if edges.ndim != 1 or len(edges) != len(values) + 1 or bool((edges.diff() <= 0).any()):
            raise ValueError("edges must increase and be one longer than values")
        # Single precision rounds T_MIN down.
        if float(edges[0]) < T_MIN * (1 - 1e-6) or float(edges[-1]) > 1 + 1e-6:
            raise ValueError(f"edges must lie in [{T_MIN}, 1]")
        edges = edges.clamp(T_MIN, 1)
        if not bool(((values >= 0) & values.isfinite()).all()) or float(values.sum()) == 0:
            raise ValueError("values must be finite, non-negative and not all zero")
        mass = values * edges.diff()
        cumulative = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "values", values / mass.sum())
        # Exactly 1 from the last bin with mass on: no draw falls behind it.
        object.__setattr__(self, "cumulative", cumulative / cumulative[-1])

    def __eq__(self, other) -> bool:
        if not isinstance(other, DensityTime):
            return NotImplemented
        return torch.equal(self.edges, other.edges) and torch.equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((tuple(self.edges.tolist()), tuple(self.values.tolist())))

    @classmethod
    def from_function(cls, function: Callable[[Times], Times], bins: int = 512) -> "DensityTime":
        """The density proportional to ``function``, evaluated at the middle of each of ``bins``."""
        edges = torch.linspace(T_MIN, 1, bins + 1, dtype=torch.float64)
        return cls(edges, function((edges[1:] + edges[:-1]) / 2))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Times:
        u = _uniform(n, generator)
        edges, values, cumulative = self._like(u)
        # right=True skips empty bins, whose cumulative mass does not grow.
        index = (torch.searchsorted(cumulative, u, right=True) - 1).clamp(0, len(values) - 1)
        low, high = edges[index], edges[index + 1]
        # Bins are half open, for ``density`` too: the next one may be empty.
        t = low + (u - cumulative[index]) / values[index]
        return torch.minimum(t.clamp(min=low), torch.nextafter(high, low))

    def density(self, t: Times) -> Times:
        edges, values, _ = self._like(t)
        index = (torch.searchsorted(edges, t, right=True) - 1).clamp(0, len(values) - 1)
        inside = (t >= edges[0]) & (t <= edges[-1])
        return torch.where(inside, values[index], 0.0)

    def _like(self, t: Times) -> tuple[Tensor, Tensor, Tensor]:
        # Copied to a device once, not at every step.
        place = (t.device, t.dtype)
        if place not in self._copies:
            self._copies[place] = tuple(a.to(t) for a in (self.edges, self.values, self.cumulative))
        return self._copies[place]


TimeDistribution = UniformTime | UniformSigma | SingleTime | DensityTime


def log_normal_sigma(sde: VESDE, median: float, spread: float) -> DensityTime:
    """log σ normal about log ``median`` with standard deviation ``spread`` (EDM's proposal)."""
    spread = checks.number("spread", spread, above=0.0)
    centre = float(need_ve(sde, "log_normal_sigma").time_of_sigma(median))
    width = spread / sde.log_range
    return DensityTime.from_function(lambda t: torch.exp(-0.5 * ((t - centre) / width) ** 2))


def importance(
    target: TimeDistribution,
    proposal: TimeDistribution,
    n: int,
    generator: torch.Generator | None = None,
) -> tuple[Times, Times]:
    """Draw t from ``proposal``; weights target/proposal keep E_target[·] unchanged.

    ``ValueError`` if a weight on the CPU is not finite (on an accelerator it is not read, and the
    loss tells); the caller answers for the proposal covering the target.
    """
    t = proposal.sample(n, generator)
    weight = target.density(t) / proposal.density(t)
    if readable(weight) and not math.isfinite(float(weight.sum())):
        raise ValueError("the proposal has no mass where it drew: weights are not finite")
    return t, weight


def _uniform(n: int, generator: torch.Generator | None) -> Times:
    device = generator.device if generator is not None else None
    return torch.rand(n, generator=generator, device=device)
