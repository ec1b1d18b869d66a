"""Checkpoints are whole or absent, say what they are, and refuse what does not fit."""

import copy
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.model import ModelConfig
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.runs.fit import load_experiment
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

    with pytest.raises(OSError, match="cannot write .*a.safetensors: disk full"):
        checkpoint.write_whole(path, fail)
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


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b'"a"', b"\xff\xfe", b"[" * 100_000])
def test_cards_that_are_none_are_named(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="card.json is"):
        checkpoint.read_card(tmp_path)


def test_card_of_a_later_format_is_refused_and_one_of_before_formats_is_read(tmp_path):
    checkpoint.write_card(tmp_path, {"seed": 3})
    card = checkpoint.read_card(tmp_path)
    assert card == {"seed": 3, "format": 1}
    (tmp_path / "card.json").write_text(json.dumps({"seed": 3}))
    assert checkpoint.read_card(tmp_path) == {"seed": 3}
    (tmp_path / "card.json").write_text(json.dumps(card | {"format": 2}))
    with pytest.raises(CheckpointError, match="card.json has format 2, .* reads 1"):
        checkpoint.read_card(tmp_path)


def changed(card: dict, path: str, value) -> dict:
    card = copy.deepcopy(card)
    *above, last = path.split(".")
    place = card
    for name in above:
        place = place[name]
    place[last] = value
    return card


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("experiment", None),
        ("experiment", [1, 2]),
        ("experiment.model", None),
        ("experiment.model", [1]),
        ("experiment.model.network", "transformer"),
        ("experiment.model.rotary", True),
        ("experiment.model.channels", 8),
        ("experiment.model.channels", [8, "8"]),
        ("experiment.model.sigma_data", "0.5"),
        ("experiment.model.latent", 2.5),
        ("experiment.model.probabilistic", 1),
        ("experiment.data", ""),
        ("experiment.data", {"name": "mnist"}),
        ("experiment.classes", "12"),
        ("experiment.classes", ["eleven"]),
        ("experiment.optimisation", None),
        ("experiment.optimisation.batch_size", "64"),
        ("experiment.single_t", 2.0),
        ("experiment.future", 1),
    ],
)
def test_entry_that_is_not_what_it_says_is_refused_and_the_card_named(tmp_path, path, value):
    card = {"experiment": checkpoint.to_json(at_budget("digits", "smoke"))}
    checkpoint.write_card(tmp_path, card)
    assert load_experiment(tmp_path) == at_budget("digits", "smoke")
    checkpoint.write_card(tmp_path, changed(card, path, value))
    with pytest.raises(CheckpointError, match=r"card.json holds no Experiment that can be read: "):
        load_experiment(tmp_path)


def test_card_without_the_entry_says_so(tmp_path):
    checkpoint.write_card(tmp_path, {"seed": 0})
    with pytest.raises(CheckpointError, match="card.json holds no Experiment: .* 'experiment'"):
        load_experiment(tmp_path)


def test_optional_entry_may_be_null_and_a_missing_one_has_its_default(tmp_path):
    old = checkpoint.to_json(at_budget("digits", "smoke"))
    assert old["encoder_phase"] is None
    del old["encoder_phase"], old["model"]["encoder_channels"]
    assert checkpoint.from_json(Experiment, old) == at_budget("digits", "smoke")


def tensor_bytes(path: Path) -> tuple[int, int]:
    """Where the values of a safetensors file begin and end."""
    content = path.read_bytes()
    return 8 + int.from_bytes(content[:8], "little"), len(content)


def flip(path: Path, place: int):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_every_flipped_bit_of_a_file_of_tensors_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(20), "half": torch.randn(3).bfloat16(), "n": torch.tensor(3)}
    checkpoint.write_tensors(path, tensors, {"card": json.dumps({"seconds": 12.5})})
    whole = path.read_bytes()
    places = [*range(*tensor_bytes(path)), whole.index(b"12.5")]
    for place in places:
        flip(path, place)
        with pytest.raises(CheckpointError, match="a.safetensors is damaged"):
            checkpoint.read_tensors(path)
        path.write_bytes(whole)
    checkpoint.read_tensors(path)


def small_model(folder: Path) -> nn.Module:
    model = nn.Linear(2, 3)
    checkpoint.write_tensors(folder / "model.safetensors", model.state_dict())
    checkpoint.write_card(folder, {"seed": 0})
    return model


def test_weights_of_another_save_than_the_card_are_noticed(tmp_path):
    small_model(tmp_path)
    checkpoint.load_weights(nn.Linear(2, 3), tmp_path / "model.safetensors")
    checkpoint.write_tensors(tmp_path / "model.safetensors", nn.Linear(2, 3).state_dict())
    with pytest.raises(CheckpointError, match="not the file that card.json beside it"):
        checkpoint.load_weights(nn.Linear(2, 3), tmp_path / "model.safetensors")


def test_weights_from_before_checksums_are_read(tmp_path):
    model = small_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(save(dict(model.state_dict())))
    (tmp_path / "card.json").write_text("{}")
    again = nn.Linear(2, 3)
    checkpoint.load_weights(again, tmp_path / "model.safetensors")
    assert torch.equal(again.weight, model.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    checkpoint.write_tensors(
        tmp_path / "model.safetensors", {"weight": torch.full((3, 2), value), "bias": torch.ones(3)}
    )
    with pytest.raises(CheckpointError, match=r"not finite \(weight\)"):
        checkpoint.load_weights(nn.Linear(2, 3), tmp_path / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(tmp_path, dtype):
    state = {k: v.to(dtype) for k, v in nn.Linear(2, 3).state_dict().items()}
    checkpoint.write_tensors(tmp_path / "model.safetensors", state)
    with pytest.raises(CheckpointError, match=r"does not fit this model: \w+ is torch"):
        checkpoint.load_weights(nn.Linear(2, 3), tmp_path / "model.safetensors")


def test_pipe_is_no_file_of_weights(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")  # reading it would wait for ever
    with pytest.raises(CheckpointError, match="is not a file of weights"):
        checkpoint.read_tensors(tmp_path / "model.safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_weights_are_not_called_missing(tmp_path):
    small_model(tmp_path)
    (tmp_path / "model.safetensors").chmod(0)
    with pytest.raises(CheckpointError, match="cannot read .*model.safetensors: Permission"):
        checkpoint.read_tensors(tmp_path / "model.safetensors")


def test_leftovers_of_a_killed_writer_are_removed_and_other_files_are_not(tmp_path):
    for name in (".a.safetensors.123.part", ".b.safetensors.123.part", "a.safetensors"):
        (tmp_path / name).write_text("x")
    checkpoint.remove_parts(tmp_path / "a.safetensors")
    assert sorted(os.listdir(tmp_path)) == [".b.safetensors.123.part", "a.safetensors"]


def test_contents_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, f=real, n=name: (order.append(n), f(*a))[1])
    checkpoint.write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)})
    assert order[:2] == ["fsync", "replace"]


SHIPPED = sorted(
    path.parent for path in (Path(__file__).parents[1] / "book/checkpoints").glob("*/card.json")
)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_card_has_the_sum_of_its_weights(folder):
    card = checkpoint.read_card(folder)
    content = (folder / "model.safetensors").read_bytes()
    assert card["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert card["format"] == 1


def test_weights_are_shipped():
    assert len(SHIPPED) >= 17


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
