"""Training: a loop that yields its state, and how long and how fast it runs.

loop            training_loop, a generator;   state   what it yields, saves and resumes from
randomness      what a step draws, from (seed, step, process)
optimisation    budget and rates;   optimisers   Adam, and Muon for the matrices
"""

from scorerep.training.loop import make_accelerator, training_loop
from scorerep.training.optimisation import Optimisation
from scorerep.training.state import TrainingDiverged, TrainingState

__all__ = [
    "Optimisation",
    "TrainingDiverged",
    "TrainingState",
    "make_accelerator",
    "training_loop",
]
