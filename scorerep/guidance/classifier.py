"""The time-dependent classifier p_t(y | x_t) of Section 2.1: a network trained on noisy data.

The same training loop as a score model's, with cross-entropy in the place of score matching: t and
the noise are drawn alike, the weights averaged alike. ``guided_score`` turns it into a score.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from scorerep import checkpoint
from scorerep.data.images import ImageData
from scorerep.networks.layers import Conditioning, dense_stack
from scorerep.networks.unet import DownsamplingHalf
from scorerep.objective import Draws, Losses, Objective
from scorerep.runs.fit import fit_module
from scorerep.runs.folder import STATE, state_card
from scorerep.sde import VESDE, expand_as
from scorerep.times import UniformTime
from scorerep.training import Optimisation
from scorerep.types import Data, Labels, Level, checks
from scorerep.types.devices import named_device, place_of, single_at_least
from scorerep.worlds.law import Classes


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that fixes the architecture of a classifier of noisy data."""

    image_shape: tuple[int, ...] = (1, 28, 28)
    """(channel, height, width); (dimension,) for toy data."""
    channels: tuple[int, ...] = (16, 32)
    """Channels at each resolution of the U-Net's downsampling half; hidden widths for toys."""
    blocks: int = 1
    """Residual blocks per resolution."""
    num_classes: int = 10
    """Classes, at least two."""
    sigma_data: float = 0.5
    """Standard deviation of the data, by which the input is scaled."""
    sigma_min: float = 0.01
    """σ(0) of the SDE, which must be the score model's."""
    sigma_max: float = 50.0
    """σ(1)."""

    def __post_init__(self):
        checks.whole("num_classes", self.num_classes, 2)
        checks.whole("blocks", self.blocks, 1)
        checks.number("sigma_data", self.sigma_data, above=0.0)
        for name in ("image_shape", "channels"):
            checks.wholes(name, getattr(self, name), 0)
        if not self.channels or min(self.channels) < 4 or self.channels[0] % 2:
            raise ValueError(
                f"channels must be at least 4 each, the first one even, got {self.channels}"
            )
        if len(self.image_shape) not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(
                "image_shape must be (channel, height, width) or (dimension,), "
                f"got {self.image_shape}"
            )

    @property
    def latent(self) -> int:
        """Zero, as the training loop asks for the size of a code."""
        return 0


