"""Linear-Gaussian representation learning: the closed forms, and training that meets them."""

import math

import pytest
import torch

from scorerep.objective import Objective, denoising_score_matching
from scorerep.sde import VESDE
from scorerep.times import DensityTime, SingleTime, UniformSigma, UniformTime
from scorerep.worlds import LinearCode, LinearGaussian, train_linear_code
from scorerep.worlds.mixture import GaussianMixture

SDE = VESDE()
VARIANCES = torch.tensor([0.25, 2.0, 0.05, 1.0, 0.5], dtype=torch.float64)
WORLD = LinearGaussian(VARIANCES)
TIMES = [
    SingleTime(0.6),
    UniformTime(),
    UniformSigma(SDE),
    DensityTime(torch.tensor([0.3, 0.5, 0.9]), torch.tensor([1.0, 2.0])),
    DensityTime(torch.tensor([0.601, 0.603]), torch.ones(1)),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def rotated() -> LinearGaussian:
    basis = torch.linalg.qr(normal(5, 5))[0]
    return LinearGaussian(basis @ VARIANCES.diag() @ basis.T)


# Closed forms


def test_constant_is_that_of_the_gaussian_seen_as_a_mixture():
    law = GaussianMixture([1.0], [[0.0] * 5], VARIANCES.diag()[None])
    for tau in (0.01, 0.5, 20.0):
        peer = law.posterior_variance(torch.zeros(1, 5).double(), tau) / tau**4
        assert float(WORLD.constant(tau)) == pytest.approx(float(peer), rel=1e-10)


def test_gains_of_the_discarded_directions_add_up_to_the_constant():
    tau = torch.tensor([0.03, 0.7, 8.0], dtype=torch.float64)
    code = torch.eye(5).double()[[1, 4]]
    torch.testing.assert_close(WORLD.constant(tau, code), WORLD.gain(tau)[:, [0, 2, 3]].sum(1))
    torch.testing.assert_close(WORLD.constant(tau), WORLD.gain(tau).sum(1))
    torch.testing.assert_close(WORLD.constant(tau, torch.eye(5)), torch.zeros(3).double())


def test_gains_are_alike_at_low_noise_and_proportional_to_variance_at_high_noise():
    low, high = WORLD.gain(0.001) * 0.001**2, WORLD.gain(50.0) * 50.0**4
    torch.testing.assert_close(low, torch.ones(5).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(high, VARIANCES, rtol=1e-3, atol=0)


def test_conditional_covariance_is_that_of_the_joint_normal():
    world, code = rotated(), normal(2, 5, seed=1)
    sigma = world.directions.T @ world.variances.diag() @ world.directions
    solved = torch.linalg.solve(code @ sigma @ code.T, code @ sigma)
    torch.testing.assert_close(world.conditional_covariance(code), sigma - sigma @ code.T @ solved)


@pytest.mark.parametrize("world", [WORLD, rotated()], ids=["diagonal", "full"])
def test_posterior_mean_is_that_of_the_joint_normal(world):
    code, x_0, tau = normal(2, 5, seed=1), world.sample(6, generator()), 0.4
    x_t, z = x_0 + tau * normal(6, 5, seed=2), x_0 @ code.T
    sigma = world.directions.T @ world.variances.diag() @ world.directions
    for seen, matrix in ((x_t, torch.eye(5).double()), (z, code)):
        noise = tau**2 * torch.eye(5).double() if seen is x_t else torch.zeros(2, 2).double()
        gram = matrix @ sigma @ matrix.T + noise
        if seen is x_t:
            expected = seen @ torch.linalg.solve(gram, matrix @ sigma)
            torch.testing.assert_close(world.posterior_mean(x_t, tau), expected)
    both, matrix = torch.cat([x_t, z], 1), torch.cat([torch.eye(5).double(), code])
    noise = torch.diag(torch.tensor([tau**2] * 5 + [0.0] * 2, dtype=torch.float64))
    gram = matrix @ sigma @ matrix.T + noise
    expected = both @ torch.linalg.solve(gram, matrix @ sigma)
    torch.testing.assert_close(world.posterior_mean(x_t, tau, z, code), expected)
    levels = torch.full((6,), tau)
    torch.testing.assert_close(world.posterior_mean(x_t, levels.double(), z, code), expected)


def test_error_of_the_posterior_mean_is_the_constant():
    world, code, tau = rotated(), normal(2, 5, seed=1), 0.5
    x_0 = world.sample(100_000, generator())
    x_t = x_0 + tau * normal(*x_0.shape, seed=3)
    errors = (world.posterior_mean(x_t, tau, x_0 @ code.T, code) - x_0).square().sum(1) / tau**4
    standard_error = float(errors.std()) / math.sqrt(len(errors))
    assert abs(float(errors.mean()) - float(world.constant(tau, code))) < 3 * standard_error


def test_repeated_and_zero_rows_of_a_code_add_nothing():
    world, code = rotated(), normal(2, 5, seed=1)
    twice = torch.cat([code, 2 * code, torch.zeros(1, 5).double()])
    x_0 = world.sample(4, generator())
    torch.testing.assert_close(world.constant(0.3, twice), world.constant(0.3, code))
    torch.testing.assert_close(
        world.posterior_mean(x_0, 0.3, x_0 @ twice.T, twice),
        world.posterior_mean(x_0, 0.3, x_0 @ code.T, code),
    )
    assert float(world.kept(twice).sum()) == pytest.approx(2)


def test_kept_is_the_share_of_variance_explained():
    code = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]]).double()  # the sum of variances 2 and 1
    expected = torch.tensor([0, 2 / 3, 0, 1 / 3, 0]).double()
    torch.testing.assert_close(WORLD.kept(code), expected)
    torch.testing.assert_close(WORLD.kept(WORLD.principal_code(2)), expected.ceil())


