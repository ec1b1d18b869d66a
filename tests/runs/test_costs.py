"""Operations are counted per image, phase and run as a hand count has them."""

from dataclasses import replace

import pytest
import torch

from scorerep.model import ModelConfig
from scorerep.runs.costs import run_operations, step_operations
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.training import Optimisation

DENSE = Experiment(
    model=ModelConfig(
        image_shape=(1, 8, 8), network="dense", channels=(32, 32), latent=0, dropout=0.0
    ),
    regulariser="none",
    regulariser_weight=0.0,
    optimisation=Optimisation(iterations=10, batch_size=4, warmup=1),
)


def test_dense_network_costs_three_times_its_matrices():
    # Forward, gradient of the weights, gradient of the inputs; 2 operations a weight and image.
    from scorerep.model import ScoreModel

    model = ScoreModel(DENSE.model)
    weights = sum(p.numel() for p in model.network.parameters() if p.ndim == 2)
    counted = step_operations(DENSE)
    # The first layers need no gradient of their inputs.
    assert 2 * 2 * weights < counted <= 3 * 2 * weights


def test_a_run_is_its_steps_times_its_batch():
    assert run_operations(DENSE) == 10 * 4 * step_operations(DENSE)


def test_frozen_steps_are_cheaper_and_counted_apart():
    model = ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1, dropout=0.0)
    experiment = Experiment(
        model=model, optimisation=Optimisation(iterations=3, frozen_iterations=5, batch_size=2)
    )
    together, frozen = step_operations(experiment), step_operations(experiment, frozen=True)
    assert 0 < frozen < together
    assert run_operations(experiment) == 2 * (3 * together + 5 * frozen)


def test_first_phase_of_the_encoder_is_part_of_the_run():
    model = ModelConfig(
        image_shape=(1, 8, 8), channels=(8,), blocks=1, dropout=0.0, encoder_channels=(8,)
    )
    first = Optimisation(iterations=7, batch_size=2)
    experiment = Experiment(
        model=model,
        optimisation=Optimisation(iterations=0, frozen_iterations=5, batch_size=2),
        encoder_phase=EncoderPhase("dense", (16,), first),
    )
    alone = replace(experiment, encoder_phase=None)
    own = 2 * 7 * step_operations(experiment.first_phase())
    assert run_operations(experiment) == pytest.approx(own + run_operations(alone))


def test_counting_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    step_operations(DENSE)
    assert torch.equal(torch.rand(2), expected)
