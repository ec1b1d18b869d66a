"""The objective against closed forms: exact scores, reductions, regularisers, draws."""

import math
import shutil
from dataclasses import replace

import pytest
import torch

from scorerep.codes.learners import Autoencoder, Reconstruction
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import (
    Draws,
    Objective,
    denoising_score_matching,
    kl_to_standard_normal,
    l1_norm,
)
from scorerep.sde import VESDE
from scorerep.times import SingleTime, UniformSigma, UniformTime
from scorerep.worlds.mixture import labelled_quartet

SDE = VESDE()
CONFIG = ModelConfig(image_shape=(1, 4, 4), channels=(4,), blocks=1, latent=2, dropout=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Exact:
    """A model whose score is known; ``encoder`` is None, as for a model without a code."""

    sde, encoder = SDE, None

    def __init__(self, score):
        self.score = score


def gaussian(variance: float) -> Exact:
    def score(x_t, t, z=None):
        total = variance + SDE.tau(t).to(x_t) ** 2
        return -x_t / total.reshape(-1, *[1] * (x_t.ndim - 1))

    return Exact(score)


ZERO = Exact(lambda x_t, t, z=None: torch.zeros_like(x_t))


def network(config: ModelConfig = CONFIG) -> ScoreModel:
    torch.manual_seed(0)
    model = ScoreModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model


def batch(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 1, 4, 4, generator=generator(9))


def mean_and_error(values):
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


# What is left when the score is exact


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("weighting", ["tau2", "sigma2"])
def test_loss_of_the_exact_score_of_a_gaussian_is_the_constant(t, weighting):
    n, d, variance = 20_000, 3, 0.3
    x_0 = variance**0.5 * torch.randn(n, d, generator=generator(1), dtype=torch.float64)
    noise = torch.randn(n, d, generator=generator(2), dtype=torch.float64)
    times = torch.full((n,), t, dtype=torch.float64)
    loss = denoising_score_matching(gaussian(variance), x_0, times, noise, weighting=weighting)
    tau2 = float(SDE.tau(t)) ** 2
    constant = d * (variance * tau2 / (variance + tau2)) / tau2**2  # C(t) = mmse/τ⁴
    weight = tau2 if weighting == "tau2" else float(SDE.sigma(t)) ** 2
    mean, error = mean_and_error(loss)
    assert abs(mean - weight * constant / d) < 3 * error
    assert error < 0.01 * mean


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("t", [0.4, 0.55, 0.7])
def test_loss_of_the_exact_score_of_a_mixture_is_its_constant(t, conditional):
    world, n, tau = labelled_quartet(), 20_000, float(SDE.tau(t))
    x_0, y = world.sample(n, generator(1))
    noise = torch.randn(x_0.shape, generator=generator(2), dtype=x_0.dtype)
    model = Exact(lambda x_t, t, z=None: world.score(x_t, SDE.tau(t), z))
    times = torch.full((n,), t, dtype=torch.float64)
    loss = denoising_score_matching(model, x_0, times, noise, y if conditional else None)
    x_t = x_0 + tau * noise
    # λ C/d with λ = τ², from the closed-form posterior variance.
    exact = world.posterior_variance(x_t, tau, y if conditional else None) / tau**2 / 2
    mean, error = mean_and_error(loss - exact)
    assert abs(mean) < 3 * error
    assert error < 0.02 * float(exact.mean())


def test_knowing_the_label_lowers_the_loss():
    world, n = labelled_quartet(), 4000
    x_0, y = world.sample(n, generator(1))
    model = Exact(lambda x_t, t, z=None: world.score(x_t, SDE.tau(t), z))
    objective = Objective(SingleTime(0.52))
    draws = objective.draw(x_0, 0, generator(2))
    assert objective(model, x_0, draws, y).total < objective(model, x_0, draws).total


@pytest.mark.parametrize("t", [0.01, 0.5, 1.0])
def test_loss_of_the_zero_score_is_the_mean_square_of_the_noise(t):
    x_0, noise = batch().double(), torch.randn(6, 1, 4, 4, dtype=torch.float64)
    loss = denoising_score_matching(ZERO, x_0, torch.full((6,), t).double(), noise)
    torch.testing.assert_close(loss, noise.square().flatten(1).mean(1))


@pytest.mark.parametrize("t", [0.003, 0.1, 0.6])
def test_the_two_weightings_differ_by_sigma2_over_tau2(t):
    x_0, noise = batch().double(), torch.randn(6, 1, 4, 4, dtype=torch.float64)
    times = torch.full((6,), t, dtype=torch.float64)
    tau2, sigma2 = (
        denoising_score_matching(gaussian(0.3), x_0, times, noise, weighting=w)
        for w in ("tau2", "sigma2")
    )
    ratio = float(SDE.sigma(t) / SDE.tau(t)) ** 2
    torch.testing.assert_close(sigma2, ratio * tau2)
    assert ratio > 1


# One reduction


def test_squared_errors_are_averaged_over_pixels_and_the_batch():
    x_0 = batch()
    objective = Objective(SingleTime(0.5))
    draws = objective.draw(x_0, 0, generator())
    alone = [
        objective(gaussian(0.3), x_0[i : i + 1], Draws(*(a[i : i + 1] for a in draws[:4]))).total
        for i in range(6)
    ]
    total = objective(gaussian(0.3), x_0, draws).total
    torch.testing.assert_close(total, torch.stack(alone).mean())
    # The same image four times as large has the same loss.
    tiled = Draws(draws.t, draws.weight, draws.noise.repeat(1, 1, 2, 2), draws.code_noise)
    torch.testing.assert_close(objective(gaussian(0.3), x_0.repeat(1, 1, 2, 2), tiled).total, total)


def test_regularisers_are_summed_over_coordinates_and_averaged_over_the_batch():
    z = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    assert float(l1_norm(z)) == pytest.approx((3.0 + 0.5) / 2)
    assert float(l1_norm(torch.cat([z, z], 1))) == pytest.approx(3.5)
    assert float(l1_norm(torch.cat([z, z], 0))) == pytest.approx(1.75)


def test_kl_is_that_of_torch_distributions():
    mean = torch.randn(7, 3, generator=generator(1))
    log_variance = 2 * torch.randn(7, 3, generator=generator(2))
    normal = torch.distributions.Normal
    peer = torch.distributions.kl_divergence(
        normal(mean, (0.5 * log_variance).exp()), normal(torch.zeros(7, 3), torch.ones(7, 3))
    )
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), peer.sum(1).mean())
    assert float(kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3))) == 0


