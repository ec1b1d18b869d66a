"""A run's folder: what it holds, what may go on there, and what is put right.

    training.safetensors   the state, with the run's card: written first, and so the truth
    model.safetensors      the averaged weights;   card.json   what they are

A run killed between the files of a save leaves weights that are older than the state, or none.
"""

import json
import os
import platform
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.data.images import ImageData
from scorerep.data.sources import is_own
from scorerep.runs.experiment import Experiment
from scorerep.training import TrainingState

STATE = "training.safetensors"


def check_data(experiment: Experiment, data: ImageData):
    """``ValueError`` if ``data`` are not what the experiment's model is for."""
    if tuple(data.image_shape) != tuple(experiment.model.image_shape):
        raise ValueError(
            f"{data.name} has images of shape {tuple(data.image_shape)}, but the model of "
            f"{experiment.name!r} expects image_shape={tuple(experiment.model.image_shape)}"
        )
    classes = experiment.model.num_classes
    if classes and classes != len(data.classes):
        raise ValueError(f"model.num_classes is {classes}, {data.name} has {len(data.classes)}")


def card_to_go_on_with(
    folder: Path, experiment: Experiment, data: ImageData, new: dict[str, Any]
) -> dict[str, Any]:
    """The card of the run in ``folder``, with the budget now asked for; ``new`` if there is none.

    ``CheckpointError`` if the folder is of another experiment, of other data, or of no experiment.
    """
    if (folder / STATE).exists():
        old = state_card(folder / STATE)
    elif any((folder / file).exists() for file in ("card.json", "model.safetensors")):
        old = checkpoint.read_card(folder)
    else:
        return new
    check_same(folder, old, experiment, new["data_checksum"])
    return old | {"experiment": new["experiment"]}


def check_same(folder: Path, card: dict[str, Any], experiment: Experiment, data_checksum: str):
    """``CheckpointError`` if ``card`` is not of this experiment, but for its budget, and data.

    ``data_checksum`` is that of ``ImageData.checksum``.
    """
    if "experiment" not in card:
        raise CheckpointError(f"{folder} holds no experiment's run; choose another folder")
    try:
        differing = _differing(checkpoint.from_json(Experiment, card["experiment"]), experiment)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} holds no run that can be read: {error}") from None
    if differing:
        raise CheckpointError(
            f"{folder} holds another experiment (it differs in {', '.join(differing)}); "
            "choose another folder or delete this one"
        )
    if card.get("data_checksum") != data_checksum:
        raise CheckpointError(
            f"{folder} was trained on other data than these: images were added, removed, changed "
            f"or read in another way (checksum {card.get('data_checksum')}, now {data_checksum}); "
            "choose another folder or delete this one"
        )


def finished_without_state(folder: Path, experiment: Experiment, card: dict[str, Any]) -> bool:
    """Whether the weights in ``folder`` are done and nothing else is there (shipped, swept).

    ``CheckpointError`` if they are not done: more steps would start from nothing, in their place.
    """
    if (folder / STATE).exists() or not (folder / "card.json").exists():
        return False
    done, asked = card.get("iterations_done", 0), experiment.optimisation.total_iterations
    if done >= asked:
        return True
    raise CheckpointError(
        f"{folder} holds weights of {done} steps without the state to go on from ({STATE}), and "
        f"{asked} are asked for; choose another folder or delete this one"
    )


def state_card(path: Path) -> dict[str, Any]:
    """The card within a state; ``CheckpointError`` names the file if there is none to read."""
    _, metadata = checkpoint.read_tensors(path)
    try:
        if "card" not in metadata:  # of train_for, before it kept a card
            done, seconds = int(metadata["step"]), float(metadata["seconds"])
            return {"iterations_done": done, "seconds": seconds, "losses": []}
        card = json.loads(metadata["card"])
        if {"iterations_done", "seconds", "losses"} <= set(card):
            return card
    except (KeyError, ValueError, TypeError):
        pass
    raise CheckpointError(f"{path} is not the state of a run: delete it to start again")


def unfinished_window(path: Path, device: torch.device) -> list[torch.Tensor]:
    """Losses of the steps since the last entry of the card, which was not full at that save."""
    _, metadata = checkpoint.read_tensors(path)
    return [torch.tensor(row, device=device) for row in json.loads(metadata.get("window", "[]"))]


def restore(
    model: nn.Module, state: Path, folder: Path | None, card: dict[str, Any], write: bool
) -> nn.Module:
    """The averaged model of a state; ``write`` mends weights and card that are not its."""
    tensors, _ = checkpoint.read_tensors(state)
    averaged = {k.removeprefix("ema."): v for k, v in tensors.items() if k.startswith("ema.")}
    checkpoint.fill(model, averaged, state)
    if folder is not None and write and not _weights_are_of(card, folder):
        write_weights(model, card, folder)
    return model


def clean(state: Path, folder: Path | None):
    """Remove what a kill in the middle of a save left behind."""
    checkpoint.remove_parts(Path(state))
    if folder is not None:
        checkpoint.remove_parts(folder / "model.safetensors")
        checkpoint.remove_parts(folder / "card.json")


def write_weights(model: nn.Module, card: dict[str, Any], folder: Path):
    """Averaged weights, then the card."""
    model.save_pretrained(folder, **{k: v for k, v in card.items() if k != "model"})


def _weights_are_of(card: dict[str, Any], folder: Path) -> bool:
    try:
        checkpoint.check_weights(folder)
        return checkpoint.read_card(folder)["iterations_done"] == card["iterations_done"]
    except (CheckpointError, KeyError):
        return False


def _differing(old: Experiment, new: Experiment) -> list[str]:
    """Names of the entries that differ, but for the budget: it may be raised, and a run goes on.

    Not with decay, whose rates have fallen towards the end that was asked for first.
    """
    if not old.optimisation.decay:
        # More steps of the last phase only: a frozen phase fixes what came before it.
        last = "frozen_iterations" if old.optimisation.frozen_iterations else "iterations"
        budget = {last: getattr(new.optimisation, last)}
        old = replace(old, optimisation=replace(old.optimisation, **budget))
    if is_own(old.data) and is_own(new.data):  # pictures that were moved have the same checksum
        old = replace(old, data=new.data, damaged=new.damaged)
    return [f.name for f in fields(old) if getattr(old, f.name) != getattr(new, f.name)]


def save(
    state: TrainingState,
    card: dict[str, Any],
    window: list[torch.Tensor],
    state_file: Path,
    folder: Path | None,
):
    """One checkpoint: the state to resume from first, then the weights to use and their card.

    ``window`` holds the losses since the card's last entry.
    """
    rows = json.dumps([row.tolist() for row in window])
    state.save(Path(state_file), card=json.dumps(card), window=rows)
    if folder is not None:
        write_weights(state.averaged, card, folder)


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
