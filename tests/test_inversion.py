"""The flow to noise and back, and the states of samplers, where both are known exactly."""

import math

import pytest
import torch

from scorerep import sampling
from scorerep.sampling import heun, invert, probability_flow, restore, states
from scorerep.sde import VESDE, VPSDE
from scorerep.worlds import LinearGaussian
from scorerep.worlds.mixture import labelled_quartet

VE, VP = VESDE(), VPSDE()
VARIANCES = torch.tensor([1.5, 0.4, 0.05], dtype=torch.float64)
WORLD = LinearGaussian(VARIANCES)


def gaussian(sde):
    """The exact score of N(0, diag(v)) under a linear SDE."""

    def score(x, t):
        return -x / (sde.alpha(t) ** 2 * VARIANCES + sde.tau(t) ** 2).to(x)

    return score


@pytest.mark.parametrize("sde", [VE, VP], ids=["VE", "VP"])
@pytest.mark.parametrize("t", [1.0, 0.4])
def test_noise_of_gaussian_data_is_the_data_scaled_to_the_noise(sde, t):
    """Each coordinate keeps its place in standard deviations: the flow of a Gaussian is linear."""
    x_0 = WORLD.sample(50, torch.Generator().manual_seed(0))
    found = invert(gaussian(sde), sde, x_0, t, steps=60)
    alpha, tau = float(sde.alpha(t)), float(sde.tau(t))
    tau_min = 0.005  # where x_0 is taken to be
    grown = (alpha**2 * VARIANCES + tau**2) / (VARIANCES + tau_min**2)
    torch.testing.assert_close(found, x_0 * grown.sqrt(), rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(
        restore(gaussian(sde), sde, found, t, steps=60), x_0, rtol=2e-3, atol=1e-6
    )


def test_way_back_agrees_with_the_other_deterministic_samplers():
    world = labelled_quartet()

    def score(x, t):
        return world.score(x, VE.tau(t))

    x_1 = VE.prior_sample(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_rk4 = restore(score, VE, x_1, steps=100)
    by_dopri = probability_flow(score, VE, x_1, tolerance=1e-7)
    assert float((by_rk4 - by_dopri).abs().max()) < 0.03  # 0.005 of noise is left in the first
    back = invert(score, VE, by_rk4, steps=100)
    torch.testing.assert_close(back, x_1, rtol=1e-4, atol=1e-3)


def test_gradient_through_the_flow_is_kept_when_asked_for_alone():
    x_0 = WORLD.sample(2, torch.Generator().manual_seed(0)).requires_grad_()
    assert not invert(gaussian(VE), VE, x_0).requires_grad
    x_1 = invert(gaussian(VE), VE, x_0, gradient=True)
    slope = torch.autograd.grad(x_1.sum(), x_0)[0]
    torch.testing.assert_close(slope, (x_1 / x_0).detach(), rtol=1e-6, atol=0)  # a linear map


@pytest.mark.parametrize("method", [invert, restore])
def test_flow_refuses_what_it_cannot_follow(method):
    x = torch.ones(2, 3)
    for arguments, error, message in (
        ({"score": 3}, TypeError, "score must be a function"),
        ({"t": 0.0}, ValueError, "t must lie in"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"tau_min": 60.0}, ValueError, "tau_min must lie below the level of t"),
        ({"score": lambda x, t: x * math.nan}, ValueError, "score must be finite"),
        ({"score": lambda x, t: x[:1]}, ValueError, "score must return the shape of x_t"),
    ):
        with pytest.raises(error, match=message):
            method(**({"score": gaussian(VE), "sde": VE} | arguments), **{_first(method): x})
    assert method(gaussian(VE), VE, torch.zeros(0, 3)).shape == (0, 3)


def _first(method) -> str:
    return "x_0" if method is invert else "x"


# The states of a sampler


@pytest.mark.parametrize(
    ("sampler", "steps", "evaluations"),
    [
        (sampling.euler_maruyama, 6, 7),
        (sampling.predictor_corrector, 6, 13),
        (sampling.stochastic_heun, 6, 11),
        (heun, 6, 11),
    ],
)
def test_states_are_those_of_the_sampler_and_count_evaluations(sampler, steps, evaluations):
    x = VE.prior_sample(4, 3, generator=torch.Generator().manual_seed(0))
    options = {"steps": steps, "generator": torch.Generator().manual_seed(1)}
    seen = list(states(sampler, gaussian(VE), VE, x, **options))
    options["generator"].manual_seed(1)
    assert torch.equal(seen[-1].x, sampler(gaussian(VE), VE, x, **options))
    assert torch.equal(seen[0].x, x) and seen[0].t == 1.0 and seen[-1].t == 0.0
    assert seen[0].evaluations == 0 and seen[-1].evaluations == evaluations
    times = [state.t for state in seen]
    assert times == sorted(times, reverse=True)


def test_between_two_states_the_caller_s_modes_hold():
    x = torch.ones(2, 3, dtype=torch.float64)
    modes = []
    for _ in states(heun, gaussian(VE), VE, x, steps=3):
        modes.append(torch.is_grad_enabled())
    assert modes == [True] * 4
    leaf = x.clone().requires_grad_()
    with_graph = [s.x.requires_grad for s in states(heun, gaussian(VE), VE, leaf, gradient=True)]
    assert all(with_graph)
    plain = [s.x.requires_grad for s in states(heun, gaussian(VE), VE, leaf)]
    assert not any(plain[1:])


def test_states_check_their_arguments_at_once():
    with pytest.raises(ValueError, match="steps must be at least"):
        states(heun, gaussian(VE), VE, torch.ones(2, 3), steps=0)
    with pytest.raises(TypeError, match="sampler must be one of"):
        states(print, gaussian(VE), VE, torch.ones(2, 3))
    with pytest.raises(TypeError, match="callback must not be given"):
        states(heun, gaussian(VE), VE, torch.ones(2, 3), callback=print)
    none = list(states(heun, gaussian(VE), VE, torch.ones(0, 3)))
    assert len(none) == 1 and none[0].x.shape == (0, 3)
