"""Train into a folder: progress, checkpoints, card. The caller of ``training_loop``.

A run can be stopped at any moment and is continued by the same call. Stopped by Ctrl-C or
SIGTERM it finishes its step and saves; killed, it goes on from its last save.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from scorerep import checkpoint
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Losses, Objective
from scorerep.runs import folder as folders
from scorerep.runs.experiment import Experiment
from scorerep.runs.stop import Stopped, any_process, stop_noted
from scorerep.training import Optimisation, make_accelerator, training_loop
from scorerep.types import checks

LOG = logging.getLogger(__name__)
AGREE_EVERY = 10  # steps between two looks of several processes at whether one was stopped
COLLAPSED = 1e-3  # a code whose standard deviation is below this carries nothing


def fit(
    experiment: Experiment,
    data: ImageData,
    folder: Path,
    save_every: float = 120.0,
    progress: bool = True,
    tensorboard: bool = False,
    stop_after: int | None = None,
    start: Path | None = None,
) -> ScoreModel:
    """Train, or go on training, ``experiment`` on ``data``; returns the averaged model.

    No loss of held-out images is computed on the way: a loop of your own over ``training_loop``
    can do so between two steps, with ``state.averaged``.

    Args:
        folder: receives ``model.safetensors``, ``training.safetensors`` and ``card.json``; a
            first phase of its own for the encoder lives in ``folder/encoder``.
        save_every: seconds between checkpoints; infinite for one at the end.
        tensorboard: also write event files to ``folder/tensorboard``.
        stop_after: stop at this step, as if interrupted (for tests and for short sessions).
        start: a folder of weights, encoder and all, that a new run begins with instead of
            random ones; it takes the place of a first phase of the encoder's own.

    Raises:
        CheckpointError: folder not writable, damaged, of another experiment or other data, or
            with weights and without the state that more steps would go on from.
        ModuleNotFoundError: ``tensorboard`` is not installed.
        Stopped: by Ctrl-C or SIGTERM; everything is saved.
        TrainingDiverged: the loss is no longer finite; the last checkpoint stays.
        ValueError: the data's image shape or number of classes is not the model's.
    """
    folder, first = Path(folder), experiment.first_phase()
    _check_limits(save_every, stop_after)
    folders.check_data(experiment, data)
    objective = experiment.objective()
    writer = summary_writer(folder / "tensorboard") if tensorboard else None
    checkpoint.check_writable(folder)
    card = folders.card_to_go_on_with(folder, experiment, data, folders.new_card(experiment, data))
    if folders.finished_without_state(folder, experiment, card):
        device = make_accelerator(experiment.optimisation).device
        return ScoreModel.from_pretrained(folder, str(device))
    known = None
    if first is not experiment and start is None and card["iterations_done"] == 0:
        known = fit(first, data, folder / "encoder", save_every, progress, tensorboard)
        learned = checkpoint.read_card(folder / "encoder")
        card["encoder_phase"] = {k: learned[k] for k in ("iterations_done", "seconds", "losses")}
    torch.manual_seed(experiment.seed)
    model = ScoreModel(experiment.model)
    if known is not None and known.config == model.config:
        model.load_state_dict(known.state_dict())
    elif known is not None:
        model.encoder.load_state_dict(known.encoder.state_dict())
    if start is not None and card["iterations_done"] == 0:
        checkpoint.load_weights(model, Path(start) / "model.safetensors")
        began = checkpoint.read_card(start)
        card["start"] = {k: began.get(k) for k in ("iterations_done", "seconds", "seed")}
        learned = began.get("encoder_phase", began)
        card["encoder_phase"] = {k: learned[k] for k in ("iterations_done", "seconds", "losses")}
    model, card = fit_module(
        model, data, objective, experiment.optimisation, experiment.seed, card=card,
        state_file=folder / folders.STATE, folder=folder, stop_after=stop_after,
        save_every=save_every, name=experiment.name, progress=progress, writer=writer,
    )  # fmt: skip
    if model.config.latent and card["losses"] and card["losses"][-1]["code_std"] < COLLAPSED:
        LOG.warning(
            "the code of %s has collapsed: it is the same for all images; a lower single_t or "
            "regulariser_weight, or more steps, may help",
            experiment.name,
        )
    return model


def train_for(
    seconds: float,
    model: nn.Module,
    data: ImageData,
    objective: Objective,
    optimisation: Optimisation,
    seed: int = 0,
    path: Path | None = None,
    save_every: float = 30.0,
) -> tuple[nn.Module, int]:
    """Train for so many processor seconds; the averaged model and the number of steps.

    Seconds of all threads of this process are counted, so that a busy machine does not
    shorten a run. On a GPU they are those of the processor that feeds it and waits for it, and
    say little of the GPU: limit the steps there, by ``optimisation.iterations``, which is a
    limit here as well.

    Args:
        path: the state is kept there, and a run that was stopped goes on from it; of a run that
            is over, its model is returned.
        save_every: processor seconds between two saves.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    card = {"iterations_done": 0, "seconds": 0.0, "losses": []}
    if path is not None and Path(path).exists():
        card = folders.state_card(Path(path))
    model, card = fit_module(
        model, data, objective, optimisation, seed, card=card, state_file=path,
        processor_seconds=seconds, save_every=save_every, progress=False,
    )  # fmt: skip
    return model, card["iterations_done"]


