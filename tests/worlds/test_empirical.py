"""The empirical law against a float64 brute force, a mixture, and itself in pieces."""

import math

import pytest
import torch

from scorerep.data.images import to_float
from scorerep.worlds import empirical
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.mixture import GaussianMixture

LEVELS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 50.0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strokes(n: int = 300, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images like MNIST's in size and norm, in near pairs that differ in a few grey levels."""
    draws = generator(1)
    y = torch.randint(classes, (n // 2,), generator=draws)
    y[:classes] = torch.arange(classes)
    images = torch.rand(n // 2, 1, 28, 28, generator=draws) < 0.05 + 0.05 * y.view(-1, 1, 1, 1)
    images = (255 * images).to(torch.uint8)
    near = images.clone()
    near[:, 0, 0, :5] += 2
    return torch.cat([images, near]), torch.cat([y, y])


def perturbed(law, tau, n: int, seed: int = 3):
    x_0, y = law.sample(n, generator(seed))
    noise = torch.randn(x_0.shape, generator=generator(seed + 1), dtype=x_0.dtype)
    return x_0 + tau * noise, y


def brute_force(images, x_t, tau, chosen=None):
    """Posterior mean, variance (of pairs, so without cancellation) and log-density, in float64."""
    items, x = images.double().flatten(1), x_t.double().flatten(1)
    squares = (x[:, None] - items).square().sum(2)
    logits = -squares / (2 * tau**2)
    if chosen is not None:
        logits = logits.masked_fill(~chosen, -math.inf)
    weights = logits.softmax(1)
    mean = weights @ items
    variance = 0.5 * torch.einsum("bi,bj,ij->b", weights, weights, torch.cdist(items, items) ** 2)
    d = items.shape[1]
    log_density = (
        logits.logsumexp(1) - math.log(len(items)) - d / 2 * math.log(2 * math.pi * tau**2)
    )
    return mean.reshape(x_t.shape), variance, log_density


@pytest.fixture(scope="module")
def law() -> EmpiricalLaw:
    return EmpiricalLaw(*strokes())


@pytest.mark.parametrize("tau", LEVELS)
def test_posterior_equals_a_float64_brute_force(law, tau):
    images, labels = strokes()
    x_t, y = perturbed(law, tau, 20)
    mean, variance, log_density = brute_force(to_float(images), x_t, tau)
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(law.posterior_mean(x_t, tau).double(), mean, **near)
    score = (mean - x_t.double()) / tau**2
    torch.testing.assert_close(law.score(x_t, tau).double() * tau, score * tau, **near)
    near = {"rtol": 1e-3, "atol": 1e-4 * min(tau, 1) ** 2}
    torch.testing.assert_close(law.posterior_variance(x_t, tau).double(), variance, **near)
    near = {"rtol": 1e-6, "atol": 1e-3}
    torch.testing.assert_close(law.log_prob(x_t.double(), tau), log_density, **near)
    mean, variance, log_joint = brute_force(to_float(images), x_t, tau, labels == y[:, None])
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(law.posterior_mean(x_t, tau, y).double(), mean, **near)
    near = {"rtol": 1e-3, "atol": 1e-4 * min(tau, 1) ** 2}
    torch.testing.assert_close(law.posterior_variance(x_t, tau, y).double(), variance, **near)
    posterior = law.class_posterior(x_t, tau).gather(1, y[:, None])[:, 0]
    near = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(posterior.double(), (log_joint - log_density).exp(), **near)


def test_near_pairs_make_low_noise_a_real_test(law):
    # A pair differs by 0.035 in norm: at τ = 0.03 both have weight, although ‖x‖² is about 700.
    x_t, _ = perturbed(law, 0.03, 50)
    variance = law.posterior_variance(x_t, 0.03)
    assert 0.3 < float(variance.mean()) / (5 * (2 / 127.5) ** 2 / 4) < 1


@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0, 10.0])
def test_law_is_a_mixture_of_tiny_variance(tau):
    points, labels = torch.randn(40, 3, generator=generator()).double(), torch.arange(40) % 3
    law = EmpiricalLaw(points, labels)
    peer = GaussianMixture(torch.full((40,), 1 / 40).double(), points, 1e-12, labels)
    x_t, y = perturbed(law, tau, 20)
    for method in ("log_prob", "score", "posterior_mean", "posterior_variance", "guidance_score"):
        for label in (None, y, 2):
            if label is None and method == "guidance_score":
                continue
            arguments = (x_t, tau) if label is None else (x_t, tau, label)
            exact = getattr(peer, method)(*arguments)
            tolerance = {"rtol": 1e-6, "atol": 1e-8}
            torch.testing.assert_close(getattr(law, method)(*arguments), exact, **tolerance)
    for ours, exact in zip(law.class_means(x_t, tau), peer.class_means(x_t, tau), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("tau", [0.02, 0.6, 3.0])
def test_streaming_in_bounded_memory_equals_one_chunk(law, tau, monkeypatch):
    x_t, y = perturbed(law, tau, 20)
    pieces = EmpiricalLaw(*strokes(), chunk=7)
    whole = [law.posterior_mean(x_t, tau), law.posterior_variance(x_t, tau, y)]
    monkeypatch.setattr(empirical, "LOGITS", 3 * len(law))  # three x_t at a time
    parts = [pieces.posterior_mean(x_t, tau), pieces.posterior_variance(x_t, tau, y)]
    rounding = 1e-7 * float(law.squares.max())  # as documented for float32
    for part, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=rounding)
    torch.testing.assert_close(pieces.class_posterior(x_t, tau), law.class_posterior(x_t, tau))


def test_log_weights_in_memory_stay_below_the_bound(law, monkeypatch):
    seen = []
    original = EmpiricalLaw._moments
    monkeypatch.setattr(empirical, "LOGITS", 1000)
    monkeypatch.setattr(
        EmpiricalLaw, "_moments", lambda self, x, t: seen.append(len(x)) or original(self, x, t)
    )
    law.constant(1.0, 20, generator())
    assert sum(seen) == 20
    assert max(seen) * len(law) <= 1000


def test_order_of_the_data_does_not_matter(law):
    images, labels = strokes()
    order = torch.randperm(len(images), generator=generator())
    shuffled = EmpiricalLaw(images[order], labels[order])
    x_t, y = perturbed(law, 2.0, 10)
    torch.testing.assert_close(shuffled.score(x_t, 2.0, y), law.score(x_t, 2.0, y))
    torch.testing.assert_close(shuffled.class_prior, law.class_prior)


def test_float_images_equal_uint8_ones(law):
    images, labels = strokes()
    floats = EmpiricalLaw(to_float(images), labels)
    x_t, _ = perturbed(law, 1.0, 10)
    torch.testing.assert_close(floats.score(x_t, 1.0), law.score(x_t, 1.0))


def test_labels_are_not_needed_for_the_law_itself(law):
    unlabelled = EmpiricalLaw(strokes()[0])
    x_t, _ = perturbed(law, 2.0, 10)
    near = {"rtol": 1e-4, "atol": 1e-7 * float(law.squares.max())}
    torch.testing.assert_close(unlabelled.score(x_t, 2.0), law.score(x_t, 2.0), **near)
    ours, peer = unlabelled.posterior_variance(x_t, 2.0), law.posterior_variance(x_t, 2.0)
    torch.testing.assert_close(ours, peer, **near)
    assert unlabelled.sample(3, generator())[1] is None


def test_samples_are_items_with_their_labels(law):
    images, labels = strokes()
    x_0, y = law.sample(50, generator())
    distances = torch.cdist(x_0.flatten(1), to_float(images).flatten(1))
    assert float(distances.min(1).values.max()) == 0
    assert torch.equal(labels[distances.argmin(1)], y)
    assert x_0.shape == (50, 1, 28, 28)
    assert x_0.dtype == torch.float32


@pytest.mark.parametrize("tau", [0.5, 2.0, 6.0])
def test_dsm_equals_esm_plus_constant(law, tau):
    x_0, _ = law.sample(2_000, generator(5))
    x_t = x_0 + tau * torch.randn(x_0.shape, generator=generator(6))
    exact = law.score(x_t, tau)
    wrong = exact + 0.02 * torch.sin(3 * x_t) / tau
    dsm = (wrong - (x_0 - x_t) / tau**2).double().square().flatten(1).sum(1)
    values = dsm - (wrong - exact).double().square().flatten(1).sum(1)
    error = float(values.std()) / math.sqrt(len(values))
    constant = law.constant(tau, 1_000, generator(7))
    assert abs(float(values.mean()) - constant.value) < 3 * math.hypot(
        error, constant.standard_error
    )


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_what_labels_win_back_is_the_energy_of_guidance(law, tau):
    x_t, y = perturbed(law, tau, 1_000)
    guidance = law.guidance_score(x_t, tau, y).double().square().flatten(1).sum(1)
    error = float(guidance.std()) / math.sqrt(len(guidance))
    energy = law.guidance_energy(tau, 1_000, generator(8))
    difference = abs(float(guidance.mean()) - energy.value)
    assert difference < 3 * math.hypot(error, energy.standard_error)
    free, given = (law.constant(tau, 1_000, generator(8), flag).value for flag in (False, True))
    assert free - given == pytest.approx(energy.value, rel=1e-6)


def test_labels_of_distinct_images_hold_their_entropy():
    """½ ∫ [C − C(.|y)] d(τ²) = H(y), as every image determines its label."""
    points = 2 * torch.randn(30, 2, generator=generator()).double()
    law = EmpiricalLaw(points, torch.arange(30) % 3)
    log_tau2 = torch.linspace(math.log(1e-4), math.log(1e4), 60, dtype=torch.float64)
    energy = [
        law.guidance_energy(math.exp(s / 2), 2_000, generator(i)).value
        for i, s in enumerate(log_tau2.tolist())
    ]
    gap = 0.5 * torch.tensor(energy).double() * log_tau2.exp()
    assert float(torch.trapezoid(gap, log_tau2)) == pytest.approx(math.log(3), rel=0.02)


def test_dtype_of_x_is_kept_at_every_level(law):
    for tau in (0.05, 5.0):
        x_t, _ = perturbed(law, tau, 3)
        for dtype in (torch.float32, torch.float64):
            assert law.score(x_t.to(dtype), tau).dtype == dtype
            assert law.log_prob(x_t.to(dtype), tau).dtype == dtype


def test_a_level_for_each_item_equals_one_at_a_time(law):
    x_t, tau = perturbed(law, 1.0, 3)[0], torch.tensor([0.4, 1.0, 9.0])
    single = torch.cat([law.score(x_t[i : i + 1], float(tau[i])) for i in range(3)])
    torch.testing.assert_close(law.score(x_t, tau), single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (torch.zeros(0, 1, 4, 4), None, "not empty"),
        (torch.zeros(4), None, "images must be"),
        (torch.zeros(4, 2, dtype=torch.int64), None, "uint8 or floating"),
        (torch.tensor([[0.0, math.nan]]), None, "finite"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), "labels must be 3 integers"),
        (torch.zeros(3, 2), torch.tensor([0.0, 1.0, 1.0]), "labels must be 3 integers"),
        (torch.zeros(3, 2), torch.tensor([0, 2, 2]), "labels must cover"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "labels must cover"),
    ],
)
def test_impossible_data_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        EmpiricalLaw(images, labels)


