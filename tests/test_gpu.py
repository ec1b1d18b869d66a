"""On a GPU: training, samplers, likelihood, precisions, compiling, going on elsewhere.

python -m pytest -m gpu                              # where there is one
SCOREREP_GPU_TESTS=cpu python -m pytest -m gpu       # do the tests themselves run?
"""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from scorerep import checkpoint, sampling
from scorerep.data import ImageData
from scorerep.likelihood import log_likelihood
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.runs.experiment import Experiment
from scorerep.times import UniformTime
from scorerep.training import Optimisation, training_loop

pytestmark = pytest.mark.gpu
CONFIG = ModelConfig(image_shape=(1, 8, 8), channels=(16, 32), attention=(4,), dropout=0.1)
OPTIMISATION = Optimisation(iterations=40, batch_size=64, warmup=5, learning_rate=2e-3)


@pytest.fixture(scope="module")
def device():
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator()
    if os.environ.get("SCOREREP_GPU_TESTS") != "cpu":
        pytest.skip("no GPU")
    return torch.device("cpu")


def images(count: int = 256) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    dark = torch.randint(0, 2, (count, 1, 1, 1), generator=generator)
    noise = torch.randint(0, 100, (count, 1, 8, 8), generator=generator)
    pixels = (dark * 150 + noise).to(torch.uint8)
    return ImageData(pixels, dark.flatten(), ("light", "dark"), "stripes", "train")


def trained(optimisation: Optimisation, config: ModelConfig = CONFIG):
    torch.manual_seed(0)
    losses = []
    for state in training_loop(
        ScoreModel(config), images(), Objective(UniformTime()), optimisation
    ):
        losses.append(state.losses.matching)
    return state, torch.stack(losses).float().cpu()


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_loss_falls_where_the_accelerator_is(device, optimizer):
    state, losses = trained(replace(OPTIMISATION, optimizer=optimizer))
    assert {p.device.type for p in state.model.parameters()} == {device.type}
    assert losses.isfinite().all() and losses[-10:].mean() < 0.9 * losses[:10].mean()
    codes = state.averaged.encode(images(8).batch(slice(8)).to(device))
    assert codes.device.type == device.type and codes.isfinite().all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_as_single_does(device, precision):
    if precision == "fp16" and device.type == "cpu":
        pytest.skip("fp16 needs a GPU")
    _, single = trained(OPTIMISATION)
    state, losses = trained(replace(OPTIMISATION, precision=precision))
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    assert losses.isfinite().all()
    assert losses[-10:].mean() == pytest.approx(float(single[-10:].mean()), rel=0.15)


def test_compiled_trains_as_eager_does(device):
    if device.type == "cpu":
        pytest.skip("compiling is tested on the CPU elsewhere")
    config = replace(CONFIG, dropout=0.0)
    _, eager = trained(OPTIMISATION, config)
    _, compiled = trained(replace(OPTIMISATION, compile=True), config)
    assert torch.allclose(eager[:5], compiled[:5], rtol=0.02)
    assert compiled[-10:].mean() == pytest.approx(float(eager[-10:].mean()), rel=0.15)


@pytest.fixture(scope="module")
def model():
    return trained(replace(OPTIMISATION, iterations=20))[0].averaged.cpu().eval()


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("heun", {"steps": 6}), ("stochastic_heun", {"steps": 6}), ("probability_flow", {}),
        ("euler_maruyama", {"steps": 20}), ("predictor_corrector", {"steps": 10}),
    ],
)  # fmt: skip
def test_samplers_give_the_same_images_as_on_the_cpu(device, model, sampler, options):
    found = []
    for place in (torch.device("cpu"), device):
        model.to(place)
        generator = torch.Generator().manual_seed(1)
        noise = model.sde.prior_sample(4, 1, 8, 8, generator=generator).to(place)
        z = torch.zeros(4, 2, device=place)
        if sampler != "probability_flow" and sampler != "heun":
            options = options | {"generator": generator}
        run = getattr(sampling, sampler)
        found.append(run(sampling.condition(model, z), model.sde, noise, **options).detach())
    assert found[1].device.type == device.type
    assert torch.allclose(found[0], found[1].cpu(), atol=0.02)


def test_likelihood_is_that_of_the_cpu(device, model):
    found = []
    x_0 = images(2).batch(slice(2))
    for place in (torch.device("cpu"), device):
        model.to(place)
        score = sampling.condition(model, torch.zeros(2, 2, device=place))
        generator = torch.Generator().manual_seed(0)
        found.append(
            log_likelihood(score, model.sde, x_0.to(place), 1, generator, tolerance=1e-3).cpu()
        )
    assert found[0].isfinite().all()
    assert torch.allclose(*found, rtol=0.02, atol=2.0)


FIT = """
import sys
from tests.test_gpu import CONFIG, EXPERIMENT, images
from scorerep.runs.fit import fit
fit(EXPERIMENT, images(), sys.argv[1], progress=False, stop_after=int(sys.argv[2]))
"""
EXPERIMENT = Experiment(name="gpu", model=CONFIG, optimisation=replace(OPTIMISATION, iterations=12))


def test_run_goes_on_from_cpu_to_gpu_and_back(device, tmp_path):
    def go_on(folder: str, stop: int, hidden: bool):
        known = os.environ | {"PYTHONPATH": "."} | ({"CUDA_VISIBLE_DEVICES": ""} if hidden else {})
        command = [sys.executable, "-c", FIT, str(tmp_path / folder), str(stop)]
        done = subprocess.run(command, env=known, capture_output=True, text=True)
        assert not done.returncode, done.stderr

    for stop, hidden in ((4, True), (8, False), (12, True)):
        go_on("moved", stop, hidden)
    go_on("stayed", 12, True)
    # Noise is drawn where the run is, and differs: what is kept are steps, moments and the fall.
    cards = {name: checkpoint.read_card(tmp_path / name) for name in ("moved", "stayed")}
    assert all([e["step"] for e in card["losses"]] == [*range(1, 13)] for card in cards.values())
    moved, stayed = ([e["matching"] for e in card["losses"]] for card in cards.values())
    assert moved[:4] == stayed[:4]
    assert sum(moved[8:]) == pytest.approx(sum(stayed[8:]), rel=0.3)
    tensors, _ = checkpoint.read_tensors(tmp_path / "moved" / "training.safetensors")
    steps = [float(t.max()) for name, t in tensors.items() if name.endswith(".step")]
    assert steps and set(steps) == {12.0}
