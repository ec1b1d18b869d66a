"""The encoder E_φ of Section 2.2: a clean image in, a low-dimensional code out.

"The same downsampling half" as the score network, its last feature map flattened,
then three dense layers (A.1). Flattening keeps positions; average pooling learns
classes far more slowly.
"""

import torch
from torch import nn

from scorerep.networks.layers import dense_stack
from scorerep.networks.unet import DownsamplingHalf
from scorerep.types import Codes, Data

# A probabilistic code starts nearly deterministic: with variance one at the start its
# noise would drown the signal before the score network has learned to use it.
LOG_VARIANCE_START = -5.0


class Encoder(nn.Module):
    """Deterministic z = E_φ(x_0), or the mean and log-variance of q_φ(z | x_0).

    Args:
        image_shape: (channel, height, width), or (dimension,) for toy data.
        latent: dimension of z.
        channels, blocks, attention: as in the score network; for toy data ``channels``
            are hidden widths.
        probabilistic: learn a diagonal Gaussian q_φ(z | x_0) instead of a point.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent: int,
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 2,
        attention: tuple[int, ...] = (),
        probabilistic: bool = False,
    ):
        super().__init__()
        self.probabilistic = probabilistic
        if len(image_shape) == 1:
            self.down, flat, hidden = None, image_shape[0], channels[0]
        else:
            # No dropout here: it would be noise on the code.
            self.down = DownsamplingHalf(image_shape, channels, blocks, attention)
            shrink = 2 ** (len(channels) - 1)
            flat = channels[-1] * (image_shape[1] // shrink) * (image_shape[2] // shrink)
            hidden = max(2 * channels[0], latent)  # a large code is not squeezed on its way out
        outputs = 2 * latent if probabilistic else latent
        self.dense = dense_stack(flat, hidden, outputs, layers=3)

    def forward(self, x_0: Data) -> tuple[Codes, Codes | None]:
        """Mean and log-variance of the code; the latter is None for a deterministic encoder."""
        features = x_0 if self.down is None else self.down(x_0)[-1]
        output = self.dense(features.flatten(1))
        if not self.probabilistic:
            return output, None
        mean, log_variance = torch.chunk(output, 2, dim=1)
        return mean, log_variance + LOG_VARIANCE_START
