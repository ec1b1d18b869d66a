"""VP and sub-VP beside VE: moments, samplers, likelihood, and information for all three."""

import math

import numpy as np
import pytest
import torch

from scorerep import sampling
from scorerep.codes.information import code_spectrum, label_spectrum
from scorerep.likelihood import log_likelihood
from scorerep.objective import denoising_score_matching, root_weight
from scorerep.sde import VESDE, VPSDE, LinearSDE, SubVPSDE, need_linear
from scorerep.times import UniformSigma, UniformTime, log_normal_sigma
from scorerep.worlds import LinearCode, LinearGaussian
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet

SDES = {"VE": VESDE(), "VP": VPSDE(), "sub-VP": SubVPSDE()}
EACH = pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
WITH_DRIFT = pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE()], ids=["VP", "sub-VP"])
T = torch.linspace(0.02, 1, 50, dtype=torch.float64)
WORLD = labelled_quartet()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact(sde, y=None, world=WORLD):
    """∇ log p_t: x_t/α has the law of x_0 under noise of the level τ/α."""

    def score(x, t):
        alpha = float(sde.alpha(t))
        return world.score(x / alpha, float(sde.level(t)), y) / alpha

    return score


@EACH
def test_moments_obey_the_sde_s_own_equations(sde):
    # dα/dt = f α and dτ²/dt = 2 f τ² + g²
    t = T.clone().requires_grad_()
    rate = sde.drift_rate(T)
    (slope,) = torch.autograd.grad((sde.alpha(t).log() + 0 * t).sum(), t)
    torch.testing.assert_close(slope, rate)
    (slope,) = torch.autograd.grad(sde.tau(t).square().sum(), t)
    torch.testing.assert_close(slope, 2 * rate * sde.tau(T) ** 2 + sde.g2(T))


@EACH
def test_log_signal_to_noise_ratio_falls_by_g2_over_tau2(sde):
    t = T.clone().requires_grad_()
    (slope,) = torch.autograd.grad(sde.log_snr(t).sum(), t)
    torch.testing.assert_close(slope, -sde.g2(T) / sde.tau(T) ** 2)


@WITH_DRIFT
def test_simulated_paths_have_the_kernel_s_mean_and_variance(sde):
    x_0, steps, end = 2.0, 400, 0.6
    x, noise = torch.full((20_000,), x_0, dtype=torch.float64), generator()
    for k in range(steps):
        now, dt = (k + 0.5) / steps * end, end / steps
        step = torch.randn(x.shape, generator=noise, dtype=x.dtype) * math.sqrt(dt)
        x = x + float(sde.drift_rate(now)) * x * dt + float(sde.g2(now)) ** 0.5 * step
    alpha, tau = float(sde.alpha(end)), float(sde.tau(end))
    assert float(x.mean()) == pytest.approx(alpha * x_0, abs=4 * tau / math.sqrt(len(x)) + 0.003)
    assert float(x.std()) == pytest.approx(tau, rel=0.03)


@EACH
def test_levels_are_inverted_down_to_the_smallest(sde):
    t = torch.cat([torch.tensor([0.0, 1e-5, 1e-3], dtype=torch.float64), T])
    torch.testing.assert_close(sde.time_of_level(sde.level(t)), t, rtol=1e-6, atol=1e-12)
    with pytest.raises(ValueError, match="must lie in"):
        sde.time_of_level(1.1 * float(sde.level(1.0)))


def test_variance_is_preserved_by_vp_and_never_exceeded_by_sub_vp():
    vp, sub = SDES["VP"], SDES["sub-VP"]
    torch.testing.assert_close(vp.alpha(T) ** 2 + vp.tau(T) ** 2, torch.ones_like(T))
    assert bool((sub.tau(T) < vp.tau(T)).all())


@EACH
def test_kernel_score_is_the_gradient_of_the_kernel_log_density(sde):
    x_0 = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    x_t = torch.randn(4, 3, generator=generator(1), dtype=torch.float64).requires_grad_()
    for t in (0.1, torch.tensor([0.2, 0.4, 0.6, 0.8])):
        mean, std = sde.perturbation_kernel(x_0, t)
        density = torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(x_t).sum()
        (gradient,) = torch.autograd.grad(density, x_t)
        torch.testing.assert_close(sde.kernel_score(x_t.detach(), x_0, t), gradient)


