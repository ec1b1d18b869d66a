"""The training loop: a generator that yields its state after every step.

    for state in training_loop(model, data, objective, optimisation, seed=0):
        print(state.step, state.losses.matching)     # log, save, evaluate or stop as you like

The caller owns logging, checkpoints and stopping; ``fit.py`` is one such caller. Devices,
mixed precision and several processes are Accelerate's, the averaged weights torch's own.
Stopped at any step and resumed, a run gives the same weights to the last bit on the CPU; on a
GPU up to the order in which its kernels sum. A step reads no value of the device: who prints a
loss waits for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from torch.optim.swa_utils import AveragedModel

from scorerep.data.batches import Batches, batch_indices
from scorerep.model import ScoreModel
from scorerep.objective import Draws, Losses, Objective
from scorerep.times import UniformTime
from scorerep.training.optimisation import Optimisation
from scorerep.training.optimisers import make_optimizer, set_rates
from scorerep.training.randomness import dropout_of, seed_draws
from scorerep.training.state import TrainingState
from scorerep.types import Data, Labels, checks
from scorerep.types.devices import readable

CHECK_EVERY = 100  # steps on an accelerator between two looks at whether all losses were finite


class Loss(nn.Module):
    """Objective and model as one module, whose ``forward`` several processes can wrap."""

    def __init__(self, model: ScoreModel):
        super().__init__()
        self.model = model

    def forward(self, objective: Objective, x_0: Data, draws: Draws, y: Labels | None) -> Losses:
        return objective(self.model, x_0, draws, y)


def training_loop(
    model: ScoreModel,
    data: Batches,
    objective: Objective,
    optimisation: Optimisation,
    seed: int = 0,
    resume: Path | None = None,
    accelerator: Accelerator | None = None,
) -> Iterator[TrainingState]:
    """Train ``model`` on ``data``; yields the state after each step (first after resuming, if any).

    Args:
        model: trained in place; the state's ``averaged`` is the one to use afterwards. A
            ``ScoreModel``, or any module of what the objective asks: without a ``config`` it has
            no labels and draws no code.
        data: anything of a length with ``batch(indices)`` and ``to(device)``, images or points;
            its ``labels`` are used by a model of labels only. Every process has all of it and
            prepares the whole batch, of which it takes its share: meant for up to eight GPUs.
        objective: of the first ``iterations`` steps; the frozen phase replaces t by uniform t.
        seed: of batches, noise and dropout, in 0..2³² − 1. Torch's own stream is left as it is.
            Several processes draw other dropout masks than one would: their run is that of one
            process with dropout 0 only.
        resume: a file that ``TrainingState.save`` wrote, on this or another kind of device.

    Raises:
        TrainingDiverged: at the first loss or gradient that is not finite, before it reaches the
            weights; on an accelerator at the latest ``CHECK_EVERY`` steps after it, and before
            anything of it is saved or handed out as ``averaged``.
        ValueError: if the batch is larger than the data or not divisible by the processes, the
            data have no labels for a model of them, or the seed is out of range; at once.
    """
    accelerator = accelerator or make_accelerator(optimisation)
    pieces = accelerator.num_processes * optimisation.accumulate
    if not 0 < optimisation.batch_size <= len(data) or optimisation.batch_size % pieces:
        raise ValueError(
            f"batch_size must be at most the {len(data)} images and divisible by processes times "
            f"accumulate, {pieces}, got {optimisation.batch_size}"
        )
    seed = checks.whole("seed", seed, 0, 2**32 - 1)
    if _config(model, "num_classes") and getattr(data, "labels", None) is None:
        raise ValueError("data must have labels, (len(data),) integers, for a model of num_classes")
    return _steps(model, data, objective, optimisation, seed, resume, accelerator)


def _steps(model, data, objective, optimisation, seed, resume, accelerator):
    device = accelerator.device
    data = data.to(device)
    model.to(device).train()
    # The encoder gets no gradient once it is frozen.
    if objective.frozen_encoder or optimisation.frozen_iterations:
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    # Weights keep the caller's layout: whether channels_last pays was not measured.
    loss = Loss(model)
    if optimisation.compile:
        loss.compile()

    loss = accelerator.prepare(loss)
    optimizer = accelerator.prepare(make_optimizer(model, optimisation))
    rate = ramped_average(optimisation.ema, lambda: state.step)
    ema = AveragedModel(model, multi_avg_fn=rate)
    ema.module.eval().requires_grad_(False)
    state = TrainingState(0, None, model, ema, optimizer, accelerator)
    if resume is not None:
        state.load(resume)

    dtype, generator = next(model.parameters()).dtype, torch.Generator(device)
    latent, labelled = _config(model, "latent"), _config(model, "num_classes") > 0
    for step in range(state.step, optimisation.total_iterations):
        if step >= optimisation.iterations and not objective.frozen_encoder:
            # The averaged encoder is the one that stays: the score network must learn its codes.
            if model.encoder is not None:
                model.encoder.load_state_dict(ema.module.encoder.state_dict())
            objective = replace(objective, times=UniformTime(), proposal=None, frozen_encoder=True)
        indices = batch_indices(step, len(data), optimisation.batch_size, seed, device)
        x_0 = data.batch(indices).to(device, dtype)
        # Drawn for the global batch on every process, then cut: but for dropout, two equal one.
        draws = objective.draw(x_0, latent, seed_draws(generator, seed, step))
        y = data.labels[indices] if labelled else None
        set_rates(optimizer, optimisation, step)
        regulariser_weight = objective.regulariser_weight * optimisation.regulariser_at(step)
        now = replace(objective, regulariser_weight=regulariser_weight)
        optimizer.zero_grad()
        with fast_products(device), dropout_of(seed, step, accelerator.process_index, device):
            losses = backward(accelerator, loss, optimisation.accumulate, now, x_0, draws, y)
        norm = accelerator.clip_grad_norm_(model.parameters(), optimisation.clip)
        # A gradient scaler meets infinite gradients on its way, and skips those steps itself.
        state.note(losses.total, *([] if accelerator.scaler else [norm]))
        last = step + 1 == optimisation.total_iterations
        if readable(losses.total) or last or (step + 1) % CHECK_EVERY == 0:
            state.check()
        optimizer.step()
        ema.update_parameters(model)
        state.step, state.losses = step + 1, losses
        yield state


def _config(model: nn.Module, name: str) -> int:
    """A number of the model's config: 0 where it has no config, or none of this name."""
    return getattr(getattr(model, "config", None), name, 0)


