"""Runs in folders: cards, resuming, refusals. On scikit-learn's digits, in seconds."""

import json
import logging
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.runs import fit as module
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.runs.fit import fit, load_experiment, train_for
from scorerep.runs.stop import Stopped
from scorerep.times import UniformTime
from scorerep.training import Optimisation, TrainingDiverged

TINY = Experiment(
    name="tiny",
    model=ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1),
    optimisation=Optimisation(iterations=6, batch_size=16, warmup=2, learning_rate=1e-3),
)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(64)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_folder_holds_the_returned_model_and_a_card(digits, tmp_path):
    model = fit(TINY, digits, tmp_path, progress=False)
    again = ScoreModel.from_pretrained(tmp_path)
    assert torch.equal(weights(again), weights(model))
    assert load_experiment(tmp_path) == TINY
    card = checkpoint.read_card(tmp_path)
    assert card["iterations_done"] == 6 and card["seed"] == 0
    assert card["data_checksum"] == digits.checksum()
    assert card["seconds"] > 0 and card["versions"]["torch"] == torch.__version__.split("+")[0]
    assert card["effective_regulariser_weight"] == pytest.approx(1e-5 * 64 / 2)
    assert [entry["step"] for entry in card["losses"]] == [1, 2, 3, 4, 5, 6]
    assert all(0 < entry["matching"] < 10 for entry in card["losses"])


def test_stopped_run_goes_on_to_the_same_weights(digits, tmp_path):
    whole = fit(TINY, digits, tmp_path / "whole", progress=False)
    for stop in (2, 5, None):
        parts = fit(TINY, digits, tmp_path / "parts", progress=False, stop_after=stop)
    assert torch.equal(weights(whole), weights(parts))
    cards = [checkpoint.read_card(tmp_path / name) for name in ("whole", "parts")]
    assert cards[0]["losses"] == cards[1]["losses"]


def test_finished_run_is_loaded_not_repeated(digits, tmp_path):
    model = fit(TINY, digits, tmp_path, progress=False)
    before = (tmp_path / "training.safetensors").stat().st_mtime_ns
    assert torch.equal(weights(fit(TINY, digits, tmp_path, progress=False)), weights(model))
    assert (tmp_path / "training.safetensors").stat().st_mtime_ns == before


def test_budget_can_be_raised(digits, tmp_path):
    fit(TINY, digits, tmp_path, progress=False)
    longer = replace(TINY, optimisation=replace(TINY.optimisation, iterations=8))
    fit(longer, digits, tmp_path, progress=False)
    assert checkpoint.read_card(tmp_path)["iterations_done"] == 8


def test_budget_of_a_run_with_decay_cannot_be_raised(digits, tmp_path):
    def run(steps):
        budget = replace(TINY.optimisation, iterations=steps, optimizer="muon", decay=0.5)
        return fit(replace(TINY, optimisation=budget), digits, tmp_path, progress=False)

    run(4)
    with pytest.raises(CheckpointError, match="differs in optimisation"):
        run(6)


class Killed(BaseException):
    """What no handler of errors catches, as a kill."""


def killed_at_rename(monkeypatch, number: int, after: bool):
    """Renames count from 1; at this one the process dies, before or after it."""
    real, calls = os.replace, []

    def replace_or_die(*names):
        calls.append(names)
        if len(calls) == number and not after:
            raise Killed
        real(*names)
        if len(calls) == number:
            raise Killed

    monkeypatch.setattr(os, "replace", replace_or_die)


