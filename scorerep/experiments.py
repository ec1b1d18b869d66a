"""An experiment is a value: data, network, objective, budget and seed in one frozen dataclass.

    from scorerep.experiments import EXPERIMENTS
    EXPERIMENTS["mnist"]                                # what the book ran
    dataclasses.replace(EXPERIMENTS["mnist"], seed=1)   # the same with another seed

Its JSON form is stored in the card of every checkpoint.
"""

from dataclasses import dataclass, field
from typing import Literal

from scorerep.model import ModelConfig
from scorerep.objective import Objective
from scorerep.sde import VESDE
from scorerep.times import SingleTime, TimeDistribution, UniformSigma, UniformTime, log_normal_sigma
from scorerep.training import Optimisation


@dataclass(frozen=True)
class Experiment:
    """One training run. The defaults are those of the quick start on scikit-learn's digits."""

    name: str = "digits"
    """Also the default name of the run's folder."""
    data: Literal["digits", "mnist", "cifar10"] = "digits"
    """Data set."""
    classes: tuple[str, ...] = ()
    """Names of the classes to keep; empty for all."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """SDE, score network, encoder and parametrisation."""
    times: Literal["uniform_t", "uniform_sigma", "single_t"] = "uniform_t"
    """Distribution of t in the objective: what the code is steered by."""
    single_t: float = 0.68
    """The t of times="single_t", in (0, 1]."""
    proposal: Literal["none", "log_normal"] = "none"
    """Draw σ from a log-normal about 1 instead and weight; the objective stays the same."""
    weighting: Literal["tau2", "sigma2"] = "tau2"
    """λ(t): the kernel's variance τ², or the paper's σ²."""
    regulariser: Literal["none", "l1", "kl"] = "l1"
    """Of the code; "kl" needs model.probabilistic."""
    regulariser_weight: float = 1e-5
    """The paper's are 1e-5 for L1 and 1e-7 for KL."""
    draws_per_image: int = 1
    """Noise draws for each encoded image."""
    optimisation: Optimisation = field(default_factory=Optimisation)
    """Budget, learning rate, averaging, precision."""
    seed: int = 0
    """Of initial weights, batches, noise and dropout."""

    def __post_init__(self):
        if (self.regulariser == "kl") != self.model.probabilistic and self.model.latent:
            raise ValueError("regulariser 'kl' and model.probabilistic=True go together")

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
            # Wide enough that no weight exceeds a few hundred at either end of the σ range.
            proposal = log_normal_sigma(sde, median=1.0, spread=2.0)
        return Objective(
            times=times,
            proposal=proposal,
            weighting=self.weighting,
            regulariser=self.regulariser,
            regulariser_weight=self.regulariser_weight,
            draws_per_image=self.draws_per_image,
        )

    def effective_regulariser_weight(self) -> float:
        """Weight of the regulariser relative to ½ Σ_pixels of one image's squared errors.

        The project averages over pixels; codes that sum them need a weight this much larger.
        """
        d = 1
        for side in self.model.image_shape:
            d *= side
        return self.regulariser_weight * d / 2


EXPERIMENTS: dict[str, Experiment] = {
    "digits": Experiment(
        name="digits",
        model=ModelConfig(image_shape=(1, 8, 8), channels=(16, 32), dropout=0.0),
        times="single_t",
        single_t=0.68,
        optimisation=Optimisation(
            iterations=700,
            frozen_iterations=700,
            batch_size=64,
            learning_rate=2e-3,
            warmup=100,
            ema=0.99,
        ),
    ),
    "mnist": Experiment(
        name="mnist",
        data="mnist",
        model=ModelConfig(image_shape=(1, 28, 28), channels=(16, 32), dropout=0.0),
        optimisation=Optimisation(
            iterations=3_500, batch_size=64, learning_rate=1e-3, warmup=500, ema=0.999
        ),
    ),
    "mnist-paper": Experiment(
        name="mnist-paper",
        data="mnist",
        model=ModelConfig(image_shape=(1, 28, 28), parametrisation="paper", features="fourier"),
        weighting="sigma2",
    ),
}
"""The runs the book uses, and the paper's settings for comparison."""