def _check_limits(save_every: float, stop_after: int | None):
    if save_every != math.inf:
        checks.number("save_every", save_every, least=0.0)
    if stop_after is not None:
        checks.whole("stop_after", stop_after, 1)


def named(losses: Losses) -> dict[str, float]:
    """What a card keeps of the losses of a score model."""
    names = ("matching", "regulariser", "code_std")
    return {name: float(getattr(losses, name)) for name in names}


def fit_module(
    model: nn.Module,
    data: ImageData,
    objective: Objective,
    optimisation: Optimisation,
    seed: int = 0,
    *,
    card: dict[str, Any],
    state_file: Path | None = None,
    folder: Path | None = None,
    stop_after: int | None = None,
    processor_seconds: float | None = None,
    save_every: float = 120.0,
    name: str = "training",
    progress: bool = True,
    writer: Any = None,
    losses_named: Callable[[Losses], dict[str, float]] = named,
) -> tuple[nn.Module, dict[str, Any]]:
    """What every run into a folder does: train on, log, save, stop; the averaged model, its card.

    It ends at the last iteration, at ``stop_after`` or after ``processor_seconds``, and then
    saves; where nothing is left to do, the model comes from the state.

    Args:
        card: "iterations_done", "seconds" and "losses" are kept up to date; the rest is the
            caller's. It must be that of ``state_file`` if there is one.
        state_file: everything that going on needs; nothing is kept without it.
        folder: also receives the averaged weights, by ``model.save_pretrained``, and the card.
        save_every: seconds between two saves, of the processor if its seconds are the limit.
        name: on the progress bar.
        writer: of TensorBoard's event files, or None.
        losses_named: entries of the card for the mean losses of a hundredth of the run.
    """
    _check_limits(save_every, stop_after)
    clock = time.monotonic if processor_seconds is None else time.process_time
    accelerator, total = make_accelerator(optimisation), optimisation.total_iterations
    resume = state_file if state_file is not None and Path(state_file).exists() else None
    last = min(total, stop_after or total)
    if accelerator.is_main_process and state_file is not None:
        folders.clean(state_file, folder)
    done, limit = card["iterations_done"], processor_seconds or float("inf")
    if resume and (done >= last or card["seconds"] >= limit):
        if done > last:
            LOG.warning("%s has done %d steps, more than the %d asked for", name, done, last)
        model = folders.restore(model, resume, folder, card, accelerator.is_main_process)
        accelerator.wait_for_everyone()
        return model.to(accelerator.device).eval(), card

    window = folders.unfinished_window(resume, accelerator.device) if resume else []
    window_size = max(1, total // 100)
    loop = training_loop(model, data, objective, optimisation, seed, resume, accelerator)
    bar = tqdm(
        total=total, initial=done, desc=name,
        disable=not (progress and accelerator.is_main_process),
    )  # fmt: skip
    started, saved = clock() - card["seconds"], card["seconds"]
    try:
        with stop_noted() as stop:
            for state in loop:
                window.append(torch.stack([*state.losses]).detach())
                bar.update()
                if state.step % window_size == 0 or state.step == total:
                    means = accelerator.reduce(torch.stack(window).mean(0), "mean")
                    entry = losses_named(Losses(*means))
                    card["losses"].append({"step": state.step, **entry})
                    bar.set_postfix({k: f"{v:.4g}" for k, v in entry.items()})
                    if writer is not None:
                        for key, value in entry.items():
                            writer.add_scalar(key, value, state.step)
                    window.clear()
                now = clock() - started
                card |= {"iterations_done": state.step, "seconds": now}
                over = state.step >= last
                if not over and (accelerator.num_processes == 1 or state.step % AGREE_EVERY == 0):
                    over = any_process(accelerator, now >= limit or bool(stop))
                if over or now - saved >= save_every:
                    if accelerator.is_main_process and state_file is not None:
                        folders.save(state, card, window, state_file, folder)
                    saved = now
                if over:
                    break
            if stop:
                raise Stopped(state.step, stop[0], kept=state_file is not None)
    finally:
        bar.close()
        if writer is not None:
            writer.close()
    accelerator.wait_for_everyone()  # the first process has written by then
    return state.averaged.eval(), card


def summary_writer(folder: Path) -> Any:
    """TensorBoard's, on the first process only."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tensorboard is not installed: pip install 'scorerep[tensorboard]'", name=error.name
        ) from None
    return SummaryWriter(folder) if int(os.environ.get("RANK", 0)) == 0 else None


def load_experiment(folder: Path) -> Experiment:
    """The experiment that the weights in ``folder`` came from."""
    return checkpoint.read_entry(folder, "experiment", Experiment)
