"""How long and how fast: the budget of a run, its learning rate and its warm-ups."""

import math
from dataclasses import dataclass
from typing import Literal

from scorerep.types import checks


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast. The defaults are the paper's for MNIST."""

    iterations: int = 80_000
    """Steps that train encoder and score network together; 0 if the encoder comes trained."""
    frozen_iterations: int = 0
    """Further steps with the encoder frozen and t uniform (Section 3.2.1)."""
    batch_size: int = 128
    """Images per step, over all processes."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Adam alone, or Muon for the score network's matrices and Adam for all else."""
    muon_for: Literal["all", "blocks"] = "all"
    """Muon's share of the score network: all matrices, or ("blocks") all but those that embed noise
    level and code. With Muon for all, and the regulariser in full after 500 steps, two codes of
    CIFAR-10 were lost (results/runs.csv, fig2cd-early)."""
    learning_rate: float = 2e-4
    """Adam's, after warm-up."""
    muon_learning_rate: float = 0.02
    """Muon's, after warm-up."""
    warmup: int = 5_000
    """Steps of linear warm-up."""
    decay: float = 0.0
    """Share of the last steps over which the rates fall linearly to zero, in [0, 1]. Encoder's and
    frozen phase fall each on their own; the second starts at the full rates."""
    regulariser_warmup: int = 0
    """Steps over which the code's regulariser comes in, 0 for none (the paper says nothing)."""
    clip: float = 1.0
    """Largest norm of the gradient; infinite for no limit."""
    ema: float = 0.999
    """Decay of the averaged weights; ramps up as (1 + n)/(10 + n)."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of the networks; noise levels and losses stay in full precision."""
    compile: bool = False
    """Compile the loss with the networks in it; gained nothing on the CPU where it was timed."""
    accumulate: int = 1
    """Parts in which a process computes its share of a batch, one after another, to save memory."""

    def __post_init__(self):
        for name, least in (
            ("iterations", 0), ("frozen_iterations", 0), ("batch_size", 1), ("warmup", 1),
            ("regulariser_warmup", 0), ("accumulate", 1),
        ):  # fmt: skip
            checks.whole(name, getattr(self, name), least)
        if not self.total_iterations:
            raise ValueError("iterations must be positive, or 0 with frozen_iterations")
        for name in ("learning_rate", "muon_learning_rate"):
            checks.number(name, getattr(self, name), above=0.0)
        if self.clip != math.inf:
            checks.number("clip", self.clip, above=0.0)
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), got {self.ema}")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"precision must be 'no', 'bf16' or 'fp16', got {self.precision!r}")
        checks.truth("compile", self.compile)
        if self.optimizer not in ("adam", "muon"):
            raise ValueError(f"optimizer must be 'adam' or 'muon', got {self.optimizer!r}")
        if self.muon_for not in ("all", "blocks"):
            raise ValueError(f"muon_for must be 'all' or 'blocks', got {self.muon_for!r}")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], got {self.decay}")

    @property
    def total_iterations(self) -> int:
        return self.iterations + self.frozen_iterations

    def learning_rate_at(self, step: int) -> float:
        """Adam's in the step after ``step`` finished ones."""
        return self.learning_rate * self._share_at(step)

    def muon_learning_rate_at(self, step: int) -> float:
        """Muon's in the step after ``step`` finished ones."""
        return self.muon_learning_rate * self._share_at(step)

    def _share_at(self, step: int) -> float:
        """Share of the full rates, in [0, 1]: warm-up at the start, decay at the end of a phase."""
        share = min(1.0, (step + 1) / self.warmup)
        if self.decay:
            end = self.iterations if step < self.iterations else self.total_iterations
            length = self.iterations if step < self.iterations else self.frozen_iterations
            # The step that would have rate zero is the first one after the phase.
            share *= min(1.0, max(0, end - step) / (self.decay * length))
        return share

    def regulariser_at(self, step: int) -> float:
        """Share of the regulariser's weight, in [0, 1].

        Until the score network uses z, the code's only gradient is the regulariser's, and Adam
        makes a full step of however small a gradient: the code can shrink to a point for good.
        """
        return min(1.0, step / self.regulariser_warmup) if self.regulariser_warmup else 1.0
