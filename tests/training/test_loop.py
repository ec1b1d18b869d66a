"""The training loop: resuming, several processes, averaging, phases, and stopping on NaN."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
import torch

from scorerep.checkpoint import CheckpointError, read_tensors, write_tensors
from scorerep.codes.learners import Autoencoder, Reconstruction
from scorerep.data import Batches, PointData, batch_indices, load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.sde import VESDE
from scorerep.times import SingleTime, UniformSigma, UniformTime
from scorerep.training import Optimisation, TrainingDiverged, training_loop
from scorerep.training.loop import fast_products
from scorerep.training.randomness import dropout_of, step_seed
from scorerep.worlds import LinearCode, LinearGaussian
from scorerep.worlds.mixture import labelled_quartet

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


# Randomness of a step, from seed, step and process alone


def test_previews_between_steps_change_nothing_and_are_not_changed(digits):
    # Dropout too, which draws from torch's own stream.
    whole, loop = run(digits), training_loop(new_model(), digits, OBJECTIVE, BUDGET, seed=3)
    torch.manual_seed(7)
    seen = []
    for state in loop:
        seen.append(torch.rand(3))
        z = torch.zeros(2, 2)
        state.averaged.score(state.model.sde.prior_sample(2, 1, 8, 8), 0.5, z)
    assert_same(state.model, whole.model)
    torch.manual_seed(7)
    for found in seen:
        assert torch.equal(found, torch.rand(3))
        torch.randn(2, 1, 8, 8)


def test_dropout_differs_between_steps_processes_and_seeds_and_comes_again():
    def mask(seed, step, rank):
        with dropout_of(seed, step, rank, torch.device("cpu")):
            return torch.rand(100) < 0.5

    masks = [mask(*key) for key in product((0, 1), (0, 1), (0, 1))]
    for i, j in combinations(range(8), 2):
        assert 20 < int((masks[i] != masks[j]).sum()) < 80
    assert torch.equal(masks[5], mask(1, 0, 1))


def test_seeds_of_steps_do_not_collide():
    keys = product(range(4), range(200), range(3))
    assert len({step_seed(*key) for key in keys}) == 4 * 200 * 3


def test_the_stream_is_given_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), dropout_of(0, 0, 0, torch.device("cpu")):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_with_a_stream_of_its_own_is_seeded_and_given_back(monkeypatch):
    class Device:  # as torch.cuda
        state = torch.tensor([1])

        def get_rng_state(self):
            return self.state

        def set_rng_state(self, state):
            self.state = state

        def manual_seed(self, seed):
            self.state = torch.tensor([seed % 1000])

    monkeypatch.setattr(torch, "xpu", device := Device())
    with dropout_of(0, 5, 1, torch.device("xpu")):
        assert int(device.state) == step_seed(0, 5, 2) % 1000
    assert int(device.state) == 1


def test_nothing_random_is_stored_and_old_files_with_generators_go_on(digits, tmp_path):
    path, old = tmp_path / "training.safetensors", tmp_path / "old.safetensors"
    run(digits, save_at=4, path=path)
    tensors, metadata = read_tensors(path)
    assert not [name for name in tensors if name.startswith("random")]
    # A run on a GPU left 16 bytes where the CPU has 5,056.
    state = torch.zeros(16, dtype=torch.uint8)
    random = {f"random.{name}": state.clone() for name in ("generator", "cpu", "cuda")}
    write_tensors(old, tensors | random, metadata)
    resumed = run(digits, resume=old, model=ScoreModel(CONFIG))
    assert_same(resumed.model, run(digits).model)


def test_the_averaged_model_is_in_evaluation_mode_without_gradients(digits):
    model = new_model()
    for state in training_loop(model, digits, OBJECTIVE, BUDGET):
        assert model.training and not any(m.training for m in state.averaged.modules())
    assert not any(p.requires_grad for p in state.averaged.parameters())
    assert all(p.requires_grad for p in model.parameters())
    x, z = digits.batch(slice(2)), torch.zeros(2, 2)
    a, b = (state.averaged.score(x, 0.5, z) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(model.score(x, 0.5, z), a)


# What the loop asks of its data, and of its model


class Quartet:
    """Points of a toy world: the three methods that training asks for, and labels."""

    def __init__(self, n: int):
        generator = torch.Generator().manual_seed(0)
        self.points, labels = labelled_quartet().sample(n, generator)
        self.labels = labels

    def __len__(self):
        return len(self.points)

    def batch(self, indices):
        return self.points[indices].float()

    def to(self, device):
        return self


class Unlabelled(Quartet):
    def __init__(self, n: int):
        super().__init__(n)
        del self.labels


@pytest.mark.parametrize(("latent", "left"), [(0, 0.95), (2, 0.1)])
def test_points_of_a_toy_world_train_a_model(latent, left):
    data = Unlabelled(512)
    assert isinstance(data, Batches) and isinstance(load_data("digits"), Batches)
    config = ModelConfig(image_shape=(2,), channels=(32, 32), latent=latent, sigma_max=5.0)
    budget = Optimisation(iterations=150, batch_size=128, learning_rate=3e-3, warmup=10)
    objective, model = Objective(SingleTime(0.65)), new_model(config)
    x_0 = data.batch(slice(None))
    draws = objective.draw(x_0, latent, torch.Generator().manual_seed(1))
    before = float(objective(model.eval(), x_0, draws).matching)
    *_, state = training_loop(model, data, objective, budget)
    assert float(objective(state.averaged, x_0, draws).matching) < left * before


def test_labels_are_asked_for_by_a_model_of_labels_only():
    config = ModelConfig(image_shape=(2,), channels=(16,), latent=0, num_classes=4)
    with pytest.raises(ValueError, match="data must have labels"):
        training_loop(new_model(config), Unlabelled(64), OBJECTIVE, BUDGET)
    *_, state = training_loop(new_model(config), Quartet(64), Objective(UniformTime()), BUDGET)
    assert state.step == 6


def test_a_module_without_a_config_is_trained_to_its_closed_form():
    world, times = LinearGaussian([1.0, 0.5, 0.1, 0.05]), SingleTime(0.5)
    generator = torch.Generator().manual_seed(0)
    model = LinearCode(VESDE(), times.t, 4, 2, generator)
    budget = Optimisation(300, batch_size=256, learning_rate=0.03, warmup=10, decay=1.0)
    data = PointData(world.sample(300 * 256, generator))
    *_, state = training_loop(model, data, Objective(times), budget)
    least = world.optimal_objective(model.sde, times, latent=2)
    assert 1 - 1e-9 < float(state.averaged.expected_loss(world)) / least < 1.02


def test_any_learner_can_be_compiled(digits):
    compiled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
        budget = replace(BUDGET, iterations=1, compile=True)
        next(training_loop(Autoencoder(CONFIG), digits, Reconstruction(), budget))
    assert [type(module).__name__ for module in compiled] == ["Loss"]


def test_parts_of_a_batch_add_up_to_its_gradient(digits):
    config = replace(CONFIG, dropout=0.0)
    runs = []
    for parts in (1, 4):
        model, budget = new_model(config).double(), replace(BUDGET, accumulate=parts)
        *_, state = training_loop(model, digits, OBJECTIVE, budget)
        runs.append(state)
    for a, b in zip(*(r.model.parameters() for r in runs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    for a, b in zip(runs[0].losses[:3], runs[1].losses[:3], strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(torch.stack([*runs[0].mean_losses()]), torch.stack([*runs[0].losses]))


def test_products_are_fast_on_cuda_within_a_step_only():
    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark

    before = settings()
    with fast_products(torch.device("cpu")):
        assert settings() == before
    with fast_products(torch.device("cuda")):
        assert settings() == ("high", True)
    assert settings() == before


# Runs


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


def test_loss_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(digits):
    model = new_model()
    loop = training_loop(model, digits, OBJECTIVE, BUDGET)
    next(loop)
    with torch.no_grad():
        model.network.out.bias.fill_(float("nan"))
    before = model.network.out.weight.clone()
    with pytest.raises(TrainingDiverged, match="not finite at step 2"):
        next(loop)
    assert torch.equal(model.network.out.weight, before)


def test_the_first_bad_step_is_named_though_a_later_one_was_finite(digits):
    state = next(training_loop(new_model(), digits, OBJECTIVE, BUDGET))
    state.check()
    for value in ("inf", "1", "nan"):
        state.note(torch.tensor(float(value)), torch.tensor(1.0))
    with pytest.raises(TrainingDiverged, match="not finite at step 2"):
        state.check()


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


@pytest.mark.parametrize("changes", [{"batch_size": 65}, {"batch_size": 16, "accumulate": 3}])
def test_batch_that_does_not_fit_is_an_error_at_once(digits, changes):
    with pytest.raises(ValueError, match="batch_size must be at most the 64 images"):
        training_loop(new_model(), digits, OBJECTIVE, replace(BUDGET, **changes))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_a_seed_out_of_range_is_an_error_at_once(digits, seed):
    with pytest.raises(ValueError, match=rf"seed must lie in 0\.\.4294967295, got {seed}"):
        training_loop(new_model(), digits, OBJECTIVE, BUDGET, seed=seed)


def test_the_largest_seed_trains(digits):
    assert next(training_loop(new_model(), digits, OBJECTIVE, BUDGET, seed=2**32 - 1)).step == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"iterations": 0},
        {"iterations": -1},
        {"regulariser_warmup": -1},
        {"ema": 1.0},
        {"frozen_iterations": -1},
        {"accumulate": 0},
        {"optimizer": "sgd"},
        {"muon_for": "encoder"},
        {"muon_learning_rate": 0.0},
        {"muon_learning_rate": float("nan")},
        {"decay": -0.1},
        {"decay": 1.1},
        {"ema": float("nan")},
        {"learning_rate": 0.0},
        {"precision": "fp8"},
        {"precision": "float32"},
        {"compile": "no"},
        *(
            {name: value}
            for name in ("learning_rate", "muon_learning_rate")
            for value in (float("nan"), float("inf"))
        ),
        *({"clip": value} for value in (0.0, -float("inf"), float("nan"))),
        *(
            {name: value}
            for name in (
                "iterations", "frozen_iterations", "batch_size", "warmup", "regulariser_warmup",
                "accumulate",
            )
            for value in (2.5, True)
        ),
        {"batch_size": 0},
        {"warmup": 0},
    ],
)  # fmt: skip
def test_impossible_budgets_are_errors(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError) as error:
        Optimisation(**bad)
    sentence = str(error.value)
    assert sentence.startswith(f"{name} must ") and "\n" not in sentence
    assert name == "iterations" and value == 0 or sentence.endswith(f"got {value!r}"), sentence
    other = {"iterations", "batch_size", "warmup", "learning_rate", "clip", "ema"} - {name}
    assert not other & set(sentence.replace(",", " ").split())


def test_an_infinite_clip_leaves_the_gradient_as_it_is(digits):
    gradients = []
    for clip in (float("inf"), 1e9):
        model = new_model(replace(CONFIG, dropout=0.0))
        next(training_loop(model, digits, OBJECTIVE, replace(BUDGET, clip=clip)))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(bool(g.isfinite().all()) for g in gradients[0])


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
    subprocess.run([sys.executable, script, alone], check=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, *launcher, script, together], check=True)
    from safetensors.torch import load_file

    one, two = load_file(alone), load_file(together)
    assert one.keys() == two.keys() and len(one) > 20
    for name in one:
        assert one[name].dtype == torch.float64
        assert (one[name] - two[name]).abs().max() <= 1e-10, name


def test_channels_last_weights_train_and_save_alike(digits, tmp_path):
    # A caller's choice, where it pays; the layout must change neither the numbers nor the file.
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
