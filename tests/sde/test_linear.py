"""The VE-SDE: kernel, its inverse maps, and what is refused."""

import math

import pytest
import torch

from scorerep.sde import VESDE
from scorerep.types import Level

SDE = VESDE()
TIMES = [1e-5, 0.01, 0.3, 0.68, 1.0]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("t", TIMES)
def test_kernel_has_mean_x_0_and_variance_sigma2_minus_sigma2_at_0(t):
    x_0 = normal(3, 2).repeat(40_000, 1)
    x_t = SDE.perturb(x_0, t, normal(*x_0.shape, seed=1))
    variance = (0.01 * 5000**t) ** 2 - 0.01**2
    draws = (x_t - x_0).reshape(-1, 6) / math.sqrt(variance)
    assert draws.mean(0).abs().max() < 4 / math.sqrt(len(draws))
    assert (draws.var(0) - 1).abs().max() < 4 * math.sqrt(2 / len(draws))


@pytest.mark.parametrize("t", TIMES)
def test_kernel_score_is_the_gradient_of_the_kernel_log_density(t):
    x_0, x_t = normal(4, 3), normal(4, 3, seed=1).requires_grad_()
    mean, std = SDE.perturbation_kernel(x_0, t)
    log_density = torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(x_t).sum()
    (gradient,) = torch.autograd.grad(log_density, x_t)
    torch.testing.assert_close(SDE.kernel_score(x_t.detach(), x_0, t), gradient)


def test_nothing_is_added_at_t_0():
    x_0 = normal(5, 1, 4, 4)
    assert torch.equal(SDE.perturb(x_0, 0.0, normal(5, 1, 4, 4, seed=1)), x_0)


def test_sigma_runs_from_sigma_min_to_sigma_max():
    assert float(SDE.sigma(0.0)) == pytest.approx(0.01)
    assert float(SDE.sigma(1.0)) == pytest.approx(50.0)
    assert float(SDE.sigma(0.5)) == pytest.approx(math.sqrt(0.01 * 50))


def test_times_of_sigma_and_tau_invert_them():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(SDE.time_of_sigma(SDE.sigma(t)), t)
    torch.testing.assert_close(SDE.time_of_tau(SDE.tau(t)), t)


def test_g2_is_the_derivative_of_sigma2_and_of_tau2():
    t = torch.linspace(0.01, 1, 100, dtype=torch.float64, requires_grad=True)
    for level in (SDE.sigma, SDE.tau):
        (slope,) = torch.autograd.grad(level(t).square().sum(), t)
        torch.testing.assert_close(SDE.g2(t).detach(), slope)


def test_drifts_are_minus_g2_times_the_score_and_half_of_it():
    score, x = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    g2 = 2 * math.log(5000) * (0.01 * 5000**t) ** 2
    reverse = SDE.reverse_drift(x, score, t)
    torch.testing.assert_close(reverse, -g2[:, None, None, None] * score)
    torch.testing.assert_close(SDE.probability_flow_drift(x, score, t), reverse / 2)


def test_prior_is_normal_with_the_kernel_variance_at_t_1():
    x_1 = SDE.prior_sample(20_000, 2, generator=torch.Generator().manual_seed(0))
    std = math.sqrt(50**2 - 0.01**2)
    assert float(x_1.std()) == pytest.approx(std, rel=0.02)
    exact = torch.distributions.Normal(0.0, std).log_prob(x_1.double()).sum(1)
    torch.testing.assert_close(SDE.prior_log_prob(x_1.double()), exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 2), (4, 1, 8, 8), (4, 3, 5, 5), (4, 2, 2, 2, 2)])
@pytest.mark.parametrize("t", [0.4, torch.tensor(0.4), torch.linspace(0.1, 1, 4)])
def test_shape_and_dtype_of_x_are_kept(shape: tuple[int, ...], dtype: torch.dtype, t: Level):
    x = normal(*shape).to(dtype)
    for y in (
        SDE.perturb(x, t, x),
        SDE.kernel_score(x, x, t),
        SDE.reverse_drift(x, x, t),
        SDE.probability_flow_drift(x, x, t),
    ):
        assert y.shape == shape
        assert y.dtype == dtype


def test_a_time_for_each_item_equals_one_at_a_time():
    x_0, noise, t = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1), torch.tensor([0.1, 0.5, 1.0])
    single = [SDE.perturb(x_0[i : i + 1], t[i], noise[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(SDE.perturb(x_0, t, noise), torch.cat(single))


@pytest.mark.parametrize("t", [-1e-6, 1.0001, math.nan, torch.tensor([0.5, 1.5])])
def test_t_outside_0_1_is_an_error_everywhere(t: Level):
    x = torch.zeros(2, 3)
    for method in (SDE.sigma, SDE.tau, SDE.g2):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            method(t)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
        SDE.perturbation_kernel(x, t)
    for method in (SDE.perturb, SDE.kernel_score, SDE.reverse_drift, SDE.probability_flow_drift):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            method(*((x, t, x) if method == SDE.perturb else (x, x, t)))


def test_what_would_broadcast_over_the_data_is_refused():
    # One noise for a whole batch is a mistake that no later step would show.
    x, noise = normal(3, 1, 2, 2), normal(1, 1, 2, 2, seed=1)
    for call, name in (
        (lambda: SDE.perturb(x, 0.5, noise), "noise"),
        (lambda: SDE.perturb(noise, 0.5, x), "noise"),
        (lambda: SDE.perturb(x, 0.5, x[:, :, :1]), "noise"),
        (lambda: SDE.kernel_score(noise, x, 0.5), "x_t"),
        (lambda: SDE.reverse_drift(x, noise, 0.5), "score"),
        (lambda: SDE.probability_flow_drift(x, noise, 0.5), "score"),
    ):
        with pytest.raises(ValueError, match=f"{name} must have the shape of x"):
            call()
    with pytest.raises(TypeError, match="noise must be a tensor, got float"):
        SDE.perturb(x, 0.5, 1.0)
    with pytest.raises(TypeError, match="data to diffuse must be a tensor of floats, got ndarray"):
        SDE.perturb(x.numpy(), 0.5, x)


@pytest.mark.parametrize("t", [[0.5] * 2, [0.5] * 4, [0.5], [[0.5], [0.5], [0.5]]])
def test_times_of_another_number_than_the_data_are_refused(t):
    x, t = normal(3, 1, 2, 2), torch.tensor(t)
    for method, given in (
        (SDE.perturb, (x, t, x)), (SDE.perturbation_kernel, (x, t)),
        (SDE.kernel_score, (x, x, t)), (SDE.reverse_drift, (x, x, t)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"t must be one number or one for each .*, \(3,\)"):
            method(*given)


@pytest.mark.parametrize("t", [0.0, torch.tensor([0.5, 0.0])])
def test_kernel_has_no_score_at_t_0(t: Level):
    with pytest.raises(ValueError, match="t must be positive"):
        SDE.kernel_score(torch.zeros(2, 3), torch.zeros(2, 3), t)


def test_levels_that_do_not_occur_are_errors():
    with pytest.raises(ValueError, match="sigma must lie in"):
        SDE.time_of_sigma(0.005)
    with pytest.raises(ValueError, match="sigma must lie in"):
        SDE.time_of_sigma(torch.tensor([1.0, 51.0]))
    with pytest.raises(ValueError, match="tau must lie in"):
        SDE.time_of_tau(-0.1)
    with pytest.raises(ValueError, match="tau must lie in"):
        SDE.time_of_tau(50.1)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (0.1, math.inf)])
def test_impossible_ranges_are_refused(low: float, high: float):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        VESDE(low, high)
