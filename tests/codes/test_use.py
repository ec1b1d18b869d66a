"""Uses of a code on Gaussian data, where flow, swaps, blends and edits are known exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scorerep.codes.use import (
    decode,
    direction,
    generate,
    interpolate,
    noise_of,
    on_sphere,
    reconstruct,
)
from scorerep.model import ModelConfig, ScoreModel
from scorerep.sde import VESDE

# x = (z + e_1, e_2, e_3): the code is the part of the first coordinate that x_0 was made from.
OPEN = torch.tensor([0.2, 0.5, 1.5])  # variances of what z leaves open
TOP = 2_500.0 - 1e-4  # τ²(1)


class Exact:
    """The exact score of N(z e_1, diag(OPEN)), and an encoder: what matters is the flow given z."""

    sde = VESDE()
    config = SimpleNamespace(latent=1, image_shape=(3,))

    def encode(self, x_0):
        return x_0[:, :1].round()

    def score(self, x_t, t, z):
        mean = torch.cat([z, torch.zeros(len(z), 2).to(z)], 1)
        return (mean - x_t) / (OPEN.to(x_t) + self.sde.tau(t).to(x_t) ** 2)


MODEL = Exact()


def images(n: int = 6, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()


def mean(z):
    return torch.cat([z, torch.zeros(len(z), 2).to(z)], 1)


def test_noise_holds_what_the_code_leaves_open_in_standard_deviations():
    x_0 = images()
    x_1 = noise_of(MODEL, x_0, steps=60)
    z = MODEL.encode(x_0)
    left = (x_0 - mean(z)) * ((OPEN + TOP) / (OPEN + 0.005**2)).sqrt()
    torch.testing.assert_close(x_1 - mean(z), left.double(), rtol=2e-3, atol=1e-3)


def test_own_code_and_own_noise_give_the_image_back():
    x_0 = images()
    torch.testing.assert_close(reconstruct(MODEL, x_0, steps=60), x_0, rtol=1e-4, atol=1e-4)
    by_parts = decode(MODEL, MODEL.encode(x_0), noise_of(MODEL, x_0, batch=2), batch=4)
    torch.testing.assert_close(by_parts, x_0, rtol=5e-3, atol=5e-3)  # 24 steps


def test_another_code_moves_the_image_and_another_noise_what_is_left_open():
    x_0, other = images(), images(seed=1)
    z, z_other = MODEL.encode(x_0), MODEL.encode(other)
    # x_1 is about the mean of its code, of which the way back leaves this share.
    left = ((OPEN + 0.005**2) / (OPEN + TOP)).sqrt().double()
    moved = (mean(z_other) - mean(z)) * (1 - left)
    with_code = reconstruct(MODEL, x_0, z=z_other, steps=60)
    torch.testing.assert_close(with_code, x_0 + moved, rtol=0, atol=1e-3)
    with_noise = reconstruct(MODEL, x_0, x_1=noise_of(MODEL, other, steps=60), steps=60)
    torch.testing.assert_close(with_noise, other - moved, rtol=0, atol=1e-3)


def test_model_without_a_code_is_rebuilt_from_its_noise_alone():
    torch.manual_seed(0)
    config = ModelConfig(image_shape=(2,), channels=(8,), latent=0, dropout=0.0)
    model, x_0 = ScoreModel(config).eval(), torch.randn(3, 2)
    torch.testing.assert_close(reconstruct(model, x_0), x_0, rtol=1e-3, atol=1e-3)
    for use in (lambda: interpolate(model, x_0, x_0), lambda: generate(model, None, 2)):
        with pytest.raises(ValueError, match="model must have a code"):
            use()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_great_circles_keep_norms_and_turn_evenly(weight):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 1, 4, 4, generator=generator).double()
    a, b = (v / v.flatten(1).norm(dim=1)[:, None, None, None] * 7 for v in (a, b))
    point = on_sphere(a, b, weight)
    norms = point.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 7.0))

    def angle(x, y):
        return torch.arccos(((x * y).flatten(1).sum(1) / 49).clamp(-1, 1))

    torch.testing.assert_close(angle(a, point), weight * angle(a, b), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(on_sphere(a, 3 * a, weight), (1 + 2 * weight) * a)  # a line
    with pytest.raises(ValueError, match="second must not be opposite"):
        on_sphere(a, -a, 0.5)


def test_interpolation_ends_in_both_images_and_is_even_between():
    first, second = images(4), images(4, seed=1)
    path = interpolate(MODEL, first, second, [0, 0.5, 1], steps=40)
    assert path.shape == (3, 4, 3)
    torch.testing.assert_close(path[0], first, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(path[2], second, rtol=1e-3, atol=1e-3)
    # In standard deviations of what is open, the middle is on the sphere of its ends.
    codes = MODEL.encode(first), MODEL.encode(second)
    whole = [(x - mean(z)) / OPEN.sqrt() for x, z in zip((first, second), codes, strict=True)]
    middle = (path[1] - mean((codes[0] + codes[1]) / 2)) / OPEN.sqrt()
    expected = sum(v.norm(dim=1) for v in whole) / 2
    assert float((middle.norm(dim=1) / expected - 1).abs().max()) < 0.15


@pytest.mark.parametrize("spread", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.1)])
def test_direction_of_a_linear_attribute_is_recovered(spread):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 3)) * np.array(spread) + 5
    slope = np.array([1.0, -2.0, 0.5])
    attribute = z @ slope + 3
    attribute[:7] = np.nan
    line = direction(z, attribute)
    np.testing.assert_allclose(line.slope, slope, rtol=1e-5)
    assert line.intercept == pytest.approx(3, abs=1e-6) and line.r2 == pytest.approx(1)
    expected = np.cov(z[7:], rowvar=False) @ slope
    np.testing.assert_allclose(line.vector, expected / (slope @ expected), rtol=1e-5)
    codes = torch.from_numpy(z[:10])
    for by in (2.0, torch.linspace(-1, 1, 10).double()):
        gain = line.fitted(line.moved(codes, by)) - line.fitted(codes)
        torch.testing.assert_close(gain, torch.as_tensor(by).double().expand(10), rtol=0, atol=1e-5)


def test_direction_refuses_an_attribute_that_does_not_vary():
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="attribute must vary with the codes"):
        direction(z, torch.ones(20))
    with pytest.raises(ValueError, match="at least two values that are not NaN"):
        direction(z, torch.full((20,), torch.nan))


class Fixed:
    """A prior with two codes, taken in turns."""

    def sample(self, n, generator=None):
        return torch.tensor([[-4.0], [4.0]]).repeat(n, 1)[:n]


def test_generated_data_have_the_moments_of_the_prior_and_of_what_is_open():
    x = generate(MODEL, Fixed(), 4_000, steps=30, generator=torch.Generator().manual_seed(0))
    assert x.dtype == torch.float32 and generate(MODEL, Fixed(), 0).shape == (0, 3)
    for k, z in ((0, -4.0), (1, 4.0)):
        part = x[k::2]
        error = (OPEN / len(part)).sqrt()
        assert bool(((part.mean(0) - torch.tensor([z, 0.0, 0.0])).abs() < 5 * error).all())
        assert bool((part.var(0) / OPEN - 1).abs().max() < 0.15)


def test_wrong_sizes_are_named():
    x_0 = images()
    with pytest.raises(ValueError, match="z must have one code for each of 6 images"):
        decode(MODEL, torch.zeros(2, 1), x_0)
    with pytest.raises(ValueError, match="x_0 must be floats of shape"):
        noise_of(MODEL, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="second must have the shape of first"):
        interpolate(MODEL, x_0, x_0[:2])
