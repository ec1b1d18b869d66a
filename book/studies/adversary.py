"""A weighting λ(t) that plays against the score model, to test Section 1.2 of the paper.

    λ(t) = τ²(t) w(t),   w a step function of mean 1 on [t_min, 1]

The model descends E_t[λ(t) J_t], the weighting ascends it: the worst case over λ that Durkan and
Song (2021) define. What it ascends is J_t as it is, or less a constant that is known.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from scorerep.objective import Draws, Losses, Objective, denoising_score_matching
from scorerep.sde import T_MIN
from scorerep.times import TimeDistribution, UniformTime
from scorerep.types import Data, Labels, Times

Bins = Float[Tensor, " bins"]


class Adversary:
    """Mirror ascent on log Σ_b m_b L_b over the masses m_b of equal bins of t.

    The logarithm has the same maximum and makes a step independent of the loss's scale, so that
    losses with and without their constant are chased at one pace.

    Args:
        constant: (bins,) λ-weighted constants E_bin[τ² C(t)]/d, taken off each bin's loss;
            zeros to ascend the loss itself.
        step: of the ascent; 0 keeps λ even.
        floor: share of the mass that stays even, so that no level goes untrained.
        memory: decay of the running mean of each bin's loss.
        t_min: smallest t.
    """

    def __init__(
        self,
        constant: Bins,
        step: float = 0.01,
        floor: float = 0.3,
        memory: float = 0.98,
        t_min: float = T_MIN,
    ):
        self.constant = torch.as_tensor(constant, dtype=torch.float32)
        if self.constant.ndim != 1 or len(self.constant) < 2:
            raise ValueError(f"constant must be (bins,), two or more, got {self.constant.shape}")
        if not (step >= 0 and 0 <= floor <= 1 and 0 <= memory < 1 and 0 < t_min < 1):
            raise ValueError("step must not be negative; floor, memory and t_min lie in [0, 1)")
        self.step, self.floor, self.memory, self.t_min = step, floor, memory, t_min
        self.logits, self.losses = torch.zeros_like(self.constant), None

    @property
    def masses(self) -> Bins:
        """λ's mass in each bin; the sum is 1."""
        return (1 - self.floor) * self.logits.softmax(0) + self.floor / len(self.logits)

    def times(self, n: int, generator: Generator | None = None) -> Times:
        """n times, one from each of n equal parts of [t_min, 1]: as many in every bin."""
        if n % len(self.logits):
            raise ValueError(f"n must be a multiple of the {len(self.logits)} bins, got {n}")
        u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        return self.t_min + (1 - self.t_min) * u

    def weight(self, t: Times) -> Times:
        """w(t)."""
        return (len(self.logits) * self.masses)[self._bin(t)]

    def ascend(self, t: Times, errors: Times):
        """One step up, from the τ²-weighted errors at times that every bin has some of."""
        index, errors = self._bin(t), errors.detach()
        total = torch.zeros_like(self.logits).index_add(0, index, errors)
        losses = total / index.bincount(minlength=len(total)) - self.constant
        keep = self.memory if self.losses is not None else 0.0
        self.losses = losses if keep == 0 else keep * self.losses + (1 - keep) * losses
        # A difference of two estimates may come out below zero where there is nothing left.
        gain = self.losses.clamp(min=1e-6)
        self.logits = self.logits + self.step * (gain / (self.masses @ gain) - 1)

    def _bin(self, t: Times) -> Tensor:
        place = (t - self.t_min) / (1 - self.t_min) * len(self.logits)
        return place.long().clamp(0, len(self.logits) - 1)


@dataclass(frozen=True)
class Game(Objective):
    """The weighted loss as an objective for the training loop, whose adversaries take part.

    The batch has one equal part for each adversary: for one network, or for networks trained side
    by side, each with its own. After each step of the models each weighting takes its own.

    Args:
        times: not drawn from: a weighting is even on [t_min, 1] at first.
        adversaries: one or more; changed in place.
    """

    times: TimeDistribution = UniformTime()
    adversaries: tuple[Adversary, ...] = ()

    def draw(self, x_0: Data, latent: int, generator: Generator | None = None) -> Draws:
        """Noise as for a score, and the adversaries' times with their weights."""
        players = len(self.adversaries)
        if not players or len(x_0) % players:
            raise ValueError(f"x_0 must have equal parts for {players} adversaries: {len(x_0)}")
        t = [a.times(len(x_0) // players, generator) for a in self.adversaries]
        weight = [a.weight(part) for a, part in zip(self.adversaries, t, strict=True)]
        draws = super().draw(x_0, latent, generator)
        return draws._replace(t=torch.cat(t), weight=torch.cat(weight))

    def __call__(self, model, x_0: Data, draws: Draws, y: Labels | None = None) -> Losses:
        """The mean of w(t) τ² ‖s − ∇ log p_0t‖² / d; each adversary ascends."""
        errors = denoising_score_matching(model, x_0, draws.t, draws.noise)
        parts = (a.chunk(len(self.adversaries)) for a in (draws.t, errors))
        for adversary, t, seen in zip(self.adversaries, *parts, strict=True):
            adversary.ascend(t, seen)
        loss, nothing = (draws.weight * errors).mean(), errors.new_zeros(())
        return Losses(loss, loss.detach(), nothing, nothing)
