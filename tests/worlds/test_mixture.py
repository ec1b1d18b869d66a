"""Gaussian mixtures against autograd, Monte Carlo and the identities they are there to show."""

import math

import pytest
import torch

from scorerep.sde import VESDE
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet, ring

SDE = VESDE()
QUARTET = labelled_quartet()
LEVELS = [0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 4.0, 15.0, 50.0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perturbed(law, tau, n: int, seed: int = 0):
    x_0, y = law.sample(n, generator(seed))
    noise = torch.randn(x_0.shape, generator=generator(seed + 1), dtype=x_0.dtype)
    return x_0, y, x_0 + tau * noise


def mean_and_error(values: torch.Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def in_64_dimensions() -> GaussianMixture:
    roots = torch.randn(3, 64, 64, generator=generator(7), dtype=torch.float64) / 8
    means = torch.randn(3, 64, generator=generator(8), dtype=torch.float64)
    return GaussianMixture([0.5, 0.2, 0.3], means, roots @ roots.mT, [0, 1, 0])


# Density and score


@pytest.mark.parametrize("tau", [0.0, 0.3, 5.0])
def test_density_is_that_of_the_mixture_with_tau2_added_to_the_covariances(tau):
    covariances = QUARTET.basis @ torch.diag_embed(QUARTET.variances) @ QUARTET.basis.mT
    peer = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(QUARTET.weights),
        torch.distributions.MultivariateNormal(
            QUARTET.means, covariances + tau**2 * torch.eye(2, dtype=torch.float64)
        ),
    )
    x = perturbed(QUARTET, tau, 50)[2]
    torch.testing.assert_close(QUARTET.log_prob(x, tau), peer.log_prob(x))


@pytest.mark.parametrize("law", [QUARTET, ring(), in_64_dimensions()], ids=["2-d", "ring", "64-d"])
@pytest.mark.parametrize("tau", [0.01, 0.5, 20.0])
def test_score_is_the_gradient_of_the_log_density(law, tau):
    _, y, x = perturbed(law, tau, 30)
    x.requires_grad_()
    for label in (None, y, 0):
        (gradient,) = torch.autograd.grad(law.log_prob(x, tau, label).sum(), x)
        torch.testing.assert_close(law.score(x.detach(), tau, label), gradient)


def test_guidance_score_is_the_gradient_of_the_log_class_posterior():
    _, y, x = perturbed(QUARTET, 0.5, 30)
    x.requires_grad_()
    log_posterior = QUARTET.class_posterior(x, 0.5).log().gather(1, y[:, None]).sum()
    (gradient,) = torch.autograd.grad(log_posterior, x)
    torch.testing.assert_close(QUARTET.guidance_score(x.detach(), 0.5, y), gradient)


def test_class_posterior_is_bayes_rule():
    x = perturbed(QUARTET, 0.4, 30)[2]
    joint = [QUARTET.log_prob(x, 0.4, y) + QUARTET.class_prior[y].log() for y in range(2)]
    bayes = torch.stack(joint, 1).softmax(1)
    torch.testing.assert_close(QUARTET.class_posterior(x, 0.4), bayes)


def test_class_prior_sums_the_weights_of_a_class():
    torch.testing.assert_close(QUARTET.class_prior, torch.tensor([0.55, 0.45]).double())


# Denoising: Tweedie, and the kernel's score given x_t


@pytest.mark.parametrize("tau", [0.3, 2.0])
def test_tweedie_and_the_mean_of_the_kernel_score_given_x_t(tau):
    # x_0 is drawn from the law and weighted by the kernel: E[. | x_t] without any formula of ours.
    x_0, y = QUARTET.sample(400_000, generator(1))
    for x_t in torch.tensor([[0.2, 0.1], [-0.8, 0.6]], dtype=torch.float64):
        for label in (None, 1):
            weights = (-(x_0 - x_t).square().sum(1) / (2 * tau**2)).exp()
            weights = weights if label is None else weights * (y == label)
            weights = (weights / weights.sum())[:, None]
            mean = (weights * x_0).sum(0)
            error = 4 * ((weights * (x_0 - mean)).square().sum(0)).sqrt()
            exact = QUARTET.posterior_mean(x_t[None], tau, label)[0]
            assert bool(((exact - mean).abs() < error).all())
            kernel_score = (weights * (x_0 - x_t) / tau**2).sum(0)
            score = QUARTET.score(x_t[None], tau, label)[0]
            assert bool(((score - kernel_score).abs() < error / tau**2).all())
            squares = (x_0 - mean).square().sum(1, keepdim=True)
            spread = (weights * squares).sum()
            error = 4 * (weights * (squares - spread)).square().sum().sqrt()
            variance = QUARTET.posterior_variance(x_t[None], tau, label)[0]
            assert abs(variance - spread) < error < 0.2 * spread


@pytest.mark.parametrize("tau", [0.01, 0.5, 20.0])
def test_posterior_variance_is_the_divergence_of_the_denoiser(tau):
    # Second-order Tweedie: Cov(x_0 | x_t) = τ² ∂E[x_0 | x_t]/∂x_t.
    law = in_64_dimensions()
    _, y, x = perturbed(law, tau, 2)
    for label in (None, y):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, label=label: law.posterior_mean(x, tau, label).sum(0), x
        )
        divergence = tau**2 * torch.einsum("ibi->b", jacobian)
        torch.testing.assert_close(law.posterior_variance(x, tau, label), divergence)


