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
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorerep import checkpoint
from scorerep.networks.config import ModelConfig
from scorerep.networks.encoder import Encoder
from scorerep.networks.unet import DenseNetwork, UNet
from scorerep.sde import VESDE, as_level, expand_as
from scorerep.types import Chosen, Codes, Data, Labels, Level, Times, checks
from scorerep.types.devices import readable, single_at_least


class ScoreModel(nn.Module, checkpoint.Shared):
    """A score model of images or toy data: unconditional, of class labels, or of a learned code.

    Shapes: x_t and x_0 ``(batch, *image_shape)``, t one number or ``(batch,)``, z
    ``(batch, latent)`` codes or, for a model of labels, ``(batch,)`` integers. A model with
    ``code_dropout`` may be asked without z: for all of a batch (None), or where ``left_out``.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.sde = VESDE(config.sigma_min, config.sigma_max)
        # Where z may be missing, one more number says whether it is there.
        conditions = config.conditions + (config.code_dropout > 0)
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

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights: the networks compute in it."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    # The three methods

    def score(
        self,
        x_t: Data,
        t: Level,
        z: Codes | Labels | int | None = None,
        left_out: Chosen | None = None,
    ) -> Data:
        """Estimate of ∇ log p_t(x_t | z), in the dtype of x_t; of ∇ log p_t(x_t) without z.

        The noise level and what scales the networks have single precision at least. Values of t
        and of labels on an accelerator are not checked, which would stop its queue.

        Args:
            left_out: items whose z is not seen; a model with ``code_dropout`` only.

        Raises:
            ValueError: t = 0, where the kernel vanishes; shapes that are not the model's; a z that
                is missing, or given to an unconditional model; a checkpoint of the encoder alone.
        """
        x, tau, log_sigma, z = self._inputs(x_t, t, z, left_out)
        c_in, _, c_out, shrink = self._preconditioning(tau)
        output = self._output(c_in * x, log_sigma, z)
        # Divided by τ twice and not by τ², and nothing cancels at small τ.
        return ((c_out / tau * output - shrink * x) / tau).to(x_t.dtype)

    forward = score

    def denoise(self, x_t: Data, t: Level, z: Codes | Labels | int | None = None) -> Data:
        """Estimate of E[x_0 | x_t, z] = x_t + τ² ∇ log p_t(x_t | z) (Tweedie's formula)."""
        return self.denoised(*self._inputs(x_t, t, z)).to(x_t.dtype)

    def denoised(self, x: Data, tau: Tensor, log_sigma: Times, z: Codes | None = None) -> Data:
        """D(x, τ, z) without checks: τ broadcasts over x, z are codes or one-hot labels.

        Of a model with ``code_dropout`` z has one column more: 1, or 0 in a row of zeros without z.
        """
        c_in, c_skip, c_out, _ = self._preconditioning(tau)
        return c_skip * x + c_out * self._output(c_in * x, log_sigma, z)

    def encode(self, x_0: Data, noise: Codes | None = None) -> Codes:
        """z = E_φ(x_0); of a probabilistic code its mean, or a draw made with ``noise``.

        Raises:
            ValueError: no encoder; x_0 that is not finite, of integers (bytes become floats in
                [−1, 1] by ``ImageData.floats``) or of another shape; noise not that of the codes.
        """
        mean, log_variance = self.code_distribution(x_0)
        if noise is not None:
            checks.same_shape("noise", noise, "the codes", mean)
        if noise is None or log_variance is None:
            return mean
        return mean + torch.exp(0.5 * log_variance) * noise

    def code_distribution(self, x_0: Data) -> tuple[Codes, Codes | None]:
        """Mean and log-variance of q_φ(z | x_0); the latter is None for a deterministic encoder."""
        if self.encoder is None:
            raise ValueError("this model has no encoder: its config has latent=0")
        checks.floating("x_0", x_0, self.config.image_shape)
        mean, log_variance = self.encoder(x_0.to(self.dtype))
        return mean.to(x_0), None if log_variance is None else log_variance.to(x_0)

    # Weights and config in a folder: save_pretrained, from_pretrained, push_to_hub of Shared

    def _write(self, folder: Path, dtype: torch.dtype, **card):
        if "model" in card:
            raise ValueError("the card's entry 'model' is the config: choose another name")
        if self.network is None:
            card["encoder_only"] = True
        if card.get("encoder_only") and self.encoder is None:
            raise ValueError("encoder_only=True needs an encoder, and this model has none")
        left_out = "network." if card.get("encoder_only") else ()
        weights = {name for name, _ in self.named_parameters()}
        tensors = {
            k: v.to(dtype) if k in weights else v
            for k, v in self.state_dict().items()
            if not k.startswith(left_out)
        }
        checkpoint.write_tensors(folder / "model.safetensors", tensors)
        checkpoint.write_card(folder, {"model": checkpoint.to_json(self.config), **card})

    @classmethod
    def _read(cls, folder: Path, device: str) -> "ScoreModel":
        model = cls(checkpoint.read_entry(folder, "model", ModelConfig))
        if checkpoint.read_card(folder).get("encoder_only"):
            model.network = None
        checkpoint.load_weights(model, folder / "model.safetensors")
        return model.to(device).eval()

    def _preconditioning(self, tau: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out of D = c_skip x + c_out F(c_in x), and (1 − c_skip)/τ."""
        if self.config.parametrisation == "paper":  # D = x + τ F
            one = torch.ones_like(tau)
            return one, one, tau, torch.zeros_like(tau)
        s = self.config.sigma_data
        c_in = 1 / torch.sqrt(s**2 + tau**2)
        return c_in, (s * c_in) ** 2, s * c_in * tau, tau * c_in**2

    def _output(self, x: Data, log_sigma: Times, z: Codes | None) -> Data:
        # The network in its own precision, what is around it in that of x.
        z = None if z is None else z.to(self.dtype)
        return self.network(x.to(self.dtype), log_sigma, z).to(x.dtype)

    def _inputs(
        self, x_t: Data, t: Level, z, left_out=None
    ) -> tuple[Data, Tensor, Times, Tensor | None]:
        """x, τ (broadcastable to x), log σ and codes, checked and in single precision at least."""
        if self.network is None:
            raise ValueError("this checkpoint holds the encoder alone: it has codes and no score")
        checks.floating("x_t", x_t, self.config.image_shape, finite=False)
        exact, given = single_at_least(x_t.dtype), as_level(t)
        if readable(given) and bool((given <= 0).any()):
            raise ValueError("t must be positive: the score is not defined by the kernel at t = 0")
        if given.shape not in ((), (len(x_t),)):
            raise ValueError(f"t must be one number or ({len(x_t)},), got {tuple(given.shape)}")
        self.sde.sigma(given)  # a number is checked before it is a tensor on an accelerator
        if isinstance(t, int | float):  # filled in on the device, where nothing is copied to
            t = torch.full((len(x_t),), t, dtype=exact, device=x_t.device)
        else:
            t = given.to(exact).to(x_t.device).expand(len(x_t))
        tau, log_sigma = expand_as(self.sde.tau(t), x_t), self.sde.sigma(t).log()
        if not self.config.code_dropout:
            if left_out is not None:
                raise ValueError("left_out was given, but this model has code_dropout=0")
            return x_t.to(exact), tau, log_sigma, self._condition(z, x_t)
        if z is None:
            z = x_t.new_zeros(len(x_t), self.config.conditions + 1)
            return x_t.to(exact), tau, log_sigma, z
        seen = x_t.new_ones(len(x_t), 1)
        if left_out is not None:
            seen = 1 - checks.chosen("left_out", left_out, x_t)[:, None].to(x_t.dtype)
        z = self._condition(z, x_t)
        return x_t.to(exact), tau, log_sigma, torch.cat([seen * z, seen.to(z.dtype)], 1)

    def _condition(self, z: Codes | Labels | int | None, x_t: Data) -> Codes | None:
        """Check z against the config and turn labels into one-hot codes."""
        wanted = self.config.conditions
        if not wanted:
            if z is not None:
                raise ValueError("z was given, but this model is unconditional")
            return None
        if z is None:
            raise ValueError("this model is conditional: z must be given")
        z = torch.as_tensor(z)
        if self.config.num_classes and z.ndim < 2:
            if z.is_floating_point():
                raise ValueError(f"labels must be integers, got {z.dtype}")
            if readable(z) and bool(((z < 0) | (z >= wanted)).any()):
                raise ValueError(f"labels must lie in 0..{wanted - 1}")
            z = F.one_hot(z.long().expand(len(x_t)) if z.ndim == 0 else z.long(), wanted)
        if z.shape != (len(x_t), wanted):
            raise ValueError(
                f"z must have shape ({len(x_t)}, {wanted}) for this model and batch, "
                f"got {tuple(z.shape)}"
            )
        return z.to(x_t.device)
