"""Training: a loop that yields its state, and how long and how fast it runs.

loop            training_loop, a generator
optimisation    budget and rates;   optimisers   Adam, and Muon for the matrices
"""

from scorerep.training.loop import (
    TrainingDiverged,
    TrainingState,
    make_accelerator,
    training_loop,
)
from scorerep.training.optimisation import Optimisation

__all__ = [
    "Optimisation",
    "TrainingDiverged",
    "TrainingState",
    "make_accelerator",
    "training_loop",
]
