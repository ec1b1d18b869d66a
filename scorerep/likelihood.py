"""log p_0(x_0) by the probability flow (Song et al., 2021, Section 4.3 and Eq. 39).

Along dx/dt = f x − ½ g² s (f = 0 for VE) the log-density changes by minus the drift's divergence,

    log p_0(x_0) = log p_1(x_1) + ∫_0^1 div(f x − ½ g² s)(x_t, t) dt

where x_t is the flow started at x_0 and p_1 is the prior N(0, τ²(1) I).
"""

import torch
from torch import Tensor
from torchdiffeq import odeint

from scorerep.sampling import Score
from scorerep.sde import T_MIN, LinearSDE
from scorerep.types import Data, Times


def log_likelihood(
    score: Score,
    sde: LinearSDE,
    x_0: Data,
    probes: int = 0,
    generator: torch.Generator | None = None,
    t_min: float = T_MIN,
    tolerance: float = 1e-5,
) -> Times:
    """log p_0(x_0) in nats, shape ``(batch,)``.

    Args:
        score: function (x_t, t) -> score, differentiable in x_t.
        probes: 0 for the exact divergence (d backward passes an evaluation: for toys);
            otherwise the number of Rademacher probes of Hutchinson's estimate.
        t_min: where the flow starts; the data are taken to be the law at this time.
        tolerance: of the adaptive solver, relative and absolute.
    """
    if probes < 0:
        raise ValueError(f"probes must be 0 (exact) or positive, got {probes}")
    if not 0 < t_min < 1:
        raise ValueError(f"t_min must lie in (0, 1), got {t_min}")
    # The same probes along the whole flow, or the solver would chase their noise.
    signs = None
    if probes:
        signs = torch.randint(
            0, 2, (probes, *x_0.shape), generator=generator, device=x_0.device
        ).to(x_0.dtype)
        signs = 2 * signs - 1

    def flow(time: Tensor, state: tuple[Data, Times]) -> tuple[Data, Times]:
        now = float(time.clamp(t_min, 1.0))
        with torch.enable_grad():
            x = state[0].detach().requires_grad_(True)
            drift = sde.probability_flow_drift(x, score(x, now), now)
            divergence = _exact(drift, x) if signs is None else _hutchinson(drift, x, signs)
        return drift.detach(), divergence.detach()

    ends = torch.tensor([t_min, 1.0], dtype=x_0.dtype, device=x_0.device)
    start = (x_0, x_0.new_zeros(len(x_0)))
    path, change = odeint(flow, start, ends, rtol=tolerance, atol=tolerance, method="dopri5")
    return sde.prior_log_prob(path[-1]) + change[-1]


def _exact(drift: Data, x: Data) -> Times:
    # Items of a batch do not see each other, so one pass gives a coordinate of every item.
    rows = [
        torch.autograd.grad(total, x, retain_graph=True)[0].flatten(1)
        for total in drift.flatten(1).sum(0)
    ]
    return sum(row[:, i] for i, row in enumerate(rows))


def _hutchinson(drift: Data, x: Data, signs: Tensor) -> Times:
    products = [
        (torch.autograd.grad(drift, x, sign, retain_graph=True)[0] * sign).flatten(1).sum(1)
        for sign in signs
    ]
    return torch.stack(products).mean(0)
