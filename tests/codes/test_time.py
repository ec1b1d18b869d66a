"""Codes that depend on time, and features of a U-Net that has none."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from book.studies import time_codes as command
from scorerep.checkpoint import CheckpointError, read_tensors
from scorerep.codes.scores import encode_in_batches
from scorerep.codes.time import (
    CodesAt,
    TimeCodeModel,
    TimeCodeObjective,
    features_at,
    trajectory,
    unet_features,
)
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.networks.encoder import Encoder
from scorerep.objective import denoising_score_matching
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop

CONFIG = ModelConfig(image_shape=(1, 8, 8), channels=(4, 8), blocks=1, latent=3, dropout=0.0)
OBJECTIVE = TimeCodeObjective(UniformTime(), regulariser="l1", regulariser_weight=1e-5)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(32)


@pytest.fixture(scope="module")
def trained(digits):
    torch.manual_seed(0)
    budget = Optimisation(iterations=8, batch_size=16, learning_rate=1e-2, warmup=1, ema=0.0)
    loop = training_loop(TimeCodeModel(CONFIG), digits, OBJECTIVE, budget)
    return [state for state in loop][-1].averaged.eval()


def test_code_depends_on_the_image_and_on_time(trained, digits):
    x = digits.floats()
    early, late = trained.encode(x, 0.2), trained.encode(x, torch.full((32,), 0.8))
    assert early.shape == late.shape == (32, 3)
    assert not torch.allclose(early, late)
    path = trajectory(trained, x, torch.tensor([0.2, 0.5, 0.8]))
    assert path.shape == (32, 3, 3)
    assert torch.allclose(path[:, 0], early) and torch.allclose(path[:, 2], late)
    assert torch.allclose(encode_in_batches(CodesAt(trained, 0.2), digits), early, atol=1e-6)


def test_without_its_time_the_encoder_is_the_score_models(digits):
    torch.manual_seed(0)
    model, plain = TimeCodeModel(CONFIG), Encoder((1, 8, 8), 3, (4, 8), blocks=1)
    for bias in model.encoder.biases:
        torch.nn.init.zeros_(bias.weight)
    known = {k: v for k, v in model.encoder.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(known)
    x = digits.floats()
    for t in (0.1, 0.9):
        assert torch.allclose(model.encode(x, t), plain(x)[0], atol=1e-6)


def test_loss_is_eq_8_with_the_code_of_the_draw_s_own_time(trained, digits):
    x = digits.floats()
    objective = replace(OBJECTIVE, draws_per_image=2)
    draws = objective.draw(x, 3, torch.Generator().manual_seed(0))
    losses = objective(trained, x, draws)
    twice = x.repeat_interleave(2, dim=0)
    z = torch.cat([trained.encode(twice[i : i + 1], float(draws.t[i])) for i in range(64)])
    exact = denoising_score_matching(trained, twice, draws.t, draws.noise, z).mean()
    assert torch.allclose(losses.matching, exact, rtol=1e-4)
    assert torch.allclose(losses.total, exact + 1e-5 * z.abs().sum(1).mean(), rtol=1e-4)


def test_weights_come_back_and_are_no_other_model_s(trained, digits, tmp_path):
    trained.save_pretrained(tmp_path)
    again = TimeCodeModel.from_pretrained(tmp_path)
    x = digits.floats()
    assert torch.equal(again.encode(x, 0.5), trained.encode(x, 0.5))
    with pytest.raises(CheckpointError, match="another model"):
        ScoreModel.from_pretrained(tmp_path)


def test_an_encoder_can_be_shipped_without_its_score_network(trained, digits, tmp_path):
    trained.save_pretrained(tmp_path, encoder_only=True)
    again = TimeCodeModel.from_pretrained(tmp_path)
    x = digits.floats()
    assert torch.equal(again.encode(x, 0.5), trained.encode(x, 0.5))
    assert not any(
        name.startswith("network") for name in read_tensors(tmp_path / "model.safetensors")[0]
    )
    with pytest.raises(ValueError, match="the encoder alone"):
        again.score(x, 0.5, again.encode(x, 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: TimeCodeModel(replace(CONFIG, latent=0)), "latent=0"),
        (lambda m: TimeCodeModel(replace(CONFIG, probabilistic=True)), "probabilistic=True"),
        (lambda m: TimeCodeModel(replace(CONFIG, image_shape=(5,))), "image_shape"),
        (
            lambda m: m.encode(torch.zeros(2, 1, 8, 8), torch.zeros(3)),
            "one number or a multiple of 2",
        ),
        (lambda m: m.encode(torch.zeros(2, 1, 9, 9), 0.5), "x_0 must be floats of shape"),
        (lambda m: m.code_distribution(torch.zeros(2, 1, 8, 8)), "this code depends on t"),
        (lambda m: TimeCodeObjective(UniformTime(), regulariser="kl"), "must be 'none' or 'l1'"),
        (lambda m: unet_features(m, torch.zeros(2, 1, 8, 8), 0.5), "unconditional"),
    ],
)
def test_bad_input_gets_an_early_clear_error(trained, make, message):
    with pytest.raises(ValueError, match=message):
        make(trained)


def test_features_are_those_of_a_u_net_only():
    dense = ScoreModel(replace(CONFIG, network="dense", latent=0))
    with pytest.raises(ValueError, match="score network is dense"):
        unet_features(dense, torch.zeros(2, 1, 8, 8), 0.5)


def test_features_have_a_vector_for_every_layer_and_leave_the_model_alone(digits):
    torch.manual_seed(0)
    model = ScoreModel(replace(CONFIG, latent=0)).eval()
    x = digits.floats()
    before = model.score(x, 0.5)
    found = unet_features(model, x, 0.5, pool=2)
    lengths = {name: h.shape[1] for name, h in found.items()}
    assert lengths == {
        "input": 4, "down 8": 16, "down 4": 32, "middle": 32, "up 4": 32, "up 8": 16
    }  # fmt: skip
    assert torch.equal(model.score(x, 0.5), before)
    assert not any(m._forward_hooks for m in model.modules())


def test_features_of_the_last_block_are_what_the_network_reads_out(digits):
    torch.manual_seed(0)
    model = ScoreModel(replace(CONFIG, latent=0)).eval()
    seen = []
    handle = model.network.norm.register_forward_hook(lambda m, a, o: seen.append(a[0]))
    found = unet_features(model, digits.floats(), 0.5, pool=8)
    handle.remove()
    assert torch.allclose(found["up 8"], seen[0].flatten(1))


def test_clean_features_need_no_noise_and_noisy_ones_follow_the_seed(digits):
    model = ScoreModel(replace(CONFIG, latent=0)).eval()
    clean = [features_at(model, digits, 0.6, noisy=False, batch=b)["middle"] for b in (5, 32)]
    assert torch.allclose(*clean, atol=1e-5)
    noisy = [features_at(model, digits, 0.6, seed=s)["middle"] for s in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.allclose(noisy[0], noisy[2])


# The command


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time-codes")
    command.Train(
        seconds=0.1, channels=(4, 8), images=64, out=folder / "model", folder=folder / "state"
    ).run()
    return folder / "model"


def test_probe_writes_one_row_a_time_and_does_not_repeat_it(shipped, tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    probe = command.Probe(times=(0.2, 0.7), most=200, folder=shipped, out=out)
    probe.run()
    table = pd.read_csv(out)
    assert table.t.tolist() == [0.2, 0.7] and (table.latent == 2).all()
    assert table[["probe", "r2_stroke_width"]].notna().all(axis=None)
    monkeypatch.setattr(command.Probe, "codes", lambda *_: pytest.fail("computed again"))
    probe.run()
    assert pd.read_csv(out).equals(table)


def test_killed_table_of_features_keeps_what_it_has_and_goes_on(tmp_path, monkeypatch):
    out, real, done = tmp_path / "table.csv", command.Features.codes, []

    def once(self, group, splits):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(group["t"])
        return real(self, group, splits)

    monkeypatch.setattr(command.Features, "codes", once)
    features = command.Features(times=(0.3, 0.7), most=100, inputs=("noisy",), out=out)
    with pytest.raises(KeyboardInterrupt):
        features.run()
    assert set(pd.read_csv(out).t) == {0.3}

    def counted(self, group, splits):
        done.append(group["t"])
        return real(self, group, splits)

    monkeypatch.setattr(command.Features, "codes", counted)
    features.run()
    table = pd.read_csv(out)
    assert done == [0.3, 0.7]
    assert table.groupby("t").size().to_dict() == {0.3: 7, 0.7: 7}


def test_fields_of_the_input_have_the_noise_that_the_layers_saw():
    data = load_data("mnist", "test").subset(300)
    model = ScoreModel.from_pretrained("book/checkpoints/fig10")
    seen = features_at(model, data, 0.9, True, 2, seed=4)["input"]  # noise of 18, images of 1
    fine = command.fields(model, data, 0.9, True, seed=4).view(-1, 8, 8)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, 2).flatten(1)
    assert torch.corrcoef(torch.stack([coarse.flatten(), seen.flatten()]))[0, 1] > 0.9