def test_class_means_average_to_the_posterior_mean():
    x = perturbed(QUARTET, 0.7, 30)[2]
    means, posterior = QUARTET.class_means(x, 0.7)
    torch.testing.assert_close(means[:, 1], QUARTET.posterior_mean(x, 0.7, 1))
    average = (posterior[:, :, None] * means).sum(1)
    torch.testing.assert_close(average, QUARTET.posterior_mean(x, 0.7))


# The constant of Eq. (6)


@pytest.mark.parametrize("tau", LEVELS)
def test_dsm_equals_esm_plus_constant(tau):
    x_0, _, x_t = perturbed(QUARTET, tau, 20_000)
    exact, kernel = QUARTET.score(x_t, tau), (x_0 - x_t) / tau**2
    wrong = 0.7 * exact + torch.sin(3 * x_t) / tau + 0.2
    dsm, esm = (wrong - kernel).square().sum(1), (wrong - exact).square().sum(1)
    difference, error = mean_and_error(dsm - esm)
    constant = QUARTET.constant(tau, 20_000, generator(5))
    assert abs(difference - constant.value) < 3 * math.hypot(error, constant.standard_error)
    assert constant.value > 20 * constant.standard_error


@pytest.mark.parametrize("tau", LEVELS)
def test_conditional_dsm_equals_esm_plus_conditional_constant(tau):
    x_0, y, x_t = perturbed(QUARTET, tau, 20_000)
    exact, kernel = QUARTET.score(x_t, tau, y), (x_0 - x_t) / tau**2
    wrong = 0.7 * exact + torch.sin(3 * x_t) / tau + 0.2 * y[:, None]
    dsm, esm = (wrong - kernel).square().sum(1), (wrong - exact).square().sum(1)
    difference, error = mean_and_error(dsm - esm)
    constant = QUARTET.constant(tau, 20_000, generator(5), conditional=True)
    assert abs(difference - constant.value) < 3 * math.hypot(error, constant.standard_error)


@pytest.mark.parametrize("tau", LEVELS)
def test_what_labels_win_back_is_the_energy_of_guidance(tau):
    # Pair by pair, with the label that was drawn: independent of the estimator over all labels.
    _, y, x_t = perturbed(QUARTET, tau, 20_000)
    gap = QUARTET.posterior_variance(x_t, tau) - QUARTET.posterior_variance(x_t, tau, y)
    guidance = QUARTET.guidance_score(x_t, tau, y).square().sum(1)
    energy = QUARTET.guidance_energy(tau, 20_000, generator(5))
    for values in (gap / tau**4, guidance):
        value, error = mean_and_error(values)
        assert abs(value - energy.value) < 3 * math.hypot(error, energy.standard_error)


def test_one_seed_makes_the_gap_equal_the_energy_to_rounding():
    free, given = (QUARTET.constant(0.5, 500, generator(), flag).value for flag in (False, True))
    energy = QUARTET.guidance_energy(0.5, 500, generator()).value
    assert free - given == pytest.approx(energy, rel=1e-10)


def test_guidance_energy_has_the_smaller_error():
    _, y, x_t = perturbed(QUARTET, 0.5, 5_000)
    plain = mean_and_error(QUARTET.guidance_score(x_t, 0.5, y).square().sum(1))[1]
    assert QUARTET.guidance_energy(0.5, 5_000, generator()).standard_error < 0.8 * plain


def test_constant_of_one_gaussian_is_closed_form():
    law = GaussianMixture([1.0], [[1.0, 2.0, 3.0]], 0.25)
    constant = law.constant(0.5, 100, generator())
    assert constant.value == pytest.approx(3 * 0.25 / (0.25 * 0.5), rel=1e-10)
    assert constant.standard_error == pytest.approx(0, abs=1e-10)


def test_gap_of_the_constants_integrates_to_the_information_of_the_labels():
    """½ ∫ g² [C(t) − C(t|y)] dt = H(y) − E H(y | x_0), within 2 %; I(y; x_1) < 1e-6 here."""
    n = 50
    integral = 0.0
    for i in range(n):
        t = (i + 0.5) / n
        tau = float(SDE.tau(t))
        free = QUARTET.constant(tau, 5_000, generator(i)).value
        given = QUARTET.constant(tau, 5_000, generator(i), conditional=True).value
        integral += 0.5 * float(SDE.g2(t)) * (free - given) / n
    x_0, _ = QUARTET.sample(200_000, generator())
    posterior, prior = QUARTET.class_posterior(x_0, 0.0), QUARTET.class_prior
    unknown = torch.special.entr(posterior).sum(1).mean()
    information = float(torch.special.entr(prior).sum() - unknown)
    assert 0.2 < information < 0.9 * math.log(2)
    assert integral == pytest.approx(information, rel=0.02)


