"""The floor of the denoising loss against a brute force over a few points, and closed forms."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import Target, Weight, average, floor, floor_of, mmse
from scorerep.worlds.mixture import GaussianMixture
from scorerep.worlds.schedule import Density, Path, Schedule

PATHS, TARGETS, WEIGHTS = Path.__args__, Target.__args__, Weight.__args__
DATA = 0.7  # σ_data


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(n: int = 6, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=seeded(), dtype=torch.float64)


def times_of(schedule: Schedule) -> torch.Tensor:
    return schedule.time_of_level(torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=torch.float64))


def targets(target: str, x_0, noise, alpha, tau):
    """What networks are trained on, written as their papers do."""
    sigma = tau / alpha
    noisy = x_0 + sigma * noise
    c_skip = DATA**2 / (sigma**2 + DATA**2)
    c_out = sigma * DATA / math.sqrt(sigma**2 + DATA**2)
    return {
        "x0": x_0,
        "eps": noise,
        "score": -noise / tau,
        "v": alpha * noise - tau * x_0,
        "F": (x_0 - c_skip * noisy) / c_out,
        "flow": noise - x_0,
    }[target]


@pytest.mark.parametrize(("path", "target"), list(product(PATHS, TARGETS)))
def test_floor_is_what_the_exact_posterior_leaves_open_of_the_target(path, target):
    """E ‖target − E[target | x_t]‖²/d by enumeration, for the very draws of ``mmse``."""
    items, schedule, draws = points(), Schedule(path), 5
    times, law, generator = times_of(schedule), EmpiricalLaw(points()), seeded(3)
    table = floor(law, schedule, target, times, draws, seeded(3), sigma_data=DATA)
    for row, t in enumerate(times):
        alpha, tau = (float(a) for a in schedule.kernel(t[None]))
        x_0 = law.sample(draws, generator)[0]
        noise = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
        x_t = alpha * x_0 + tau * noise
        values = []
        for x in x_t:  # given x_t, each item goes with one ε
            eps = (x - alpha * items) / tau
            weights = (-eps.square().sum(1) / 2).softmax(0)
            wanted = targets(target, items, eps, alpha, tau)
            mean = weights @ wanted
            values.append(weights @ (wanted - mean).square().mean(1))
        assert table["floor"][row] == pytest.approx(float(torch.stack(values).mean()), rel=1e-6)
        assert table["sigma"][row] == pytest.approx(tau / alpha, rel=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_ceiling_is_the_variance_of_the_target(target):
    schedule, law = Schedule("vp-cosine"), EmpiricalLaw(points())
    times = times_of(schedule)
    table = floor(law, schedule, target, times, 2, seeded(), sigma_data=DATA)
    x_0 = points().repeat(40_000, 1)
    noise = torch.randn(x_0.shape, generator=seeded(1), dtype=torch.float64)
    for row, t in enumerate(times):
        alpha, tau = (float(a) for a in schedule.kernel(t[None]))
        variance = targets(target, x_0, noise, alpha, tau).var(0, correction=0).mean()
        assert table["ceiling"][row] == pytest.approx(float(variance), rel=0.01)


def test_for_a_gaussian_the_floor_is_the_closed_form_and_the_linear_one():
    variances = torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64)
    law = GaussianMixture([1.0], torch.zeros(1, 3), torch.diag(variances)[None])
    sigma = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    found = mmse(law, sigma, 4, seeded())
    exact = (variances * sigma[:, None] ** 2 / (variances + sigma[:, None] ** 2)).mean(1)
    for column in ("mmse", "linear"):
        np.testing.assert_allclose(found[column], exact, rtol=1e-6)
    np.testing.assert_allclose(found["standard_error"], 0, atol=1e-12)
    np.testing.assert_allclose(found["variance"], variances.mean(), rtol=1e-6)


@pytest.mark.parametrize("covariances", [0.2, [0.1, 0.3]])
def test_covariance_of_laws(covariances):
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    law = GaussianMixture([0.3, 0.7], means, torch.tensor(covariances).double())
    full = torch.as_tensor(covariances).double().expand(2)[:, None, None] * torch.eye(2)
    turned = GaussianMixture([0.3, 0.7], means, full)
    torch.testing.assert_close(law.covariance(), turned.covariance())
    x_0 = law.sample(100_000, seeded())[0]
    torch.testing.assert_close(law.covariance(), x_0.T.cov(), atol=0.02, rtol=0)
    torch.testing.assert_close(
        EmpiricalLaw(x_0, chunk=999).covariance(), x_0.T.cov(correction=0), rtol=1e-9, atol=1e-12
    )


def test_on_a_variance_preserving_path_the_floor_of_v_is_that_of_x0_and_eps_together():
    for path in ("vp-linear", "vp-cosine"):
        schedule = Schedule(path)
        times = times_of(schedule)
        found = mmse(points(), schedule.level(times), 10, seeded())
        of = {name: floor_of(found, schedule, times, name)["floor"] for name in TARGETS}
        np.testing.assert_allclose(of["v"], of["x0"] + of["eps"], rtol=1e-9)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighting", ["snr", "min-snr", "edm"])
def test_weightings_of_x0_make_all_targets_one_loss(target, weighting):
    schedule = Schedule("vp-cosine")
    times = times_of(schedule)
    found = mmse(points(), schedule.level(times), 10, seeded())
    table = floor_of(found, schedule, times, target, weighting, DATA)
    of_x_0 = floor_of(found, schedule, times, "x0", weighting, DATA)
    np.testing.assert_allclose(table["floor"], of_x_0["floor"], rtol=1e-9)
    same = {"snr": "eps", "edm": "F"}.get(weighting)
    if same:
        plain = floor_of(found, schedule, times, same, "none", DATA)
        np.testing.assert_allclose(table["floor"], plain["floor"], rtol=1e-9)


def test_score_weighted_by_tau2_is_eps_and_a_function_may_be_the_weight():
    schedule = Schedule("ve")
    times = times_of(schedule)
    found = mmse(points(), schedule.level(times), 10, seeded())
    columns = ["floor", "standard_error", "linear", "ceiling"]
    eps = floor_of(found, schedule, times, "eps")[columns]
    for weighting in ("tau2", lambda t: schedule.kernel(t)[1] ** 2):
        score = floor_of(found, schedule, times, "score", weighting)[columns]
        np.testing.assert_allclose(score, eps, rtol=1e-9)


def test_scaled_pixels_are_the_same_law_in_other_units():
    items, levels = points(), torch.tensor([0.2, 1.0])
    scaled = mmse(items, levels, 20, seeded(), scale=0.5)
    pd.testing.assert_frame_equal(scaled, mmse(items / 2, levels, 20, seeded()), rtol=1e-6)


def test_standard_error_is_that_of_the_draws():
    law, schedule = EmpiricalLaw(points()), Schedule("edm")
    tables = [floor(law, schedule, draws=50, generator=seeded(i)) for i in range(60)]
    means = [average(table) for table in tables]
    spread = np.std([mean.value for mean in means], ddof=1)
    assert spread == pytest.approx(np.mean([mean.standard_error for mean in means]), rel=0.3)


def test_memorised_is_where_the_items_are_told_apart():
    schedule, law = Schedule("ve"), EmpiricalLaw(points(20))
    times = schedule.time_of_level(torch.tensor([0.005, 0.02, 1.0, 40.0]))
    table = floor(law, schedule, "score", times, 50, seeded())
    assert table["memorised"].tolist() == [True, True, False, False]


@pytest.mark.parametrize(("path", "density"), list(product(PATHS, Density.__args__)))
def test_shares_of_training_and_times_are_inverse(path, density):
    if path == "edm" and density != "log-normal":
        with pytest.raises(ValueError, match="density must be log-normal for edm"):
            Schedule(path, density)
        return
    schedule = Schedule(path, density)
    times = schedule.spread(8)
    near = {"rtol": 1e-6, "atol": 1e-6}
    shares = (torch.arange(8) + 0.5).double() / 8
    torch.testing.assert_close(schedule.share_below(times), shares, **near)
    torch.testing.assert_close(schedule.time_of_level(schedule.level(times)), times, **near)
    table = floor_of(mmse(points(), [1e-4, 1e6], 2, seeded()), schedule, times)
    np.testing.assert_allclose(table["probability"], 1 / 8, rtol=1e-3)


def test_average_is_the_integral_over_the_training():
    """Of a Gaussian, whose floor of F is 1 − … in closed form, against 2,000 times."""
    law = GaussianMixture([1.0], torch.zeros(1, 2), 0.25)
    schedule = Schedule("edm", mean=-0.5, std=1.0)
    few = average(floor(law, schedule, "x0", draws=2)).value
    t = schedule.spread(2000)
    assert few == pytest.approx(float((0.25 * t**2 / (0.25 + t**2)).mean()), rel=0.01)


def test_end_of_a_path_without_signal_has_a_floor():
    for path in ("flow", "vp-cosine"):
        table = floor(points(), Schedule(path), "flow", torch.tensor([1.0]), 5, seeded())
        assert table["floor"][0] == pytest.approx(float(points().var(0, correction=0).mean()))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Schedule("vp"), "path must be one of ve, vp-linear"),
        (lambda: Schedule("flow", "normal"), "density must be one of uniform"),
        (lambda: Schedule("flow", "logit-normal", std=0), "std must be a finite number larger"),
        (lambda: floor(points(), Schedule(), "noise"), "target must be one of eps, x0"),
        (lambda: floor(points(), Schedule(), weighting="p2"), "weighting must be one of none"),
        (lambda: floor(points(), Schedule(), draws=1), "draws must be at least 2"),
        (lambda: floor(points(), Schedule(), scale=0), "scale must be a finite number larger"),
        (lambda: floor(points(), Schedule(), sigma_data=0), "sigma_data must be"),
        (lambda: floor(points(), Schedule(), times=torch.tensor([0.0])), "t must be positive"),
        (lambda: floor(points(), Schedule(), times=torch.tensor([250.0])), "divide a step by"),
        (lambda: floor(points(), Schedule(), times=torch.tensor([0.5, 0.2])), "times must incr"),
        (lambda: Schedule("flow").time_of_level(torch.tensor([-1.0])), "level must be positive"),
        (
            lambda: floor_of(mmse(points(), [1.0, 2.0], 2), Schedule("edm"), torch.tensor([3.0])),
            "times must have levels between those found, 1 and 2, got 3",
        ),
        (lambda: mmse(points(), [0.0]), "levels must be a finite number larger than 0"),
    ],
)
def test_bad_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
