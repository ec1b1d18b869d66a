"""Other learners of codes, with the encoder, the optimiser and the loop of the score models.

    model = Autoencoder(config)                          # the Encoder that ScoreModel(config) has
    for state in training_loop(model, data, Reconstruction(), optimisation): ...
    codes = encode_in_batches(state.averaged, test)      # and every score of scores.py

Three objectives ask a code for the pixels. With D the decoder and d the number of pixels,

    autoencoder              E ‖D(E_φ(x_0)) − x_0‖² / d
    denoising autoencoder    E ‖D(E_φ(x_t)) − x_0‖² / d         x_t = x_0 + τ(t) ε
    β-VAE                    E ‖D(z) − x_0‖² / d + β KL(q_φ(z | x_0) ‖ N(0, I))

where Eq. (8) asks for what x_t has lost: with λ = τ⁴ it is E ‖D(x_t, t, E_φ(x_0)) − x_0‖² / d.
PCA and untrained networks give codes through the same ``encode``.

Sources: Vincent et al. (2010) for the denoising autoencoder; Higgins et al. (2017) for β.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import nn

from scorerep.data.images import ImageData
from scorerep.model import ModelConfig
from scorerep.networks.encoder import Encoder
from scorerep.networks.layers import ResidualBlock, conv, dense_stack, norm
from scorerep.objective import Draws, Losses, Objective
from scorerep.sde import VESDE
from scorerep.times import TimeDistribution
from scorerep.types import Codes, Data, Images, Labels, checks
from scorerep.types.devices import normal, place_of, single_at_least


class MirrorDecoder(nn.Module):
    """The encoder in reverse: three dense layers, then residual blocks at rising resolutions.

    Args:
        image_shape, latent, channels, blocks: the encoder's; toy data have dense layers only.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent: int,
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 2,
    ):
        super().__init__()
        self.toy = len(image_shape) == 1
        if self.toy:
            self.dense = dense_stack(latent, channels[0], image_shape[0], layers=3)
            return
        shrink = 2 ** (len(channels) - 1)
        if image_shape[1] % shrink or image_shape[2] % shrink:
            raise ValueError(
                f"image_shape must have height and width that {shrink} divides for "
                f"{len(channels)} resolutions, got {tuple(image_shape)}"
            )
        self.shape = (channels[-1], image_shape[1] // shrink, image_shape[2] // shrink)
        hidden = max(2 * channels[0], latent)
        self.dense = dense_stack(latent, hidden, math.prod(self.shape), layers=3)
        layers, current = [], channels[-1]
        for level, out in reversed(list(enumerate(channels))):
            for _ in range(blocks):
                layers.append(ResidualBlock(current, out))
                current = out
            if level:
                layers.append(ResidualBlock(out, out, resample="up"))
        self.blocks = nn.Sequential(*layers)
        self.norm, self.out = norm(current), conv(current, image_shape[0])

    def forward(self, z: Codes) -> Data:
        if self.toy:
            return self.dense(z)
        h = self.blocks(self.dense(z).view(-1, *self.shape))
        return self.out(F.silu(self.norm(h)))


class Autoencoder(nn.Module):
    """The encoder of ``ScoreModel(config)`` and a decoder of comparable size.

    The decoder mirrors the encoder, whatever the score network of ``config`` is. ``encoder``,
    ``code_distribution`` and ``encode`` are as in ``ScoreModel``.

    Raises:
        ValueError: config.latent is 0.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        if not config.latent:
            raise ValueError("latent must be positive: an autoencoder needs a code, got 0")
        self.config = config
        self.sde = VESDE(config.sigma_min, config.sigma_max)
        channels = config.encoder_channels or config.channels
        self.encoder = Encoder(
            config.image_shape, config.latent, channels, config.blocks, config.attention,
            config.probabilistic,
        )  # fmt: skip
        self.decoder = MirrorDecoder(config.image_shape, config.latent, channels, config.blocks)

    def code_distribution(self, x_0: Data) -> tuple[Codes, Codes | None]:
        """Mean and log-variance of q_φ(z | x_0); the latter is None for a deterministic encoder."""
        checks.floating("x_0", x_0, self.config.image_shape)
        mean, log_variance = self.encoder(x_0.to(*place_of(self, x_0)))
        return mean.to(x_0), None if log_variance is None else log_variance.to(x_0)

    def encode(self, x_0: Data) -> Codes:
        """z = E_φ(x_0); of a probabilistic code its mean."""
        return self.code_distribution(x_0)[0]

    def decode(self, z: Codes) -> Data:
        """D(z), of the shape of the images; ``ValueError`` for a code of another length."""
        checks.floating("z", z, (self.config.latent,), finite=False)
        return self.decoder(z.to(*place_of(self, z))).to(z)


class PrincipalComponents(nn.Module):
    """PCA (scikit-learn's) behind the interface of the other learners.

    Args:
        data: images to fit, in [−1, 1] or as a data set.
        latent: number of components, at most the number of images and of pixels.
    """

    def __init__(self, data: ImageData | Images, latent: int):
        super().__init__()
        images = data.floats() if isinstance(data, ImageData) else checks.floating("data", data)
        flat = images.detach().flatten(1).cpu().to(single_at_least(images.dtype)).numpy()
        latent = checks.whole("latent", latent, 1, min(flat.shape))
        pca = PCA(latent, random_state=0).fit(flat)
        self.image_shape = tuple(images.shape[1:])
        self.register_buffer("mean", torch.from_numpy(np.asarray(pca.mean_, np.float32)))
        self.register_buffer("components", torch.from_numpy(pca.components_.astype(np.float32)))

    def encode(self, x_0: Data) -> Codes:
        """Coordinates along the components, those of the largest variance first."""
        checks.floating("x_0", x_0, self.image_shape)
        return ((x_0.flatten(1).to(self.mean) - self.mean) @ self.components.T).to(x_0)

    def decode(self, z: Codes) -> Data:
        """The point of the plane through the mean that has these coordinates."""
        checks.floating("z", z, (len(self.components),))
        flat = z.to(self.mean) @ self.components + self.mean
        return flat.unflatten(1, self.image_shape).to(z)


@dataclass(frozen=True)
class Reconstruction(Objective):
    """The squared error of the decoded code, mean over pixels and the batch, and a regulariser.

    Takes the place of ``Objective`` in the training loop; ``Losses.matching`` is the squared error.

    Args:
        times: None for an autoencoder; else how t of the noise on the *encoder's* image is
            drawn: ``SingleTime`` for the denoising autoencoder of one noise level.
        regulariser: "kl" for a β-VAE.
        regulariser_weight: β, for a β-VAE; the divergence is in nats.
    """

    times: TimeDistribution | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.proposal is not None or self.draws_per_image != 1:
            raise ValueError("Reconstruction takes no proposal and one draw an image")
        if self.code_dropout:
            raise ValueError("an autoencoder needs its code: set code_dropout=0")
        if self.frozen_encoder:
            raise ValueError("an autoencoder has no frozen phase: set frozen_iterations=0")

    def draw(self, x_0: Data, latent: int, generator: torch.Generator | None = None) -> Draws:
        """t and the encoder's noise, zeros without ``times``, and the noise of the code."""
        t, noise = x_0.new_zeros(len(x_0)), torch.zeros_like(x_0)
        if self.times:
            t = self.times.sample(len(x_0), generator).to(x_0.device)
            noise = normal(x_0.shape, x_0, generator)
        return Draws(t, torch.ones_like(t), noise, normal((len(x_0), latent), x_0, generator))

    def __call__(self, model, x_0: Data, draws: Draws, y: Labels | None = None) -> Losses:
        checks.some("x_0", x_0)
        x = x_0 if self.times is None else model.sde.perturb(x_0, draws.t, draws.noise)
        mean, log_variance = model.code_distribution(x)
        z = mean
        if log_variance is not None:
            z = mean + torch.exp(0.5 * log_variance) * draws.code_noise
        error = (model.decode(z) - x_0).to(single_at_least(x_0.dtype)).square().mean()
        regulariser = self._regulariser(mean, log_variance)
        code_std = mean.detach().std(0).min() if len(mean) > 1 else x_0.new_zeros(())
        total = self._total(error, self.regulariser_weight, regulariser)
        return Losses(total, error.detach(), regulariser.detach(), code_std)
