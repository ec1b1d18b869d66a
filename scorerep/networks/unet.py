"""The score network: a U-Net after "DDPM++ cont. (deep)" (paper, A.1), and a dense one for toys.

Both are functions ``network(x, log_sigma, z) -> like x`` and know nothing of SDEs
or scores; ``model.py`` turns their output into a score.
"""

import torch
import torch.nn.functional as F
from torch import nn

from scorerep.networks.layers import (
    Conditioning,
    Embedding,
    Features,
    ResidualBlock,
    SelfAttention,
    conv,
    dense,
    norm,
)
from scorerep.types import Codes, Data, Images, Times


class DownsamplingHalf(nn.Module):
    """The half of the U-Net that the encoder shares: blocks at falling resolutions.

    Args:
        image_shape: (channel, height, width); both sides must halve ``len(channels) − 1`` times.
        channels: channels at each resolution, e.g. (32, 64) for 28×28×32 and 14×14×64.
        blocks: residual blocks per resolution.
        attention: resolutions (heights) at which a block is followed by self-attention.
        embedding: width of the embedding given to every block, 0 for none.
        dropout: dropout probability inside the blocks.
    """

    def __init__(self, image_shape, channels, blocks, attention=(), embedding=0, dropout=0.0):
        super().__init__()
        in_channels, height, width = image_shape
        factor = 2 ** (len(channels) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"image_shape {tuple(image_shape)} must be divisible by {factor} "
                f"for {len(channels)} resolutions"
            )
        self.head = conv(in_channels, channels[0])
        self.blocks = nn.ModuleList()
        self.skip_channels = [channels[0]]
        current = channels[0]
        for level, out in enumerate(channels):
            if level:
                self.blocks.append(
                    nn.ModuleList([ResidualBlock(current, current, embedding, "down", dropout)])
                )
                self.skip_channels.append(current)
            for _ in range(blocks):
                block = [ResidualBlock(current, out, embedding, dropout=dropout)]
                if height // 2**level in attention:
                    block.append(SelfAttention(out))
                self.blocks.append(nn.ModuleList(block))
                self.skip_channels.append(out)
                current = out

    def forward(self, x: Images, embedding: Embedding | None = None) -> list[Features]:
        """All intermediate images, finest first; the last one is the deepest."""
        features = [self.head(x)]
        for residual, *attention in self.blocks:
            h = residual(features[-1], embedding)
            features.append(attention[0](h) if attention else h)
        return features


class UNet(nn.Module):
    """DDPM++-type U-Net with the noise level and a code as one bias per channel at every block.

    Args:
        image_shape: (channel, height, width).
        channels, blocks, attention, dropout: see ``DownsamplingHalf``. The middle has
            attention if ``attention`` names any resolution.
        features: "positional" or "fourier" features of log σ.
        latent: dimension of the code z; 0 for an unconditional network.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 2,
        attention: tuple[int, ...] = (),
        dropout: float = 0.1,
        features: str = "positional",
        latent: int = 0,
    ):
        super().__init__()
        width, deepest = 4 * channels[0], channels[-1]
        self.conditioning = Conditioning(channels[0], width, features, latent)
        self.down = DownsamplingHalf(image_shape, channels, blocks, attention, width, dropout)
        self.middle = nn.ModuleList(
            [ResidualBlock(deepest, deepest, width, dropout=dropout) for _ in range(2)]
        )
        self.middle_attention = SelfAttention(deepest) if attention else nn.Identity()

        self.up = nn.ModuleList()
        skips = list(self.down.skip_channels)
        current = deepest
        for level in reversed(range(len(channels))):
            out = channels[level]
            for _ in range(blocks + 1):
                self.up.append(ResidualBlock(current + skips.pop(), out, width, dropout=dropout))
                current = out
            if image_shape[1] // 2**level in attention:
                self.up.append(SelfAttention(out))
            if level:
                self.up.append(ResidualBlock(out, out, width, "up", dropout))
        self.norm, self.out = norm(current), conv(current, image_shape[0], zero=True)

    def forward(self, x: Images, log_sigma: Times, z: Codes | None = None) -> Images:
        embedding = self.conditioning(log_sigma, z)
        features = self.down(x, embedding)
        h = self.middle[0](features[-1], embedding)
        h = self.middle[1](self.middle_attention(h), embedding)
        for layer in self.up:
            if isinstance(layer, SelfAttention):
                h = layer(h)
            elif layer.resample == "up":
                h = layer(h, embedding)
            else:
                h = layer(torch.cat([h, features.pop()], dim=1), embedding)
        return self.out(F.silu(self.norm(h)))


class DenseNetwork(nn.Module):
    """A residual dense network with the U-Net's interface: for toy data, or images flattened.

    At high noise an image's best estimate is a matter of the whole picture, and a dense
    network finds it at a hundredth of the U-Net's operations; at low noise it is far worse.

    Args:
        dimension: dimension of the data; of an image channel · height · width.
        channels: hidden width of each residual layer.
        features, latent: as for the U-Net.
    """

    def __init__(
        self,
        dimension: int,
        channels: tuple[int, ...] = (128, 128, 128),
        features: str = "positional",
        latent: int = 0,
    ):
        super().__init__()
        width = channels[0]
        # A smaller embedding than the U-Net's: only log σ and a few coordinates enter.
        self.conditioning = Conditioning(32, width, features, latent)
        self.head = dense(dimension, width)
        self.layers = nn.ModuleList()
        for hidden in channels:
            self.layers.append(nn.ModuleList([dense(2 * width, hidden), dense(hidden, width)]))
        self.out = dense(width, dimension)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Data, log_sigma: Times, z: Codes | None = None) -> Data:
        embedding = self.conditioning(log_sigma, z)
        h = self.head(x.flatten(1))
        for first, second in self.layers:
            h = h + second(F.silu(first(torch.cat([F.silu(h), F.silu(embedding)], dim=1))))
        return self.out(h).view(x.shape)
