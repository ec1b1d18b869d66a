"""Muon and Adam as one optimiser: groups, updates, layouts, and runs that go on bit for bit."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from scorerep import checkpoint
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.times import SingleTime, UniformTime
from scorerep.training import Optimisation, training_loop
from scorerep.training.optimisers import MuonAndAdam, make_optimizer, set_rates, split_parameters

CONFIG = ModelConfig(image_shape=(1, 8, 8), channels=(8, 8), blocks=1, dropout=0.1, latent=2)
BUDGET = Optimisation(
    6, batch_size=16, optimizer="muon", learning_rate=1e-2, warmup=2, decay=0.5, ema=0.9
)
OBJECTIVE = Objective(UniformTime(), regulariser="l1", regulariser_weight=1e-5)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(64)


def new_model(config: ModelConfig = CONFIG) -> ScoreModel:
    torch.manual_seed(0)
    return ScoreModel(config)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3), nn.Flatten())


def backward(model: nn.Module, seed: int):
    model.zero_grad()
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    model(x).square().sum().backward()


def assert_same(a: nn.Module, b: nn.Module):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("network", ["unet", "dense"])
def test_every_parameter_is_in_one_group(network):
    model = new_model(replace(CONFIG, network=network, encoder_channels=(8, 8)))
    optimizer = make_optimizer(model, BUDGET)
    others, matrices = (group["params"] for group in optimizer.param_groups)
    assert sorted(map(id, others + matrices)) == sorted(map(id, model.parameters()))
    score = [p for p in model.network.parameters() if p.ndim >= 2]
    assert list(map(id, matrices)) == list(map(id, score))
    optimizer = make_optimizer(model, replace(BUDGET, muon_for="blocks"))
    others, fewer = (group["params"] for group in optimizer.param_groups)
    assert sorted(map(id, others + fewer)) == sorted(map(id, model.parameters()))
    embeds = [p for p in model.network.conditioning.parameters() if p.ndim >= 2]
    assert len(embeds) == 6  # two dense layers for the noise level, four for the code
    assert {*map(id, matrices)} - {*map(id, fewer)} == {*map(id, embeds)}


def test_a_convolution_moves_as_its_flat_matrix_by_torchs_muon():
    model, twin = small_network(), small_network()
    optimizer = MuonAndAdam(*split_parameters(model), 1e-2, 0.02)
    weights = [twin[0].weight, twin[2].weight]
    flat = [nn.Parameter(p.detach().flatten(1).clone()) for p in weights]
    muon = torch.optim.Muon(flat, 0.02, weight_decay=0.0, momentum=0.95)
    adam = torch.optim.Adam([p for p in twin.parameters() if p.ndim < 2], 1e-2)
    for step in range(3):
        backward(model, step)
        optimizer.step()
        backward(twin, step)
        for p, q in zip(weights, flat, strict=True):
            q.grad = p.grad.flatten(1)
        muon.step()
        adam.step()
        with torch.no_grad():
            for p, q in zip(weights, flat, strict=True):
                p.copy_(q.view(p.shape))
        assert_same(model, twin)


def test_weights_in_channels_last_move_alike():
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = small_network().to(memory_format=layout)
        optimizer = MuonAndAdam(*split_parameters(model), 1e-2, 0.02)
        for p in model.parameters():
            p.grad = torch.linspace(-1, 2, p.numel()).view(p.shape).sin()
        optimizer.step()
        moved.append(model)
        state = checkpoint.optimizer_tensors(optimizer)
        assert state["optimizer.4.momentum_buffer"].shape == (4, 18)
    assert_same(*moved)
    assert moved[1][0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_run_equals_unbroken_run_bit_for_bit(digits, tmp_path, stop):
    path = tmp_path / "training.safetensors"
    for state in training_loop(new_model(), digits, OBJECTIVE, BUDGET, seed=3):
        if state.step == stop:
            state.save(path)
    torch.manual_seed(99)  # whatever happened in between
    *_, resumed = training_loop(ScoreModel(CONFIG), digits, OBJECTIVE, BUDGET, 3, resume=path)
    assert resumed.step == state.step == 6
    assert_same(resumed.model, state.model)
    assert_same(resumed.averaged, state.averaged)


def test_resumed_run_equals_unbroken_run_across_a_frozen_phase(digits, tmp_path):
    budget, path = replace(BUDGET, frozen_iterations=4, precision="bf16"), tmp_path / "a"
    for state in training_loop(new_model(), digits, OBJECTIVE, budget, seed=3):
        if state.step == 8:
            state.save(path)
            frozen = state.model.encoder.dense[0].weight.detach().clone()
    *_, resumed = training_loop(ScoreModel(CONFIG), digits, OBJECTIVE, budget, 3, resume=path)
    assert_same(resumed.model, state.model)
    assert torch.equal(state.model.encoder.dense[0].weight, frozen)


def test_state_of_adam_does_not_fit_muon(digits, tmp_path):
    path = tmp_path / "training.safetensors"
    adam = replace(BUDGET, optimizer="adam")
    next(training_loop(new_model(), digits, OBJECTIVE, BUDGET)).save(path)
    with pytest.raises(checkpoint.CheckpointError, match="not the training state"):
        next(training_loop(new_model(), digits, OBJECTIVE, adam, resume=path))


def test_rates_and_clipping_reach_both_groups(digits):
    rates = []
    for state in training_loop(new_model(), digits, OBJECTIVE, replace(BUDGET, clip=1e-3)):
        rates.append([group["lr"] for group in state.optimizer.param_groups])
        gradients = [p.grad.flatten() for p in state.model.parameters() if p.grad is not None]
        assert torch.cat(gradients).norm() <= 1e-3 * 1.001
    shares = [0.5, 1, 1, 1, 2 / 3, 1 / 3]
    assert rates == [pytest.approx([1e-2 * share, 0.02 * share]) for share in shares]


def test_loss_falls_with_muon_and_the_code_stays_alive(digits):
    budget = replace(BUDGET, iterations=60)
    states = [
        (float(state.losses.matching), float(state.losses.code_std))
        for state in training_loop(new_model(), digits, Objective(SingleTime(0.6)), budget)
    ]
    first, last = (sum(x[0] for x in part) / 10 for part in (states[:10], states[-10:]))
    assert last < 0.7 * first
    assert states[-1][1] > 0.01


def test_parameters_without_a_gradient_stay():
    model = small_network()
    optimizer = MuonAndAdam(*split_parameters(model), 1e-2, 0.02)
    before = [p.detach().clone() for p in model.parameters()]
    model[0].weight.grad = torch.ones_like(model[0].weight)
    optimizer.step()
    moved = [not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)]
    assert moved == [True, False, False, False, False, False]


def test_what_muon_cannot_take_is_refused():
    with pytest.raises(ValueError, match="two dimensions or more"):
        make_optimizer(nn.GroupNorm(2, 4), BUDGET)
    with pytest.raises(ValueError, match=r"two dimensions or more, got shapes \[\(3,\)\]"):
        MuonAndAdam([], [nn.Parameter(torch.ones(3))], 1e-3, 0.02)
    optimizer = make_optimizer(nn.Linear(3, 2), BUDGET)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)


def test_adam_alone_has_one_group_with_its_own_rate():
    optimizer = make_optimizer(nn.Linear(3, 2), replace(BUDGET, optimizer="adam"))
    set_rates(optimizer, BUDGET, step=2)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2]


def test_model_of_matrices_alone_needs_no_adam():
    model = nn.Linear(3, 2, bias=False)
    optimizer = make_optimizer(model, BUDGET)
    model(torch.ones(4, 3)).square().sum().backward()
    before = model.weight.detach().clone()
    optimizer.step()
    again = make_optimizer(model, BUDGET)
    again.load_state_dict(optimizer.state_dict())
    assert not torch.equal(model.weight, before)
    assert torch.equal(again.muon.state[again.flat[0]]["momentum_buffer"],
                       optimizer.state[model.weight]["momentum_buffer"])  # fmt: skip
