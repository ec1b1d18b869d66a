"""The runs of the book, named after the paper's figures, at three budgets.

    PAPER["fig3"]                   the paper's settings (A.1)
    at_budget("fig3", "book")       what this book's weights had
    at_budget("fig3", "smoke")      what the tests run

``PAPER`` says what each run is; a ``Budget`` says how large, how long and how made.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from scorerep.model import ModelConfig
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.training import Optimisation

# The paper's networks (A.1). DDPM++ has dropout 0.1, the features of log σ are positional as
# its own, and attention stands at 16×16, a level that MNIST's 28 and 14 do not have.
MNIST_NETWORK = ModelConfig(image_shape=(1, 28, 28), channels=(32, 64), parametrisation="paper")
CIFAR_NETWORK = replace(
    MNIST_NETWORK, image_shape=(3, 32, 32), channels=(32, 32, 32), attention=(16,)
)
CIFAR_DEEP_NETWORK = replace(CIFAR_NETWORK, channels=(32, 64, 64, 64), blocks=8)

TIMES = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)
"""Noise levels of a sweep (Figure 4)."""
SEEDS = (0, 1, 2)

MNIST = Experiment(
    data="mnist",
    model=MNIST_NETWORK,
    weighting="sigma2",
    optimisation=Optimisation(iterations=80_000),
)
CIFAR = Experiment(
    data="cifar10",
    model=CIFAR_NETWORK,
    weighting="sigma2",
    optimisation=Optimisation(iterations=90_000),
)
CIFAR_DEEP = replace(CIFAR, model=CIFAR_DEEP_NETWORK, optimisation=Optimisation(iterations=300_000))
THREE_CLASSES = ("airplane", "automobile", "bird")
TWO_PHASES = Optimisation(iterations=80_000, frozen_iterations=80_000)


def with_kl(experiment: Experiment) -> Experiment:
    """The same with a probabilistic encoder and the paper's KL weight."""
    return replace(
        experiment,
        model=replace(experiment.model, probabilistic=True),
        regulariser="kl",
        regulariser_weight=1e-7,
    )


def with_latent(experiment: Experiment, latent: int) -> Experiment:
    return replace(experiment, model=replace(experiment.model, latent=latent))


OWN = "pictures"
"""Where your own pictures are looked for if no other place is named."""
HIGH_NOISE = replace(MNIST, times="uniform_sigma", optimisation=TWO_PHASES)
PAPER: dict[str, Experiment] = {
    "fig2ab": MNIST,
    "fig2cd": replace(CIFAR_DEEP, classes=THREE_CLASSES),
    "fig3": with_kl(HIGH_NOISE),
    "fig4-mnist": replace(MNIST, times="single_t"),
    "fig4-cifar": replace(CIFAR, times="single_t", classes=THREE_CLASSES),
    "fig5": with_kl(MNIST),
    "fig6": with_kl(replace(CIFAR_DEEP, classes=THREE_CLASSES)),
    "fig7": HIGH_NOISE,
    "fig8": CIFAR_DEEP,
    "fig9": with_kl(CIFAR_DEEP),
    "fig10": replace(
        MNIST,
        model=replace(MNIST_NETWORK, latent=0),
        regulariser="none",
        regulariser_weight=0.0,
    ),
    "fig11-4": with_latent(MNIST, 4),
    "fig11-8": with_latent(MNIST, 8),
    "fig11-16": with_latent(MNIST, 16),
    "digits": Experiment(times="single_t"),
    "own": replace(MNIST, data=OWN, times="single_t", optimisation=TWO_PHASES),
}
"""One value a run at the paper's settings. "fig10" is the model without a code beside the others;
the quick start on scikit-learn's digits and the run on your own pictures are not of the paper."""


@dataclass(frozen=True)
class Budget:
    """How large, how long and how made; data, code, regulariser and density of t are the run's."""

    optimisation: Optimisation
    """Iterations, batch, learning rate, averaging, precision."""
    network: Literal["unet", "dense"] = "unet"
    """Kind of the score network."""
    channels: tuple[int, ...] = (16, 32)
    """Its width."""
    encoder_channels: tuple[int, ...] = ()
    """The encoder's, where it differs."""
    blocks: int = 2
    """Residual blocks per resolution."""
    draws_per_image: int = 1
    """Noise draws for each encoded image."""
    proposal: Literal["none", "log_normal"] = "none"
    """Importance sampling of σ; the objective stays the same."""
    encoder_phase: EncoderPhase | None = None
    """A first phase of its own for the encoder."""

    def of(self, experiment: Experiment) -> Experiment:
        """``experiment`` at this budget: preconditioned after EDM, no attention, no dropout."""
        model = replace(
            experiment.model,
            network=self.network,
            channels=self.channels,
            encoder_channels=self.encoder_channels,
            blocks=self.blocks,
            attention=(),
            dropout=0.0,
            parametrisation="edm",
        )
        return replace(
            experiment,
            model=model,
            optimisation=self.optimisation,
            encoder_phase=self.encoder_phase,
            draws_per_image=self.draws_per_image,
            proposal=self.proposal,
            weighting="tau2",
        )