def test_bad_arguments_are_refused(law):
    x = torch.zeros(2, 1, 28, 28)
    for tau in (0.0, torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match="tau must be positive"):
            law.score(x, tau)
    with pytest.raises(ValueError, match="tau must not be negative"):
        law.score(x, -1.0)
    with pytest.raises(ValueError, match="x must be floats of shape"):
        law.score(torch.zeros(2, 1, 32, 32), 1.0)
    with pytest.raises(ValueError, match="x must be floats of shape"):
        law.score(x.to(torch.uint8), 1.0)
    with pytest.raises(ValueError, match=r"y must be integers in 0\.\.3"):
        law.score(x, 1.0, 4)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        EmpiricalLaw(x, chunk=0)
    unlabelled = EmpiricalLaw(strokes()[0])
    for call in (
        lambda: unlabelled.score(x, 1.0, 0),
        lambda: unlabelled.class_posterior(x, 1.0),
        lambda: unlabelled.class_means(x, 1.0),
        lambda: unlabelled.constant(1.0, 10, conditional=True),
    ):
        with pytest.raises(ValueError, match="labels of 1 or more classes are needed"):
            call()
    with pytest.raises(ValueError, match="labels of 2 or more classes are needed"):
        EmpiricalLaw(strokes()[0], torch.zeros(300).long()).guidance_energy(1.0, 10)