@WITH_DRIFT
@pytest.mark.parametrize(
    ("sampler", "steps"),
    [
        (sampling.heun, 30), (sampling.stochastic_heun, 60), (sampling.probability_flow, None),
        (sampling.euler_maruyama, 500), (sampling.predictor_corrector, 150),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_samplers_reach_the_mixture(sde, sampler, steps):
    n = 1_500
    x_1 = sde.prior_sample(n, 2, generator=generator(), dtype=torch.float64)
    x_0 = sampler(exact(sde), sde, x_1, steps=steps, generator=generator(1))
    wanted, _ = WORLD.sample(50_000, generator(2))
    assert float((x_0.mean(0) - wanted.mean(0)).abs().max()) < 0.08
    assert float((x_0.T.cov() - wanted.T.cov()).abs().max()) < 0.08


@WITH_DRIFT
def test_heun_takes_the_same_path_through_levels_as_ve(sde):
    top = float(sde.level(0.8))
    ve = VESDE(0.01, 100.0)
    x = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    t = float(ve.time_of_tau(top))
    through_ve = sampling.heun(exact(ve), ve, top * x, t=t, steps=12)
    x_t = float(sde.alpha(0.8)) * top * x
    torch.testing.assert_close(sampling.heun(exact(sde), sde, x_t, t=0.8, steps=12), through_ve)


@WITH_DRIFT
def test_likelihood_of_a_mixture_is_exact(sde):
    x_0, _ = WORLD.sample(20, generator(1))
    error = log_likelihood(exact(sde), sde, x_0, t_min=1e-4) - WORLD.log_prob(x_0)
    assert float(error.abs().max()) < 0.02


def score_difference(sde, t, n, seed):
    """½ g² [C(t) − C(t|y)] from the definition: two mean squared score errors in x_t."""
    x_0, y = WORLD.sample(n, generator(seed))
    noise = torch.randn(x_0.shape, generator=generator(seed + 1), dtype=x_0.dtype)
    x_t = sde.perturb(x_0, t, noise)
    kernel = sde.kernel_score(x_t, x_0, t)
    plain, given = (
        (exact(sde, k)(x_t, t) - kernel).square().sum(1) for k in (None, y)
    )  # fmt: skip
    difference = 0.5 * float(sde.g2(t)) * (plain - given)
    return float(difference.mean()), float(difference.std()) / math.sqrt(n)


@EACH
def test_difference_of_the_constants_integrates_to_the_label_s_information(sde):
    # In log-levels, so that all three see the same grid; dt is by the SDE's own time.
    levels = torch.logspace(-2.5, math.log10(float(sde.level(1.0)) * 0.999), 45).double()
    t = sde.time_of_level(levels).numpy()
    pairs = [score_difference(sde, float(s), 4_000, 7 * k) for k, s in enumerate(t)]
    value, error = (np.array(column) for column in zip(*pairs))
    gaps = np.diff(t)
    weight = 0.5 * (np.append(gaps, 0) + np.insert(gaps, 0, 0))
    total, total_error = (weight * value).sum(), np.sqrt((weight**2 * error**2).sum())
    x_0, _ = WORLD.sample(40_000, generator())
    h = torch.special.entr(WORLD.class_prior).sum()
    expected = float(h - torch.special.entr(WORLD.class_posterior(x_0, 0.0)).sum(1).mean())
    assert total_error < 0.03
    assert total == pytest.approx(expected, abs=3 * total_error + 0.01)


@EACH
def test_label_spectrum_is_that_difference_at_each_time(sde):
    t = sde.time_of_level(torch.tensor([0.2, 0.35, 0.6])).numpy()
    spectrum = label_spectrum(WORLD, sde, t, 20_000, generator())
    for time, value, error in zip(t, spectrum.value, spectrum.standard_error, strict=True):
        direct, direct_error = score_difference(sde, float(time), 40_000, 3)
        assert value == pytest.approx(direct, abs=4 * math.hypot(error, direct_error))


def test_per_log_snr_all_three_agree_where_per_unit_of_t_they_do_not():
    levels = torch.tensor([0.15, 0.25, 0.4, 0.7])
    found = {}
    for name, sde in SDES.items():
        t = sde.time_of_level(levels).numpy()
        spectrum = label_spectrum(WORLD, sde, t, 4_000, generator())
        found[name] = spectrum.value, spectrum.per_log_snr(sde)
    _, reference = found["VE"]
    for name in ("VP", "sub-VP"):
        value, other = found[name]
        error = np.hypot(reference.standard_error, other.standard_error)
        assert (np.abs(other.value - reference.value) < 4 * error).all()
        assert np.abs(value / found["VE"][0] - 1).max() > 0.3


def test_g2_of_vp_would_be_wrong_for_sub_vp():
    # The identity needs the SDE's own g²: (dτ²/dt − 2 f τ²), not β.
    sub, vp = SDES["sub-VP"], SDES["VP"]
    t = sub.time_of_level(torch.tensor(0.3))
    assert float(vp.g2(t) / sub.g2(t)) > 1.5


@WITH_DRIFT
def test_dsm_loss_of_the_exact_score_is_the_constant(sde):
    model = type("Exact", (), {"sde": sde, "score": staticmethod(exact_batch(sde))})
    x_0, _ = WORLD.sample(20_000, generator())
    noise = torch.randn(x_0.shape, generator=generator(1), dtype=x_0.dtype)
    t = torch.full((len(x_0),), 0.3, dtype=torch.float64)
    loss = denoising_score_matching(model, x_0, t, noise)
    level, tau, alpha = (float(f(0.3)) for f in (sde.level, sde.tau, sde.alpha))
    constant = WORLD.constant(level, 20_000, generator(2))
    expected = tau**2 / 2 * constant.value / alpha**2
    assert float(loss.mean()) == pytest.approx(expected, rel=0.03)


def exact_batch(sde):
    return lambda x, t, z=None: exact(sde)(x, float(t[0]))


@WITH_DRIFT
def test_linear_gaussian_objective_is_the_loss_of_the_exact_score(sde):
    world = LinearGaussian([1.0, 0.2])
    t = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    v = world.variances
    # α² mmse/τ⁴ with mmse = v ρ²/(v + ρ²), ρ = τ/α, times τ² is v/(v + ρ²)
    expected = float((v / (v + sde.level(t)[:, None] ** 2)).sum(1).mean() / 2)
    assert world.objective(sde, UniformTime()) == pytest.approx(expected, rel=1e-3)


@WITH_DRIFT
def test_what_needs_ve_says_so(sde):
    for call in (
        lambda: UniformSigma(sde),
        lambda: log_normal_sigma(sde, 1.0, 1.0),
        lambda: root_weight(sde, torch.tensor([0.5]), "sigma2"),
        lambda: LinearCode(sde, 0.5, 3, 1),
    ):
        with pytest.raises(ValueError, match="sde must be a VESDE for"):
            call()


def test_sde_without_a_closed_form_is_refused():
    class Cubic:
        def drift(self, x, t):
            return -(x**3)

    with pytest.raises(ValueError, match="sde must have a kernel in closed form.*got Cubic"):
        label_spectrum(WORLD, Cubic(), [0.2, 0.4])
    with pytest.raises(ValueError, match="sde must have a kernel in closed form"):
        code_spectrum(None, WORLD, Cubic(), [0.2, 0.4])
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (LinearSDE,), {"tau": lambda self, t: t})()
    assert need_linear(VPSDE()) == VPSDE()


@pytest.mark.parametrize("kind", [VPSDE, SubVPSDE])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (0.1, math.inf)])
def test_impossible_betas_are_refused(kind, low, high):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs 0 < beta_min"):
        kind(low, high)


@WITH_DRIFT
def test_t_outside_0_1_is_an_error(sde):
    for method in (sde.alpha, sde.tau, sde.level, sde.g2, sde.drift_rate):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            method(1.5)
    with pytest.raises(ValueError, match="t must be positive"):
        sde.kernel_score(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)


def test_a_mixture_far_from_the_origin_is_hidden_later_by_vp():
    # Not only bookkeeping: what x_t/α shows is what the level says, for another world too.
    world = GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], 0.01)
    for sde in SDES.values():
        t = sde.time_of_level(torch.tensor(3.0))
        x_0, _ = world.sample(20_000, generator())
        noise = torch.randn(x_0.shape, generator=generator(1), dtype=x_0.dtype)
        x_t = sde.perturb(x_0, float(t), noise)
        best = (x_t + float(sde.tau(t)) ** 2 * exact(sde, world=world)(x_t, float(t))) / float(
            sde.alpha(t)
        )
        expected = world.constant(3.0, 20_000, generator(2)).value * 3.0**4
        assert float((best - x_0).square().mean()) == pytest.approx(expected, rel=0.05)