@pytest.mark.parametrize(("kind", "weight"), [("l1", 0.3), ("kl", 0.02)])
def test_total_is_matching_plus_weighted_regulariser(kind, weight):
    model = network(replace(CONFIG, probabilistic=kind == "kl"))
    x_0 = batch()
    objective = Objective(UniformTime(), regulariser=kind, regulariser_weight=weight)
    losses = objective(model, x_0, objective.draw(x_0, 2, generator()))
    mean, log_variance = model.code_distribution(x_0)
    expected = l1_norm(mean) if kind == "l1" else kl_to_standard_normal(mean, log_variance)
    torch.testing.assert_close(losses.regulariser, expected.detach())
    torch.testing.assert_close(losses.total.detach(), losses.matching + weight * expected.detach())
    torch.testing.assert_close(losses.code_std, mean.detach().std(0).min())


def test_without_regulariser_the_total_is_the_matching_loss():
    x_0 = batch()
    objective = Objective(UniformTime())
    losses = objective(network(), x_0, objective.draw(x_0, 2, generator()))
    assert losses.total.item() == losses.matching.item()
    assert float(losses.regulariser) == 0


# What enters the score network


def test_score_network_receives_the_code_of_the_clean_image():
    model, x_0 = network(), batch()
    objective = Objective(SingleTime(0.5))
    draws = objective.draw(x_0, 2, generator())
    by_hand = denoising_score_matching(model, x_0, draws.t, draws.noise, model.encode(x_0))
    torch.testing.assert_close(objective(model, x_0, draws).total, by_hand.mean())


