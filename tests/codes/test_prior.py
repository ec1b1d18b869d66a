"""Laws of codes: their moments, their densities, and which of two laws held-out codes prefer."""

import math

import pytest
import torch

from scorerep.codes.prior import FlowPrior, flow_prior, mixture_prior
from scorerep.model import ModelConfig, ScoreModel

MEAN = torch.tensor([3.0, -1.0])
ROOT = torch.tensor([[2.0, 0.0], [1.5, 0.3]])


def correlated(n: int, seed: int = 0) -> torch.Tensor:
    return MEAN + torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) @ ROOT.T


def ring(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = 1 + 0.05 * torch.randn(n, generator=generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def gaussian_log_prob(z):
    law = torch.distributions.MultivariateNormal(MEAN, scale_tril=ROOT)
    return law.log_prob(z)


def test_mixture_of_gaussian_codes_is_their_gaussian():
    codes = correlated(4_000)
    prior = mixture_prior(codes)
    assert len(prior.law.weights) == 1  # BIC asks for no more
    z = correlated(500, 1)
    torch.testing.assert_close(prior.log_prob(z), gaussian_log_prob(z), rtol=0, atol=0.4)
    assert abs(float((prior.log_prob(z) - gaussian_log_prob(z)).mean())) < 0.01
    drawn = prior.sample(20_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.mean(0), MEAN, rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.T.cov(), ROOT @ ROOT.T, rtol=0.06, atol=0)


def test_mixture_takes_the_shape_of_codes_that_are_not_gaussian():
    prior, held_out = mixture_prior(ring(3_000)), ring(500, 1)
    one = mixture_prior(ring(3_000), 1)
    assert len(prior.law.weights) >= 5
    assert float((prior.log_prob(held_out) - one.log_prob(held_out)).mean()) > 0.8  # nats
    radius = prior.sample(2_000, torch.Generator().manual_seed(0)).norm(dim=1)
    assert abs(float(radius.mean()) - 1) < 0.03 and float(radius.std()) < 0.12


def test_flow_learns_a_ring_that_no_gaussian_has():
    codes, held_out = ring(3_000), ring(200, 1)
    before = torch.get_rng_state()
    prior = flow_prior(codes, iterations=300, channels=(64, 64))
    assert torch.equal(before, torch.get_rng_state())
    drawn = prior.sample(1_000, torch.Generator().manual_seed(0))
    radius = drawn.norm(dim=1)
    assert abs(float(radius.mean()) - 1) < 0.12 and float(radius.std()) < 0.25
    gain = prior.log_prob(held_out) - mixture_prior(codes, 1).log_prob(held_out)
    assert float(gain.mean()) > 0.4  # nats


def test_flow_of_the_exact_score_has_the_density_of_its_law():
    """The change of variables alone: whitened Gaussian codes have a standard normal score."""
    prior = mixture_prior(correlated(4_000), 1)

    class Standard:
        sde = ScoreModel(ModelConfig(image_shape=(2,), channels=(8,), latent=0, sigma_max=50.0)).sde

        def score(self, x, t):
            return -x / (1 + self.sde.tau(t).to(x) ** 2)

    flow, z = FlowPrior(Standard(), prior.whitened), correlated(50, 1)
    torch.testing.assert_close(flow.log_prob(z), prior.log_prob(z), rtol=0, atol=0.02)
    drawn = flow.sample(5_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.T.cov(), ROOT @ ROOT.T, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        (torch.zeros(1, 2), {}, "codes must be"),
        (torch.zeros(5), {}, "codes must be"),
        (torch.full((5, 2), torch.nan), {}, "codes must be finite"),
        (torch.ones(5, 2), {}, "codes must vary in every direction"),
        (correlated(5), {"components": 0}, "components must be at least 1"),
        (correlated(5), {"components": 9}, "components must be at most the 5 codes"),
    ],
)
def test_priors_refuse_codes_without_a_law(codes, options, message):
    with pytest.raises(ValueError, match=message):
        mixture_prior(codes, **options)
    if not options:
        with pytest.raises(ValueError, match=message):
            flow_prior(codes, iterations=1)


def test_codes_of_another_length_are_refused():
    with pytest.raises(ValueError, match="z must be floats of shape"):
        mixture_prior(correlated(50), 1).log_prob(torch.zeros(3, 4))
