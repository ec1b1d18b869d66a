"""The training loop: resuming, several processes, averaging, phases, and stopping on NaN."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorerep.checkpoint import CheckpointError, read_tensors
from scorerep.data import batch_indices, load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.sde import VESDE
from scorerep.times import SingleTime, UniformSigma, UniformTime
from scorerep.training import Optimisation, TrainingDiverged, training_loop

CONFIG = ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1, dropout=0.1, latent=2)
BUDGET = Optimisation(iterations=6, batch_size=16, learning_rate=1e-2, warmup=3, ema=0.9)
OBJECTIVE = Objective(UniformTime(), regulariser="l1", regulariser_weight=1e-5)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(64)


def new_model(config: ModelConfig = CONFIG) -> ScoreModel:
    torch.manual_seed(0)
    return ScoreModel(config)


def run(data, budget=BUDGET, objective=OBJECTIVE, resume=None, model=None, save_at=None, path=None):
    model = model or new_model()
    for state in training_loop(model, data, objective, budget, seed=3, resume=resume):
        if state.step == save_at:
            state.save(path)
            break
    return state


def assert_same(a: torch.nn.Module, b: torch.nn.Module):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_run_equals_unbroken_run_bit_for_bit(digits, tmp_path, stop):
    whole = run(digits)
    path = tmp_path / "training.safetensors"
    run(digits, save_at=stop, path=path)
    torch.manual_seed(99)  # whatever happened in between
    resumed = run(digits, resume=path, model=ScoreModel(CONFIG))
    assert resumed.step == whole.step == 6
    assert_same(resumed.model, whole.model)
    assert_same(resumed.averaged, whole.averaged)
    assert resumed.losses.total == whole.losses.total


def test_same_seed_same_weights_other_seed_other_weights(digits):
    a, b = run(digits), run(digits)
    assert_same(a.model, b.model)
    *_, c = training_loop(new_model(), digits, OBJECTIVE, BUDGET, seed=4)
    assert not torch.equal(a.model.network.out.weight, c.model.network.out.weight)


def test_loss_falls_and_code_stays_alive(digits):
    budget = replace(BUDGET, iterations=80)
    losses = [
        (float(s.losses.matching), float(s.losses.code_std))
        for s in training_loop(new_model(), digits, Objective(SingleTime(0.6)), budget)
    ]
    first, last = (sum(x[0] for x in part) / 10 for part in (losses[:10], losses[-10:]))
    assert last < 0.7 * first
    assert losses[-1][1] > 0.01


def test_average_of_weights_follows_the_ramped_rule(digits):
    budget = replace(BUDGET, iterations=5)
    expected = None
    for state in training_loop(new_model(), digits, OBJECTIVE, budget):
        weight = state.model.network.out.weight.detach().clone()
        n = state.step - 1
        if expected is None:
            expected = weight  # torch's averaged model starts as a copy
        else:
            rate = min(budget.ema, (1 + n) / (10 + n))
            expected = rate * expected + (1 - rate) * weight
        assert torch.allclose(state.averaged.network.out.weight, expected, atol=1e-7)


def test_learning_rate_warms_up_and_gradient_is_clipped(digits):
    rates = []
    for state in training_loop(new_model(), digits, OBJECTIVE, replace(BUDGET, clip=1e-3)):
        rates.append(state.optimizer.param_groups[0]["lr"])
        gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm <= 1e-3 * 1.001
    assert rates == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2, 1e-2, 1e-2])


def test_frozen_phase_keeps_the_averaged_encoder_and_trains_the_score_network(digits):
    budget = replace(BUDGET, iterations=3, frozen_iterations=3)
    objective = Objective(UniformSigma(VESDE()))
    encoders, outputs = [], []
    for state in training_loop(new_model(), digits, objective, budget):
        averaged = state.averaged.encoder.dense[0].weight.clone()
        encoders.append((state.model.encoder.dense[0].weight.detach().clone(), averaged))
        outputs.append(state.model.network.out.weight.detach().clone())
    assert not torch.equal(encoders[0][0], encoders[2][0])
    for raw, averaged in encoders[3:]:
        assert torch.equal(raw, encoders[2][1])
        assert torch.allclose(averaged, encoders[2][1], atol=1e-7)
    assert not torch.equal(outputs[3], outputs[5])


def test_half_precision_trains_full_precision_weights_and_does_not_stick(digits):
    half = run(digits, budget=replace(BUDGET, precision="bf16"))
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert half.accelerator.mixed_precision == "bf16"
    whole = run(digits)
    assert whole.accelerator.mixed_precision == "no"
    difference = (half.losses.matching - whole.losses.matching).abs()
    assert 0 < difference < 0.05 * whole.losses.matching


def test_loss_that_is_not_finite_stops_the_run_with_the_step(digits):
    model = new_model()
    loop = training_loop(model, digits, OBJECTIVE, BUDGET)
    next(loop)
    with torch.no_grad():
        model.network.out.bias.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="step 2"):
        next(loop)


def test_training_state_of_another_model_is_refused(digits, tmp_path):
    path = tmp_path / "training.safetensors"
    run(digits, save_at=1, path=path)
    other = new_model(replace(CONFIG, latent=3))
    with pytest.raises(CheckpointError, match="not the training state of this experiment"):
        run(digits, resume=path, model=other)


def test_batches_of_an_epoch_visit_every_image_once():
    epoch = torch.cat([batch_indices(step, 64, 16, seed=1) for step in range(4)])
    assert sorted(epoch.tolist()) == list(range(64))
    following = torch.cat([batch_indices(step, 64, 16, seed=1) for step in range(4, 8)])
    assert following.tolist() != epoch.tolist()


def test_batch_larger_than_the_data_is_an_error(digits):
    with pytest.raises(ValueError, match="batch_size must be at most the 64 images"):
        run(digits, budget=replace(BUDGET, batch_size=65))


@pytest.mark.parametrize(
    "bad",
    [
        {"iterations": 0},
        {"iterations": -1},
        {"regulariser_warmup": -1},
        {"ema": 1.0},
        {"frozen_iterations": -1},
        {"optimizer": "sgd"},
        {"muon_learning_rate": 0.0},
        {"muon_learning_rate": float("nan")},
        {"decay": -0.1},
        {"decay": 1.1},
    ],
)
def test_impossible_budgets_are_errors(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Optimisation(**bad)


def test_rates_fall_to_zero_at_the_end_of_each_phase():
    budget = Optimisation(
        10, 4, learning_rate=1.0, muon_learning_rate=2.0, warmup=2, decay=0.5, optimizer="muon"
    )
    rates = [budget.learning_rate_at(step) for step in range(15)]
    first = [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]  # a step later it would be zero
    assert rates == pytest.approx([*first, 1, 1, 1, 0.5, 0])
    assert [budget.muon_learning_rate_at(step) for step in range(15)] == [2 * r for r in rates]
    assert replace(budget, decay=0.0).learning_rate_at(14) == 1
    only_frozen = replace(budget, iterations=0)
    assert [only_frozen.learning_rate_at(step) for step in range(4)] == [0.5, 1, 1, 0.5]


def test_two_processes_equal_one_in_float64(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    alone, together = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    subprocess.run([sys.executable, script, alone], check=True, timeout=120)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, *launcher, script, together], check=True, timeout=120)
    from safetensors.torch import load_file

    one, two = load_file(alone), load_file(together)
    assert one.keys() == two.keys() and len(one) > 20
    for name in one:
        assert one[name].dtype == torch.float64
        assert (one[name] - two[name]).abs().max() <= 1e-10, name


def test_channels_last_weights_train_and_save_alike(digits, tmp_path):
    # What training does on a GPU; the layout must change neither the numbers nor the file.
    losses, gradients = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = new_model(replace(CONFIG, dropout=0.0)).double().to(memory_format=layout)
        x_0 = digits.batch(slice(0, 8)).double()
        draws = OBJECTIVE.draw(x_0, model.config.latent, torch.Generator().manual_seed(0))
        total = OBJECTIVE(model, x_0, draws, None).total
        total.backward()
        losses.append(float(total.detach()))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        model.save_pretrained(tmp_path / str(layout))
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*gradients, strict=True))
    one, two = (
        read_tensors(tmp_path / str(layout) / "model.safetensors")[0]
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_regulariser_comes_in_linearly_and_then_stays():
    budget = replace(BUDGET, regulariser_warmup=4)
    assert [budget.regulariser_at(step) for step in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]
    assert BUDGET.regulariser_at(0) == 1


def test_regulariser_warmup_reaches_the_loss(digits):
    objective = replace(OBJECTIVE, regulariser_weight=10.0)
    budget = replace(BUDGET, regulariser_warmup=3)
    states = training_loop(new_model(), digits, objective, budget, seed=3)
    for step, state in enumerate(states):
        total, matching, regulariser, _ = state.losses
        expected = 10 * min(1, step / 3) * float(regulariser)
        assert float(total - matching) == pytest.approx(expected, abs=1e-4)