def test_probabilistic_code_is_drawn_with_the_given_noise():
    model, x_0 = network(replace(CONFIG, probabilistic=True)), batch()
    objective = Objective(SingleTime(0.5))
    draws = objective.draw(x_0, 2, generator())
    z = model.encode(x_0, draws.code_noise)
    by_hand = denoising_score_matching(model, x_0, draws.t, draws.noise, z).mean()
    torch.testing.assert_close(objective(model, x_0, draws).total, by_hand)
    other = draws._replace(code_noise=draws.code_noise + 20)
    changed = objective(model, x_0, other).total
    assert changed.item() != pytest.approx(by_hand.item(), rel=1e-6)


def test_draws_per_image_equal_repeating_the_images():
    model, x_0 = network(), batch()
    several = Objective(UniformTime(), regulariser="l1", regulariser_weight=0.1, draws_per_image=3)
    draws = several.draw(x_0, 2, generator())
    assert draws.t.shape == (18,) and draws.noise.shape == (18, 1, 4, 4)
    assert draws.code_noise.shape == (6, 2)
    once = Objective(UniformTime(), regulariser="l1", regulariser_weight=0.1)
    repeated = x_0.repeat_interleave(3, dim=0)
    losses = several(model, x_0, draws)
    torch.testing.assert_close(losses.total, once(model, repeated, draws).total)
    gradients = torch.autograd.grad(losses.total, list(model.parameters()))
    others = torch.autograd.grad(once(model, repeated, draws).total, list(model.parameters()))
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_draws_per_image_repeat_labels_too():
    model = network(replace(CONFIG, latent=0, num_classes=3))
    x_0, y = batch(), torch.tensor([0, 1, 2, 2, 1, 0])
    several = Objective(UniformTime(), draws_per_image=2)
    draws = several.draw(x_0, 0, generator())
    once = Objective(UniformTime())(
        model, x_0.repeat_interleave(2, 0), draws, y.repeat_interleave(2)
    )
    torch.testing.assert_close(several(model, x_0, draws, y).total, once.total)


def test_encoder_is_trained_through_the_score_network():
    model, x_0 = network(), batch()
    objective = Objective(UniformTime())
    objective(model, x_0, objective.draw(x_0, 2, generator())).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())


@pytest.mark.parametrize("kind", ["none", "l1"])
def test_frozen_encoder_gets_no_gradient_and_no_regulariser(kind):
    model, x_0 = network(), batch()
    free = Objective(UniformTime(), regulariser=kind, regulariser_weight=0.5)
    frozen = replace(free, frozen_encoder=True)
    draws = frozen.draw(x_0, 2, generator())
    losses = frozen(model, x_0, draws)
    losses.total.backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.network.parameters())
    assert losses.total.item() == losses.matching.item() == free(model, x_0, draws).matching.item()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch's own compiler needs one of C++")