@pytest.mark.parametrize("earlier", [False, True], ids=["first save", "later save"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3])  # state, weights, card
def test_run_killed_within_its_last_save_ends_as_an_unbroken_one(
    digits, tmp_path, monkeypatch, number, after, earlier
):
    whole = fit(TINY, digits, tmp_path / "whole", progress=False)
    folder = tmp_path / "killed"
    if earlier:
        fit(TINY, digits, folder, progress=False, stop_after=3)
    with monkeypatch.context() as patch:
        killed_at_rename(patch, number, after)
        with pytest.raises(Killed):
            fit(TINY, digits, folder, progress=False)
    again = fit(TINY, digits, folder, progress=False)
    assert torch.equal(weights(again), weights(whole))
    assert torch.equal(weights(ScoreModel.from_pretrained(folder)), weights(whole))
    cards = [checkpoint.read_card(tmp_path / name) for name in ("whole", "killed")]
    assert cards[0]["losses"] == cards[1]["losses"] and cards[1]["iterations_done"] == 6


def test_damaged_weights_of_a_finished_run_come_back_from_its_state(digits, tmp_path):
    whole = fit(TINY, digits, tmp_path, progress=False)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    assert torch.equal(weights(fit(TINY, digits, tmp_path, progress=False)), weights(whole))
    assert torch.equal(weights(ScoreModel.from_pretrained(tmp_path)), weights(whole))


