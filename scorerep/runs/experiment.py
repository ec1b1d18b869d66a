"""An experiment is a value: data, network, objective, budget and seed in one frozen dataclass.

    from scorerep.runs.paper import at_budget
    at_budget("fig3", "book")                                 # what the book ran
    dataclasses.replace(at_budget("fig3", "book"), seed=1)    # the same with another seed

Its JSON form is stored in the card of every checkpoint.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scorerep.data.images import ImageData
from scorerep.data.own import Reading
from scorerep.data.sources import CLASSES, load_data
from scorerep.model import ModelConfig
from scorerep.objective import Objective
from scorerep.sde import VESDE
from scorerep.times import SingleTime, TimeDistribution, UniformSigma, UniformTime, log_normal_sigma
from scorerep.training import Optimisation


def quick_model() -> ModelConfig:
    """The quick start's network, of scikit-learn's 8×8 digits."""
    return ModelConfig(image_shape=(1, 8, 8), channels=(16, 32), dropout=0.0)


def quick_optimisation() -> Optimisation:
    """The quick start's budget: under two minutes on two cores."""
    return Optimisation(
        iterations=700, frozen_iterations=700, batch_size=64, learning_rate=2e-3, warmup=100,
        ema=0.99,
    )  # fmt: skip


@dataclass(frozen=True)
class EncoderPhase:
    """A first phase that learns the code, with a score network of its own.

    A small network can learn a code; good samples want a larger one, trained on that code with
    the encoder frozen. A score network like the run's own is kept and goes on from there.
    """

    network: Literal["unet", "dense"]
    """Kind of the first score network."""
    channels: tuple[int, ...]
    """Its width."""
    optimisation: Optimisation
    """Its budget."""
    draws_per_image: int = 1
    """Noise draws for each encoded image."""

    def __post_init__(self):
        _check_choices(self)
        _check_whole("draws_per_image", self.draws_per_image, 1)


