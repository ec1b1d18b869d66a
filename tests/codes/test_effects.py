"""Own code, another's, and none; the spread of samples of one code."""

import numpy as np
import pytest
import torch
from torch import nn

from scorerep.codes.effects import (
    code_grid,
    diversity,
    occupied,
    one_step_errors,
    pairs_of_classes,
    sample_grid,
    samples_of_codes,
    share_closer,
    spreads,
)
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.sde import VESDE


class Perfect(nn.Module):
    """A model whose code is the whole image, and whose estimate is the code."""

    config = ModelConfig(image_shape=(1, 8, 8), channels=(8,))
    sde = VESDE()

    def encode(self, x_0):
        return x_0.flatten(1)

    def denoise(self, x_t, t, z):
        return z.view_as(x_t)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_partners_have_other_classes_and_no_image_is_used_twice(digits):
    pairs = pairs_of_classes(digits, 200, torch.Generator().manual_seed(0))
    assert bool((pairs.labels != pairs.other_labels).all())
    everything = torch.cat([pairs.x_0, pairs.other]).flatten(1)
    distinct = len(digits.floats().flatten(1).unique(dim=0))
    assert distinct == len(digits)
    assert len(everything.unique(dim=0)) == 400


def test_errors_of_a_code_that_is_the_image(digits):
    pairs = pairs_of_classes(digits, 50, torch.Generator().manual_seed(0))
    errors = one_step_errors(Perfect(), pairs, 0.6, torch.Generator().manual_seed(1), batch=20)
    distance = (pairs.x_0 - pairs.other).square().flatten(1).mean(1)
    assert torch.equal(errors["own"], torch.zeros(50))
    assert torch.allclose(errors["other"], distance)
    assert torch.equal(errors["swapped"], torch.zeros(50))
    assert "none" not in errors
    share, low, high = share_closer(errors)
    assert share == high == 1 and 0.9 < low < 1


def test_wilson_bound_of_a_known_count():
    errors = {"own": torch.zeros(2_000), "other": torch.ones(2_000)}
    errors["own"][:70] = 2.0
    share, low, high = share_closer(errors)
    n, p, z = 2_000, 1930 / 2_000, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (share, low, high) == pytest.approx((p, centre - half, centre + half), abs=1e-6)


def test_without_a_code_is_a_row_of_its_own(digits):
    torch.manual_seed(0)
    plain = ScoreModel(ModelConfig(image_shape=(1, 8, 8), channels=(8,), latent=0)).eval()
    pairs = pairs_of_classes(digits, 10, torch.Generator().manual_seed(0))
    errors = one_step_errors(Perfect(), pairs, 0.6, torch.Generator().manual_seed(1), plain)
    assert errors["none"].shape == (10,) and bool((errors["none"] > 0).all())


def test_diversity_is_the_variance_within_codes_only():
    generator = torch.Generator().manual_seed(0)
    between = 5 * torch.randn(40, 1, 1, 4, 4, generator=generator)
    images = between + 0.3 * torch.randn(40, 64, 1, 4, 4, generator=generator)
    value, low, high = diversity(images)
    assert low < 0.09 < high and high - low < 0.01
    assert value == pytest.approx(0.09, rel=0.03)


def test_samples_of_one_code_differ_by_their_noise_only(digits):
    torch.manual_seed(0)
    model = ScoreModel(ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1)).eval()
    z = torch.randn(3, 2)
    first, again = (
        samples_of_codes(model, z, 4, steps=3, generator=torch.Generator().manual_seed(s), batch=5)
        for s in (0, 0)
    )
    assert first.shape == (3, 4, 1, 8, 8) and torch.equal(first, again)
    assert diversity(first)[0] > 0


def test_cells_of_a_grid_without_codes_are_told():
    grid = code_grid(-1, 1, 3)  # the first is at the upper left, z = (−1, 1)
    found = occupied(grid, torch.tensor([[-0.6, 0.9], [0.1, -0.4], [3.0, 0.0]]))
    assert found.nonzero().flatten().tolist() == [0, 4]


def test_bad_input_is_named(digits):
    with pytest.raises(ValueError, match="codes must be floats of shape"):
        occupied(code_grid(-1, 1, 3), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="2000 pairs need 4000 images"):
        pairs_of_classes(digits, 2_000)
    with pytest.raises(ValueError, match="at least two classes"):
        pairs_of_classes(digits.select(["3"]), 5)
    with pytest.raises(ValueError, match="with at least 2 samples"):
        diversity(torch.zeros(3, 1, 1, 4, 4))


def test_partners_of_the_same_class_are_other_images_and_the_images_stay(digits):
    seed = torch.Generator().manual_seed
    others, same = (pairs_of_classes(digits, 200, seed(0), same=kind) for kind in (False, True))
    assert torch.equal(others.x_0, same.x_0) and torch.equal(others.labels, same.labels)
    assert bool((same.labels == same.other_labels).all())
    assert len(torch.cat([same.x_0, same.other]).flatten(1).unique(dim=0)) == 400
    threes = digits.select(["3"])
    assert len(pairs_of_classes(threes, 5, same=True).x_0) == 5
    alone = digits.subset(12)
    with pytest.raises(ValueError, match="no image of the same class is left"):
        pairs_of_classes(alone, 6, seed(0), same=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_seed_is_one_picture_in_every_precision(dtype):
    torch.manual_seed(0)
    model = ScoreModel(ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1)).eval()
    single = sample_grid(model, -1, 1, 2, steps=4)[0]
    other = sample_grid(model.to(dtype), -1, 1, 2, steps=4)[0]
    assert other.dtype == dtype
    assert float((other.float() - single).square().mean().sqrt()) < 0.1 * float(single.std())


def test_grids_of_toy_models_and_options_out_of_range():
    torch.manual_seed(0)
    toy = ScoreModel(ModelConfig(image_shape=(2,), channels=(8,), latent=2)).eval()
    x_0, z = sample_grid(toy, torch.tensor([-1.0, 0.0]), 1, 3, steps=3)
    assert x_0.shape == z.shape == (9, 2)
    assert spreads(x_0.view(3, 3, 2)).shape == (3,)
    for options, message in (
        ({"side": 0}, "side must be at least 1, got 0"),
        ({"low": float("nan")}, "low must be a finite number or two"),
        ({"high": torch.ones(3)}, "high must be a finite number or two"),
        ({"sampler": "ddim"}, "sampler must be one of heun"),
        ({"seed": 2**70}, r"seed must lie in 0\.\.9223372036854775807, got"),
        ({"seed": -1}, "seed must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_grid(toy, **{"low": -1, "high": 1, "steps": 3, **options})
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        code_grid(0, 1, 0)
