"""Denoising score matching, unconditional or with a label or a learned code (Eqs. 4, 5, 7, 8).

    J(θ, φ) = E_{t, x_0, x_t} [λ(t) ‖s_θ(x_t, t, E_φ(x_0)) − ∇ log p_0t(x_t|x_0)‖²] + regulariser

One reduction throughout: squared errors are averaged over pixels and the batch,
regularisers are summed over the code's coordinates and averaged over the batch.
All randomness is drawn beforehand (``Objective.draw``), for the global batch, so
that a loss is a function of its arguments and several processes can share a step. The losses
read no value of a tensor on an accelerator and compile as one graph.
"""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from scorerep.sde import LinearSDE, expand_as, need_ve
from scorerep.times import SingleTime, TimeDistribution, importance
from scorerep.types import Chosen, Codes, Data, Labels, Scalar, Times, checks
from scorerep.types.devices import normal, single_at_least


class Draws(NamedTuple):
    """The random part of one step, for a batch of n images and k noise draws of each."""

    t: Times  #: (n·k,), in (0, 1]
    weight: Times  #: (n·k,) importance weights, 1 where t is drawn from the target
    noise: Data  #: (n·k, ...) the ε of x_t = x_0 + τ ε
    code_noise: Codes  #: (n, latent) for a probabilistic encoder
    left_out: Chosen | None = None  #: (n·k,) draws that see no code or label; None: all see it

    def part(self, rank: int, parts: int) -> "Draws":
        """The share of process ``rank`` of ``parts``."""
        return Draws(*(None if a is None else a.chunk(parts)[rank] for a in self))


class Losses(NamedTuple):
    """The parts of one step's loss, as tensors on the device: reading a number waits for them."""

    total: Scalar  #: what is minimised: matching plus weight times regulariser
    matching: Scalar  #: λ-weighted squared error, mean over pixels and batch
    regulariser: Scalar  #: before its weight: L1 norm, or KL in nats, mean over the batch
    code_std: Scalar  #: smallest standard deviation of a code's coordinate: 0 is a collapsed code


def denoising_score_matching(
    model,
    x_0: Data,
    t: Times,
    noise: Data,
    z: Codes | Labels | None = None,
    weighting: Literal["tau2", "sigma2"] = "tau2",
    left_out: Chosen | None = None,
) -> Times:
    """λ(t) ‖s(x_t, t, z) − ∇ log p_0t(x_t | x_0)‖², averaged over pixels; shape ``(batch,)``.

    ``model`` needs only ``.sde`` and ``.score(x_t, t, z)``. With λ = τ² the loss of the
    zero score is 1 at every noise level; the paper's σ² differs at low noise, by 3 % at t = 0.2.
    Of data in half precision the loss has single precision. Items that are ``left_out`` see no z,
    which ``model.score`` must then be able to hear.
    """
    _check_weighting(weighting)
    sde, exact = model.sde, single_at_least(x_0.dtype)
    x_t = sde.perturb(x_0, t, noise)
    tau = expand_as(sde.tau(t).to(x_0.device, exact), x_0)
    # τ ∇ log p_0t(x_t | x_0) = −ε, so that nothing is subtracted that was added before.
    seen = (z,) if left_out is None else (z, left_out)
    error = tau * model.score(x_t, t, *seen).to(exact) + noise.to(exact)
    if weighting != "tau2":
        root = expand_as(root_weight(sde, t, weighting).to(x_0.device, exact), x_0)
        error = root / tau * error
    return error.square().flatten(1).mean(1)


def root_weight(sde: LinearSDE, t: Times, weighting: Literal["tau2", "sigma2"]) -> Times:
    """√λ(t): τ(t) for "tau2", the paper's σ(t) for "sigma2" (VE only); else ``ValueError``."""
    _check_weighting(weighting)
    return sde.tau(t) if weighting == "tau2" else need_ve(sde, "weighting='sigma2'").sigma(t)


def l1_norm(z: Codes) -> Scalar:
    """Σ_j |z_j|, mean over the batch."""
    return z.abs().sum(1).mean()


def kl_to_standard_normal(mean: Codes, log_variance: Codes) -> Scalar:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)) in nats, mean over the batch."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