def test_damaged_state_is_named_not_gone_on_from(digits, tmp_path):
    fit(TINY, digits, tmp_path, progress=False, stop_after=3)
    content = bytearray((tmp_path / "training.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "training.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="training.safetensors is damaged"):
        fit(TINY, digits, tmp_path, progress=False)


@pytest.mark.parametrize("text", [None, "{half", "[]", "{}"])
def test_state_without_a_card_is_named(digits, tmp_path, text):
    fit(TINY, digits, tmp_path, progress=False, stop_after=3)
    path = tmp_path / "training.safetensors"
    tensors, metadata = checkpoint.read_tensors(path)
    metadata = {k: v for k, v in metadata.items() if k != "card"} | ({"card": text} if text else {})
    checkpoint.write_tensors(path, tensors, metadata)
    with pytest.raises(CheckpointError, match="training.safetensors is not the state of a run"):
        fit(TINY, digits, tmp_path, progress=False)


def test_leftovers_of_a_killed_save_are_removed(digits, tmp_path):
    names = [f".{file}.99.part" for file in ("training.safetensors", "model.safetensors")]
    for name in [*names, ".card.json.7.part", ".other.part"]:
        (tmp_path / name).write_text("half a file")
    fit(TINY, digits, tmp_path, progress=False)
    assert sorted(os.listdir(tmp_path)) == [
        ".other.part", "card.json", "model.safetensors", "training.safetensors"
    ]  # fmt: skip


def test_finished_weights_without_a_state_are_returned_and_never_overwritten(digits, tmp_path):
    whole = fit(TINY, digits, tmp_path, progress=False)
    (tmp_path / "training.safetensors").unlink()  # as of an exported or swept run
    before = (tmp_path / "model.safetensors").read_bytes()
    assert torch.equal(weights(fit(TINY, digits, tmp_path, progress=False)), weights(whole))
    longer = replace(TINY, optimisation=replace(TINY.optimisation, iterations=8))
    with pytest.raises(CheckpointError, match="weights of 6 steps without the state"):
        fit(longer, digits, tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="another experiment .it differs in seed"):
        fit(replace(TINY, seed=1), digits, tmp_path, progress=False)
    (tmp_path / "card.json").unlink()
    with pytest.raises(CheckpointError, match="card.json is missing"):
        fit(TINY, digits, tmp_path, progress=False)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_folder_of_other_weights_is_refused(digits, tmp_path):
    ScoreModel(TINY.model).save_pretrained(tmp_path, classifier="of something")
    with pytest.raises(CheckpointError, match="holds no experiment's run"):
        fit(TINY, digits, tmp_path, progress=False)


def test_fewer_steps_than_done_are_said(digits, tmp_path, caplog):
    fit(TINY, digits, tmp_path, progress=False)
    fewer = replace(TINY, optimisation=replace(TINY.optimisation, iterations=4))
    with caplog.at_level(logging.WARNING):
        fit(fewer, digits, tmp_path, progress=False)
    assert "tiny has done 6 steps, more than the 4 asked for" in caplog.text
    assert checkpoint.read_card(tmp_path)["iterations_done"] == 6


class Signaller:
    """In the place of TensorBoard's writer: a signal arrives within a step."""

    def __init__(self, number: int, step: int):
        self.number, self.step = number, step

    def add_scalar(self, key, value, step):
        if step == self.step and key == "matching":
            signal.raise_signal(self.number)

    def close(self):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_the_step_is_finished_and_saved(digits, tmp_path, monkeypatch, number):
    whole = fit(TINY, digits, tmp_path / "whole", progress=False)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(module, "summary_writer", lambda _: Signaller(number, 3))
    with pytest.raises(Stopped, match="stopped at step 3; the same command goes on") as stopped:
        fit(TINY, digits, tmp_path / "parts", progress=False, tensorboard=True)
    assert (stopped.value.step, stopped.value.signal) == (3, number)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert checkpoint.read_card(tmp_path / "parts")["iterations_done"] == 3
    parts = fit(TINY, digits, tmp_path / "parts", progress=False)
    assert torch.equal(weights(whole), weights(parts))


def test_card_of_a_run_stopped_between_two_entries_equals_an_unbroken_ones(digits, tmp_path):
    model = ModelConfig(
        image_shape=(1, 8, 8), network="dense", channels=(8,), latent=0, dropout=0.0
    )
    budget = Optimisation(iterations=300, batch_size=4, warmup=2)
    run = Experiment(name="windows", model=model, regulariser="none", optimisation=budget)
    fit(run, digits, tmp_path / "whole", progress=False)
    for stop in (100, 200, None):  # an entry has three steps
        fit(run, digits, tmp_path / "parts", progress=False, stop_after=stop)
    cards = [checkpoint.read_card(tmp_path / name) for name in ("whole", "parts")]
    assert len(cards[0]["losses"]) == 100 and cards[0]["losses"] == cards[1]["losses"]


def test_default_experiment_runs(tmp_path):
    data = load_data("digits")
    model = fit(Experiment(), data, tmp_path, progress=False, stop_after=1)
    assert model.encode(data.batch(slice(2))).shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": "foo"}, "times must be one of 'uniform_t', 'uniform_sigma', 'single_t', got"),
        ({"proposal": "foo"}, "proposal must be one of 'none', 'log_normal', got 'foo'"),
        ({"regulariser": "foo"}, "regulariser must be one of"),
        ({"weighting": "foo"}, "weighting must be one of"),
        ({"data": ""}, "data must be one of digits, mnist, cifar10"),
        ({"single_t": 0.0}, r"single_t must lie in \(0, 1\], got 0"),
        ({"single_t": 2.0}, r"single_t must lie in \(0, 1\], got 2"),
        ({"single_t": float("nan")}, r"single_t must lie in \(0, 1\], got nan"),
        ({"regulariser_weight": -1.0}, "regulariser_weight must be finite and not negative"),
        ({"regulariser_weight": float("inf")}, "regulariser_weight must be finite"),
        ({"draws_per_image": 0}, "draws_per_image must be a whole number of at least 1, got 0"),
        ({"draws_per_image": 1.5}, "draws_per_image must be a whole number"),
        ({"name": "../x"}, "name must be that of a folder, without a slash, got '../x'"),
        ({"name": "a\\b"}, "name must be that of a folder"),
        ({"name": ".."}, "name must be that of a folder"),
        ({"name": ""}, "name must be that of a folder"),
        ({"classes": ("11",)}, "unknown class '11': digits has the classes 0, 1"),
        ({"classes": ("1", "1")}, "classes names a class twice"),
        ({"seed": 2**70}, "seed must be in 0..4294967295"),
        ({"seed": -1}, "seed must be in 0..4294967295, got -1"),
    ],
)
def test_impossible_experiments_are_refused_when_they_are_made(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**changes)


