"""How images become noise, and how often each time is trained, for all common models.

x_t = α x_0 + τ ε: a path says α and τ at t, a density how often t is drawn. Beside the SDEs of
``scorerep.sde`` there are EDM's levels, the cosine and the straight line of flow matching, so that
what is known at a level σ = τ/α can be told at anybody's t.

Sources: Song et al. (2021); Nichol and Dhariwal (2021); Karras et al. (2022); Lipman et al. (2023).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from scorerep.sde import T_MIN, VESDE, VPSDE, SubVPSDE
from scorerep.types import Times, checks

Path = Literal["ve", "vp-linear", "vp-cosine", "sub-vp", "edm", "flow"]
Density = Literal["uniform", "log-normal", "logit-normal"]

OFFSET = 0.008  # s of the cosine schedule
INFINITE = 1e6  # a level at which x_t says nothing about pixels


@dataclass(frozen=True)
class Schedule:
    """How an image becomes noise, x_t = α x_0 + τ ε, and how often each t is trained.

    Args:
        path: "ve" (this package's, σ from 0.01 to 50), "vp-linear" (β from 0.1 to 20, DDPM's),
            "vp-cosine", "sub-vp"; "edm", whose t is σ itself; "flow", α = 1 − t and τ = t.
        density: "uniform" in t on [0, 1]; "log-normal", ln σ ~ N(mean, std²), of EDM; or
            "logit-normal", logit t ~ N(mean, std²), of some flows. None: log-normal for edm, else
            uniform.
        mean: None: −1.2, EDM's, for log-normal; 0 for logit-normal.
        std: None: 1.2 and 1.
    """

    path: Path = "vp-linear"
    density: Density | None = None
    mean: float | None = None
    std: float | None = None

    def __post_init__(self):
        for name, kinds in (("path", Path), ("density", Density)):
            if (value := getattr(self, name)) is not None:
                one_of(name, value, kinds)
        known = {"log-normal": (-1.2, 1.2), "logit-normal": (0.0, 1.0), "uniform": (0.0, 1.0)}
        density = self.density or ("log-normal" if self.path == "edm" else "uniform")
        if self.path == "edm" and density != "log-normal":
            raise ValueError(f"density must be log-normal for edm, whose t is σ, got {density!r}")
        mean = known[density][0] if self.mean is None else checks.number("mean", self.mean)
        std = known[density][1] if self.std is None else checks.number("std", self.std, above=0.0)
        for name, value in (("density", density), ("mean", mean), ("std", std)):
            object.__setattr__(self, name, value)

    def kernel(self, t: Times) -> tuple[Times, Times]:
        """α and τ at t > 0, in float64."""
        t = t.double()
        if not bool((t > 0).all()) or not bool(t.isfinite().all()):
            raise ValueError(f"t must be positive and finite, got values from {float(t.min()):g}")
        if self.path == "edm":
            return torch.ones_like(t), t
        if not bool((t <= 1).all()):
            raise ValueError(
                f"t must lie in (0, 1], got {float(t.max()):g}: divide a step by the number of "
                "steps; a noise level is called sigma"
            )
        if self.path == "flow":
            return 1 - t, t
        if self.path == "vp-cosine":
            alpha = (torch.cos(_angle(t)) / math.cos(_angle(0.0))).clamp(0, 1)
            return alpha, (1 - alpha.square()).sqrt()
        return self._sde.alpha(t).to(t), self._sde.tau(t).to(t)

    def level(self, t: Times) -> Times:
        """σ = τ/α, at most 1e6, where nothing is left of x_0."""
        alpha, tau = self.kernel(t)
        return (tau / alpha).clamp(max=INFINITE)

    def time_of_level(self, level: Times) -> Times:
        """The t of a ``level`` σ = τ/α > 0; ``ValueError`` where the path does not go."""
        level = level.double()
        if not bool((level > 0).all()) or not bool(level.isfinite().all()):
            raise ValueError("level must be positive and finite")
        if self.path == "edm":
            return level
        if self.path == "flow":
            return level / (1 + level)
        if self.path == "vp-cosine":
            angle = torch.acos(math.cos(_angle(0.0)) / (1 + level.square()).sqrt())
            return angle * (2 / math.pi) * (1 + OFFSET) - OFFSET
        return self._sde.time_of_level(level)

    def share_below(self, t: Times) -> Times:
        """How much of the training is at times below t."""
        t = t.double()
        if self.density == "uniform":
            return ((t - T_MIN) / (1 - T_MIN)).clamp(0, 1)
        value = self.level(t).log() if self.density == "log-normal" else t.logit()
        return torch.special.ndtr((value - self.mean) / self.std)

    def time_of_share(self, share: Times) -> Times:
        """The inverse of ``share_below``: a ``share`` in (0, 1) of the training is below it."""
        if self.density == "uniform":
            return T_MIN + (1 - T_MIN) * share.double()
        value = self.mean + self.std * torch.special.ndtri(share.double())
        return self.time_of_level(value.exp()) if self.density == "log-normal" else value.sigmoid()

    def spread(self, n: int) -> Times:
        """n times that are trained equally often: the middle of each n-th of the training."""
        n = checks.whole("n", n, 1)
        return self.time_of_share((torch.arange(n, dtype=torch.float64) + 0.5) / n)

    @property
    def _sde(self):
        return {"ve": VESDE, "vp-linear": VPSDE, "sub-vp": SubVPSDE}[self.path]()


def one_of(name: str, value, kinds):
    """``ValueError`` that calls it ``name``, unless ``value`` is one of the Literal ``kinds``."""
    if value not in kinds.__args__:
        raise ValueError(f"{name} must be one of {', '.join(kinds.__args__)}, got {value!r}")


def _angle(t):
    return math.pi / 2 * (t + OFFSET) / (1 + OFFSET)
