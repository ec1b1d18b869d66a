"""Every sampler against exact scores: from the prior, from the middle, and its last step."""

import inspect
import math

import pytest
import torch

from scorerep import sampling
from scorerep.model import ModelConfig, ScoreModel
from scorerep.sampling import (
    condition,
    denoised,
    euler_maruyama,
    heun,
    predictor_corrector,
    probability_flow,
    stochastic_heun,
)
from scorerep.sde import T_MIN, VESDE
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet

SDE = VESDE()
WORLD = labelled_quartet()
# Steps that bring each sampler's own error below that of 4,000 draws.
STEPS = {
    euler_maruyama: 500,
    predictor_corrector: 250,
    probability_flow: None,
    heun: 40,
    stochastic_heun: 60,
}
DETERMINISTIC = (probability_flow, heun)
ALL = pytest.mark.parametrize("sampler", STEPS, ids=lambda s: s.__name__)
STEPPED = pytest.mark.parametrize(
    "sampler", [s for s in STEPS if s is not probability_flow], ids=lambda s: s.__name__
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(world=WORLD, y=None):
    return lambda x, t: world.score(x, SDE.tau(t), y)


def at_time(t: float, n: int, world=WORLD, seed: int = 0):
    """x_0 ~ p_0 and x_t ~ p_t, drawn exactly."""
    x_0, _ = world.sample(n, generator(seed))
    noise = torch.randn(x_0.shape, generator=generator(seed + 1), dtype=x_0.dtype)
    return x_0, SDE.perturb(x_0, t, noise)


def exact_moments(world):
    mean = world.weights @ world.means
    centred = world.means - mean
    within = world.basis @ torch.diag_embed(world.variances) @ world.basis.mT
    between = centred[:, :, None] * centred[:, None, :]
    return mean, (world.weights[:, None, None] * (within + between)).sum(0)


def run(sampler, x, t=1.0, score=None, seed=5, **options):
    steps = options.pop("steps", STEPS[sampler])
    options = options if steps is None else {"steps": steps, **options}
    return sampler(score or exact(), SDE, x, t=t, generator=generator(seed), **options)


# The law they sample


@ALL
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_recovers_the_mixture_s_moments_from_the_prior_and_from_the_middle(sampler, start):
    n = 4000
    if start == 1.0:
        x = SDE.prior_sample(n, 2, generator=generator(1), dtype=torch.float64)
    else:
        x = at_time(start, n)[1]  # τ(0.5) = 0.71, as wide as the data
    x_0 = run(sampler, x, start)
    mean, covariance = exact_moments(WORLD)
    # Four standard errors of the mean, and 8 % of the total variance (their error is 2 %).
    assert float((x_0.mean(0) - mean).abs().max()) < 4 * math.sqrt(float(covariance.max()) / n)
    assert float((x_0.T.cov() - covariance).abs().max()) < 0.08 * float(covariance.trace()) / 2
    # Beyond moments: the mean log-density of the samples is minus the entropy, within 0.05 nats.
    fresh, _ = WORLD.sample(40_000, generator(9))
    log_density = WORLD.log_prob(x_0).mean() - WORLD.log_prob(fresh).mean()
    assert abs(float(log_density)) < 0.05


@pytest.mark.parametrize("wrong", [0.5, 2.0])
@ALL
def test_a_wrong_score_is_seen(sampler, wrong):
    # The test above can fail: half or twice the score moves both of its measures.
    x = SDE.prior_sample(1000, 2, generator=generator(1), dtype=torch.float64)
    x_0 = run(sampler, x, score=lambda x, t: wrong * exact()(x, t))
    _, covariance = exact_moments(WORLD)
    assert float((x_0.T.cov() - covariance).abs().max()) > 0.1 * float(covariance.trace()) / 2
    fresh, _ = WORLD.sample(40_000, generator(9))
    log_density = WORLD.log_prob(x_0).mean() - WORLD.log_prob(fresh).mean()
    assert abs(float(log_density)) > 0.2


@ALL
def test_conditional_score_samples_the_class(sampler):
    x = SDE.prior_sample(500, 2, generator=generator(1), dtype=torch.float64)
    options = {} if sampler is probability_flow else {"steps": max(20, STEPS[sampler] // 3)}
    x_0 = run(sampler, x, score=exact(y=1), **options)
    keep = WORLD.labels == 1
    mean = (WORLD.weights[keep] @ WORLD.means[keep]) / WORLD.weights[keep].sum()
    assert float((x_0.mean(0) - mean).abs().max()) < 0.12
    # Overlapping classes: the mean posterior is what it is for the class's own draws.
    own = WORLD.sample(20_000, generator(2))
    expected = WORLD.class_posterior(own[0][own[1] == 1], 1e-6)[:, 1].mean()
    assert float(WORLD.class_posterior(x_0, 1e-6)[:, 1].mean()) == pytest.approx(
        float(expected), abs=0.04
    )


@pytest.mark.parametrize("sampler", [euler_maruyama, predictor_corrector], ids=["sde", "predictor"])
def test_reverse_sde_from_the_middle_draws_from_the_posterior_of_x_t(sampler):
    """Not only the law of x_0: its distance to the x_t it came from, E‖x_0 − x_t‖² = dτ²."""
    tau = 0.3
    t = float(SDE.time_of_tau(tau))
    _, x_t = at_time(t, 4000)
    options = {"corrections": 0} if sampler is predictor_corrector else {}
    x_0 = run(sampler, x_t, t, **options)
    # Correlated with x_t as the posterior mean says; the error of 4,000 draws is 2 %.
    assert float((x_0 - x_t).square().sum(1).mean()) == pytest.approx(2 * tau**2, rel=0.06)
    mean = WORLD.posterior_mean(x_t, tau)
    variance = WORLD.posterior_variance(x_t, tau).mean()
    assert float((x_0 - mean).square().sum(1).mean()) == pytest.approx(float(variance), rel=0.08)


# The last step


@ALL
def test_last_step_is_denoised(sampler):
    """For one point as the data, the posterior mean is that point: no noise is left at all."""
    point = torch.tensor([0.3, -0.8], dtype=torch.float64)

    def score(x, t):
        return (point - x) / float(SDE.tau(t)) ** 2

    x = SDE.prior_sample(20, 2, generator=generator(1), dtype=torch.float64)
    x_0 = (
        run(sampler, x, score=score, steps=20)
        if sampler is not probability_flow
        else run(sampler, x, score=score)
    )
    torch.testing.assert_close(x_0, point.expand(20, 2), atol=1e-9, rtol=0)


def test_denoising_step_is_the_posterior_mean():
    _, x_t = at_time(0.45, 50)
    expected = WORLD.posterior_mean(x_t, SDE.tau(0.45))
    torch.testing.assert_close(denoised(exact(), SDE, x_t, 0.45), expected)


# One step each, by hand


def test_predictor_is_the_exact_discretisation_of_the_kernel_s_variance():
    constant = torch.tensor([[0.7, -0.2]], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    out = predictor_corrector(
        lambda x, t: constant, SDE, x, t=0.6, steps=1, generator=generator(3), corrections=0
    )
    noise = torch.randn(1, 2, generator=generator(3), dtype=torch.float64)
    last = float(SDE.tau(T_MIN)) ** 2
    drop = float(SDE.tau(0.6)) ** 2 - last
    torch.testing.assert_close(out, x + drop * constant + drop**0.5 * noise + last * constant)


def test_euler_maruyama_is_the_reverse_sde_s_step():
    constant = torch.tensor([[0.7, -0.2]], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    out = euler_maruyama(lambda x, t: constant, SDE, x, t=0.6, steps=1, generator=generator(3))
    noise = torch.randn(1, 2, generator=generator(3), dtype=torch.float64)
    step = float(SDE.g2(0.6)) * (0.6 - T_MIN)
    last = float(SDE.tau(T_MIN)) ** 2
    torch.testing.assert_close(out, x + step * constant + step**0.5 * noise + last * constant)


def test_corrector_keeps_the_law_it_is_given():
    """Langevin steps at one level leave p_t as it was, up to their own discretisation."""
    world = GaussianMixture([1.0], [[0.0] * 16], 1.0)
    t = 2e-5  # two predictor steps too small to matter, then many corrections at one level
    x, _ = world.sample(2000, generator(1))
    out = predictor_corrector(
        exact(world), SDE, 1.5 * x, t=t, steps=1, corrections=200, generator=generator(2)
    )
    assert float(out.var()) == pytest.approx(1.0, abs=0.04)


def test_corrector_step_follows_the_signal_to_noise_ratio():
    world = GaussianMixture([1.0], [[0.0] * 4], 1.0)
    x, _ = world.sample(500, generator(1))
    moved = [
        predictor_corrector(exact(world), SDE, x, t=2e-5, steps=1, snr=snr, generator=generator(2))
        for snr in (0.02, 0.04)
    ]
    distances = [float((m - x).square().mean().sqrt()) for m in moved]
    assert distances[1] / distances[0] == pytest.approx(2.0, rel=0.02)
    # √(2 · 2 snr²) of noise, since ‖ε‖ and ‖s‖ are equal in the mean here.
    assert distances[0] == pytest.approx(2 * 0.02, rel=0.1)


# The flow


def test_heun_goes_to_the_probability_flow_as_steps_grow():
    _, x = at_time(0.8, 50)
    peer = probability_flow(exact(), SDE, x, t=0.8, tolerance=1e-9)
    errors = [
        float((heun(exact(), SDE, x, t=0.8, steps=n, tau_min=1e-3) - peer).abs().max())
        for n in (20, 40, 80, 160)
    ]
    # Second order: four times better when the steps double (three asked for).
    assert all(b < a / 3 for a, b in zip(errors, errors[1:]))
    assert errors[-1] < 2e-3


def test_flow_of_a_gaussian_is_a_known_scaling():
    variance = 0.3
    world = GaussianMixture([1.0], [[0.0, 0.0]], variance)
    _, x = at_time(0.7, 20, world)
    tau2 = float(SDE.tau(0.7)) ** 2
    expected = x * math.sqrt(variance / (variance + tau2))
    for sampler, options in (
        (probability_flow, {"tolerance": 1e-8}),
        (heun, {"steps": 200, "tau_min": 1e-3}),
    ):
        x_0 = sampler(exact(world), SDE, x, t=0.7, **options)
        torch.testing.assert_close(x_0, expected, rtol=3e-4, atol=1e-6)


def test_tolerance_governs_the_adaptive_solver():
    _, x = at_time(1.0, 20)
    counts, ends = [], []
    for tolerance in (1e-2, 1e-4, 1e-8):
        calls = []

        def score(x, t, calls=calls):
            calls.append(t)
            return exact()(x, t)

        ends.append(probability_flow(score, SDE, x, tolerance=tolerance))
        counts.append(len(calls))
    assert counts[0] < counts[1] < counts[2]
    assert (ends[1] - ends[2]).abs().max() < (ends[0] - ends[2]).abs().max()
    assert float((ends[1] - ends[2]).abs().max()) < 0.01


def test_stochastic_heun_without_churn_is_heun():
    _, x = at_time(0.9, 10)
    a = heun(exact(), SDE, x, t=0.9, steps=12)
    assert torch.equal(a, stochastic_heun(exact(), SDE, x, t=0.9, steps=12, churn=0.0))
    assert not torch.allclose(a, stochastic_heun(exact(), SDE, x, t=0.9, steps=12))


# How they are called


def test_all_samplers_have_one_signature():
    common = ["score", "sde", "x", "t", "steps", "generator", "progress"]
    for sampler in STEPS:
        parameters = inspect.signature(sampler).parameters
        assert list(parameters)[:7] == common
        assert parameters["t"].default == 1.0
        assert parameters["generator"].default is None and parameters["progress"].default is False
        extra = list(parameters.values())[7:]
        assert all(p.default is not inspect.Parameter.empty for p in extra)


EVALUATIONS = {
    euler_maruyama: lambda n: n + 1,
    predictor_corrector: lambda n: 2 * n + 1,
    heun: lambda n: 2 * n - 1,
    stochastic_heun: lambda n: 2 * n - 1,
}


@STEPPED
def test_number_of_evaluations_is_the_stated_one(sampler):
    _, x = at_time(1.0, 2)
    times = []

    def score(x, t):
        times.append(t)
        return exact()(x, t)

    run(sampler, x, score=score, steps=7)
    assert len(times) == EVALUATIONS[sampler](7)
    assert all(t.ndim == 0 and t.device == x.device and 0 < t <= 1 for t in times)


@ALL
def test_generator_alone_decides(sampler):
    _, x = at_time(0.6, 5)
    options = {} if sampler is probability_flow else {"steps": 10}
    before, start = torch.get_rng_state(), x.clone()
    first = run(sampler, x, 0.6, seed=1, **options)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(x, start)
    torch.rand(3)
    assert torch.equal(first, run(sampler, x, 0.6, seed=1, **options))
    same = torch.equal(first, run(sampler, x, 0.6, seed=2, **options))
    assert same == (sampler in DETERMINISTIC)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_of_images_are_kept(sampler, dtype):
    x = SDE.prior_sample(2, 1, 4, 4, generator=generator(), dtype=dtype)

    def score(x, t):
        assert x.dtype == dtype and not torch.is_grad_enabled()
        return -x / (0.25 + float(SDE.tau(t)) ** 2)

    options = {} if sampler is probability_flow else {"steps": 10}
    x_0 = run(sampler, x, score=score, **options)
    assert x_0.shape == x.shape and x_0.dtype == dtype and bool(x_0.isfinite().all())


@ALL
def test_progress_bar_only_when_asked_for(sampler, capsys):
    _, x = at_time(0.6, 2)
    options = {} if sampler is probability_flow else {"steps": 5}
    run(sampler, x, 0.6, **options)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    run(sampler, x, 0.6, progress=True, **options)
    captured = capsys.readouterr()
    assert captured.out + captured.err


@ALL
def test_model_at_fixed_codes_is_sampled(sampler):
    torch.manual_seed(0)
    model = ScoreModel(ModelConfig((1, 4, 4), channels=(4,), blocks=1, latent=2)).eval()
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.1 * torch.randn(p.shape))  # a fresh network ignores its code
    x = model.sde.prior_sample(3, 1, 4, 4, generator=generator())
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, -3.0]])
    x[1] = x[0]
    options = {} if sampler is probability_flow else {"steps": 5}
    x_0 = sampler(condition(model, z), model.sde, x, generator=generator(1), **options)
    assert x_0.shape == x.shape and not x_0.requires_grad
    if sampler in DETERMINISTIC:
        torch.testing.assert_close(x_0[0], x_0[1], rtol=1e-4, atol=1e-4)
    other = sampler(condition(model, z.flip(0)), model.sde, x, generator=generator(1), **options)
    assert not torch.allclose(x_0[2], other[2])


@ALL
@pytest.mark.parametrize("t", [2e-5, 1e-3])
def test_start_just_above_the_end_changes_hardly_anything(sampler, t):
    _, x = at_time(t, 50)
    options = {} if sampler is probability_flow else {"steps": 4}
    if sampler is predictor_corrector:
        options["corrections"] = 0
    x_0 = run(sampler, x, t, **options)
    assert float((x_0 - x).abs().max()) < 6 * float(SDE.tau(t)) + 1e-6


# Bad input


@ALL
@pytest.mark.parametrize("t", [0.0, -0.5, 1.5, float("nan")])
def test_times_out_of_range_are_errors(sampler, t):
    with pytest.raises(ValueError, match=r"t must lie in \(1e-05, 1\]"):
        run(sampler, torch.zeros(2, 2), t, steps=None)


@STEPPED
@pytest.mark.parametrize("steps", [0, -3])
def test_numbers_of_steps_that_are_not_positive_are_errors(sampler, steps):
    least = 2 if "heun" in sampler.__name__ else 1
    with pytest.raises(ValueError, match=f"steps must be at least {least}, got {steps}"):
        run(sampler, torch.zeros(2, 2), steps=steps)


def test_heun_needs_two_steps():
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        heun(exact(), SDE, torch.zeros(2, 2), steps=1)


def test_no_sampler_is_left_untested():
    public = {
        f
        for name, f in inspect.getmembers(sampling, inspect.isfunction)
        if f.__module__ == sampling.samplers.__name__ and "steps" in inspect.signature(f).parameters
        if not name.startswith("_")
    }
    assert public == set(STEPS)