def _schedule(iterations: int, **changes) -> Optimisation:
    common = {"batch_size": 32, "learning_rate": 1e-3, "warmup": 300, "precision": "bf16"}
    return Optimisation(iterations, **(common | changes))


def muon_schedule(iterations: int, **changes) -> Optimisation:
    """Muon and a linear decay: for a U-Net, uniform t, about 32 images a step, bfloat16.

    At a third of the processor seconds it reaches the held-out loss of the book's schedule by Adam:
    mean over nine levels, three seeds a side, without a code (results/recipe_quality.csv). The
    length must be known beforehand: a decay ends with it.
    """
    return _schedule(iterations, **({"optimizer": "muon", "warmup": 50, "decay": 0.4} | changes))


# bfloat16 is half as fast again as float32 on a processor that has it, slower on one that has not.
JOINT = Budget(_schedule(3_500, batch_size=64))
"""Encoder and U-Net together, on MNIST."""


def then_frozen(budget: Budget, iterations: int = 10_000) -> Budget:
    """``budget`` as the first of two phases; in the second the score network alone goes on."""
    first = EncoderPhase(
        budget.network, budget.channels, budget.optimisation, budget.draws_per_image
    )
    longer = muon_schedule(0, frozen_iterations=iterations)
    return replace(budget, optimisation=longer, encoder_phase=first)


_CIFAR = Budget(_schedule(3_000), channels=(16, 32, 32, 32))
# At high noise the best estimate is a matter of the whole picture: a dense score network finds
# what the code should say many times sooner. It is no use at low noise, and makes no samples.
_DENSE = ("dense", (512, 512, 512))
_TWO_PHASES = Budget(
    _schedule(0, frozen_iterations=4_000),
    encoder_channels=(16, 32),
    proposal="log_normal",
    encoder_phase=EncoderPhase(
        *_DENSE, _schedule(2_000, warmup=100, regulariser_warmup=500), draws_per_image=8
    ),
)
_SINGLE_T = Budget(
    _schedule(1_500, warmup=100, regulariser_warmup=500),
    *_DENSE,
    encoder_channels=(16, 32),
    draws_per_image=4,
)
# The code by a dense network at one noise level, then samples by a U-Net with that code.
_OWN = Budget(
    _schedule(0, frozen_iterations=1_500, warmup=100, precision="no"),
    encoder_channels=(16, 32),
    encoder_phase=EncoderPhase(
        *_DENSE,
        _schedule(1_000, warmup=100, regulariser_warmup=500, precision="no"),
        draws_per_image=4,
    ),
)
BOOK: dict[str, Budget] = {
    "own": _OWN,
    "fig2ab": then_frozen(
        replace(JOINT, optimisation=_schedule(3_500, batch_size=64, warmup=500, precision="no"))
    ),
    "fig2cd": _CIFAR,
    "fig3": replace(_TWO_PHASES, optimisation=_schedule(0, frozen_iterations=10_000)),
    "fig4-mnist": _SINGLE_T,
    "fig4-cifar": replace(
        _SINGLE_T,
        optimisation=_schedule(750, warmup=100, regulariser_warmup=500, precision="no"),
        channels=(256, 256, 256),
        encoder_channels=(16, 16, 16),
    ),
    "fig5": then_frozen(JOINT),
    "fig6": _CIFAR,
    "fig7": _TWO_PHASES,
    "fig8": _CIFAR,
    "fig9": _CIFAR,
    "fig10": JOINT,
    "fig11-4": JOINT,
    "fig11-8": JOINT,
    "fig11-16": JOINT,
}
"""What the weights of this book had, on two CPU cores."""

SMOKE = Budget(
    Optimisation(iterations=4, frozen_iterations=2, batch_size=16, learning_rate=1e-3, warmup=2),
    channels=(4, 8),
    blocks=1,
)
"""A few seconds; what the tests run."""

BudgetName = Literal["paper", "book", "smoke"]


def at_budget(name: str, budget: BudgetName = "book") -> Experiment:
    """The run ``name`` at a budget; ``ValueError`` for a name or budget that is not known."""
    if name not in PAPER:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(PAPER)}")
    if budget not in BUDGETS:
        raise ValueError(f"no budget {budget!r}; there are {', '.join(BUDGETS)}")
    experiment = replace(PAPER[name], name=name)
    if budget == "smoke":
        frozen = 2 if experiment.optimisation.frozen_iterations else 0
        smoke = replace(SMOKE, optimisation=replace(SMOKE.optimisation, frozen_iterations=frozen))
        return smoke.of(experiment)
    if budget == "book" and name in BOOK:
        return BOOK[name].of(experiment)
    return experiment


BUDGETS: tuple[BudgetName, ...] = get_args(BudgetName)
"""The paper's A.1; two CPU cores and a quarter of an hour or so each; a test's few seconds."""