def test_gap_of_the_constants_integrates_to_the_information_of_the_code():
    world, code = rotated(), normal(2, 5, seed=1)
    log_tau2 = torch.linspace(math.log(0.1**2), math.log(30.0**2), 4001, dtype=torch.float64)
    tau = (0.5 * log_tau2).exp()
    gap = world.constant(tau) - world.constant(tau, code)
    integral = float(torch.trapezoid(0.5 * gap * tau**2, log_tau2))
    assert world.information(0.1, 30.0, code) == pytest.approx(integral, rel=1e-5)


def test_information_of_the_whole_is_that_of_a_gaussian_channel():
    everything = torch.eye(5).double()
    capacity = 0.5 * float(torch.log1p(VARIANCES / 0.2**2).sum())
    assert WORLD.information(0.2, math.inf, everything) == pytest.approx(capacity)


# The optimum of Eq. (8)


@pytest.mark.parametrize("times", TIMES, ids=lambda times: type(times).__name__)
@pytest.mark.parametrize("weighting", ["tau2", "sigma2"])
def test_objective_is_the_expectation_over_t(times, weighting):
    code = WORLD.principal_code(2)
    t = times.sample(200_000, generator()).double()
    level = SDE.tau(t) if weighting == "tau2" else SDE.sigma(t)
    values = level**2 * WORLD.constant(SDE.tau(t), code) / 5
    standard_error = float(values.std()) / math.sqrt(len(values))
    value = WORLD.objective(SDE, times, code, weighting)
    assert abs(value - float(values.mean())) < 3 * standard_error + 1e-6 * value


def test_uniform_t_is_the_logarithm_of_a_ratio():
    # ∫ v/(v + τ²) dt with τ² = σ² − m: a logarithm in σ².
    v, m, most = 0.25, 0.01**2, 50.0**2
    exact = v / (2 * SDE.log_range * (v - m)) * math.log(most / m * v / (most + v - m))
    value = LinearGaussian([v]).objective(SDE, UniformTime())
    assert value == pytest.approx(exact, rel=1e-4)  # UniformTime starts at 1e-5


@pytest.mark.parametrize("times", TIMES, ids=lambda times: type(times).__name__)
@pytest.mark.parametrize("latent", [0, 1, 2, 3, 4, 5])
def test_no_linear_code_is_better_than_the_principal_directions(times, latent):
    world = rotated()
    best = world.optimal_objective(SDE, times, latent)
    for seed in range(20):
        # Near the optimum as well as anywhere.
        code = normal(latent, 5, seed=seed)
        code = code if seed % 2 else world.principal_code(latent) + 0.1 * code
        assert world.objective(SDE, times, code) >= best - 1e-12


def test_optimum_is_the_mean_gain_of_the_directions_of_least_variance():
    tau2 = float(SDE.tau(0.6)) ** 2
    left = torch.tensor([0.05, 0.25, 0.5]).double()
    expected = float((left / (left + tau2)).sum()) / 5
    assert WORLD.optimal_objective(SDE, SingleTime(0.6), 2) == pytest.approx(expected)
    assert rotated().optimal_objective(SDE, SingleTime(0.6), 2) == pytest.approx(expected)
    assert WORLD.optimal_objective(SDE, SingleTime(0.6), 5) == pytest.approx(0, abs=1e-12)


# Training


@pytest.mark.parametrize("tau", [0.05, 0.5, 5.0])
def test_training_comes_within_2_percent_of_the_optimum(tau):
    t, world = float(SDE.time_of_tau(tau)), rotated()
    model = LinearCode(SDE, t, 5, 2, generator(0))
    losses = list(train_linear_code(model, world, 1500, generator=generator(1)))
    best = world.optimal_objective(SDE, SingleTime(t), 2)
    found = float(model.expected_loss(world).detach())
    assert best <= found < 1.02 * best
    assert losses[0] > 1.3 * best
    if tau >= 0.5:  # below, other directions than the principal ones serve almost as well
        assert world.kept(model.encoder.weight)[:2].min() > 0.95