def backward(
    accelerator: Accelerator,
    loss: nn.Module,
    parts: int,
    objective: Objective,
    x_0: Data,
    draws: Draws,
    y: Labels | None,
) -> Losses:
    """Add the gradients of this process's share of the batch, in ``parts``; its mean losses."""
    pieces, first, losses = accelerator.num_processes * parts, accelerator.process_index * parts, []
    for piece in range(first, first + parts):
        y_part = None if y is None else y.chunk(pieces)[piece]
        # Processes exchange their gradients once, with the last part.
        last = piece == first + parts - 1
        with nullcontext() if last else accelerator.no_sync(loss):
            with accelerator.autocast():
                found = loss(objective, x_0.chunk(pieces)[piece], draws.part(piece, pieces), y_part)
            accelerator.backward(found.total / parts)
        losses.append(torch.stack([*found]).detach())
    return Losses(*torch.stack(losses).mean(0))


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """On CUDA: float32 products in TensorFloat-32, as convolutions are, and timed convolutions."""
    if device.type != "cuda":
        yield
        return
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark


def make_accelerator(optimisation: Optimisation) -> Accelerator:
    """Accelerate's choice of device and processes."""
    precision = optimisation.precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        # Accelerate keeps one precision a process; a notebook trains with another after all.
        AcceleratorState._reset_state()
    # Without a GPU, processes that torchrun started find each other only when told so.
    cpu = not torch.accelerator.is_available()
    return Accelerator(mixed_precision=precision, cpu=cpu)


def ramped_average(decay: float, updates: Callable[[], int]):
    """The reference code's averaging: decay min(decay, (1 + n)/(10 + n)) after n updates."""

    def average(averaged, current, _):
        n = updates()  # torch's own count would be read from the device
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average
