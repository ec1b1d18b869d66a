"""Building blocks of the DDPM++-type networks (Song et al., 2021, Appendix H; BigGAN blocks).

Everything here is shared by the score network and the encoder: 3×3 convolutions
with the DDPM initialisation, residual blocks that can halve or double the
resolution, self-attention, and features of the noise level.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scorerep.types import Codes, Times

Embedding = Float[Tensor, "batch embedding"]
Features = Float[Tensor, "batch _ _ _"]  # channels and resolution change on the way
Resample = Literal["none", "down", "up"]


def initialise(layer: nn.Module, zero: bool = False) -> nn.Module:
    """Fan-average uniform weights and zero biases; all zero where a residual branch ends."""
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def conv(in_channels: int, out_channels: int, size: int = 3, zero: bool = False) -> nn.Conv2d:
    """A convolution of ``size`` × ``size`` pixels that keeps the resolution.

    Maps (batch, in_channels, height, width) to (batch, out_channels, height, width); ``zero``
    begins with weights of zero.
    """
    return initialise(nn.Conv2d(in_channels, out_channels, size, padding=size // 2), zero)


def dense(in_features: int, out_features: int) -> nn.Linear:
    """A dense layer from (batch, in_features) to (batch, out_features)."""
    return initialise(nn.Linear(in_features, out_features))


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of at most 32 groups of about four channels or more."""
    groups = next(g for g in range(min(max(channels // 4, 1), 32), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


def resampled(x: Features, resample: Resample) -> Features:
    """Halve by averaging, double by nearest neighbour, or leave as it is."""
    if resample == "down":
        return F.avg_pool2d(x, 2)
    if resample == "up":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return x


class ResidualBlock(nn.Module):
    """BigGAN-type residual block: (h(x) + skip(x))/√2, with resampling inside both branches.

    Args:
        in_channels, out_channels: channels before and after.
        embedding: width of the embedding of noise level and code, which enters as one
            bias per channel after the first convolution; 0 for none (the encoder).
        resample: "none", "down" (halve the resolution) or "up" (double it).
        dropout: probability before the second convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        resample: Resample = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.resample = resample
        self.norm_1, self.conv_1 = norm(in_channels), conv(in_channels, out_channels)
        self.bias = dense(embedding, out_channels) if embedding else None
        self.norm_2, self.dropout = norm(out_channels), nn.Dropout(dropout)
        # Zero at the start, so that every block begins as its skip connection.
        self.conv_2 = conv(out_channels, out_channels, zero=True)
        changes = in_channels != out_channels or resample != "none"
        self.skip = conv(in_channels, out_channels, size=1) if changes else nn.Identity()

    def forward(self, x: Features, embedding: Embedding | None = None) -> Features:
        h = self.conv_1(resampled(F.silu(self.norm_1(x)), self.resample))
        if self.bias is not None:
            h = h + self.bias(F.silu(embedding))[:, :, None, None]
        h = self.conv_2(self.dropout(F.silu(self.norm_2(h))))
        return (h + self.skip(resampled(x, self.resample))) / math.sqrt(2)


class SelfAttention(nn.Module):
    """Single-head attention over all positions, as a residual branch; ``channels`` in and out."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.query_key_value = conv(channels, 3 * channels, size=1)
        self.out = conv(channels, channels, size=1, zero=True)

    def forward(self, x: Features) -> Features:
        q, k, v = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        # One head, named: fused kernels and the ONNX exporter want four dimensions.
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        h = h.transpose(1, 2).reshape(x.shape)
        return (x + self.out(h)) / math.sqrt(2)


class NoiseFeatures(nn.Module):
    """Sines and cosines of the noise level, from log σ.

    Args:
        width: number of features (even).
        kind: "positional" (DDPM's geometric frequencies of 100·log σ; the paper's
            σ range is then about 850 steps long) or "fourier" (fixed random
            frequencies with standard deviation 16, as NCSN++ uses for VE models).
    """

    def __init__(self, width: int, kind: Literal["positional", "fourier"] = "positional"):
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(
                f"width of the noise features must be even and at least 4, got {width}"
            )
        half = width // 2
        if kind == "positional":
            frequencies = 100 * torch.exp(-math.log(10_000) * torch.arange(half) / (half - 1))
        elif kind == "fourier":
            frequencies = 2 * math.pi * 16 * torch.randn(half)
        else:
            raise ValueError(f"kind must be 'positional' or 'fourier', got {kind!r}")
        self.register_buffer("frequencies", frequencies)  # saved with the weights

    def _apply(self, fn, recurse=True):
        # Angles reach hundreds of radians: in a network of half precision, too, they are exact.
        before = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype in (torch.float16, torch.bfloat16):
            self.frequencies = before.to(self.frequencies.device)
        return self

    def forward(self, log_sigma: Times) -> Embedding:
        angles = log_sigma[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Conditioning(nn.Module):
    """One embedding of the noise level and, where there is one, of the code.

    Two dense layers embed the noise level; four map the code z back to the same
    width (A.1 of the paper); their sum is what every residual block receives. ``kind`` is that of
    the ``features`` of the noise level, of ``NoiseFeatures``.
    """

    def __init__(self, features: int, width: int, kind: str, latent: int = 0):
        super().__init__()
        self.noise = nn.Sequential(
            NoiseFeatures(features, kind), dense(features, width), nn.SiLU(), dense(width, width)
        )
        self.code = dense_stack(latent, width, width, layers=4) if latent else None

    def forward(self, log_sigma: Times, z: Codes | None = None) -> Embedding:
        features, *embed = self.noise
        embedding = features(log_sigma).to(embed[0].weight.dtype)
        for layer in embed:
            embedding = layer(embedding)
        return embedding if self.code is None else embedding + self.code(z)


def dense_stack(in_features: int, hidden: int, out_features: int, layers: int) -> nn.Sequential:
    """``layers`` dense layers, ``in_features`` to ``out_features``, ``hidden`` and SiLU between."""
    widths = [in_features] + [hidden] * (layers - 1) + [out_features]
    stack = [dense(a, b) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(*(m for layer in stack for m in (layer, nn.SiLU())))[:-1]
