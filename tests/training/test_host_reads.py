"""No step waits for an accelerator: host reads counted on a pretended one, graphs by dynamo."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._subclasses import FakeTensorMode

from scorerep import checkpoint, sampling
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.sde import VESDE
from scorerep.times import DensityTime, SingleTime, UniformSigma, UniformTime, log_normal_sigma
from scorerep.training import Optimisation, TrainingDiverged, loop, training_loop
from scorerep.training.loop import Loss
from scorerep.training.optimisers import adam, make_optimizer
from tests.fake_accelerator import DEVICE, Fake, fake, pretended

SMALL = ModelConfig(image_shape=(1, 8, 8), channels=(8, 8), blocks=1, dropout=0.1, latent=2)
PROBABILISTIC = replace(SMALL, probabilistic=True, attention=(4,))
LABELS = replace(SMALL, latent=0, num_classes=10, parametrisation="paper", features="fourier")
DENSE = replace(SMALL, network="dense", encoder_channels=(4, 8))
TOY = ModelConfig(image_shape=(2,), channels=(8, 8), latent=0)
BUDGET = Optimisation(iterations=4, batch_size=16, warmup=2, regulariser_warmup=3)
KL = Objective(UniformTime(), regulariser="kl", regulariser_weight=1e-3, draws_per_image=2)
SIGMA = Objective(UniformSigma(VESDE()), log_normal_sigma(VESDE(), 1.0, 2.0), "sigma2", "l1", 1e-3)
STEPS = DensityTime(torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1.0, 2.0]))


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(64)


@pytest.fixture
def device():
    with pretended() as counting:
        yield counting


def new(config: ModelConfig) -> ScoreModel:
    torch.manual_seed(0)
    model = ScoreModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


# The pretended accelerator itself


def test_every_way_to_read_a_value_is_counted(device):
    x = fake(torch.tensor([1.0, 2.0, 3.0]))
    for read in (
        lambda: float(x.sum()), lambda: bool((x > 0).all()), lambda: x.cpu(), lambda: x[x > 1],
        lambda: int(x.argmax()), lambda: x.nonzero(),
    ):  # fmt: skip
        before = device.reads.total()
        read()
        assert device.reads.total() > before
    before = device.reads.total()
    y = (x * 2 + 1).sum() + torch.tensor(3.0)
    assert isinstance(y, Fake) and y.device == DEVICE and device.reads.total() == before
    assert float(y) == 18


def test_a_mix_of_devices_is_refused(device):
    with pytest.raises(RuntimeError, match="same device"):
        fake(torch.ones(3)) + torch.ones(3)


# Training


@pytest.mark.parametrize(
    ("config", "objective", "changes"),
    [
        (SMALL, SIGMA, {}),
        (PROBABILISTIC, KL, {"optimizer": "muon"}),
        (LABELS, Objective(STEPS), {"accumulate": 2}),
        (DENSE, Objective(SingleTime(0.5)), {"iterations": 2, "frozen_iterations": 2}),
    ],
    ids=["proposal", "probabilistic", "labels", "frozen"],
)
def test_no_training_step_reads_a_value_before_the_last(device, digits, config, objective, changes):
    counts = []
    for state in training_loop(new(config), digits, objective, replace(BUDGET, **changes)):
        assert isinstance(state.losses.total, Fake)
        counts.append(device.reads.total())
    assert state.step == 4
    # Between the first step and the third there is none; the last looks whether all was finite.
    assert counts[2] == counts[0] and counts[3] == counts[0] + 1, device.reads


def test_the_loss_costs_one_read_where_it_is_logged(device, digits):
    states = training_loop(new(SMALL), digits, SIGMA, BUDGET)
    state = next(states)
    before = device.reads.total()
    value = float(state.losses.matching)
    assert device.reads.total() == before + 1 and 0 < value < 10


def test_a_pretended_run_is_the_cpu_s_run(digits):
    *_, here = training_loop(new(SMALL), digits, SIGMA, BUDGET, seed=5)
    with pretended():
        *_, there = training_loop(new(SMALL), digits, SIGMA, BUDGET, seed=5)
        weights = {name: value.inner for name, value in there.averaged.state_dict().items()}
    for name, value in here.averaged.state_dict().items():
        torch.testing.assert_close(weights[name], value, msg=name)


def test_a_diverged_run_raises_before_it_is_saved_or_handed_out(device, digits, tmp_path):
    model = new(SMALL)
    states = training_loop(model, digits, SIGMA, replace(BUDGET, iterations=6))
    state = next(states)
    state.check()
    with torch.no_grad():
        model.network.out.bias.fill_(float("nan"))
    next(states)  # bad from here on, unread
    next(states)
    for look in (state.check, lambda: state.averaged, lambda: state.save(tmp_path / "a")):
        with pytest.raises(TrainingDiverged, match="not finite at step 2"):
            look()
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrainingDiverged, match="not finite at step 2"):
        list(states)
    assert state.step == 5  # the last step looks before it is taken


def test_a_diverged_run_is_stopped_at_the_next_look(device, digits, monkeypatch):
    monkeypatch.setattr(loop, "CHECK_EVERY", 3)
    model = new(SMALL)
    states = training_loop(model, digits, SIGMA, replace(BUDGET, iterations=50))
    state = next(states)
    with torch.no_grad():
        model.network.out.bias.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match="not finite at step 2"):
        list(states)
    assert state.step == 2


def test_an_infinite_gradient_of_a_finite_loss_is_noticed(digits):
    model = new(SMALL)
    model.network.out.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingDiverged, match="gradient is not finite at step 1"):
        list(training_loop(model, digits, SIGMA, BUDGET))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("name", ["cuda", "cpu"])
def test_adam_is_fused_on_a_gpu(name):
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = [torch.nn.Parameter(torch.empty(3, device=name))]
        assert bool(adam(weights, 1e-3).defaults["fused"]) == (name == "cuda")
        muon = replace(BUDGET, optimizer="muon")
        optimizer = make_optimizer(torch.nn.Linear(2, 2, device=name), muon)
        assert bool(optimizer.adam.defaults["fused"]) == (name == "cuda")


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_state_of_the_cpu_is_loaded_to_where_a_fused_kernel_wants_it(kind):
    optimisation = replace(BUDGET, optimizer=kind)
    here = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(here, optimisation)
    here(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors = checkpoint.optimizer_tensors(optimizer)
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = make_optimizer(torch.nn.Linear(2, 2, device="cuda"), optimisation)
        checkpoint.load_optimizer_tensors(there, tensors)
        found = checkpoint.optimizer_tensors(there)
        assert found.keys() == tensors.keys() and any(name.endswith("step") for name in found)
        assert {tensor.device.type for tensor in found.values()} == {"cuda"}


# Samplers


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (sampling.euler_maruyama, {}),
        (sampling.predictor_corrector, {}),
        (sampling.heun, {}),
        (sampling.stochastic_heun, {"churn": 5.0}),
    ],
)
@pytest.mark.parametrize("config", [SMALL, LABELS], ids=["code", "label"])
def test_no_step_of_a_sampler_reads_a_value(device, sampler, options, config):
    model = new(config).eval().to(DEVICE)
    z = torch.tensor([3, 7]) if config.num_classes else torch.randn(2, 2)
    x_1 = model.sde.prior_sample(2, 1, 8, 8, generator=torch.Generator(), device=DEVICE)
    score, counts = sampling.condition(model, z.to(DEVICE)), []
    for steps in (3, 6):
        before = device.reads.total()
        images = sampler(score, model.sde, x_1, steps=steps, **options)
        counts.append(device.reads.total() - before)
        assert isinstance(images, Fake) and bool(images.inner.isfinite().all())
    # At most a look at what goes in and one at what comes out, however many steps.
    assert counts[0] == counts[1] <= 2, device.reads


# Graphs


# Of one resolution: what is compiled does not get longer by repeating blocks.
ONE_LEVEL = [
    replace(config, channels=(8,), dropout=0.0, encoder_channels=(8,) if config.latent else ())
    for config in (SMALL, replace(PROBABILISTIC, attention=(8,)), LABELS, DENSE, TOY)
]


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("config", "objective"),
    [
        (ONE_LEVEL[0], SIGMA),
        (ONE_LEVEL[1], KL),
        (ONE_LEVEL[2], Objective(UniformTime())),
        (ONE_LEVEL[3], Objective(UniformTime(), frozen_encoder=True)),
        (ONE_LEVEL[4], Objective(UniformTime())),
    ],
    ids=["code", "probabilistic", "labels", "dense", "toy"],
)
def test_the_whole_loss_is_one_graph(graphs, config, objective):
    model = new(config)
    loss = Loss(model)
    loss.compile(backend=graphs, fullgraph=True)
    x_0 = torch.rand(4, *config.image_shape)
    y = torch.tensor([0, 3, 9, 1]) if config.num_classes else None
    for seed in range(3):
        draws = objective.draw(x_0, config.latent, torch.Generator().manual_seed(seed))
        for a, b in zip(loss(objective, x_0, draws, y), objective(model, x_0, draws, y)):
            torch.testing.assert_close(a, b)
    assert graphs.frame_count == 1


def test_a_warm_up_of_the_regulariser_adds_one_graph_not_one_a_step(graphs):
    model = new(ONE_LEVEL[1])
    loss = Loss(model)
    loss.compile(backend=graphs, fullgraph=True)
    x_0, weights = torch.rand(4, 1, 8, 8), (0.0, 1e-4, 2e-4, 3e-4, 1.0)
    draws = KL.draw(x_0, 2, torch.Generator().manual_seed(0))
    for weight in weights:
        total, matching, regulariser, _ = loss(
            replace(KL, regulariser_weight=weight), x_0, draws, None
        )
        torch.testing.assert_close(total, matching + weight * regulariser)
    assert graphs.frame_count == 2


def test_compiled_training_is_training(graphs, digits, monkeypatch):
    monkeypatch.setattr(
        Loss, "compile", lambda self: torch.nn.Module.compile(self, backend=graphs, fullgraph=True)
    )
    config = ONE_LEVEL[1]
    *_, plain = training_loop(new(config), digits, KL, BUDGET)
    assert graphs.frame_count == 0
    *_, compiled = training_loop(new(config), digits, KL, replace(BUDGET, compile=True))
    assert graphs.frame_count == 2  # regulariser_warmup: one for weight 0, one for all others
    for (name, a), b in zip(
        plain.model.state_dict().items(), compiled.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("config", ONE_LEVEL[1:], ids=["code", "labels", "dense", "toy"])
def test_the_score_is_one_graph_for_all_times(graphs, config):
    model = new(config).eval()
    score = torch.compile(model, backend=graphs, fullgraph=True)
    x, z = torch.rand(3, *config.image_shape), torch.rand(3, 2) if config.latent else None
    z = torch.tensor([0, 5, 9]) if config.num_classes else z
    with torch.no_grad():
        times = (torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.1, 0.3, 1.0]))
        for t in times:
            torch.testing.assert_close(score(x, t, z), model.score(x, t, z))
        assert graphs.frame_count == 1
        for t in (0.1, 0.2, 0.35, 0.6, 0.8):  # a number: one graph for the first, one for all
            torch.testing.assert_close(score(x, t, z), model.score(x, t, z))
    assert graphs.frame_count <= 3
    for method in (model.denoise, model.encode) if config.latent else (model.denoise,):
        arguments = (x,) if method == model.encode else (x, times[0], z)
        compiled = torch.compile(method, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*arguments), method(*arguments))