class NoisyClassifier(nn.Module):
    """p_t(y | x_t) by a network that sees x_t and the noise level."""

    encoder = None

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        self.config, self.image_shape = config, tuple(config.image_shape)
        self.sde = VESDE(config.sigma_min, config.sigma_max)
        first, last = config.channels[0], config.channels[-1]
        if len(self.image_shape) == 1:
            width, flat, hidden = first, self.image_shape[0], first
            features, layers = 32, len(config.channels) + 1
            self.down = None
        else:
            width, hidden, features, layers = 4 * first, 4 * first, first, 2
            shrink = 2 ** (len(config.channels) - 1)
            flat = last * (self.image_shape[1] // shrink) * (self.image_shape[2] // shrink)
            self.down = DownsamplingHalf(
                self.image_shape, config.channels, config.blocks, embedding=width
            )
        self.conditioning = Conditioning(features, width, "positional")
        self.head = dense_stack(flat + width, hidden, config.num_classes, layers)

    def forward(self, x_t: Data, t: Level) -> Classes:
        """log p_t(y | x_t) of every class, in nats; t one number or ``(batch,)``."""
        checks.floating("x_t", x_t, self.image_shape, finite=False)
        given, place = x_t, place_of(self, x_t)
        exact = single_at_least(place.dtype)  # noise levels overflow half precision
        x_t = x_t.to(place.device, exact)
        t = checks.one_or_each("t", t, x_t, exact)
        variance = self.config.sigma_data**2 + self.sde.tau(t) ** 2
        h = (x_t / expand_as(variance.sqrt(), x_t)).to(place.dtype)
        embedding = self.conditioning(self.sde.sigma(t).log())
        if self.down is not None:
            h = self.down(h, embedding)[-1].flatten(1)
        return self.head(torch.cat([h, embedding], 1)).to(exact).log_softmax(1).to(given)

    def gradient(self, x_t: Data, t: Level, y: Labels) -> Data:
        """∇ log p_t(y | x_t) in x_t, for each image's own label or one for all.

        Also under ``no_grad``; otherwise the gradient can itself be differentiated.
        """
        graph = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        y = checks.labels("y", y, x_t, self.config.num_classes)
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t if graph and x_t.requires_grad else x_t.detach().clone().requires_grad_()
            chosen = self(x, t).gather(1, y.clone()[:, None])
            return torch.autograd.grad(chosen.sum(), x, create_graph=graph)[0]

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32, **card):
        """Write ``model.safetensors`` and ``card.json``; ``card`` adds entries to the latter."""
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        weights = {name for name, _ in self.named_parameters()}  # frequencies keep their precision
        tensors = {k: v.to(dtype) if k in weights else v for k, v in self.state_dict().items()}
        checkpoint.write_tensors(Path(folder) / "model.safetensors", tensors)
        config = {"noisy_classifier": checkpoint.to_json(self.config)}
        checkpoint.write_card(Path(folder), config | card)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: torch.device | str = "cpu"
    ) -> "NoisyClassifier":
        """In evaluation mode, float32. ``CheckpointError`` names the file at fault."""
        device, folder = named_device(device), Path(folder)
        if "noisy_classifier" not in checkpoint.read_card(folder):
            raise checkpoint.CheckpointError(f"{folder} holds no classifier of noisy images")
        model = cls(checkpoint.read_entry(folder, "noisy_classifier", ClassifierConfig))
        checkpoint.load_weights(model, folder / "model.safetensors")
        return model.to(device).eval()


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """E_t −log p_t(y | x_t) in nats, for the training loop; t and noise as for a score."""

    def __call__(
        self, model: NoisyClassifier, x_0: Data, draws: Draws, y: Labels | None = None
    ) -> Losses:
        if y is None:
            raise ValueError("y must be given: a classifier needs labels")
        k, x_0 = self.draws_per_image, checks.some("x_0", x_0)
        x_t = model.sde.perturb(x_0.repeat_interleave(k, 0), draws.t, draws.noise)
        y = checks.labels("y", y, x_0).repeat_interleave(k)
        log_p = model(x_t, draws.t).gather(1, y[:, None])[:, 0]
        loss = -(draws.weight.to(log_p) * log_p).mean()
        return Losses(loss, loss.detach(), loss.new_zeros(()), loss.new_zeros(()))


def fit_classifier(
    config: ClassifierConfig,
    data: ImageData,
    optimisation: Optimisation,
    folder: Path,
    seed: int = 0,
    save_every: float = 60.0,
    progress: bool = True,
) -> NoisyClassifier:
    """Train, or go on training, a classifier with uniform t into ``folder``; the averaged one.

    Raises:
        ValueError: one class only, or images of another shape or number of classes.
        CheckpointError: ``folder`` holds another classifier, or one of other data.
    """
    if len(data.labels.unique()) < 2 or len(data.classes) != config.num_classes:
        raise ValueError(
            f"a classifier of {config.num_classes} classes needs images of each, "
            f"{data.name} has labels {data.labels.unique().tolist()}"
        )
    if tuple(data.image_shape) != tuple(config.image_shape):
        raise ValueError(f"image_shape is {config.image_shape}, the data's {data.image_shape}")
    folder, seed = Path(folder), checks.whole("seed", seed, 0, 2**32 - 1)
    checkpoint.check_writable(folder)
    made = {
        "noisy_classifier": checkpoint.to_json(config), "seed": seed,
        "data": data.name, "data_checksum": data.checksum(),
        # All but the number of iterations: that may be raised, and training goes on.
        "optimisation": checkpoint.to_json(optimisation) | {"iterations": None},
    }  # fmt: skip
    card, state_file = made | {"iterations_done": 0, "seconds": 0.0, "losses": []}, folder / STATE
    if state_file.exists():
        card = state_card(state_file)
        if differing := [k for k in made if card.get(k) != made[k]]:
            raise checkpoint.CheckpointError(f"{folder} differs in {', '.join(differing)}")
    elif (folder / "card.json").exists():
        raise checkpoint.CheckpointError(
            f"{folder} holds weights without the state to go on from ({STATE}); choose another "
            "folder or delete this one"
        )
    torch.manual_seed(seed)
    model, _ = fit_module(
        NoisyClassifier(config), data, CrossEntropy(UniformTime()), optimisation, seed, card=card,
        state_file=state_file, folder=folder, save_every=save_every, name="classifier",
        progress=progress, losses_named=lambda losses: {"nats": float(losses.matching)},
    )  # fmt: skip
    return model