@dataclass(frozen=True)
class Objective:
    """The objective of one run: λ(t), the distribution of t, and the regulariser.

    Args:
        times: how t is distributed in the objective.
        proposal: draw t from this instead and weight, which leaves the objective unchanged.
        weighting: λ = τ²(t) ("tau2") or the paper's σ²(t) ("sigma2").
        regulariser: "none", "l1" on the codes, or "kl" for a probabilistic encoder.
        regulariser_weight: the paper's are 1e-5 (L1) and 1e-7 (KL).
        draws_per_image: noise draws for each encoded image; encoding is not repeated.
        frozen_encoder: train the score network alone (second phase of Section 3.2.1).
        code_dropout: share of the noise draws that see no code or label; the model's config has
            the same number.
    """

    times: TimeDistribution
    proposal: TimeDistribution | None = None
    weighting: Literal["tau2", "sigma2"] = "tau2"
    regulariser: Literal["none", "l1", "kl"] = "none"
    regulariser_weight: float = 0.0
    draws_per_image: int = 1
    frozen_encoder: bool = False
    code_dropout: float = 0.0

    def __post_init__(self):
        for law in fields(self)[:2]:  # times and proposal; None where that is the default
            value = getattr(self, law.name)
            if value is not law.default and (
                isinstance(value, type) or not hasattr(value, "sample")
            ):
                raise ValueError(
                    f"{law.name} must be a distribution such as UniformTime(), got {value!r}"
                )
        if self.proposal is not None and isinstance(self.times, SingleTime):
            raise ValueError("a single t needs no proposal")
        _check_weighting(self.weighting)
        if self.regulariser not in ("none", "l1", "kl"):
            raise ValueError(f"regulariser must be 'none', 'l1' or 'kl', got {self.regulariser!r}")
        checks.number("regulariser_weight", self.regulariser_weight, least=0.0)
        checks.whole("draws_per_image", self.draws_per_image, 1)
        checks.truth("frozen_encoder", self.frozen_encoder)
        if not 0 <= self.code_dropout <= 1:
            raise ValueError(f"code_dropout must lie in [0, 1], got {self.code_dropout}")

    def draw(self, x_0: Data, latent: int, generator: torch.Generator | None = None) -> Draws:
        """The random part of a step for the batch x_0 and codes of ``latent`` dimensions.

        Drawn on the generator's device and moved to that of x_0.
        """
        n = len(x_0) * self.draws_per_image
        if self.proposal is None:
            t = self.times.sample(n, generator)
            weight = torch.ones_like(t)
        else:
            t, weight = importance(self.times, self.proposal, n, generator)
        noise = normal((n, *x_0.shape[1:]), x_0, generator)
        code_noise = normal((len(x_0), latent), x_0, generator)
        left_out = None
        if self.code_dropout:  # drawn last: without it, all other draws are the same
            where = x_0.device if generator is None else generator.device
            left_out = torch.rand(n, generator=generator, device=where) < self.code_dropout
            left_out = left_out.to(x_0.device)
        return Draws(t.to(x_0.device), weight.to(x_0.device), noise, code_noise, left_out)

    def __call__(self, model, x_0: Data, draws: Draws, y: Labels | None = None) -> Losses:
        """Eq. (4), (5), (7) or (8), as the model is unconditional, of labels, or of a code."""
        expected = getattr(getattr(model, "config", None), "code_dropout", 0.0)
        if expected != self.code_dropout:
            raise ValueError(
                f"code_dropout must be that of the model's config, {expected}: {self.code_dropout}"
            )
        nothing = x_0.new_zeros((), dtype=single_at_least(x_0.dtype))
        z, regulariser, code_std = y, nothing, nothing
        if model.encoder is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_encoder):
                mean, log_variance = model.code_distribution(x_0)
            z = mean
            if log_variance is not None:
                z = mean + torch.exp(0.5 * log_variance) * draws.code_noise
            if len(mean) > 1:
                code_std = mean.detach().to(nothing.dtype).std(0).min()
            regulariser = self._regulariser(mean, log_variance)
        k = self.draws_per_image
        error = denoising_score_matching(
            model,
            _repeat(x_0, k),
            draws.t,
            draws.noise,
            _repeat(z, k),
            self.weighting,
            draws.left_out,
        )
        matching = (draws.weight.to(error) * error).mean()
        weight = 0.0 if self.frozen_encoder else self.regulariser_weight
        total = matching
        if model.encoder is not None:
            total = self._total(matching, weight, regulariser)
        return Losses(total, matching.detach(), regulariser.detach(), code_std)

    def _total(self, loss: Scalar, weight: float, regulariser: Scalar) -> Scalar:
        # No constant zero is added: inductor would drop it, take the sum and its detached copy for
        # one output, and leave both without a gradient.
        return loss if self.regulariser == "none" else loss + weight * regulariser

    def _regulariser(self, mean: Codes, log_variance: Codes | None) -> Scalar:
        exact = single_at_least(mean.dtype)
        mean = mean.to(exact)
        if self.regulariser == "l1":
            return l1_norm(mean)
        if self.regulariser == "kl":
            if log_variance is None:
                raise ValueError("the 'kl' regulariser needs a model with probabilistic=True")
            return kl_to_standard_normal(mean, log_variance.to(exact))
        return mean.new_zeros(())


def _repeat(value: Tensor | None, k: int) -> Tensor | None:
    return value if value is None or k == 1 else value.repeat_interleave(k, dim=0)


def _check_weighting(weighting: str):
    if weighting not in ("tau2", "sigma2"):
        raise ValueError(f"weighting must be 'tau2' or 'sigma2', got {weighting!r}")
