"""Where the floor is heading with ever more images, where the truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from scorerep.data import load_data
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import mmse
from scorerep.worlds.growth import growing, limit_at, limit_of
from scorerep.worlds.mixture import GaussianMixture

LEVELS = [0.05, 0.2, 0.4, 0.7, 1.0, 1.25, 1.5, 2.0, 3.0, 8.0]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits_law(kind: str) -> GaussianMixture:
    """A Gaussian, or one for each class, with the moments of the 8×8 digits."""
    data = load_data("digits")
    x, groups = data.batch(slice(0, len(data))).double().flatten(1), [slice(None)]
    if kind == "mixture":
        groups = [data.labels == k for k in range(10)]
    means = torch.stack([x[members].mean(0) for members in groups])
    noise = 1e-3 * torch.eye(64, dtype=torch.float64)
    covariances = torch.stack([x[members].T.cov() + noise for members in groups])
    return GaussianMixture([1 / len(groups)] * len(groups), means, covariances)


def truth(law: GaussianMixture, levels) -> np.ndarray:
    return mmse(law, levels, 2000, seeded(9))["mmse"].to_numpy()


@pytest.mark.parametrize(
    ("world", "count"), [("gaussian", 4000), ("mixture", 4000), ("plane", 1600)]
)
def test_limit_is_the_law_s_own_floor_wherever_it_is_told(world, count):
    """Nearer than the floor of the images, within 5 % and its errors; and not told at low noise."""
    if world == "plane":
        spread = torch.diag(torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64))[None]
        law, levels = GaussianMixture([1.0], torch.zeros(1, 3), spread), LEVELS
    else:
        law, levels = digits_law(world), LEVELS
    found = growing(law.sample(count, seeded(1))[0], levels, 320, seeded(2))
    exact, limit = truth(law, levels), found["limit"].to_numpy()
    told = np.isfinite(limit)
    assert told[-1] and not told[0]
    off = np.abs(limit - exact)[told]
    assert (off < 0.05 * exact[told]).all(), (limit / exact)[told]
    assert (off < 4 * found["limit_error"].to_numpy()[told] + 0.01 * exact[told]).all()
    rising = told & (found["mmse"] - found["quarter"] > 0.01 * found["mmse"]).to_numpy()
    near = np.abs(found["mmse"].to_numpy() - exact)
    if rising.any():
        assert off[rising[told]].mean() < near[rising].mean()
    # Where it is not told, the images' floor is far too low: nothing is passed over.
    assert (found["mmse"].to_numpy() < 1.02 * exact).all()


def test_where_the_images_are_told_apart_no_limit_is_made_up():
    law = digits_law("gaussian")
    low = growing(law.sample(320, seeded())[0], [0.3, 0.6, 0.9], 64, seeded())
    assert low["limit"].isna().all() and low["limit_error"].isna().all()
    assert (low["mmse"] < 0.6 * truth(law, low["sigma"])).all()


def test_parts_are_the_quarters_and_sixteenths():
    """Against one law of each part, with their own draws."""
    images = torch.randn(64, 5, generator=seeded(), dtype=torch.float64)
    found = growing(images, [1.0, 2.0], 8000, seeded(1))
    for column, count in (("mmse", 1), ("quarter", 4), ("sixteenth", 16)):
        parts = [mmse(EmpiricalLaw(part), [1.0, 2.0], 8000 // count, seeded(2))
                 for part in images.chunk(count)]  # fmt: skip
        mean = np.mean([part["mmse"] for part in parts], axis=0)
        np.testing.assert_allclose(found[column], mean, rtol=0.06)
    whole = mmse(EmpiricalLaw(images), [1.0, 2.0], 2, seeded())
    for column in ("linear", "variance"):
        np.testing.assert_allclose(found[column], whole[column])


def test_mean_floor_of_parts_is_never_higher():
    """mmse is concave in the law, and on the same draws this is seen at each level."""
    images = load_data("digits").images[:640]
    found = growing(images, [0.3, 0.6, 1.0, 2.0, 5.0], 320, seeded())
    for more, fewer in (("mmse", "quarter"), ("quarter", "sixteenth")):
        assert (found[fewer] <= found[more] + 1e-12).all()


def test_a_power_of_the_number_is_summed_to_its_end():
    """Of 1 − N^(−1/2) at N, N/4, N/16: rises of 1/√N and 2/√N, which add up to 1."""
    n, noise = 400, 1e-6 * torch.randn(16, generator=seeded(), dtype=torch.float64)
    left = torch.stack([1 - (n / part) ** -0.5 + noise for part in (1, 4, 16)])
    value, error = limit_of(left, 2.0)
    assert value == pytest.approx(1, abs=1e-5) and 0 < error < 1e-5
    assert limit_of(left, 0.97)[0] == 0.97  # no more than the linear denoiser leaves
    steady = torch.stack([0.5 - 0.1 * step + noise for step in range(3)])
    assert math.isnan(limit_of(steady, 2.0)[0])
    assert math.isnan(limit_of(1e-4 * left, 2.0)[0])  # memorised


def test_limit_between_levels_is_told_where_both_neighbours_are():
    found = pd.DataFrame(
        {"sigma": [1.0, 2.0, 4.0], "mmse": [1.0, 2.0, 3.0], "limit": [math.nan, 2.5, 3.5]}
    )
    at = limit_at(found, torch.tensor([1.0, 1.5, 2.0, 8**0.5, 4.0], dtype=torch.float64))
    np.testing.assert_allclose(at, [math.nan, math.nan, 2.5, 3.0, 3.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: growing(torch.randn(31, 2), [1.0]), "images must be 32 or more, got 31"),
        (lambda: growing(torch.randn(40, 2), [1.0], 1), "draws must be at least 2"),
        (lambda: growing(torch.randn(40, 2), [0.0]), "levels must be a finite number larger"),
        (lambda: growing(torch.randn(40, 2), [1.0], scale=-1), "scale must be a finite number"),
    ],
)
def test_bad_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
