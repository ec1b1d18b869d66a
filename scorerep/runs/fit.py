"""Run an experiment into a folder: progress, checkpoints, card. The caller of ``training_loop``.

The folder can be stopped at any moment and continued by the same command.
"""

import json
import logging
import os
import platform
import time
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from scorerep import checkpoint
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.objective import Objective
from scorerep.runs.experiment import Experiment
from scorerep.training import Optimisation, TrainingState, make_accelerator, training_loop

LOG = logging.getLogger(__name__)
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

    Args:
        folder: receives ``model.safetensors``, ``training.safetensors`` and ``card.json``; a
            first phase of its own for the encoder lives in ``folder/encoder``.
        save_every: seconds between checkpoints.
        tensorboard: also write event files to ``folder/tensorboard``.
        stop_after: stop at this step, as if interrupted (for tests and for short sessions).
        start: a folder of weights, encoder and all, that a new run begins with instead of
            random ones; it takes the place of a first phase of the encoder's own.

    Raises:
        CheckpointError: folder not writable, damaged, or of another experiment or other data.
        TrainingDiverged: the loss is no longer finite; the last checkpoint stays.
        ValueError: the data's image shape is not the model's.
    """
    folder = Path(folder)
    if tuple(data.image_shape) != tuple(experiment.model.image_shape):
        raise ValueError(
            f"{data.name} has images of shape {tuple(data.image_shape)}, but the model of "
            f"{experiment.name!r} expects image_shape={tuple(experiment.model.image_shape)}"
        )
    classes = experiment.model.num_classes
    if classes and classes != len(data.classes):
        raise ValueError(f"model.num_classes is {classes}, {data.name} has {len(data.classes)}")
    checkpoint.check_writable(folder)
    encoder, first = None, experiment.first_phase()
    if first is not experiment and start is None:
        encoder = fit(first, data, folder / "encoder", save_every, progress, tensorboard).encoder
    torch.manual_seed(experiment.seed)
    model = ScoreModel(experiment.model)
    card, resume = _resumable(folder, experiment, data)
    if start is not None and resume is None:
        checkpoint.load_weights(model, Path(start) / "model.safetensors")
        began = checkpoint.read_card(start)
        card["start"] = {k: began.get(k) for k in ("iterations_done", "seconds", "seed")}
        learned = began.get("encoder_phase", began)
        card["encoder_phase"] = {k: learned[k] for k in ("iterations_done", "seconds", "losses")}
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
        learned = checkpoint.read_card(folder / "encoder")
        card["encoder_phase"] = {k: learned[k] for k in ("iterations_done", "seconds", "losses")}
    accelerator = make_accelerator(experiment.optimisation)
    loop = training_loop(
        model, data, experiment.objective(), experiment.optimisation, experiment.seed, resume,
        accelerator,
    )  # fmt: skip
    writer = None
    if tensorboard and accelerator.is_main_process:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(folder / "tensorboard")

    total = experiment.optimisation.total_iterations
    window_size = max(1, total // 100)
    bar = tqdm(
        total=total, initial=card["iterations_done"], desc=experiment.name,
        disable=not (progress and accelerator.is_main_process),
    )  # fmt: skip
    started, saved, window, state = time.monotonic() - card["seconds"], time.monotonic(), [], None
    for state in loop:
        window.append(torch.stack([*state.losses]))
        bar.update()
        if state.step % window_size == 0 or state.step == total:
            matching, regulariser, code_std = torch.stack(window).mean(0)[1:].tolist()
            entry = {
                "step": state.step, "matching": matching, "regulariser": regulariser,
                "code_std": code_std,
            }  # fmt: skip
            card["losses"].append(entry)
            bar.set_postfix({"loss": f"{matching:.4f}", "code std": f"{code_std:.3f}"})
            if writer is not None:
                for key, value in entry.items():
                    writer.add_scalar(key, value, state.step)
            window.clear()
        card |= {"iterations_done": state.step, "seconds": time.monotonic() - started}
        # A checkpoint falls on the end of a window, so that a resumed card equals an unbroken one.
        due = time.monotonic() - saved > save_every and not window
        if due or state.step in (total, stop_after):
            if accelerator.is_main_process:
                save(state, card, folder)
            saved = time.monotonic()
        if state.step == stop_after:
            break
    bar.close()
    if writer is not None:
        writer.close()
    accelerator.wait_for_everyone()  # the first process has written by then
    if state is None:  # nothing left to do
        return ScoreModel.from_pretrained(folder)
    if model.config.latent and card["losses"] and card["losses"][-1]["code_std"] < COLLAPSED:
        LOG.warning("the code of %s has collapsed: it is the same for all images", experiment.name)
    return state.averaged.eval()


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
    shorten a run. ``optimisation.iterations`` is a limit as well; decay counts back from it.

    Args:
        path: the state is kept there, and a run that was stopped goes on from it.
        save_every: processor seconds between two saves.
    """
    if seconds <= 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    used = 0.0
    if path is not None and path.exists():
        used = float(checkpoint.read_tensors(path)[1]["seconds"])
    loop = training_loop(
        model, data, objective, optimisation, seed,
        resume=path if used else None, accelerator=make_accelerator(optimisation),
    )  # fmt: skip
    started, saved = time.process_time() - used, used
    for state in loop:
        now = time.process_time() - started
        if path is not None and now - saved >= save_every:
            state.save(path, seconds=repr(now))
            saved = now
        if now >= seconds:
            break
    return state.averaged.eval(), state.step


