"""Two facts that chapters of theory rest on, small enough to check at every change."""

import math

import torch

from scorerep.sde import VESDE
from scorerep.times import SingleTime
from scorerep.worlds import LinearCode, LinearGaussian


def excess_after_adam(rate: float, steps: int) -> float:
    """0 for the best linear code of two numbers at t = 0.1, 1 for the worst; exact gradients."""
    world = LinearGaussian(0.25 ** torch.arange(4, dtype=torch.float64))
    times, sde = SingleTime(0.1), VESDE()
    model = LinearCode(sde, times.t, 4, 2, torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        model.expected_loss(world).backward()
        adam.step()
        cosine.step()
    best = world.optimal_objective(sde, times, latent=2)
    worst = world.objective(sde, times, torch.eye(4).double()[2:])
    return (world.objective(sde, times, model.encoder.weight.detach()) - best) / (worst - best)


def test_large_steps_of_adam_lead_to_the_worst_code_and_small_ones_do_not():
    assert excess_after_adam(0.03, 1200) > 0.9
    assert excess_after_adam(0.0005, 1200) < 0.5


def test_elbo_is_the_bound_and_the_entropy_of_the_data_whatever_the_largest_noise():
    variance, error = 0.3, 0.02  # of the data; of a score in units of the loss
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    for sigma_max in (2.0, 50.0):
        sde = VESDE(sigma_max=sigma_max)
        edges = torch.logspace(-4, math.log10(float(sde.tau(1.0))), 40_001, dtype=torch.float64)
        low, tau2 = float(edges[0]), edges.square()
        constant = variance / (tau2 * (variance + tau2))  # C, d = 1
        # With dt replaced by dτ²: ½ ∫ g² (...) dt = ½ ∫ (...) dτ²
        loss_less_one = 0.5 * torch.trapezoid(constant + error / tau2 - 1 / tau2, tau2)
        explicit = 0.5 * torch.trapezoid(error / tau2, tau2)
        prior, end = float(sde.tau(1.0)) ** 2, variance + float(sde.tau(1.0)) ** 2
        cross_entropy = 0.5 * math.log(2 * math.pi * prior) + end / (2 * prior)
        mismatch = cross_entropy - 0.5 * math.log(2 * math.pi * math.e * end)
        elbo, bound = float(loss_less_one) + cross_entropy, float(explicit) + mismatch
        assert abs(elbo - bound - entropy) < 1e-3 + low
