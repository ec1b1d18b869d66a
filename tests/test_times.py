"""Distributions of t: samples follow the density, and importance changes variance only."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from scorerep import times as times_module
from scorerep.objective import Objective
from scorerep.sde import T_MIN, VESDE
from scorerep.times import (
    DensityTime,
    SingleTime,
    UniformSigma,
    UniformTime,
    importance,
    log_normal_sigma,
)
from tests.fake_accelerator import fake, pretended

SDE = VESDE()
DISTRIBUTIONS = {
    "uniform t": UniformTime(),
    "uniform t above 0.2": UniformTime(0.2),
    "uniform sigma": UniformSigma(SDE),
    "step function": DensityTime(torch.tensor([0.1, 0.2, 0.5, 0.9]), torch.tensor([3.0, 0.0, 1.0])),
    "smooth": DensityTime.from_function(lambda t: t * (1 - t) ** 3),
    "log-normal sigma": log_normal_sigma(SDE, median=1.0, spread=1.2),
}
EACH = pytest.mark.parametrize("times", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cumulative(times):
    """The distribution function, from the density by the midpoint rule."""
    n = 200_000
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    values = torch.cat([torch.zeros(1).double(), times.density(middles).double().cumsum(0) / n])
    return lambda t: np.interp(t, np.linspace(0, 1, n + 1), values.numpy())


@EACH
def test_density_is_not_negative_and_integrates_to_one(times):
    assert float(cumulative(times)(1.0)) == pytest.approx(1.0, abs=2e-4)
    assert bool((times.density(torch.linspace(0, 1, 1001)) >= 0).all())


@EACH
def test_samples_follow_the_density(times):
    t = times.sample(4000, generator(1))
    assert t.shape == (4000,) and t.dtype == torch.float32
    assert T_MIN * (1 - 1e-6) <= float(t.min()) and float(t.max()) <= 1
    assert stats.kstest(t.double().numpy(), cumulative(times)).pvalue > 0.01


@EACH
def test_another_distribution_is_told_apart(times):
    # The test above can fail: the same samples, moved by a twentieth, are rejected.
    t = times.sample(4000, generator(1)).double().numpy() * 0.95
    assert stats.kstest(t, cumulative(times)).pvalue < 1e-3


@EACH
def test_samples_depend_on_the_generator_alone(times):
    a = times.sample(50, generator(1))
    torch.rand(3)
    assert torch.equal(a, times.sample(50, generator(1)))
    assert not torch.equal(a, times.sample(50, generator(2)))


def test_uniform_sigma_draws_sigma_uniformly():
    sigma = SDE.sigma(UniformSigma(SDE).sample(4000, generator(3))).double().numpy()
    assert stats.kstest(sigma, "uniform", (0.01, 49.99)).pvalue > 0.01
    # 80 % of the draws lie beyond σ = 10, as the closed form says.
    assert float((sigma > 10).mean()) == pytest.approx(40 / 49.99, abs=0.02)


def test_log_normal_sigma_is_normal_in_log_sigma():
    t = log_normal_sigma(SDE, median=1.0, spread=0.8).sample(4000, generator(4))
    log_sigma = SDE.sigma(t).log().double().numpy()
    assert stats.kstest(log_sigma, "norm", (0.0, 0.8)).pvalue > 0.01


def test_single_time_is_always_the_same():
    assert torch.equal(SingleTime(0.4).sample(5, generator()), torch.full((5,), 0.4))


def test_density_time_from_a_function_is_that_function_normalised():
    times = DensityTime.from_function(lambda t: 6 * t**2, bins=512)
    t = torch.linspace(0.05, 0.95, 50, dtype=torch.float64)
    torch.testing.assert_close(times.density(t), 3 * t**2, rtol=0.05, atol=0)
    twice = DensityTime.from_function(lambda t: 12 * t**2, bins=512)
    torch.testing.assert_close(times.density(t), twice.density(t))


def test_step_function_has_its_masses_and_no_draw_in_an_empty_bin():
    times = DISTRIBUTIONS["step function"]
    t = torch.tensor([0.05, 0.15, 0.3, 0.7, 0.95], dtype=torch.float64)
    # Masses 0.3, 0 and 0.4 before normalising.
    expected = torch.tensor([0.0, 3 / 0.7, 0.0, 1 / 0.7, 0.0], dtype=torch.float64)
    torch.testing.assert_close(times.density(t), expected, rtol=1e-6, atol=0)
    draws = times.sample(20_000, generator())
    assert not bool(((draws > 0.2001) & (draws < 0.4999)).any())
    assert float((draws < 0.3).double().mean()) == pytest.approx(3 / 7, abs=0.012)


@pytest.mark.parametrize("values", [[0.0, 1.0], [1.0, 0.0]])
def test_empty_first_or_last_bin_is_never_drawn(values):
    times = DensityTime(torch.tensor([0.1, 0.5, 0.9]), torch.tensor(values))
    t = times.sample(20_000, generator())
    low, high = (0.5, 0.9) if values[1] else (0.1, 0.5)
    assert low - 1e-6 <= float(t.min()) and float(t.max()) <= high + 1e-6


def test_no_draw_has_density_zero_even_where_rounding_meets_an_empty_bin():
    # Every draw lands on an edge: u is the mass below it, in single precision.
    edges = torch.tensor([0.1, 0.30001, 0.5, 0.70003, 0.9, 1.0])
    times = DensityTime(edges, torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0]))
    below = torch.nextafter(times.cumulative.float(), torch.tensor(0.0))
    for u in (*times.cumulative.float().tolist(), *below.tolist()):
        if not 0 <= u < 1:
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(times_module, "_uniform", lambda n, generator, u=u: torch.full((n,), u))
            t, weight = importance(times, times, 3)
        assert bool((times.density(t) > 0).all()) and torch.equal(weight, torch.ones(3)), u
        assert bool((t < edges[1]).all() or ((t >= edges[2]) & (t < edges[3])).all()), u


def test_edges_of_single_precision_may_start_at_the_smallest_time():
    times = DensityTime(torch.linspace(T_MIN, 1, 11), torch.ones(10))
    assert float(times.edges[0]) == T_MIN and float(times.edges[-1]) == 1
    assert float(times.density(torch.tensor([0.5]))) == pytest.approx(1, rel=1e-4)


def test_densities_are_equal_by_value():
    a, b = (DensityTime.from_function(lambda t: 1 - 0.5 * t, bins=8) for _ in range(2))
    c = DensityTime.from_function(lambda t: 1 - 0.4 * t, bins=8)
    assert a == b and hash(a) == hash(b) and a != c and a != UniformTime()
    assert a != DensityTime.from_function(lambda t: 1 - 0.5 * t, bins=9)
    assert Objective(a) == Objective(b) and Objective(a) != Objective(c)


def test_tables_of_a_density_are_copied_to_a_device_once():
    times, t = DISTRIBUTIONS["step function"], torch.tensor([0.15, 0.6])
    assert times._like(t)[0] is times._like(t + 1)[0]
    assert times._like(t.double())[0].dtype == torch.float64
    elsewhere = t.to("meta")
    assert times.density(elsewhere).device == elsewhere.device
    assert times._like(elsewhere)[0] is times._like(elsewhere)[0]


def test_a_density_may_be_made_of_tensors_on_any_device():
    with pretended():
        edges, values = fake(torch.tensor([0.1, 0.5, 0.9])), fake(torch.tensor([1.0, 3.0]))
        times = DensityTime(edges, values)
    assert times == DensityTime(torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1.0, 3.0]))


# Importance sampling


def test_a_proposal_without_mass_where_it_draws_is_an_error():
    class Nowhere(UniformTime):
        def density(self, t):
            return torch.zeros_like(t)

    with pytest.raises(ValueError, match="weights are not finite"):
        importance(UniformTime(), Nowhere(), 10, generator())


def loss(t, variance: float = 0.25):
    """Of the exact score of N(0, variance), λ = τ²: what uniform σ mostly spends on nothing."""
    return variance / (variance + SDE.tau(t) ** 2)


def exact_under_uniform_sigma() -> float:
    t = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    return float((UniformSigma(SDE).density(t) * loss(t)).mean())


def test_importance_leaves_the_expectation_unchanged():
    exact = exact_under_uniform_sigma()
    assert exact == pytest.approx(0.5 * (math.pi / 2) / 50, rel=0.03)  # ∫ v/(v+σ²) dσ / 50
    proposals = [UniformTime(), log_normal_sigma(SDE, 1.0, 2.0), DensityTime.from_function(_ramp)]
    for seed, proposal in enumerate(proposals):
        t, weight = importance(UniformSigma(SDE), proposal, 40_000, generator(seed))
        values = (weight * loss(t)).double()
        error = float(values.std()) / math.sqrt(len(values))
        assert abs(float(values.mean()) - exact) < 3 * error
        assert error < 0.05 * exact


def _ramp(t):
    return 1.2 - t


def test_importance_reduces_the_variance_of_the_uniform_sigma_objective():
    plain = loss(UniformSigma(SDE).sample(40_000, generator(1)))
    t, weight = importance(UniformSigma(SDE), UniformTime(), 40_000, generator(2))
    # Exact ratio of variances by quadrature is about 40; draws must show at least half of it.
    assert float((weight * loss(t)).var()) < float(plain.var()) / 20


def test_importance_with_the_target_as_proposal_has_weights_of_one():
    for times in DISTRIBUTIONS.values():
        _, weight = importance(times, times, 500, generator())
        torch.testing.assert_close(weight, torch.ones(500))


def test_mean_weight_is_one_where_the_proposal_covers_the_target():
    _, weight = importance(DISTRIBUTIONS["smooth"], UniformTime(), 40_000, generator())
    error = float(weight.std()) / 200
    assert abs(float(weight.mean()) - 1) < 3 * error


# Bad input


@pytest.mark.parametrize("t", [0.0, -0.5, 1.5, float("nan")])
def test_single_time_out_of_range_is_an_error(t):
    with pytest.raises(ValueError, match=r"t of SingleTime must lie in \(0, 1\]"):
        SingleTime(t)


def test_single_time_cannot_be_weighted():
    with pytest.raises(ValueError, match="SingleTime has no density"):
        importance(SingleTime(0.5), UniformTime(), 10, generator())
    with pytest.raises(ValueError, match="SingleTime has no density"):
        importance(UniformTime(), SingleTime(0.5), 10, generator())


@pytest.mark.parametrize(
    ("edges", "values", "message"),
    [
        ([0.1, 0.5, 0.9], [1.0], "one longer than values"),
        ([0.1, 0.9, 0.5], [1.0, 1.0], "edges must increase"),
        ([0.0, 0.5, 1.0], [1.0, 1.0], "edges must lie in"),
        ([0.1, 0.5, 1.1], [1.0, 1.0], "edges must lie in"),
        ([0.1, 0.5, 0.9], [1.0, -1.0], "non-negative and not all zero"),
        ([0.1, 0.5, 0.9], [0.0, 0.0], "non-negative and not all zero"),
        ([0.1, 0.5, 0.9], [float("nan"), 1.0], "values must be finite"),
    ],
)
def test_impossible_densities_are_errors(edges, values, message):
    with pytest.raises(ValueError, match=message):
        DensityTime(torch.tensor(edges), torch.tensor(values))


@pytest.mark.parametrize("spread", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_spread_that_is_none_is_an_error(spread):
    with pytest.raises(ValueError, match=f"spread must be a finite .* than 0, got {spread}"):
        log_normal_sigma(SDE, 2.0, spread)


@pytest.mark.parametrize("t_min", [-0.1, 0.0, 1.0, 2.0])
def test_uniform_time_needs_a_positive_start_below_one(t_min):
    with pytest.raises(ValueError, match="t_min"):
        UniformTime(t_min)
