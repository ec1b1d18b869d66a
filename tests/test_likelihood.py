"""log p_0 by the probability flow against closed forms."""

import math
from itertools import product

import pytest
import torch

from scorerep.likelihood import log_likelihood
from scorerep.sde import VESDE
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
        ({"t_min": 0.0}, r"t_min must lie in \(0, 1\), got 0.0"),
        ({"t_min": 1.0}, r"t_min must lie in \(0, 1\), got 1.0"),
    ],
)
def test_impossible_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(exact(QUARTET), SDE, torch.zeros(2, 2), **options)
