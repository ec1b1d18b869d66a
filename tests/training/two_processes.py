"""Seven steps in float64, by as many processes as launched it; the first writes the weights."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from accelerate import Accelerator

from scorerep.checkpoint import write_tensors
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop

torch.set_num_threads(1)
torch.manual_seed(0)
config = ModelConfig(
    image_shape=(1, 8, 8), channels=(8, 8), blocks=1, dropout=0.0, probabilistic=True
)
model = ScoreModel(config).double()
objective = Objective(UniformTime(), regulariser="kl", regulariser_weight=1e-3, draws_per_image=2)
budget = Optimisation(iterations=5, batch_size=16, learning_rate=1e-2, warmup=1)
accelerator = Accelerator(cpu=True)
data, written = load_data("digits"), {}
for state in training_loop(model, data, objective, budget, accelerator=accelerator):
    # All but the last, a standard deviation within each part of the batch.
    written[f"losses.{state.step}"] = torch.stack(state.mean_losses()[:3])
# A second phase of a caller's own, with the encoder frozen from its first step.
frozen = replace(objective, frozen_encoder=True)
halved = replace(budget, iterations=2, accumulate=2)
for state in training_loop(model, data, frozen, halved, accelerator=accelerator):
    written[f"frozen.{state.step}"] = torch.stack(state.mean_losses()[:3])
if accelerator.is_main_process:
    write_tensors(Path(sys.argv[1]), written | model.state_dict())
accelerator.end_training()
