"""What fixes a model's architecture: a dataclass that is stored beside the weights."""

from dataclasses import dataclass
from typing import Literal

from scorerep.types import checks


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
    """Resolutions that get self-attention, e.g. 16; the U-Net's middle has it then as well."""
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
    code_dropout: float = 0.0
    """Share of the noise draws in training that see no code or label, in [0, 1]; above 0 one
    network is both scores, with z and without (Ho and Salimans, 2022)."""
    parametrisation: Literal["edm", "paper"] = "edm"
    """Preconditioned after EDM, or the network's output over τ."""
    sigma_data: float = 0.5
    """Standard deviation of the data assumed by EDM's preconditioning."""
    sigma_min: float = 0.01
    """σ(0), in pixel units."""
    sigma_max: float = 50.0
    """σ(1), in pixel units."""

    def __post_init__(self):
        for name in ("image_shape", "channels", "attention"):
            checks.wholes(name, getattr(self, name), 0)
        checks.wholes("encoder_channels", self.encoder_channels, 4)
        checks.whole("latent", self.latent, 0)
        checks.whole("num_classes", self.num_classes, 0)
        checks.whole("blocks", self.blocks, 1)
        checks.number("sigma_data", self.sigma_data, above=0.0)
        checks.truth("probabilistic", self.probabilistic)
        if len(self.image_shape) not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(
                "image_shape must be (channel, height, width) or (dimension,), "
                f"got {self.image_shape}"
            )
        if self.network not in ("unet", "dense"):
            raise ValueError(f"network must be 'unet' or 'dense', got {self.network!r}")
        if not self.channels or min(self.channels) < 4 or self.channels[0] % 2:
            raise ValueError(
                f"channels must be at least 4 each, the first one even, got {self.channels}"
            )
        if self.features not in ("positional", "fourier"):
            raise ValueError(f"features must be 'positional' or 'fourier', got {self.features!r}")
        if self.num_classes and self.latent:
            raise ValueError("give either num_classes or latent, not both: set latent=0 for labels")
        if self.num_classes == 1:
            raise ValueError("num_classes must be 0 or at least 2, got 1")
        if not 0 <= self.code_dropout <= 1 or self.code_dropout and not self.conditions:
            raise ValueError(
                "code_dropout must lie in [0, 1], and be 0 for a model without code or labels, "
                f"got {self.code_dropout}"
            )
        if self.dense and self.latent and len(self.image_shape) == 3 and not self.encoder_channels:
            raise ValueError("encoder_channels must be given with network='dense' for images")
        if self.parametrisation not in ("edm", "paper"):
            raise ValueError(
                f"parametrisation must be 'edm' or 'paper', got {self.parametrisation!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if unknown := sorted(set(self.attention) - set(self.resolutions)):
            raise ValueError(
                f"attention must name resolutions of the network, {self.resolutions}, got {unknown}"
            )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Heights of the images in the U-Net, or in the encoder beside a dense network."""
        channels = self.encoder_channels if self.dense else self.channels
        levels = range(len(channels)) if len(self.image_shape) == 3 else ()
        return tuple(self.image_shape[1] // 2**level for level in levels)

    @property
    def conditions(self) -> int:
        """Length of what the score network is told of z: the code, or a one-hot label."""
        return self.num_classes or self.latent

    @property
    def dense(self) -> bool:
        """Whether the score network is the dense one."""
        return self.network == "dense" or len(self.image_shape) == 1