def save(state: TrainingState, card: dict[str, Any], folder: Path):
    """One checkpoint: the state to resume from first, then the weights to use and their card."""
    state.save(folder / "training.safetensors", card=json.dumps(card))
    state.averaged.save_pretrained(folder, **{k: v for k, v in card.items() if k != "model"})


def load_experiment(folder: Path) -> Experiment:
    """The experiment that the weights in ``folder`` came from."""
    return checkpoint.from_json(Experiment, checkpoint.read_card(folder)["experiment"])


def new_card(experiment: Experiment, data: ImageData) -> dict[str, Any]:
    """What a checkpoint says of itself before its first step."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "experiment": checkpoint.to_json(experiment),
        "iterations_done": 0,
        "seconds": 0.0,
        "machine": f"{device}, {os.cpu_count()} cores",
        "seed": experiment.seed,
        "versions": {name: version(name) for name in ("torch", "numpy", "accelerate")},
        "data_checksum": data.checksum(),
        "effective_regulariser_weight": experiment.effective_regulariser_weight(),
        "losses": [],
    }


def _resumable(folder: Path, experiment: Experiment, data: ImageData):
    """The card to go on with, and the file to resume from if there is one."""
    path, card = folder / "training.safetensors", new_card(experiment, data)
    if not path.exists():
        return card, None
    _, metadata = checkpoint.read_tensors(path)
    old = json.loads(metadata["card"])
    differing = _differing(checkpoint.from_json(Experiment, old["experiment"]), experiment)
    if differing:
        raise checkpoint.CheckpointError(
            f"{folder} holds another experiment (it differs in {', '.join(differing)}); "
            "choose another folder or delete this one"
        )
    if old["data_checksum"] != card["data_checksum"]:
        raise checkpoint.CheckpointError(f"{folder} was trained on other data than these")
    return old | {"experiment": card["experiment"]}, path


def _differing(old: Experiment, new: Experiment) -> list[str]:
    """Names of the entries that differ, but for the budget: it may be raised, and a run goes on.

    Not with decay, whose rates have fallen towards the end that was asked for first.
    """
    if not old.optimisation.decay:
        # More steps of the last phase only: a frozen phase fixes what came before it.
        last = "frozen_iterations" if old.optimisation.frozen_iterations else "iterations"
        budget = {last: getattr(new.optimisation, last)}
        old = replace(old, optimisation=replace(old.optimisation, **budget))
    return [f.name for f in fields(old) if getattr(old, f.name) != getattr(new, f.name)]
