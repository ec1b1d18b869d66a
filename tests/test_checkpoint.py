"""Checkpoints are whole or absent, say what they are, and refuse what does not fit."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.model import ModelConfig
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.runs.paper import BUDGETS, PAPER, at_budget
from scorerep.training import Optimisation


def test_tensors_and_metadata_survive(tmp_path):
    path = tmp_path / "folder" / "a.safetensors"
    tensors = {"x": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    checkpoint.write_tensors(path, tensors, {"step": "7"})
    read, metadata = checkpoint.read_tensors(path)
    assert metadata == {"step": "7"}
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert os.listdir(path.parent) == ["a.safetensors"]  # no temporary file is left


def test_weights_may_be_read_by_whoever_may_read_the_card(tmp_path):
    before = os.umask(0o022)
    try:
        checkpoint.write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write_tensors(path, {"x": torch.ones(2)})

    def fail(temporary):
        temporary.write_bytes(b"half of it")
        raise OSError("disk full")

    with pytest.raises(CheckpointError, match="a.safetensors: disk full"):
        checkpoint._replace(path, fail)
    assert torch.equal(checkpoint.read_tensors(path)[0]["x"], torch.ones(2))
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_weights_are_named(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    checkpoint.write_tensors(path, {"x": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        checkpoint.read_tensors(path)


def test_missing_and_damaged_cards_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="card.json is missing"):
        checkpoint.read_card(tmp_path / "nowhere")
    (tmp_path / "card.json").write_text('{"half":')
    with pytest.raises(CheckpointError, match="card.json is damaged"):
        checkpoint.read_card(tmp_path)


def test_unwritable_folder_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="cannot write to the checkpoint folder"):
        checkpoint.check_writable(tmp_path / "file" / "run")


def test_processes_of_one_run_may_look_at_the_folder_together(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(checkpoint.check_writable, [tmp_path] * 400))
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_say_where(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.write_tensors(path, nn.Linear(2, 3).state_dict())
    with pytest.raises(CheckpointError, match=r"weight has shape \(3, 2\), expected \(3, 5\)"):
        checkpoint.load_weights(nn.Linear(5, 3), path)
    with pytest.raises(CheckpointError, match="weights of another model: missing"):
        checkpoint.load_weights(nn.Sequential(nn.Linear(2, 3)), path)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", sorted(PAPER))
def test_experiment_survives_json(name, budget):
    experiment = at_budget(name, budget)
    assert checkpoint.from_json(Experiment, checkpoint.to_json(experiment)) == experiment


def test_optional_phase_survives_json():
    phase = EncoderPhase("dense", (64, 64), Optimisation(iterations=3), draws_per_image=4)
    model = ModelConfig(encoder_channels=(8, 16))
    for encoder_phase in (phase, None):
        experiment = Experiment(model=model, encoder_phase=encoder_phase)
        assert checkpoint.from_json(Experiment, checkpoint.to_json(experiment)) == experiment


def test_unknown_entry_is_an_error():
    @dataclass(frozen=True)
    class Small:
        size: int = 1

    with pytest.raises(CheckpointError, match="Small has no entry colour"):
        checkpoint.from_json(Small, {"size": 2, "colour": "red"})


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_optimiser_goes_on_where_it_was(kind):
    def make():
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return model, kind(model.parameters(), lr=0.1, **options)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer)
    other, resumed = make()
    other.load_state_dict(model.state_dict())
    state = {k: v.clone() for k, v in checkpoint.optimizer_tensors(optimizer).items()}
    checkpoint.load_optimizer_tensors(resumed, state)
    step(model, optimizer)
    step(other, resumed)
    assert torch.equal(model.weight, other.weight)