@dataclass(frozen=True)
class Experiment(Reading):
    """One training run. The defaults are the quick start's, on scikit-learn's digits.

    ``ValueError`` names the entry that is not possible and says what is.
    """

    name: str = "digits"
    """Also the default name of the run's folder."""
    data: str = "digits"
    """digits, mnist or cifar10; or your own pictures, the path of a folder or of an .npz file."""
    classes: tuple[str, ...] = ()
    """Names of the classes to keep; empty for all."""
    model: ModelConfig = field(default_factory=quick_model)
    """SDE, score network, encoder and parametrisation."""
    times: Literal["uniform_t", "uniform_sigma", "single_t"] = "uniform_t"
    """Distribution of t in the objective, which steers the code."""
    single_t: float = 0.68
    """The t of ``times="single_t"``, in (0, 1]."""
    proposal: Literal["none", "log_normal"] = "none"
    """Draw σ from a log-normal about 2 instead and weight; the objective stays the same."""
    weighting: Literal["tau2", "sigma2"] = "tau2"
    """λ(t), the kernel's variance τ² or the paper's σ²."""
    regulariser: Literal["none", "l1", "kl"] = "l1"
    """Of the code; "kl" needs model.probabilistic."""
    regulariser_weight: float = 1e-5
    """The paper's are 1e-5 for L1 and 1e-7 for KL."""
    draws_per_image: int = 1
    """Noise draws for each encoded image."""
    optimisation: Optimisation = field(default_factory=quick_optimisation)
    """Budget, learning rate, averaging, precision."""
    encoder_phase: EncoderPhase | None = None
    """Learn the encoder like this first; then optimisation.iterations may be 0."""
    seed: int = 0
    """Of initial weights, batches, noise and dropout."""

    def __post_init__(self):
        super().__post_init__()
        _check_choices(self)
        if not self.name.isprintable() or not self.name.strip(". ") or set(self.name) & set("/\\"):
            raise ValueError(f"name must be that of a folder, without a slash, got {self.name!r}")
        known = CLASSES.get(self.data, self.classes)  # those of a folder are known once it is read
        if not self.data:
            raise ValueError(f"data must be one of {', '.join(CLASSES)}, or a path, got nothing")
        if unknown := [name for name in self.classes if name not in known]:
            raise ValueError(
                f"unknown class {unknown[0]!r}: {self.data} has the classes {', '.join(known)}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes names a class twice: {', '.join(self.classes)}")
        if not 0 < self.single_t <= 1:
            raise ValueError(f"single_t must lie in (0, 1], got {self.single_t}")
        if not 0 <= self.regulariser_weight < math.inf:
            raise ValueError(
                f"regulariser_weight must be finite and not negative, got {self.regulariser_weight}"
            )
        _check_whole("draws_per_image", self.draws_per_image, 1)
        _check_whole("seed", self.seed, 0, 2**32 - 1)
        if (self.regulariser == "kl") != self.model.probabilistic and self.model.latent:
            raise ValueError("regulariser 'kl' and model.probabilistic=True go together")
        if (phase := self.encoder_phase) is not None and not self.model.encoder_channels:
            if (phase.network, phase.channels) != (self.model.network, self.model.channels):
                raise ValueError(
                    "with encoder_phase, model.encoder_channels must be given, unless both phases "
                    "have the same network"
                )

    def load(self, split: Literal["train", "test", "all"]) -> ImageData:
        """The ``split`` of its data, its classes only; errors are those of ``load_data``."""
        return load_data(self.data, split, self.classes or None, **self.reading())

    def fitted_to(self, data: ImageData) -> "Experiment":
        """The same for pictures of your own: of their size and colour, which are written down.

        ``ValueError`` if the networks cannot halve the sides of ``data`` as often as they have to,
        or a batch is larger than ``data``.
        """
        phases = {"optimisation": self.optimisation}
        if self.encoder_phase is not None:
            phases["encoder-phase.optimisation"] = self.encoder_phase.optimisation
        if large := [name for name, phase in phases.items() if phase.batch_size > len(data)]:
            options = " ".join(f"--{name}.batch-size {len(data)}" for name in large)
            raise ValueError(
                f"{self.data} has {len(data)} training images, fewer than a batch: give {options}"
            )
        channels, *size = data.image_shape
        model = self.model
        levels = [model.encoder_channels] if model.encoder_channels and model.latent else []
        levels += [] if model.dense else [model.channels]
        by = 2 ** (max(map(len, levels), default=1) - 1)
        if any(side % by for side in size):
            near = [max(by, round(side / by) * by) for side in size]
            raise ValueError(
                f"{self.data} has pictures of {size[0]}×{size[1]} (height × width), and this "
                f"network needs multiples of {by}: give such a size, as --size {near[0]} {near[1]}"
            )
        model = replace(model, image_shape=data.image_shape)
        colour = "grey" if channels == 1 else "rgb"
        return replace(self, model=model, size=tuple(size), colour=colour)

    def objective(self) -> Objective:
        """Eq. (8), or Eq. (5) or (7) where the model has no code."""
        sde = VESDE(self.model.sigma_min, self.model.sigma_max)
        times: TimeDistribution = {
            "uniform_t": UniformTime(),
            "uniform_sigma": UniformSigma(sde),
            "single_t": SingleTime(self.single_t),
        }[self.times]
        proposal = None
        if self.proposal == "log_normal":
            # Made for uniform σ, which draws σ > 10 four times in five, where little is to learn.
            proposal = log_normal_sigma(sde, median=2.0, spread=1.8)
        return Objective(
            times=times,
            proposal=proposal,
            weighting=self.weighting,
            regulariser=self.regulariser,
            regulariser_weight=self.regulariser_weight,
            draws_per_image=self.draws_per_image,
            code_dropout=self.model.code_dropout,
        )

    def first_phase(self) -> "Experiment":
        """The experiment that learns the encoder; this one, if it does so itself."""
        phase = self.encoder_phase
        if phase is None:
            return self
        return replace(
            self,
            name=f"{self.name}-encoder",
            model=replace(self.model, network=phase.network, channels=phase.channels),
            draws_per_image=phase.draws_per_image,
            optimisation=phase.optimisation,
            encoder_phase=None,
        )

    def effective_regulariser_weight(self) -> float:
        """Weight of the regulariser relative to ½ Σ_pixels of one image's squared errors.

        The project averages over pixels; codes that sum them need a weight this much larger.
        """
        d = 1
        for side in self.model.image_shape:
            d *= side
        return self.regulariser_weight * d / 2


def _check_choices(value: Any):
    """``ValueError`` for an entry that is not one of those its type names."""
    for name, hint in get_type_hints(type(value)).items():
        if get_origin(hint) is Literal and getattr(value, name) not in get_args(hint):
            choices = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{name} must be one of {choices}, got {getattr(value, name)!r}")


def _check_whole(name: str, value: Any, low: int, high: int | None = None):
    if not isinstance(value, int) or value < low or (high is not None and value > high):
        wanted = f"a whole number of at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
