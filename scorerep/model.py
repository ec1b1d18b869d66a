"""The score model: SDE, score network and encoder behind three methods.

    model.score(x_t, t, z)      estimate of ∇ log p_t(x_t | z)
    model.denoise(x_t, t, z)    the same as an estimate of E[x_0 | x_t, z]
    model.encode(x_0)           the code z = E_φ(x_0)

Two parametrisations of one and the same objective turn the network's output F into
a score. The paper's (after NCSN++) divides by the noise level, s = F(x_t)/τ, so that
the network predicts −ε. EDM's (Karras et al., 2022, Table 1) scales the input to unit
variance and mixes input and output so that F is of order one at every noise level:
without it a network must reproduce ε to a relative precision of 1/σ before the code
can matter at all.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorerep import checkpoint
from scorerep.networks.encoder import Encoder
from scorerep.networks.unet import DenseNetwork, UNet
from scorerep.sde import VESDE, expand_as
from scorerep.types import Codes, Data, Labels, Level


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes a model's architecture; stored beside its weights."""

    image_shape: tuple[int, ...] = (1, 28, 28)
    """(channel, height, width); (dimension,) for toy data and the dense network."""
    network: Literal["unet", "dense"] = "unet"
    """Score network of images; the dense one sees them flattened (toy data always do)."""
    channels: tuple[int, ...] = (32, 64)
    """Channels at each resolution; hidden widths of the dense network."""
    blocks: int = 2
    """Residual blocks per resolution."""
    attention: tuple[int, ...] = ()
    """Resolutions that get self-attention, e.g. 16."""
    dropout: float = 0.1
    """Dropout in the score network's blocks."""
    features: Literal["positional", "fourier"] = "positional"
    """How the noise level enters."""
    latent: int = 2
    """Dimension of the learned code; 0 for no code."""
    probabilistic: bool = False
    """Whether the code is a Gaussian q(z | x_0) rather than a point."""
    encoder_channels: tuple[int, ...] = ()
    """Channels of the encoder; the score network's if empty (not for a dense one of images)."""
    num_classes: int = 0
    """Condition on this many class labels instead of a code (Eq. 7)."""
    parametrisation: Literal["edm", "paper"] = "edm"
    """Preconditioned after EDM, or the network's output over τ."""
    sigma_data: float = 0.5
    """Standard deviation of the data assumed by EDM's preconditioning."""
    sigma_min: float = 0.01
    """σ(0), in pixel units."""
    sigma_max: float = 50.0
    """σ(1), in pixel units."""

    def __post_init__(self):
        if len(self.image_shape) not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(
                "image_shape must be (channel, height, width) or (dimension,), "
                f"got {self.image_shape}"
            )
        if not self.channels or min(self.channels) < 4 or self.channels[0] % 2:
            raise ValueError(
                f"channels must be at least 4 each, the first one even, got {self.channels}"
            )
        if self.num_classes and self.latent:
            raise ValueError("give either num_classes or latent, not both: set latent=0 for labels")
        if self.num_classes == 1 or min(self.num_classes, self.latent) < 0:
            raise ValueError("num_classes must be 0 or at least 2, latent 0 or more")
        if self.dense and self.latent and len(self.image_shape) == 3 and not self.encoder_channels:
            raise ValueError("encoder_channels must be given with network='dense' for images")
        if self.parametrisation not in ("edm", "paper"):
            raise ValueError(
                f"parametrisation must be 'edm' or 'paper', got {self.parametrisation!r}"
            )

    @property
    def dense(self) -> bool:
        """Whether the score network is the dense one."""
        return self.network == "dense" or len(self.image_shape) == 1


