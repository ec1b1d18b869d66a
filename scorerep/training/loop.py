"""The training loop: a generator that yields its state after every step.

    for state in training_loop(model, data, objective, optimisation, seed=0):
        print(state.step, state.losses.matching)     # log, save, evaluate or stop as you like

The caller owns logging, checkpoints and stopping; ``fit.py`` is one such caller. Devices,
mixed precision and several processes are Accelerate's, the averaged weights torch's own.
Stopped at any step and resumed, a run gives the same weights to the last bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from torch.optim.swa_utils import AveragedModel

from scorerep import checkpoint
from scorerep.data.batches import batch_indices
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Draws, Losses, Objective
from scorerep.times import UniformTime
from scorerep.training.optimisation import Optimisation
from scorerep.training.optimisers import make_optimizer, set_rates
from scorerep.types import Data, Labels


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is still good."""


@dataclass
class TrainingState:
    """What the loop yields. ``step`` counts the finished steps; the rest is live, not a copy."""

    step: int
    losses: Losses | None
    model: ScoreModel
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    accelerator: Accelerator

    @property
    def averaged(self) -> ScoreModel:
        """The model with averaged weights, the one to use."""
        return self.ema.module

    def save(self, path: Path, **metadata: str):
        """Everything that resuming needs, as one safetensors file."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= {"ema_updates": self.ema.n_averaged}
        tensors |= checkpoint.optimizer_tensors(self.optimizer)
        tensors |= checkpoint.random_tensors(self.generator)
        metadata = {**metadata, "step": str(self.step)}
        if self.accelerator.scaler is not None:
            scaler = self.accelerator.scaler.state_dict()
            metadata |= {f"scaler.{k}": repr(v) for k, v in scaler.items()}
        checkpoint.write_tensors(path, tensors, metadata)

    def load(self, path: Path):
        """Go on where ``save`` left off; ``CheckpointError`` for a damaged or unfitting file."""
        tensors, metadata = checkpoint.read_tensors(path)
        try:
            for module, prefix in ((self.model, "model."), (self.averaged, "ema.")):
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
            self.ema.n_averaged.copy_(tensors["ema_updates"])
            checkpoint.load_optimizer_tensors(self.optimizer, tensors)
            checkpoint.load_random_tensors(self.generator, tensors)
            self.step = int(metadata["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{path} is not the training state of this experiment: {str(error).splitlines()[0]}"
            ) from None
        if self.accelerator.scaler is not None and "scaler.scale" in metadata:
            names = ("scale", "growth_factor", "backoff_factor", "growth_interval")
            state = {k: float(metadata[f"scaler.{k}"]) for k in names}
            state["growth_interval"] = int(state["growth_interval"])
            state["_growth_tracker"] = int(metadata["scaler._growth_tracker"])
            self.accelerator.scaler.load_state_dict(state)


class Loss(nn.Module):
    """Objective and model as one module, whose ``forward`` several processes can wrap."""

    def __init__(self, model: ScoreModel):
        super().__init__()
        self.model = model

    def forward(self, objective: Objective, x_0: Data, draws: Draws, y: Labels | None) -> Losses:
        return objective(self.model, x_0, draws, y)


def training_loop(
    model: ScoreModel,
    data: ImageData,
    objective: Objective,
    optimisation: Optimisation,
    seed: int = 0,
    resume: Path | None = None,
    accelerator: Accelerator | None = None,
) -> Iterator[TrainingState]:
    """Train ``model`` on ``data``; yields the state after each step (first after resuming, if any).

    Args:
        model: trained in place; the state's ``averaged`` is the one to use afterwards.
        data: images in memory; labels are used by a model of labels only.
        objective: of the first ``iterations`` steps; the frozen phase replaces t by uniform t.
        seed: of batches, noise and dropout.
        resume: a file that ``TrainingState.save`` wrote.

    Raises:
        TrainingDiverged: at the first loss that is not finite, before it reaches the weights.
        ValueError: if the batch is larger than the data or not divisible by the processes.
    """
    accelerator = accelerator or make_accelerator(optimisation)
    ranks, rank = accelerator.num_processes, accelerator.process_index
    if not 0 < optimisation.batch_size <= len(data) or optimisation.batch_size % ranks:
        raise ValueError(
            f"batch_size must be at most the {len(data)} images and divisible by the "
            f"{ranks} processes, got {optimisation.batch_size}"
        )
    data = data.to(accelerator.device)
    model.to(accelerator.device).train()
    if accelerator.device.type == "cuda":  # where convolutions are faster so
        model.to(memory_format=torch.channels_last)
    torch.manual_seed(seed)
    # A generator of its own: previews that a caller draws between steps do not change the run.
    generator = torch.Generator(accelerator.device).manual_seed(seed)
    if optimisation.compile:
        model.network.compile()

    loss = accelerator.prepare(Loss(model))
    optimizer = accelerator.prepare(make_optimizer(model, optimisation))
    ema = AveragedModel(model, multi_avg_fn=ramped_average(optimisation.ema))
    state = TrainingState(0, None, model, ema, optimizer, generator, accelerator)
    if resume is not None:
        state.load(resume)

    dtype = next(model.parameters()).dtype
    for step in range(state.step, optimisation.total_iterations):
        if step >= optimisation.iterations and not objective.frozen_encoder:
            # The averaged encoder is the one that stays: the score network must learn its codes.
            if model.encoder is not None:
                model.encoder.load_state_dict(ema.module.encoder.state_dict())
            objective = replace(objective, times=UniformTime(), proposal=None, frozen_encoder=True)
        indices = batch_indices(step, len(data), optimisation.batch_size, seed)
        indices = indices.to(accelerator.device)
        x_0 = data.batch(indices).to(dtype)
        # Drawn for the global batch on every process, then cut: two processes equal one.
        draws = objective.draw(x_0, model.config.latent, generator)
        x_0, draws = x_0.chunk(ranks)[rank], draws.part(rank, ranks)
        y = data.labels[indices].chunk(ranks)[rank] if model.config.num_classes else None
        set_rates(optimizer, optimisation, step)
        regulariser_weight = objective.regulariser_weight * optimisation.regulariser_at(step)
        optimizer.zero_grad()
        with accelerator.autocast():
            losses = loss(replace(objective, regulariser_weight=regulariser_weight), x_0, draws, y)
        losses_mean = Losses(*accelerator.reduce(torch.stack([*losses]).detach(), "mean"))
        if not bool(losses_mean.total.isfinite()):
            raise TrainingDiverged(
                f"the loss is {float(losses_mean.total)} at step {step + 1}: the last checkpoint "
                "is kept; try a smaller learning_rate or precision='no'"
            )
        accelerator.backward(losses.total)
        accelerator.clip_grad_norm_(model.parameters(), optimisation.clip)
        optimizer.step()
        ema.update_parameters(model)
        state.step, state.losses = step + 1, losses_mean
        yield state


def make_accelerator(optimisation: Optimisation) -> Accelerator:
    """Accelerate's choice of device and processes."""
    precision = optimisation.precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        # Accelerate keeps one precision a process; a notebook trains with another after all.
        AcceleratorState._reset_state()
    # The encoder gets no gradient once it is frozen.
    unused = DistributedDataParallelKwargs(
        find_unused_parameters=optimisation.frozen_iterations > 0
    )
    # Without a GPU, processes that torchrun started find each other only when told so.
    cpu = not torch.accelerator.is_available()
    return Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=[unused])


def ramped_average(decay: float):
    """The reference code's averaging: decay min(decay, (1 + n)/(10 + n)) after n updates."""

    def average(averaged, current, updates):
        n = int(updates)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average