@pytest.mark.parametrize(
    "options",
    [
        {"save_every": float("nan")}, {"save_every": -1.0}, {"save_every": "never"},
        {"stop_after": 0}, {"stop_after": 1.5}, {"stop_after": True},
    ],
)  # fmt: skip
def test_limits_that_are_none_are_errors_before_anything_is_written(digits, tmp_path, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        fit(TINY, digits, tmp_path / "run", progress=False, **options)
    assert not list(tmp_path.iterdir())


def test_missing_tensorboard_is_said_before_training(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'scorerep\[tensorboard\]'"):
        fit(TINY, digits, tmp_path, progress=False, tensorboard=True)
    assert not list(tmp_path.iterdir())


def test_finished_time_limited_run_is_returned_as_it_is(digits, tmp_path):
    path, objective = tmp_path / "state.safetensors", Objective(UniformTime())

    def train(seconds):
        torch.manual_seed(0)
        return train_for(
            seconds, ScoreModel(TINY.model), digits, objective, TINY.optimisation, path=path
        )

    first, steps = train(1e9)
    assert steps == 6  # the other limit
    before = path.read_bytes()
    for seconds in (1e9, 1e-9):  # either limit is reached
        again, steps = train(seconds)
        assert steps == 6 and torch.equal(weights(first), weights(again))
    assert path.read_bytes() == before


def test_time_limited_state_from_before_it_had_a_card_is_gone_on_from(digits, tmp_path):
    path, objective = tmp_path / "state.safetensors", Objective(UniformTime())
    torch.manual_seed(0)
    train_for(1e9, ScoreModel(TINY.model), digits, objective, TINY.optimisation, path=path)
    tensors, metadata = checkpoint.read_tensors(path)
    checkpoint.write_tensors(path, tensors, {"step": metadata["step"], "seconds": "0.5"})
    longer = replace(TINY.optimisation, iterations=8)
    _, steps = train_for(1e9, ScoreModel(TINY.model), digits, objective, longer, path=path)
    assert steps == 8


def test_folder_of_another_experiment_or_other_data_is_refused(digits, tmp_path):
    fit(TINY, digits, tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="another experiment .it differs in seed"):
        fit(replace(TINY, seed=1), digits, tmp_path, progress=False)
    with pytest.raises(CheckpointError, match="other data"):
        fit(TINY, load_data("digits").subset(65), tmp_path, progress=False)


def test_wrong_image_shape_and_class_count_are_named(digits, tmp_path):
    model = replace(TINY.model, image_shape=(1, 28, 28))
    with pytest.raises(ValueError, match=r"expects image_shape=\(1, 28, 28\)"):
        fit(replace(TINY, model=model), digits, tmp_path)
    model = replace(TINY.model, latent=0, num_classes=3)
    with pytest.raises(ValueError, match="num_classes is 3, digits has 10"):
        fit(replace(TINY, model=model), digits, tmp_path)


def test_diverging_run_keeps_its_last_checkpoint(digits, tmp_path):
    fit(TINY, digits, tmp_path, progress=False, stop_after=3)
    kept = (tmp_path / "model.safetensors").read_bytes()
    tensors, metadata = checkpoint.read_tensors(tmp_path / "training.safetensors")
    tensors["model.network.out.bias"].fill_(torch.inf)
    checkpoint.write_tensors(tmp_path / "training.safetensors", tensors, metadata)
    with pytest.raises(TrainingDiverged, match="step 4"):
        fit(TINY, digits, tmp_path, progress=False)
    assert (tmp_path / "model.safetensors").read_bytes() == kept


def test_collapsed_code_is_reported(digits, tmp_path, caplog):
    # A regulariser far too strong pulls every code to zero.
    crushed = replace(
        TINY, regulariser_weight=1e3,
        optimisation=replace(TINY.optimisation, iterations=120, learning_rate=3e-3),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        fit(crushed, digits, tmp_path, progress=False)
    assert checkpoint.read_card(tmp_path)["losses"][-1]["code_std"] < 1e-3
    assert "the code of tiny has collapsed" in caplog.text


def test_label_and_unconditional_models_train_too(digits, tmp_path):
    for name, model in {
        "labels": replace(TINY.model, latent=0, num_classes=10),
        "plain": replace(TINY.model, latent=0),
        "kl": replace(TINY.model, probabilistic=True),
    }.items():
        experiment = replace(TINY, model=model, regulariser="kl" if name == "kl" else "none")
        fit(experiment, digits, tmp_path / name, progress=False)
        card = json.loads((tmp_path / name / "card.json").read_text())
        assert card["iterations_done"] == 6


def test_tensorboard_files_are_written(digits, tmp_path):
    fit(TINY, digits, tmp_path, progress=False, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_kl_needs_a_probabilistic_encoder_and_the_reverse():
    with pytest.raises(ValueError, match="go together"):
        replace(TINY, regulariser="kl")
    with pytest.raises(ValueError, match="go together"):
        replace(TINY, model=replace(TINY.model, probabilistic=True))


def test_encoder_learned_with_a_network_of_its_own_is_kept_as_it_is(digits, tmp_path):
    phase = EncoderPhase("dense", (16, 16), replace(TINY.optimisation, iterations=3), 2)
    experiment = replace(
        TINY,
        model=replace(TINY.model, encoder_channels=TINY.model.channels),
        encoder_phase=phase,
        optimisation=replace(TINY.optimisation, iterations=0, frozen_iterations=4),
    )
    model = fit(experiment, digits, tmp_path, progress=False)
    learned = ScoreModel.from_pretrained(tmp_path / "encoder")
    assert learned.config.network == "dense" and model.config.network == "unet"
    for name, tensor in learned.encoder.state_dict().items():
        assert torch.equal(tensor, model.encoder.state_dict()[name]), name
    card = checkpoint.read_card(tmp_path)
    assert card["iterations_done"] == 4 and card["encoder_phase"]["iterations_done"] == 3
    assert load_experiment(tmp_path) == experiment


def test_second_phase_goes_on_with_a_score_network_like_its_own(digits, tmp_path):
    still = replace(TINY.optimisation, iterations=0, frozen_iterations=1, learning_rate=1e-12)
    phase = EncoderPhase("unet", TINY.model.channels, replace(TINY.optimisation, iterations=3))
    model = fit(replace(TINY, encoder_phase=phase, optimisation=still), digits, tmp_path,
                progress=False)  # fmt: skip
    learned = ScoreModel.from_pretrained(tmp_path / "encoder")
    for name, tensor in learned.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_two_phases_stopped_and_continued_equal_an_unbroken_run(digits, tmp_path):
    experiment = replace(
        TINY,
        model=replace(TINY.model, encoder_channels=TINY.model.channels),
        encoder_phase=EncoderPhase("dense", (16,), replace(TINY.optimisation, iterations=3)),
        optimisation=replace(TINY.optimisation, iterations=0, frozen_iterations=4),
    )
    whole = fit(experiment, digits, tmp_path / "whole", progress=False)
    fit(experiment, digits, tmp_path / "parts", progress=False, stop_after=2)
    parts = fit(experiment, digits, tmp_path / "parts", progress=False)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_an_encoder_phase_needs_the_encoder_named():
    with pytest.raises(ValueError, match="encoder_channels must be given"):
        replace(TINY, encoder_phase=EncoderPhase("dense", (16,), TINY.optimisation))


def test_last_phase_can_be_made_longer_and_equals_a_long_run(digits, tmp_path):
    def frozen(steps):
        return replace(TINY, optimisation=replace(TINY.optimisation, frozen_iterations=steps))

    whole = fit(frozen(4), digits, tmp_path / "whole", progress=False)
    fit(frozen(2), digits, tmp_path / "parts", progress=False)
    parts = fit(frozen(4), digits, tmp_path / "parts", progress=False)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    longer = replace(frozen(4).optimisation, iterations=TINY.optimisation.iterations + 1)
    with pytest.raises(checkpoint.CheckpointError, match="another experiment"):
        fit(replace(frozen(4), optimisation=longer), digits, tmp_path / "parts", progress=False)
