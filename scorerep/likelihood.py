"""log p_0(x_0) by the probability flow (Song et al., 2021, Section 4.3 and Eq. 39).

Along dx/dt = f x − ½ g² s (f = 0 for VE) the log-density changes by minus the drift's divergence,

    log p_0(x_0) = log p_1(x_1) + ∫_0^1 div(f x − ½ g² s)(x_t, t) dt

where x_t is the flow started at x_0 and p_1 is the prior N(0, τ²(1) I).
"""

import torch
from torch import Generator, Tensor
from torchdiffeq import odeint

from scorerep.sampling import Score
from scorerep.sde import T_MIN, LinearSDE, need_linear
from scorerep.types import Data, Times, checks

STEP = 1e-2  # of the finite difference, in units of the noise
AGREE = 0.03  # share by which the two derivatives may differ
LEVELS = (0.03, 0.1, 0.3, 1.0)  # τ/α at which they are compared


def log_likelihood(
    score: Score,
    sde: LinearSDE,
    x_0: Data,
    probes: int = 0,
    generator: Generator | None = None,
    t_min: float = T_MIN,
    tolerance: float = 1e-5,
    batch: int | None = None,
) -> Times:
    """log p_0(x_0) in nats, shape ``(batch,)``: of the density of x_0 as it is.

    Bits per dimension of byte images would need dequantisation, which is not provided.

    Args:
        score: function (x_t, t) -> score, differentiable in x_t, t a scalar tensor.
        x_0: float32 or float64.
        probes: 0 for the exact divergence (d backward passes an evaluation: for toys);
            otherwise the number of Rademacher probes of Hutchinson's estimate.
        t_min: where the flow starts; the data are taken to be the law at this time.
        tolerance: of the adaptive solver, relative and absolute.
        batch: items solved for at a time, None for all of them, which one graph must then hold.
            ``score`` is then called with so many items at most, so it can have one code or label
            for all items, but not one for each. The solver chooses its steps for a batch: the
            values agree within its tolerance.

    Raises:
        ValueError: options out of range; or a score that autograd sees only a part of, or nothing:
            its divergence would be wrong without a word. A finite difference tells.
    """
    probes = checks.whole("probes", probes, 0)
    if not 0 < t_min < 1:
        raise ValueError(f"t_min must lie in (0, 1), got {t_min}")
    checks.floating("x_0", x_0)
    least = torch.finfo(x_0.dtype).eps
    if least > 1e-6:
        raise ValueError(f"x_0 must be float32 or float64 for a solver, got {x_0.dtype}")
    if checks.number("tolerance", tolerance, above=0.0) < least:
        raise ValueError(f"tolerance must be at least {least:.2g} for {x_0.dtype}: {tolerance}")
    sde, each = need_linear(sde), len(x_0) if batch is None else checks.whole("batch", batch, 1)
    if not len(x_0):
        return x_0.new_zeros(0)
    # Autograd is at work here whatever mode the caller is in.
    with torch.inference_mode(False):
        x_0, signs = x_0.clone(), None
        # The same probes along the whole flow, or the solver would chase their noise.
        if probes:
            where = x_0.device if generator is None else generator.device
            signs = torch.randint(0, 2, (probes, *x_0.shape), generator=generator, device=where)
            signs = 2 * signs.to(x_0) - 1
        starts = range(0, len(x_0), each)
        parts = [
            (x_0[i : i + each], None if signs is None else signs[:, i : i + each]) for i in starts
        ]
        return torch.cat([_solve(score, sde, *part, t_min, tolerance) for part in parts])


def _solve(score, sde, x_0, signs, t_min, tolerance) -> Times:
    _check_derivative(score, sde, x_0, t_min)

    def flow(time: Tensor, state: tuple[Data, Times]) -> tuple[Data, Times]:
        now = time.clamp(t_min, 1.0)
        with torch.enable_grad():
            x = state[0].detach().requires_grad_(True)
            drift = sde.probability_flow_drift(x, _with_graph(score, x, now), now)
            divergence = _exact(drift, x) if signs is None else _hutchinson(drift, x, signs)
        return drift.detach(), divergence.detach()

    ends = torch.tensor([t_min, 1.0], dtype=x_0.dtype, device=x_0.device)
    start = (x_0.detach(), x_0.new_zeros(len(x_0)))
    path, change = odeint(flow, start, ends, rtol=tolerance, atol=tolerance, method="dopri5")
    return sde.prior_log_prob(path[-1]) + change[-1]


def _with_graph(score: Score, x: Data, t: Tensor) -> Data:
    value = score(x, t)
    if value.shape != x.shape:
        shapes = f"{tuple(x.shape)}, got {tuple(value.shape)}"
        raise ValueError(f"score must return the shape of x_t, {shapes}")
    if not bool(value.detach().isfinite().all()):
        raise ValueError(f"score must be finite, got NaN or infinity at t = {float(t):.4g}")
    if not value.requires_grad:
        raise ValueError("score must be differentiable in x_t, but it comes without a graph")
    return value


def _check_derivative(score: Score, sde: LinearSDE, x_0: Data, t_min: float):
    """A term without a graph, such as that of a guide, is missing in autograd's derivative."""
    generator = torch.Generator().manual_seed(0)
    noise, v = torch.randn(2, *x_0.shape, generator=generator, dtype=x_0.dtype).to(x_0.device)
    highest = float(sde.level(1.0))
    for level in LEVELS:
        t = max(t_min, float(sde.time_of_level(min(level, highest))))
        x, h = sde.perturb(x_0, t, noise), STEP * float(sde.tau(t))
        at = torch.tensor(t, dtype=x_0.dtype, device=x_0.device)
        with torch.enable_grad():
            x.requires_grad_(True)
            by_graph = torch.autograd.grad(_with_graph(score, x, at), x, v, allow_unused=True)[0]
        with torch.no_grad():
            high, low = (score(x + sign * h * v, at) for sign in (1, -1))
        finite = ((high - low) / (2 * h) * v).flatten(1).sum(1)
        graph = 0 if by_graph is None else (by_graph * v).flatten(1).sum(1)
        size, gap = (float(value.abs().mean()) for value in (finite, finite - graph))
        rounding = 8 * torch.finfo(x_0.dtype).eps * float(high.abs().mean()) * v[0].numel() / h
        if gap > AGREE * size + rounding:
            raise ValueError(
                "score must be differentiable in x_t as a whole, but at t = "
                f"{t:.3g} autograd's derivative is off by {gap:.3g} of {size:.3g}: a part of it "
                "has no graph (detached, under no_grad), or it is random (dropout: model.eval())"
            )


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
