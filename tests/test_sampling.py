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


@ALL
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": torch.full((2, 2), math.nan)}, "x must be finite, but contains NaN"),
        ({"x": torch.zeros(2, 2, dtype=torch.int64)}, "x must be floats of shape"),
        ({"sde": None}, "sde must have a kernel in closed form"),
        ({"score": lambda x, t: x[:, :1]}, r"score must return the shape of x_t, \(3, 2\)"),
        ({"score": lambda x, t: x * math.nan}, "score must be finite"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"rho": 0.0}, "rho must be a finite number larger than 0, got 0.0"),
        ({"tau_min": -1.0}, "tau_min must be a finite number larger than 0"),
        ({"churn": -5.0}, "churn must be a finite number of at least 0"),
        ({"snr": -1.0}, "snr must be a finite number larger than 0"),
        ({"corrections": -1}, "corrections must be at least 0, got -1"),
        ({"tolerance": 0.0}, "tolerance must be a finite number larger than 0"),
        ({"tolerance": 1e-9}, "tolerance must be at least 1.2e-07 for torch.float32"),
    ],
)
def test_what_no_sampler_can_use_is_refused_by_name(sampler, options, message):
    name = next(iter(options))
    known = inspect.signature(sampler).parameters
    if name not in known or (name == "steps" and sampler is probability_flow):
        return
    arguments = {"score": lambda x, t: -x, "sde": SDE, "x": torch.ones(3, 2), **options}
    with pytest.raises(ValueError, match=message):
        sampler(**arguments)


@ALL
def test_a_score_that_is_a_number_or_a_generator_of_text_is_refused(sampler):
    with pytest.raises(TypeError, match="score must be a function"):
        sampler(1.0, SDE, torch.ones(3, 2))
    with pytest.raises(TypeError, match="x must be a tensor of floats"):
        sampler(exact(), SDE, [[1.0, 2.0]])


@ALL
def test_a_zero_score_gives_finite_samples_and_an_empty_batch_an_empty_one(sampler):
    options = {} if sampler is probability_flow else {"steps": 4}
    x = SDE.prior_sample(3, 2, generator=generator())
    x_0 = sampler(lambda x, t: torch.zeros_like(x), SDE, x, generator=generator(1), **options)
    assert bool(x_0.isfinite().all())
    none = sampler(exact(), SDE, torch.zeros(0, 2), **options)
    assert none.shape == (0, 2) and none.dtype == torch.float32


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_samples_are_those_of_single_precision(sampler, dtype):
    """The score alone is rounded: its input by 4e-3 of x in bfloat16."""

    def score(x, t):
        assert x.dtype in (dtype, torch.float32)
        return -x / (0.25 + SDE.tau(t).to(x) ** 2)

    options = {} if sampler is probability_flow else {"steps": 10}
    x = SDE.prior_sample(200, 2, generator=generator(1)).to(dtype)
    half, single = (run(sampler, start, score=score, **options).float() for start in (x, x.float()))
    assert run(sampler, x, score=score, **options).dtype == dtype
    assert float((half - single).square().mean().sqrt()) < 0.05 * float(single.std())


@ALL
def test_callback_sees_every_state_and_changes_nothing(sampler):
    x = at_time(0.6, 5)[1]
    options = {} if sampler is probability_flow else {"steps": 6}
    seen = []
    watched = run(sampler, x, 0.6, callback=lambda *state: seen.append(state), **options)
    assert torch.equal(watched, run(sampler, x, 0.6, **options))
    steps, times, states = zip(*seen)
    assert list(steps) == list(range(len(seen))) and all(isinstance(t, float) for t in times)
    assert times[0] == pytest.approx(0.6) and times[-1] == 0.0
    assert all(b < a for a, b in zip(times, times[1:]))
    assert torch.allclose(states[0], x) and torch.equal(states[-1], watched)
    assert len(seen) == (3 if sampler is probability_flow else 7 + ("heun" not in sampler.__name__))


@ALL
def test_gradient_flows_through_a_sampler_when_it_is_asked_for(sampler):
    """Of a Gaussian the flow is linear: its derivative is a known scaling."""
    options = {"tolerance": 1e-6} if sampler is probability_flow else {"steps": 40}
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    x = at_time(0.6, 4)[1].requires_grad_()

    def score(x, t):
        return -x / (scale + SDE.tau(t) ** 2)

    plain = run(sampler, x, 0.6, score=score, **options)
    assert not plain.requires_grad
    x_0 = run(sampler, x, 0.6, score=score, gradient=True, **options)
    assert torch.equal(x_0, plain)
    by_x, by_scale = torch.autograd.grad(x_0.sum(), (x, scale))
    assert bool(by_x.isfinite().all()) and float(by_scale.abs()) > 0
    if sampler in DETERMINISTIC:
        expected = math.sqrt(0.3 / (0.3 + float(SDE.tau(0.6)) ** 2))
        torch.testing.assert_close(by_x, torch.full_like(by_x, expected), rtol=0.02, atol=0)
