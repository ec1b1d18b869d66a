"""Codes that depend on time, and features of a score network that has no code.

    model = TimeCodeModel(config)                          # E_φ(x_0, t) in place of E_φ(x_0)
    for state in training_loop(model, data, TimeCodeObjective(UniformTime()), optimisation): ...
    model.encode(x_0, 0.7)                                 # the code at one t
    trajectory(model, x_0, times)                          # (images, times, latent)
    encode_in_batches(CodesAt(model, 0.7), data)           # and every score of scores.py

Mittal et al. (2023) give the encoder of Eq. (8) the time: E ‖s_θ(x_t, t, E_φ(x_0, t)) −
∇ log p_0t(x_t | x_0)‖². The code at t need only say what x_t has lost at this t, and an image
becomes a curve (Mittal et al., 2022). For such codes the integral of C(t) − C(t | z_t) is no
mutual information: at every t another code is given.

``unet_features`` needs no encoder: it reads the hidden layers of a score network, as Xiang et al.
(2023) do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorerep.data.images import ImageData
from scorerep.model import ModelConfig, ScoreModel
from scorerep.networks.layers import Conditioning, ResidualBlock, SelfAttention, dense, dense_stack
from scorerep.networks.unet import DownsamplingHalf
from scorerep.objective import Draws, Losses, Objective, denoising_score_matching
from scorerep.sde import as_level
from scorerep.types import Codes, Data, Images, Labels, Level, Times, checks
from scorerep.types.devices import normal, place_of, single_at_least


class TimeEncoder(nn.Module):
    """``Encoder`` with the noise level as a bias in each of its three dense layers.

    The convolutions see an image once, however many of its times are asked for.

    Args:
        config: its image_shape, latent, encoder_channels (or channels), blocks, attention.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        channels = config.encoder_channels or config.channels
        width, hidden = 4 * channels[0], max(2 * channels[0], config.latent)
        self.conditioning = Conditioning(channels[0], width, config.features)
        self.down = DownsamplingHalf(config.image_shape, channels, config.blocks, config.attention)
        shrink = 2 ** (len(channels) - 1)
        flat = channels[-1] * (config.image_shape[1] // shrink) * (config.image_shape[2] // shrink)
        self.dense = dense_stack(flat, hidden, config.latent, layers=3)
        self.biases = nn.ModuleList(dense(width, n) for n in (hidden, hidden, config.latent))

    def forward(self, x_0: Images, log_sigma: Times) -> Codes:
        """Codes of each image at its k times; log_sigma is (k·images,), an image's k together."""
        embedding = F.silu(self.conditioning(log_sigma))
        h = self.down(x_0)[-1].flatten(1)
        first, activation, second, _, third = self.dense
        h = first(h).repeat_interleave(len(log_sigma) // max(len(x_0), 1), dim=0)
        h = second(activation(h + self.biases[0](embedding)))
        return third(activation(h + self.biases[1](embedding))) + self.biases[2](embedding)


class TimeCodeModel(ScoreModel):
    """A score model whose code depends on t: ``encode(x_0, t)``; all else is as in ``ScoreModel``.

    ``score`` and ``denoise`` take the code of their own t. Raises ``ValueError`` for a config
    without a code, of toy data, or with a probabilistic encoder.
    """

    def __init__(self, config: ModelConfig):
        if not config.latent or config.probabilistic or len(config.image_shape) != 3:
            raise ValueError(
                "a code of time needs latent of at least 1, probabilistic=False and images, got "
                f"latent={config.latent}, probabilistic={config.probabilistic}, "
                f"image_shape={config.image_shape}"
            )
        if config.code_dropout:
            raise ValueError("a code of time is always seen: set code_dropout=0")
        super().__init__(config)
        self.encoder = TimeEncoder(config)

    def encode(self, x_0: Data, t: Level) -> Codes:
        """E_φ(x_0, t) for one t, or one for each image, in [0, 1].

        Of k times an image, ``(k·batch,)`` with those of an image together, come k codes of each.
        """
        checks.floating("x_0", x_0, self.config.image_shape)
        place = place_of(self, x_0)
        t = as_level(t).to(place.device, single_at_least(place.dtype))
        if t.ndim > 1 or t.ndim and (len(t) % len(x_0) or not len(t) if len(x_0) else len(t)):
            raise ValueError(
                f"t must be one number or a multiple of {len(x_0)} of them, got {tuple(t.shape)}"
            )
        t = t if t.ndim else t.expand(len(x_0))
        return self.encoder(x_0.to(*place), self.sde.sigma(t).log()).to(x_0)

    def code_distribution(self, x_0: Data) -> tuple[Codes, None]:
        """``ValueError``: there is no code without its t."""
        raise ValueError("this code depends on t: use encode(x_0, t), or CodesAt(model, t)")


class CodesAt(nn.Module):
    """The codes of one t behind the interface of every other learner: ``encode(x_0)``."""

    def __init__(self, model: TimeCodeModel, t: float):
        super().__init__()
        self.model, self.t = model, t

    def encode(self, x_0: Data) -> Codes:
        """E_φ(x_0, t)."""
        return self.model.encode(x_0, self.t)


class TimeCodeObjective(Objective):
    """Eq. (8) with the code of each draw's own t.

    ``Losses.code_std`` is that of the batch's codes, each at its own t.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.regulariser == "kl":
            raise ValueError("a code of time is a point: regulariser must be 'none' or 'l1'")

    def __call__(self, model, x_0: Data, draws: Draws, y: Labels | None = None) -> Losses:
        x = checks.some("x_0", x_0).repeat_interleave(self.draws_per_image, dim=0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_encoder):
            z = model.encode(x_0, draws.t)
        error = denoising_score_matching(model, x, draws.t, draws.noise, z, self.weighting)
        matching = (draws.weight.to(error) * error).mean()
        regulariser = self._regulariser(z, None)
        weight = 0.0 if self.frozen_encoder else self.regulariser_weight
        code_std = z.detach().std(0).min() if len(z) > 1 else x_0.new_zeros(())
        total = self._total(matching, weight, regulariser)
        return Losses(total, matching.detach(), regulariser.detach(), code_std)


@torch.no_grad()
def trajectory(model: TimeCodeModel, x_0: Images, times: Times) -> Tensor:
    """The codes of images at every t of ``times``, of shape (images, times, latent)."""
    times = torch.as_tensor(times)
    if times.ndim != 1 or not len(times):
        raise ValueError(f"times must be (levels,) and not empty, got {tuple(times.shape)}")
    codes = model.encode(x_0, times.repeat(len(x_0)))
    return codes.view(len(x_0), len(times), model.config.latent)


@torch.no_grad()
def unet_features(model: ScoreModel, x_t: Images, t: Level, pool: int = 2) -> dict[str, Codes]:
    """What a U-Net's layers say of x_t at t, each averaged over ``pool`` × ``pool`` fields.

    The last block at each resolution of the way down and up, and of the middle, named
    "down 28", …, "middle", …, "up 28"; ``input`` is x_t itself. Vectors of pool²·channels.

    Raises:
        ValueError: the model has no U-Net, or a code that would have to be given.
    """
    if not hasattr(model.network, "down"):
        raise ValueError("model must have a U-Net to read: its score network is dense")
    if model.config.latent or model.config.num_classes:
        raise ValueError("model must be unconditional for its features: set latent=0")
    pool = checks.whole("pool", pool, 1)
    x_t = checks.floating("x_t", x_t, model.config.image_shape)
    given, x_t = x_t, x_t.to(*place_of(model, x_t))
    found = {"input": x_t}

    def keep(part: str, sized: bool):
        def hook(_module, _arguments, output: Tensor):
            found[f"{part} {output.shape[-1]}" if sized else part] = output  # the last one stays

        return hook

    network, handles = model.network, []
    for part, module in (("down", network.down), ("middle", network.middle), ("up", network.up)):
        for layer in module.modules():
            if isinstance(layer, ResidualBlock | SelfAttention):
                handles.append(layer.register_forward_hook(keep(part, part != "middle")))
    try:
        model.score(x_t, t)
    finally:
        for handle in handles:
            handle.remove()
    exact = single_at_least(x_t.dtype)
    return {
        name: F.adaptive_avg_pool2d(h.to(exact), pool).flatten(1).to(given)
        for name, h in found.items()
    }


def features_at(
    model: ScoreModel,
    data: ImageData,
    t: float,
    noisy: bool = True,
    pool: int = 2,
    seed: int = 0,
    batch: int = 250,
) -> dict[str, Codes]:
    """``unet_features`` of all images of ``data``: of x_t, or (noisy=False) of x_0 told t.

    The noise is drawn with ``seed``; a clean image with a high t is nothing the network ever saw.
    Features are means over ``pool`` × ``pool`` fields, float32, on the device of the data.
    """
    seed, batch = checks.whole("seed", seed, 0, 2**63 - 1), checks.whole("batch", batch, 1)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(data), batch):
        x = data.batch(slice(start, start + batch))
        if noisy:
            x = model.sde.perturb(x, t, normal(x.shape, x, generator))
        parts.append(unet_features(model, x, t, pool))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