# Samples, shapes, dtypes, and what is refused


@pytest.mark.parametrize("law", [QUARTET, in_64_dimensions()], ids=["2-d", "64-d"])
def test_samples_have_the_moments_of_their_class(law):
    x_0, y = law.sample(40_000, generator())
    for label, prior in enumerate(law.class_prior):
        chosen, components = x_0[y == label], law.labels == label
        weights = law.weights[components] / prior
        mean = weights @ law.means[components]
        second = law.basis @ torch.diag_embed(law.variances) @ law.basis.mT
        second = second[components] + law.means[components, :, None] * law.means[components, None]
        covariance = torch.einsum("k,kij->ij", weights, second) - mean[:, None] * mean
        assert len(chosen) / len(x_0) == pytest.approx(float(prior), abs=0.01)
        scale = covariance.diagonal().max()
        assert (chosen.mean(0) - mean).abs().max() < 0.04 * scale.sqrt()
        assert (chosen.T.cov() - covariance).abs().max() < 0.05 * scale


def test_dtype_of_x_is_kept_and_float32_is_accurate():
    x = perturbed(QUARTET, 0.1, 20)[2]
    for method in (QUARTET.log_prob, QUARTET.score, QUARTET.posterior_variance):
        low = method(x.float(), 0.1)
        assert low.dtype == torch.float32
        torch.testing.assert_close(low.double(), method(x.float().double(), 0.1), rtol=1e-6, atol=0)
    means = torch.zeros(1, 2)
    assert GaussianMixture([1.0], means, 1.0).sample(3, generator())[0].dtype == torch.float32


def test_a_level_and_a_label_for_each_item_equal_one_at_a_time():
    x, tau, y = perturbed(QUARTET, 1, 3)[2], torch.tensor([0.1, 1.0, 9.0]), torch.tensor([0, 1, 1])
    for method in (QUARTET.score, QUARTET.posterior_mean, QUARTET.posterior_variance):
        single = [method(x[i : i + 1], float(tau[i]), int(y[i])) for i in range(3)]
        torch.testing.assert_close(method(x, tau, y), torch.cat(single))


def test_isotropic_covariances_equal_full_ones():
    means, x = torch.randn(3, 2, generator=generator()).double(), torch.zeros(4, 2).double()
    variances = torch.tensor([0.1, 0.2, 0.3]).double()
    weights = [0.2, 0.3, 0.5]
    full = GaussianMixture(weights, means, variances[:, None, None] * torch.eye(2).double())
    torch.testing.assert_close(
        GaussianMixture(weights, means, variances).score(x, 0.5), full.score(x, 0.5)
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0.5, 0.5], [0.0, 1.0], 1.0), "means must be"),
        (([0.5, 0.4], [[0.0], [1.0]], 1.0), "weights must be 2 positive numbers of sum 1"),
        (([1.5, -0.5], [[0.0], [1.0]], 1.0), "weights must be"),
        (([math.nan, 0.5], [[0.0], [1.0]], 1.0), "weights must be"),
        (([1.0], [[0.0], [1.0]], 1.0), "weights must be"),
        (([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0, 1.0]), "covariances must be a number"),
        (([0.5, 0.5], [[0.0], [1.0]], [1.0, -1.0]), "positive semidefinite"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), "symmetric"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "positive semidefinite"),
        (([0.5, 0.5], [[0.0], [1.0]], 1.0, [0, 2]), "labels must be 2 integers"),
        (([0.5, 0.5], [[0.0], [1.0]], 1.0, [0]), "labels must be 2 integers"),
    ],
)
def test_impossible_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(*arguments)


def test_bad_arguments_are_refused():
    x = torch.zeros(3, 2)
    for tau in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="tau must not be negative"):
            QUARTET.score(x, tau)
    with pytest.raises(ValueError, match=r"tau must be a scalar or \(3,\)"):
        QUARTET.score(x, torch.ones(2))
    with pytest.raises(ValueError, match="x must be floats of shape"):
        QUARTET.score(torch.zeros(3, 5), 0.5)
    with pytest.raises(ValueError, match="x must be floats of shape"):
        QUARTET.score(torch.zeros(3, 2, dtype=torch.int64), 0.5)
    for y in (2, -1, torch.tensor([0, 1, 5]), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"y must be integers in 0\.\.1"):
            QUARTET.score(x, 0.5, y)
    with pytest.raises(ValueError, match="y must be a scalar"):
        QUARTET.score(x, 0.5, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="tau must be a finite number larger than 0"):
        QUARTET.constant(0.0, 100)
    with pytest.raises(ValueError, match="n must be at least 2"):
        QUARTET.guidance_energy(0.5, 1)
    with pytest.raises(ValueError, match="labels of 2 or more classes"):
        GaussianMixture([1.0], [[0.0]], 1.0).guidance_energy(0.5, 10)
    with pytest.raises(ValueError, match="singular"):
        GaussianMixture([1.0], [[0.0, 0.0]], 0.0).score(x, 0.0)