class ScoreModel(nn.Module):
    """A score model of images or toy data: unconditional, of class labels, or of a learned code.

    Shapes: x_t and x_0 ``(batch, *image_shape)``, t one number or ``(batch,)``, z
    ``(batch, latent)`` codes or, for a model of labels, ``(batch,)`` integers.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.sde = VESDE(config.sigma_min, config.sigma_max)
        conditions = config.num_classes or config.latent
        if config.dense:
            self.network = DenseNetwork(
                math.prod(config.image_shape), config.channels, config.features, conditions
            )
        else:
            self.network = UNet(
                config.image_shape,
                config.channels,
                config.blocks,
                config.attention,
                config.dropout,
                config.features,
                conditions,
            )
        self.encoder = None
        if config.latent:
            self.encoder = Encoder(
                config.image_shape,
                config.latent,
                config.encoder_channels or config.channels,
                config.blocks,
                config.attention,
                config.probabilistic,
            )

    # The three methods

    def score(self, x_t: Data, t: Level, z: Codes | Labels | None = None) -> Data:
        """Estimate of ∇ log p_t(x_t | z).

        Raises:
            ValueError: t = 0, where the kernel vanishes; shapes that are not the model's; a z that
                is missing, or given to an unconditional model; a checkpoint of the encoder alone.
        """
        if self.network is None:
            raise ValueError("this checkpoint holds the encoder alone: it has codes and no score")
        self._check_shape(x_t, "x_t")
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device).expand(len(x_t))
        if bool((t <= 0).any()):
            raise ValueError("t must be positive: the score is not defined by the kernel at t = 0")
        tau, log_sigma = expand_as(self.sde.tau(t), x_t), self.sde.sigma(t).log()
        z = self._condition(z, x_t)
        if self.config.parametrisation == "paper":
            return self.network(x_t, log_sigma, z).to(x_t) / tau
        # EDM's D = c_skip x_t + c_out F(c_in x_t), rewritten for s = (D − x_t)/τ²
        # so that nothing cancels at small τ.
        s = self.config.sigma_data
        c_in = 1 / torch.sqrt(s**2 + tau**2)
        output = self.network(c_in * x_t, log_sigma, z).to(x_t)
        return c_in * (s * output / tau - c_in * x_t)

    def denoise(self, x_t: Data, t: Level, z: Codes | Labels | None = None) -> Data:
        """Estimate of E[x_0 | x_t, z] = x_t + τ² ∇ log p_t(x_t | z) (Tweedie's formula)."""
        tau = torch.as_tensor(self.sde.tau(t), device=x_t.device).to(x_t.dtype)
        return x_t + expand_as(tau, x_t) ** 2 * self.score(x_t, t, z)

    def encode(self, x_0: Data, noise: Codes | None = None) -> Codes:
        """z = E_φ(x_0); of a probabilistic code its mean, or a draw made with ``noise``."""
        mean, log_variance = self.code_distribution(x_0)
        if noise is None or log_variance is None:
            return mean
        return mean + torch.exp(0.5 * log_variance) * noise

    def code_distribution(self, x_0: Data) -> tuple[Codes, Codes | None]:
        """Mean and log-variance of q_φ(z | x_0); the latter is None for a deterministic encoder."""
        if self.encoder is None:
            raise ValueError("this model has no encoder: its config has latent=0")
        self._check_shape(x_0, "x_0")
        mean, log_variance = self.encoder(x_0)
        return mean.to(x_0), None if log_variance is None else log_variance.to(x_0)

    # Weights and config in a folder, after the Hugging Face hub's convention

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32, **card):
        """Write ``model.safetensors`` and ``card.json``; ``card`` adds entries to the latter.

        With encoder_only=True in the card the score network, often the larger part, is left out
        (``ValueError`` without an encoder).
        """
        if card.get("encoder_only") and self.encoder is None:
            raise ValueError("encoder_only=True needs an encoder, and this model has none")
        left_out = "network." if card.get("encoder_only") else ()
        tensors = {
            k: v.to(dtype) for k, v in self.state_dict().items() if not k.startswith(left_out)
        }
        checkpoint.write_tensors(Path(folder) / "model.safetensors", tensors)
        checkpoint.write_card(Path(folder), {"model": checkpoint.to_json(self.config), **card})

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> "ScoreModel":
        """The model in ``folder``, in evaluation mode, float32. Errors name the file at fault."""
        folder = Path(folder)
        model = cls(checkpoint.read_entry(folder, "model", ModelConfig))
        if checkpoint.read_card(folder).get("encoder_only"):
            model.network = None
        checkpoint.load_weights(model, folder / "model.safetensors")
        return model.to(device).eval()

    def _condition(self, z: Tensor | None, x_t: Data) -> Tensor | None:
        """Check z against the config and turn labels into one-hot codes."""
        wanted = self.config.num_classes or self.config.latent
        if not wanted:
            if z is not None:
                raise ValueError("z was given, but this model is unconditional")
            return None
        if z is None:
            raise ValueError("this model is conditional: z must be given")
        if self.config.num_classes and z.ndim == 1:
            if bool(((z < 0) | (z >= wanted)).any()):
                raise ValueError(f"labels must lie in 0..{wanted - 1}")
            z = F.one_hot(z.long(), wanted)
        if z.shape != (len(x_t), wanted):
            raise ValueError(
                f"z must have shape ({len(x_t)}, {wanted}) for this model and batch, "
                f"got {tuple(z.shape)}"
            )
        return z.to(x_t)

    def _check_shape(self, x: Data, name: str):
        if tuple(x.shape[1:]) != tuple(self.config.image_shape):
            raise ValueError(
                f"{name} must have shape (batch, {', '.join(map(str, self.config.image_shape))}), "
                f"got {tuple(x.shape)}"
            )
