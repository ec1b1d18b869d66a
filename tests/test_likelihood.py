"""log p_0 by the probability flow against closed forms."""

import math
from itertools import product

import pytest
import torch

from scorerep.guidance import ClassifierConfig, LawClassifier, NoisyClassifier, guided_score
from scorerep.likelihood import log_likelihood
from scorerep.sde import VESDE
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet, ring

SDE = VESDE()
QUARTET = labelled_quartet()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(world, y=None):
    return lambda x, t: world.score(x, SDE.tau(t), y)


def in_five_dimensions() -> GaussianMixture:
    means = 0.5 * torch.randn(3, 5, generator=generator(8), dtype=torch.float64)
    return GaussianMixture([0.5, 0.2, 0.3], means, [0.05, 0.1, 0.2])


WORLDS = {"quartet": QUARTET, "ring": ring(), "five dimensions": in_five_dimensions()}
EACH = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())


@EACH
def test_likelihood_of_a_mixture_is_within_0_02_nats_of_exact(world):
    x_0, _ = world.sample(60, generator(1))
    error = log_likelihood(exact(world), SDE, x_0) - world.log_prob(x_0)
    assert error.shape == (60,)
    assert float(error.abs().max()) < 0.02


def test_conditional_likelihood_is_that_of_the_class():
    x_0, _ = QUARTET.sample(20, generator(1))
    for y in (0, 1):
        value = log_likelihood(exact(QUARTET, y), SDE, x_0)
        exact_value = QUARTET.log_prob(x_0, 0.0, y)
        near = exact_value > -10  # beyond, the class has next to no density
        assert float((value - exact_value)[near].abs().max()) < 0.02


def test_a_wrong_score_has_another_likelihood():
    x_0, _ = QUARTET.sample(40, generator(1))
    value = log_likelihood(lambda x, t: 0.9 * exact(QUARTET)(x, t), SDE, x_0)
    assert float((value - QUARTET.log_prob(x_0)).abs().max()) > 0.1


def test_images_of_a_gaussian_law():
    variance, x_0 = 0.3, torch.randn(4, 1, 3, 3, generator=generator(), dtype=torch.float64)

    def score(x, t):
        return -x / (variance + SDE.tau(t) ** 2)

    d = 9
    square = x_0.flatten(1).square().sum(1)
    expected = -0.5 * (square / variance + d * math.log(2 * math.pi * variance))
    # The prior leaves out the data's own variance: of order d·v/σ_max², 1e-3 nats here.
    for probes in (0, 1):
        value = log_likelihood(score, SDE, x_0, probes=probes, generator=generator(2))
        assert value.shape == (4,)
        torch.testing.assert_close(value, expected, atol=0.005, rtol=0)


def test_single_precision_is_enough():
    x_0, _ = QUARTET.sample(30, generator(1))
    single = log_likelihood(exact(QUARTET), SDE, x_0.float())
    assert single.dtype == torch.float32
    assert float((single - QUARTET.log_prob(x_0)).abs().max()) < 0.02


# Hutchinson's estimate


def test_hutchinson_is_unbiased():
    x_0, _ = QUARTET.sample(3, generator(4))
    value = log_likelihood(exact(QUARTET), SDE, x_0)
    copies = 400
    draws = log_likelihood(
        exact(QUARTET), SDE, x_0.repeat(copies, 1), probes=1, generator=generator(5)
    ).reshape(copies, 3)
    error = draws.std(0) / math.sqrt(copies)
    assert bool((error > 1e-4).all())  # it is a random estimate of each
    assert bool(((draws.mean(0) - value).abs() < 4 * error + 1e-3).all())


def test_all_signs_together_are_the_exact_divergence(monkeypatch):
    signs = torch.tensor(list(product([0, 1], repeat=2)))[:, None, :].expand(4, 10, 2)
    x_0, _ = QUARTET.sample(10, generator(1))
    value = log_likelihood(exact(QUARTET), SDE, x_0)
    monkeypatch.setattr("scorerep.likelihood.torch.randint", lambda *args, **kwargs: signs)
    torch.testing.assert_close(
        log_likelihood(exact(QUARTET), SDE, x_0, probes=4), value, atol=1e-3, rtol=0
    )


def test_more_probes_come_nearer():
    x_0, _ = in_five_dimensions().sample(60, generator(1))
    score = exact(in_five_dimensions())
    value = log_likelihood(score, SDE, x_0)
    few, many = (
        (log_likelihood(score, SDE, x_0, probes=n, generator=generator(2)) - value)
        .square()
        .mean()
        .sqrt()
        for n in (1, 16)
    )
    # Four times nearer by the square-root law; half of that is asked for.
    assert float(many) < float(few) / 2
    assert float(many) < 0.5


