"""What a run costs on paper: operations, counted and not timed.

A multiplication and an addition are two operations, as in the rates that makers of processors
state. Only convolutions, dense layers and attention are counted (PyTorch's flop counter); the rest
is memory traffic, and one reason why no run reaches a processor's full rate.
"""

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment

COUNTED = 2  # images: a step's operations are the same for each


def step_operations(experiment: Experiment, frozen: bool = False) -> float:
    """Operations of one training step for each image, forward and backward.

    Args:
        frozen: count a step of the frozen phase: the encoder runs forward only.
    """
    # A forward pass leaves no trace in the caller's stream of random numbers.
    with torch.random.fork_rng(devices=[]):
        model = ScoreModel(experiment.model)
        objective = replace(experiment.objective(), frozen_encoder=frozen)
        x_0 = torch.zeros(COUNTED, *experiment.model.image_shape)
        draws = objective.draw(x_0, experiment.model.latent)
        classes = experiment.model.num_classes
        y = torch.zeros(COUNTED, dtype=torch.long) if classes else None
        with FlopCounterMode(display=False) as counter:
            objective(model, x_0, draws, y).total.backward()
    return counter.get_total_flops() / COUNTED


def run_operations(experiment: Experiment) -> float:
    """Operations of a whole run: both phases, and a first one of the encoder's own."""
    optimisation, first = experiment.optimisation, experiment.first_phase()
    total = 0.0 if first is experiment else run_operations(first)
    phases = ((optimisation.iterations, False), (optimisation.frozen_iterations, True))
    for steps, frozen in phases:
        if steps:
            images = steps * optimisation.batch_size
            total += images * step_operations(experiment, frozen)
    return total