def test_the_exact_gradient_needs_no_draws_and_small_steps_never_climb():
    world, t = rotated(), 0.6
    model = LinearCode(SDE, t, 5, 2, generator(0))
    start, noise = float(model.expected_loss(world).detach()), generator(1)
    state = noise.get_state()
    losses = list(
        train_linear_code(
            model, world, 300, learning_rate=1.0, generator=noise, exact=True,
            optimiser=torch.optim.SGD,
        )
    )  # fmt: skip
    assert torch.equal(noise.get_state(), state) and losses[0] == start
    assert all(after <= before for before, after in zip(losses, losses[1:]))
    best = world.optimal_objective(SDE, SingleTime(t), 2)
    assert best <= losses[-1] < 1.05 * best < start


def test_expected_loss_is_the_mean_of_the_package_loss():
    world, t = rotated(), 0.6
    model = LinearCode(SDE, t, 5, 2, generator(0))
    list(train_linear_code(model, world, 20, generator=generator(1)))
    x_0 = world.sample(100_000, generator(2))
    with torch.no_grad():
        times = torch.full((len(x_0),), t, dtype=torch.float64)
        noise = normal(*x_0.shape, seed=3)
        values = denoising_score_matching(model, x_0, times, noise, model.encode(x_0))
        expected = float(model.expected_loss(world))
    standard_error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - expected) < 3 * standard_error


def test_optimal_matrices_reach_the_optimum():
    world, tau = rotated(), 0.5
    model = LinearCode(SDE, float(SDE.time_of_tau(tau)), 5, 2)
    code = world.principal_code(2)
    identity, nothing = torch.eye(5).double(), torch.zeros(5, 2).double()
    of_x_t = world.posterior_mean(identity, tau, nothing, code).T
    of_z = world.posterior_mean(nothing.new_zeros(2, 5), tau, torch.eye(2).double(), code).T
    with torch.no_grad():
        model.encoder.weight.copy_(code)
        model.of_x_t.copy_((1 + model.tau**2) * of_x_t - identity)
        model.of_z.copy_(of_z)
    best = world.optimal_objective(SDE, SingleTime(model.t), 2)
    assert float(model.expected_loss(world).detach()) == pytest.approx(best, rel=1e-6)


def test_linear_code_is_a_model_for_the_objective():
    model = LinearCode(SDE, 0.6, 5, 2, generator())
    x_0, objective = WORLD.sample(64, generator()), Objective(SingleTime(0.6), regulariser="l1")
    losses = objective(model, x_0, objective.draw(x_0, 2, generator()))
    losses.total.backward()
    assert losses.matching > 0
    assert bool(model.of_z.grad.any())


# What is refused


@pytest.mark.parametrize(
    "variances", [[], [1.0, 0.0], [1.0, -1.0], [[1.0, 0.5], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]]
)
def test_impossible_variances_are_refused(variances):
    with pytest.raises(ValueError, match="variances must be"):
        LinearGaussian(variances)


def test_bad_arguments_are_refused():
    x, code = torch.zeros(3, 5).double(), torch.eye(5).double()[:2]
    with pytest.raises(ValueError, match="tau must be positive"):
        WORLD.constant(0.0)
    with pytest.raises(ValueError, match=r"code must be \(latent, 5\)"):
        WORLD.constant(1.0, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"x_t must be floats of shape \(batch, 5\)"):
        WORLD.posterior_mean(torch.zeros(3, 4), 1.0)
    for z, matrix in ((None, code), (x[:, :2], None), (x[:, :3], code)):
        with pytest.raises(ValueError, match="must be given together"):
            WORLD.posterior_mean(x, 1.0, z, matrix)
    with pytest.raises(ValueError, match="0 < a < b"):
        WORLD.information(0.0, 1.0, code)
    with pytest.raises(ValueError, match=r"latent must lie in 0\.\.5"):
        WORLD.optimal_objective(SDE, UniformTime(), 6)
    with pytest.raises(ValueError, match="weighting must be"):
        WORLD.objective(SDE, UniformTime(), None, "sigma")
    for t, latent in ((0.0, 1), (1.5, 1), (0.5, 0), (0.5, 6)):
        with pytest.raises(ValueError, match=r"must lie in (\(0, 1\]|1\.\.5)"):
            LinearCode(SDE, t, 5, latent)
    with pytest.raises(ValueError, match="this model is for t = 0.5 only"):
        LinearCode(SDE, 0.5, 5, 2).score(x, 0.6, x[:, :2])