def test_probes_come_from_the_generator():
    x_0, _ = QUARTET.sample(10, generator(1))
    a, b, c = (
        log_likelihood(exact(QUARTET), SDE, x_0, probes=1, generator=generator(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


# Options and errors


def test_start_time_stands_for_the_law_at_that_time():
    t = float(SDE.time_of_tau(0.3))
    x_t, _ = QUARTET.sample(20, generator(1))
    value = log_likelihood(exact(QUARTET), SDE, x_t, t_min=t)
    torch.testing.assert_close(value, QUARTET.log_prob(x_t, 0.3), atol=0.005, rtol=0)


@pytest.mark.parametrize("probes", [0, 2])
@pytest.mark.parametrize("batch", [1, 3, 5, 8])
def test_parts_of_a_batch_have_the_values_of_the_whole(probes, batch):
    x_0, _ = QUARTET.sample(5, generator(1))
    asked = []

    def score(x, t):
        asked.append(len(x))
        return exact(QUARTET)(x, t)

    options = {"probes": probes, "tolerance": 1e-7}
    whole = log_likelihood(score, SDE, x_0, generator=generator(2), **options)
    assert set(asked) == {5}
    asked.clear()
    parts = log_likelihood(score, SDE, x_0, generator=generator(2), batch=batch, **options)
    assert max(asked) == min(batch, 5) and parts.shape == (5,)
    # The same probes, drawn for the whole; each part has steps of its own.
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_gradients_are_not_kept_and_no_grad_does_not_disturb():
    x_0, _ = QUARTET.sample(5, generator(1))
    value = log_likelihood(exact(QUARTET), SDE, x_0)
    with torch.no_grad():
        again = log_likelihood(exact(QUARTET), SDE, x_0)
    assert torch.equal(value, again) and not value.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": -1}, "probes must be at least 0, got -1"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"t_min": 0.0}, r"t_min must lie in \(0, 1\), got 0.0"),
        ({"t_min": 1.0}, r"t_min must lie in \(0, 1\), got 1.0"),
    ],
)
def test_impossible_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(exact(QUARTET), SDE, torch.zeros(2, 2), **options)


# Scores that autograd does not see, or sees in part


def test_a_score_without_a_graph_is_refused():
    x_0, y = QUARTET.sample(10, generator(1))
    with pytest.raises(ValueError, match="score must be differentiable in x_t, but"):
        log_likelihood(lambda x, t: exact(QUARTET)(x, t).detach(), SDE, x_0)
    law = EmpiricalLaw(x_0)
    with pytest.raises(ValueError, match="x must not require a gradient: the empirical law"):
        log_likelihood(lambda x, t: law.score(x, SDE.tau(t)), SDE, x_0, t_min=0.5)
    guide = LawClassifier(EmpiricalLaw(x_0, y), SDE)
    with pytest.raises(ValueError, match="x must not require a gradient"):
        log_likelihood(guided_score(exact(QUARTET), guide, y, 2.0), SDE, x_0, t_min=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_part_without_a_graph_is_refused(dtype):
    x_0 = QUARTET.sample(10, generator(1))[0].to(dtype)

    def score(x, t):
        return exact(QUARTET)(x, t) + 0.3 * QUARTET.guidance_score(x, SDE.tau(t), 1).detach()

    with pytest.raises(ValueError, match="differentiable in x_t as a whole"):
        log_likelihood(score, SDE, x_0)


def test_guided_by_a_network_the_divergence_is_that_of_the_whole_score():
    torch.manual_seed(0)
    config = ClassifierConfig(image_shape=(2,), channels=(16, 16), num_classes=2, sigma_data=0.7)
    classifier = NoisyClassifier(config).double().eval()
    for p in classifier.head.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x_0 = QUARTET.sample(6, generator(1))[0]
    field = guided_score(exact(QUARTET), classifier, 1, 3.0)
    exactly = {"t_min": 0.4, "tolerance": 1e-8}
    value = log_likelihood(field, SDE, x_0, **exactly)

    def by_hand(x, t):  # the same guide, differentiated by other means
        h = 1e-4
        columns = []
        for i in range(2):
            step = h * torch.eye(2).double()[i]
            ends = [classifier(x + sign * step, t)[:, 1] for sign in (1, -1)]
            columns.append((ends[0] - ends[1]) / (2 * h))
        return exact(QUARTET)(x, t) + 3.0 * torch.stack(columns, 1)

    torch.testing.assert_close(
        value, log_likelihood(by_hand, SDE, x_0, **exactly), atol=1e-3, rtol=0
    )
    plain = log_likelihood(exact(QUARTET), SDE, x_0, **exactly)
    assert float((value - plain).abs().mean()) > 0.05


def test_inference_mode_and_empty_batches_do_not_disturb():
    x_0, _ = QUARTET.sample(5, generator(1))
    value = log_likelihood(exact(QUARTET), SDE, x_0)
    with torch.inference_mode():
        assert torch.equal(log_likelihood(exact(QUARTET), SDE, x_0 + 0), value)
    assert log_likelihood(exact(QUARTET), SDE, x_0[:0]).shape == (0,)


def test_other_bad_input_is_named():
    x = torch.ones(2, 2)
    for options, message in (
        ({"tolerance": 0.0}, "tolerance must be a finite number larger than 0"),
        ({"x_0": x.half()}, "x_0 must be float32 or float64"),
        ({"x_0": x * math.nan}, "x_0 must be finite"),
        ({"score": lambda x, t: x[:, :1]}, "score must return the shape of x_t"),
        ({"score": lambda x, t: x * math.nan}, "score must be finite"),
        ({"sde": None}, "sde must have a kernel"),
    ):
        with pytest.raises(ValueError, match=message):
            log_likelihood(**{"score": exact(QUARTET), "sde": SDE, "x_0": x, **options})