@pytest.mark.parametrize(
    ("kind", "config", "objective"),
    [
        (ScoreModel, {"latent": 0}, Objective(UniformTime())),
        (ScoreModel, {}, Objective(UniformTime())),
        (Autoencoder, {}, Reconstruction()),
    ],
)
def test_loss_without_a_regulariser_has_its_gradient_when_compiled(kind, config, objective):
    # By the default backend, which drops a zero that is added; in eager mode nothing is to be seen.
    torch.manual_seed(0)
    model = kind(replace(CONFIG, image_shape=(2,), **config))
    x_0, weights = torch.randn(6, 2, generator=generator(9)), list(model.parameters())
    draws = objective.draw(x_0, 2, generator())
    eager = objective(model, x_0, draws)
    torch.compiler.reset()
    losses = torch.compile(lambda: tuple(objective(model, x_0, draws)), fullgraph=True)()
    assert [value.requires_grad for value in losses] == [True, False, False, False]
    torch.testing.assert_close(losses[0], eager.total)
    for a, b in zip(*(torch.autograd.grad(v, weights) for v in (losses[0], eager.total))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_no_gradient_is_recorded_where_none_is_wanted():
    objective, x_0 = Objective(UniformTime()), batch()
    with torch.no_grad():
        losses = objective(network(), x_0, objective.draw(x_0, 2, generator()))
    assert not losses.total.requires_grad


# Draws


@pytest.mark.parametrize(("per_image", "parts"), [(1, 2), (2, 3), (3, 6)])
def test_parts_of_the_draws_concatenate_to_the_whole(per_image, parts):
    model, x_0 = network(replace(CONFIG, code_dropout=0.5)).double(), batch().double()
    objective = Objective(
        UniformTime(), UniformSigma(SDE), draws_per_image=per_image, code_dropout=0.5
    )
    draws = objective.draw(x_0, 2, generator())
    pieces = [draws.part(rank, parts) for rank in range(parts)]
    for whole, *some in zip(draws, *pieces, strict=True):
        assert torch.equal(torch.cat(some), whole)
    # So a loss over processes is the mean of their losses.
    losses = [
        objective(model, x, piece).total for x, piece in zip(x_0.chunk(parts), pieces, strict=True)
    ]
    torch.testing.assert_close(torch.stack(losses).mean(), objective(model, x_0, draws).total)


def test_draws_depend_on_the_generator_alone():
    objective, x_0 = Objective(UniformTime(), code_dropout=0.5), batch()
    a, b = (objective.draw(x_0, 2, generator(3)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    c = objective.draw(x_0, 2, generator(4))
    assert not any(torch.equal(x, y) for x, y in zip(a[2:4], c[2:4], strict=True))


def test_weights_are_one_where_t_is_drawn_from_the_objective():
    assert torch.equal(Objective(UniformTime()).draw(batch(), 2).weight, torch.ones(6))


def test_proposal_leaves_the_objective_unchanged_and_reduces_its_variance():
    n, variance = 40_000, 0.25
    x_0 = variance**0.5 * torch.randn(n, 1, generator=generator(1))
    plain = Objective(UniformSigma(SDE))
    weighted = Objective(UniformSigma(SDE), proposal=UniformTime())
    means, errors = [], []
    for seed, objective in enumerate((plain, weighted)):
        draws = objective.draw(x_0, 0, generator(seed + 2))
        loss = denoising_score_matching(gaussian(variance), x_0, draws.t, draws.noise)
        mean, error = mean_and_error((draws.weight * loss).double())
        means.append(mean)
        errors.append(error)
        total = objective(gaussian(variance), x_0, draws).total
        assert float(total) == pytest.approx(mean, rel=1e-4)
    # E = 1/50 ∫ v/(v + σ² − σ_min²) dσ over [0.01, 50]
    t = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    density = UniformSigma(SDE).density(t)
    exact = float((density * variance / (variance + SDE.tau(t) ** 2)).mean())
    for mean, error in zip(means, errors, strict=True):
        assert abs(mean - exact) < 3 * error
    assert errors[1] < errors[0] / 3


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weighting": "likelihood"}, "weighting must be 'tau2' or 'sigma2', got 'likelihood'"),
        ({"regulariser": "l2"}, "regulariser must be 'none', 'l1' or 'kl', got 'l2'"),
        ({"regulariser_weight": -1.0}, "regulariser_weight must be a finite number of at least 0"),
        ({"regulariser_weight": math.nan}, "regulariser_weight must be a finite number"),
        ({"regulariser_weight": math.inf}, "regulariser_weight must be a finite number"),
        ({"draws_per_image": 0}, "draws_per_image must be at least 1, got 0"),
        ({"draws_per_image": 2.5}, "draws_per_image must be a whole number"),
        ({"times": "uniform_t"}, "times must be a distribution such as .*, got 'uniform_t'"),
        ({"times": None}, "times must be a distribution such as"),
        ({"times": UniformTime}, "times must be a distribution such as"),
        ({"proposal": "log_normal"}, "proposal must be a distribution such as"),
        ({"frozen_encoder": "no"}, "frozen_encoder must be True or False, got 'no'"),
        ({"times": SingleTime(0.5), "proposal": UniformTime()}, "a single t needs no proposal"),
    ],
)
def test_impossible_objectives_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Objective(**{"times": UniformTime(), **arguments})


def test_kl_of_a_deterministic_code_is_an_error():
    objective, x_0 = Objective(UniformTime(), regulariser="kl"), batch()
    with pytest.raises(ValueError, match="'kl' regulariser needs a model with probabilistic=True"):
        objective(network(), x_0, objective.draw(x_0, 2))


def test_unknown_weighting_is_an_error_in_the_bare_loss_too():
    with pytest.raises(ValueError, match="weighting"):
        denoising_score_matching(ZERO, batch(), torch.full((6,), 0.5), batch(), weighting="tau")


# Code dropout: one network for both scores


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, latent=0, num_classes=3)])
@pytest.mark.parametrize(("share", "seen"), [(1e-9, True), (1.0, False)])
def test_code_dropout_of_nearly_0_and_of_1_is_the_conditional_and_the_unconditional_loss(
    config, share, seen
):
    model, x_0 = network(replace(config, code_dropout=share)), batch()
    y = torch.tensor([0, 1, 2, 2, 1, 0]) if config.num_classes else None
    objective = Objective(UniformTime(), code_dropout=share)
    draws = objective.draw(x_0, 2, generator())
    z = model.encode(x_0) if y is None else y
    expected = denoising_score_matching(model, x_0, draws.t, draws.noise, z if seen else None)
    loss = objective(model, x_0, draws, y).total
    torch.testing.assert_close(loss, expected.mean())
    other = denoising_score_matching(model, x_0, draws.t, draws.noise, None if seen else z)
    assert abs(float(loss - other.mean())) > 1e-6


