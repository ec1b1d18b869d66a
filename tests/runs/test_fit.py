"""Runs in folders: cards, resuming, refusals. On scikit-learn's digits, in seconds."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from scorerep import checkpoint
from scorerep.checkpoint import CheckpointError
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs.experiment import EncoderPhase, Experiment
from scorerep.runs.fit import fit, load_experiment
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
