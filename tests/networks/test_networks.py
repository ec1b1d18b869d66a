"""Layers, U-Net, dense network and encoder: sizes, starts, and what they refuse."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from scorerep.networks.encoder import LOG_VARIANCE_START, Encoder
from scorerep.networks.layers import NoiseFeatures, ResidualBlock, SelfAttention, norm, resampled
from scorerep.networks.unet import DenseNetwork, DownsamplingHalf, UNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with no weight left at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return module.eval()


# The paper-size networks, counted from their description and not from their modules


def conv_count(a: int, b: int, size: int = 3) -> int:
    return size * size * a * b + b


def dense_count(a: int, b: int) -> int:
    return a * b + b


def block_count(a: int, b: int, embedding: int, projected: bool) -> int:
    """Two norms (scale and shift), two convolutions, the bias of time and code, the skip."""
    bias = dense_count(embedding, b) if embedding else 0
    skip = conv_count(a, b, 1) if projected else 0
    return 2 * a + conv_count(a, b) + bias + 2 * b + conv_count(b, b) + skip


def half_count(embedding: int) -> int:
    """28×28×32 and 14×14×64 with two blocks each and one that halves the resolution."""
    return (
        conv_count(1, 32)
        + 2 * block_count(32, 32, embedding, False)
        + block_count(32, 32, embedding, True)
        + block_count(32, 64, embedding, True)
        + block_count(64, 64, embedding, False)
    )


def test_parameters_of_the_paper_size_unet_equal_an_independent_count():
    time = dense_count(32, 128) + dense_count(128, 128)
    code = dense_count(2, 128) + 3 * dense_count(128, 128)
    middle = 2 * block_count(64, 64, 128, False)
    # Going up, a block takes the image beside the one remembered on the way down.
    up_14 = 2 * block_count(64 + 64, 64, 128, True) + block_count(64 + 32, 64, 128, True)
    doubling = block_count(64, 64, 128, True)
    up_28 = block_count(64 + 32, 32, 128, True) + 2 * block_count(32 + 32, 32, 128, True)
    out = 2 * 32 + conv_count(32, 1)
    expected = time + code + half_count(128) + middle + up_14 + doubling + up_28 + out
    assert count(UNet((1, 28, 28), (32, 64), blocks=2, latent=2)) == expected


@pytest.mark.parametrize("probabilistic", [False, True])
def test_parameters_of_the_paper_size_encoder_equal_an_independent_count(probabilistic):
    outputs = 4 if probabilistic else 2
    dense = dense_count(14 * 14 * 64, 64) + dense_count(64, 64) + dense_count(64, outputs)
    encoder = Encoder((1, 28, 28), 2, (32, 64), blocks=2, probabilistic=probabilistic)
    assert count(encoder) == half_count(0) + dense


def test_code_costs_four_dense_layers_and_nothing_else():
    with_code = UNet((1, 8, 8), (8, 8), blocks=1, latent=3)
    without = UNet((1, 8, 8), (8, 8), blocks=1)
    assert count(with_code) - count(without) == dense_count(3, 32) + 3 * dense_count(32, 32)


# Any number of resolutions, widths and blocks

SIZES = list(product([(8,), (8, 12), (6, 4, 20), (4, 8, 4, 8)], [1, 3]))


@pytest.mark.parametrize(("channels", "blocks"), SIZES)
def test_any_resolutions_widths_and_blocks_run(channels, blocks):
    network = stirred(UNet((3, 8, 16), channels, blocks, attention=(4,), latent=2))
    x, log_sigma, z = images(2, 3, 8, 16), torch.tensor([-1.0, 2.0]), images(2, 2)
    output = network(x, log_sigma, z)
    assert output.shape == x.shape
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    encoder = Encoder((3, 8, 16), 5, channels, blocks)
    assert encoder(x)[0].shape == (2, 5)


@pytest.mark.parametrize("features", ["positional", "fourier"])
@pytest.mark.parametrize("channels", [(16,), (8, 32, 16)])
def test_dense_network_of_any_widths_runs(channels, features):
    network = stirred(DenseNetwork(3, channels, features, latent=2))
    x, log_sigma, z = images(4, 3), torch.zeros(4), images(4, 2)
    assert network(x, log_sigma, z).shape == (4, 3)
    assert not torch.allclose(network(x, log_sigma, z), network(x, log_sigma + 1, z))
    assert not torch.allclose(network(x, log_sigma, z), network(x, log_sigma, z + 1))


def test_every_block_receives_the_noise_level_and_the_code():
    network = UNet((1, 8, 8), (8, 8), blocks=1, latent=2)
    blocks = [m for m in network.modules() if isinstance(m, ResidualBlock)]
    # Down: 1 + 1 + the halving one; middle: 2; up: 2 + 2 + the doubling one.
    assert len(blocks) == 10
    assert all(block.bias.in_features == 4 * 8 for block in blocks)
    seen = []
    for block in blocks:
        block.bias.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(images(2, 1, 8, 8), torch.zeros(2), images(2, 2))
    assert len(seen) == 10 and all(torch.equal(s, seen[0]) for s in seen)
    assert not torch.allclose(seen[0][0], seen[0][1])  # the two items differ in z only


# Attention


def test_attention_only_at_the_stated_resolution():
    network = UNet((1, 16, 16), (8, 8, 8), blocks=2, attention=(8,))
    sizes = []
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(lambda m, args, out: sizes.append(args[0].shape[-1]))
    network(images(1, 1, 16, 16), torch.zeros(1))
    # At 8×8 after each of two blocks down and once on the way up; once in the middle, at 4×4.
    assert sizes == [8, 8, 4, 8]


def test_without_attention_there_is_none():
    assert not any(isinstance(m, SelfAttention) for m in UNet((1, 8, 8), (8, 8)).modules())


def test_attention_is_permutation_equivariant_and_looks_everywhere():
    attention = stirred(SelfAttention(8))
    x = images(1, 8, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def permuted(image):
        return image.flatten(2)[:, :, order].reshape(image.shape)

    torch.testing.assert_close(attention(permuted(x)), permuted(attention(x)))
    other = x.clone()
    other[..., 3, 3] += 5
    assert not torch.allclose(attention(other)[..., 0, 0], attention(x)[..., 0, 0])


# Starts


@pytest.mark.parametrize("attention", [(), (8,)])
def test_fresh_network_outputs_zero(attention):
    network = UNet((2, 8, 8), (8, 8), attention=attention, latent=2)
    assert torch.equal(
        network(images(3, 2, 8, 8), torch.ones(3), images(3, 2)), torch.zeros(3, 2, 8, 8)
    )
    dense = DenseNetwork(2, (16, 16))
    assert torch.equal(dense(images(3, 2), torch.ones(3)), torch.zeros(3, 2))


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize("kind", [ResidualBlock, SelfAttention])
def test_skips_over_root_two_keep_the_variance(kind):
    block = (ResidualBlock(16, 16) if kind is ResidualBlock else SelfAttention(16)).eval()
    x, h = images(8, 16, 16, 16), images(8, 16, 16, 16, seed=1)
    # A fresh block is its skip connection.
    torch.testing.assert_close(block(x), x / math.sqrt(2))
    # With a branch of variance one, independent of x, the sum keeps variance one.
    if kind is ResidualBlock:
        block.conv_2 = Constant(h)
        assert float(block(x).var()) == pytest.approx(1.0, abs=0.02)
    else:
        block.out = Constant(h)
        torch.testing.assert_close(block(x), (x + h) / math.sqrt(2))


def test_resampling_halves_by_averaging_and_doubles_by_repeating():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    torch.testing.assert_close(resampled(x, "down"), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert torch.equal(resampled(resampled(x, "up"), "down"), x)
    assert resampled(x, "none") is x


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (32, 8), (64, 16), (256, 32), (20, 5)])
def test_group_norm_has_groups_of_four_channels_and_at_most_32(channels, groups):
    assert norm(channels).num_groups == groups
    assert norm(channels).eps == 1e-6


def test_dropout_acts_in_training_only():
    network = stirred(UNet((1, 8, 8), (8,), dropout=0.5))
    x, log_sigma = images(2, 1, 8, 8), torch.zeros(2)
    assert torch.equal(network(x, log_sigma), network(x, log_sigma))
    network.train()
    assert not torch.equal(network(x, log_sigma), network(x, log_sigma))


# Features of the noise level


@pytest.mark.parametrize("kind", ["positional", "fourier"])
def test_noise_features_are_sines_and_cosines_that_tell_levels_apart(kind):
    features = NoiseFeatures(32, kind)
    out = features(torch.linspace(math.log(0.01), math.log(50), 200))
    assert out.shape == (200, 32)
    torch.testing.assert_close(out[:, :16] ** 2 + out[:, 16:] ** 2, torch.ones(200, 16))
    distances = torch.cdist(out, out) + 9 * torch.eye(200)
    assert float(distances.min()) > 0.1
    assert "frequencies" in features.state_dict()


def test_positional_frequencies_are_ddpm_s_for_a_hundred_times_log_sigma():
    out = NoiseFeatures(8)(torch.tensor([0.5]))
    expected = [50 * 10_000 ** (-i / 3) for i in range(4)]
    angles = torch.tensor([[math.sin(a) for a in expected] + [math.cos(a) for a in expected]])
    torch.testing.assert_close(out, angles, atol=1e-4, rtol=0)


@pytest.mark.parametrize("width", [2, 7])
def test_width_of_the_noise_features_is_checked(width):
    with pytest.raises(ValueError, match="width of the noise features must be even"):
        NoiseFeatures(width)


def test_unknown_kind_of_features_is_an_error():
    with pytest.raises(ValueError, match="'positional' or 'fourier', got 'wavelet'"):
        UNet((1, 8, 8), (8,), features="wavelet")


# Encoder


def test_encoder_is_deterministic_or_a_narrow_gaussian_at_the_start():
    x = images(16, 1, 8, 8)
    mean, log_variance = Encoder((1, 8, 8), 3, (8, 8))(x)
    assert mean.shape == (16, 3) and log_variance is None
    encoder = Encoder((1, 8, 8), 3, (8, 8), probabilistic=True)
    mean, log_variance = encoder(x)
    assert mean.shape == log_variance.shape == (16, 3)
    assert LOG_VARIANCE_START == -5.0
    raw = encoder.dense(encoder.down(x)[-1].flatten(1))
    assert torch.equal(mean, raw[:, :3])
    torch.testing.assert_close(log_variance, raw[:, 3:] - 5)


def test_encoder_uses_the_unet_s_downsampling_half_without_noise_level_or_dropout():
    encoder = Encoder((1, 8, 8), 2, (8, 12), blocks=1)
    half, half_of_unet = encoder.down, UNet((1, 8, 8), (8, 12), blocks=1).down
    own = {n: p.shape for n, p in half.named_parameters()}
    other = {n: p.shape for n, p in half_of_unet.named_parameters() if ".bias." not in n}
    assert own == other
    x = images(4, 1, 8, 8)
    assert torch.equal(encoder.train()(x)[0], encoder(x)[0])


def test_encoder_sees_where_things_are():
    encoder = stirred(Encoder((1, 8, 8), 2, (8, 8), blocks=1))
    x = torch.zeros(1, 1, 8, 8)
    x[..., 1, 1] = 1
    assert not torch.allclose(encoder(x)[0], encoder(x.flip(-1))[0], atol=1e-4)


def test_encoder_of_toys_is_three_dense_layers():
    encoder = Encoder((5,), 2, (16,))
    assert count(encoder) == dense_count(5, 16) + dense_count(16, 16) + dense_count(16, 2)


# Bad sizes


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (6, 6)])
def test_sides_that_do_not_halve_are_an_error(size):
    for make in (lambda s: UNet(s, (8, 8, 8)), lambda s: Encoder(s, 2, (8, 8, 8))):
        with pytest.raises(ValueError, match="must be divisible by 4 for 3 resolutions"):
            make((1, *size))


def test_downsampling_half_returns_all_images_finest_first():
    half = DownsamplingHalf((1, 8, 8), (4, 8), blocks=2)
    features = half(images(2, 1, 8, 8))
    assert [f.shape[1] for f in features] == half.skip_channels == [4, 4, 4, 4, 8, 8]
    assert [f.shape[2] for f in features] == [8, 8, 8, 4, 4, 4]