def test_code_dropout_leaves_out_its_share_and_changes_no_other_draw():
    x_0 = torch.zeros(20_000, 1)
    draws = Objective(UniformTime(), code_dropout=0.3).draw(x_0, 2, generator())
    share = float(draws.left_out.double().mean())
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 20_000) ** 0.5
    plain = Objective(UniformTime()).draw(x_0, 2, generator())
    assert plain.left_out is None and plain.part(0, 2).left_out is None
    for a, b in zip(draws[:4], plain[:4], strict=True):
        assert torch.equal(a, b)
    halves = [draws.part(rank, 2).left_out for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), draws.left_out)


def test_dropped_codes_get_no_gradient():
    model, x_0 = network(replace(CONFIG, code_dropout=1.0)), batch()
    objective = Objective(UniformTime(), code_dropout=1.0)
    objective(model, x_0, objective.draw(x_0, 2, generator())).total.backward()
    reached = [p.grad for p in model.encoder.parameters() if p.grad is not None]
    assert all(float(g.abs().max()) == 0 for g in reached)
    assert any(float(p.grad.abs().max()) > 0 for p in model.network.parameters())


def test_objective_and_model_must_agree_on_the_share():
    x_0, objective = batch(), Objective(UniformTime(), code_dropout=0.2)
    with pytest.raises(ValueError, match="code_dropout must be that of the model's config, 0.0"):
        objective(network(), x_0, objective.draw(x_0, 2, generator()))
    with pytest.raises(ValueError, match="code_dropout must lie in"):
        Objective(UniformTime(), code_dropout=1.2)
    with pytest.raises(ValueError, match="be 0 for a model without code"):
        replace(CONFIG, latent=0, code_dropout=0.1)
    with pytest.raises(ValueError, match="this model has code_dropout=0"):
        network().score(x_0, 0.5, x_0.new_zeros(6, 2), torch.ones(6, dtype=torch.bool))
