"""Half, single and double precision: levels, losses, scores, samples, and the shipped weights."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorerep import sampling
from scorerep.model import ModelConfig, ScoreModel
from scorerep.networks.layers import NoiseFeatures
from scorerep.objective import Objective, denoising_score_matching
from scorerep.sde import VESDE, VPSDE, SubVPSDE, as_level
from scorerep.times import UniformTime

HALVES = (torch.float16, torch.bfloat16)
EVERY = (*HALVES, torch.float32, torch.float64)
CHECKPOINTS = Path(__file__).parents[1] / "book/checkpoints"
SHIPPED = json.loads(Path(__file__).with_name("shipped_weights.json").read_text("utf-8"))
SMALL = ModelConfig(image_shape=(1, 8, 8), channels=(8, 8), blocks=1, dropout=0.0, latent=2)
SDE = VESDE()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def new(config: ModelConfig = SMALL) -> ScoreModel:
    torch.manual_seed(0)
    model = ScoreModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square of the difference over that of b."""
    a, b = a.double(), b.double()
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


class Zero:
    """A model whose score is zero."""

    encoder = None

    def __init__(self, sde=SDE):
        self.sde = sde

    def score(self, x_t, t, z=None):
        return torch.zeros_like(x_t)


# Levels and the kernel


@pytest.mark.parametrize("sde", [VESDE(), VPSDE(), SubVPSDE()])
@pytest.mark.parametrize("dtype", HALVES)
def test_levels_at_half_precision_times_are_single_precision(sde, dtype):
    t = torch.tensor([0.25, 0.5, 0.875, 1.0])  # exact in every type
    for method in (sde.tau, sde.g2, sde.alpha, sde.level):
        found = method(t.to(dtype))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, method(t))
    assert as_level(torch.tensor(1)).dtype == torch.float32


@pytest.mark.parametrize("t", [1e-4, 0.3, 1.0, torch.tensor([1e-4, 0.3, 1.0])])
@pytest.mark.parametrize("dtype", HALVES)
def test_kernel_of_half_precision_data_is_right_within_their_rounding(dtype, t):
    x_0, eps = noise(3, 500), noise(3, 500, seed=1)
    x_t = SDE.perturb(x_0.to(dtype), t, eps.to(dtype))
    exact = SDE.perturb(x_0.to(dtype).double(), t, eps.to(dtype).double())
    assert x_t.dtype == dtype
    step = torch.finfo(dtype).eps
    assert bool(((x_t.double() - exact).abs() <= 0.51 * step * exact.abs() + 1e-7).all())
    score = SDE.kernel_score(x_t, x_0.to(dtype), t)
    wanted = SDE.kernel_score(x_t.double(), x_0.to(dtype).double(), t)
    assert score.dtype == dtype
    torch.testing.assert_close(score.double(), wanted, rtol=2 * step, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_data_that_are_no_floats_are_refused(dtype):
    images = torch.ones(2, 1, 4, 4).to(dtype)
    for call in (SDE.perturb, lambda x, t, e: SDE.kernel_score(e, x, t)):
        with pytest.raises(ValueError, match="must be floating-point numbers, got torch"):
            call(images, 0.5, noise(2, 1, 4, 4))


def test_a_time_just_beyond_one_is_rounding_and_more_is_an_error():
    assert float(SDE.sigma(1 + 1e-9)) == pytest.approx(50)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], got values in \[1.00001, "):
        SDE.sigma(1.00001)


@pytest.mark.parametrize("dtype", EVERY)
def test_noise_is_drawn_where_the_generator_is_and_moved(dtype):
    # "meta" stands for an accelerator: randn refuses a CPU generator there.
    moved = SDE.prior_sample(2, 3, generator=generator(), device="meta", dtype=dtype)
    assert moved.device.type == "meta" and moved.dtype == dtype
    here = SDE.prior_sample(2, 3, generator=generator(), dtype=dtype)
    expected = float(SDE.tau(1.0)) * torch.randn(2, 3, generator=generator(), dtype=dtype)
    assert torch.equal(here, expected)
    x_0 = torch.empty(4, 2, device="meta", dtype=dtype)
    draws = Objective(UniformTime(0.1), proposal=UniformTime()).draw(x_0, 3, generator())
    assert {part.device.type for part in draws[:4]} == {"meta"}


# The loss


@pytest.mark.parametrize("dtype", EVERY)
@pytest.mark.parametrize("sde", [VESDE(), VESDE(1e-5), VPSDE()], ids=["ve", "fine ve", "vp"])
@pytest.mark.parametrize("t", [1e-5, 1e-3, 0.05, 1.0])
def test_loss_of_the_zero_score_is_the_mean_square_of_the_noise(dtype, sde, t):
    x_0, eps = (noise(64, 784, seed=s).to(dtype) for s in (1, 2))
    loss = denoising_score_matching(Zero(sde), x_0, torch.full((64,), t), eps)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(loss, eps.to(loss.dtype).square().mean(1))
    assert float(loss.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dtype", EVERY)
def test_sigma2_loss_of_the_zero_score_is_sigma2_over_tau2(dtype):
    t = torch.tensor([0.05, 0.2, 1.0])
    x_0, eps = (noise(3, 784, seed=s).to(dtype) for s in (1, 2))
    loss = denoising_score_matching(Zero(), x_0, t, eps, weighting="sigma2")
    ratio = (SDE.sigma(t) / SDE.tau(t)).square()
    assert float(ratio[1]) == pytest.approx(1.03, abs=0.005)  # the paper's 3 % at t = 0.2
    torch.testing.assert_close(loss, ratio.to(loss) * eps.to(loss.dtype).square().mean(1))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_model_of_half_precision_has_the_loss_of_the_single_one(dtype):
    config = replace(SMALL, probabilistic=True)
    objective = Objective(UniformTime(), regulariser="kl", regulariser_weight=0.01)
    x_0 = noise(32, 1, 8, 8).clamp(-1, 1)
    draws = objective.draw(x_0, 2, generator())
    single = objective(new(config), x_0, draws)
    rounded = draws._replace(noise=draws.noise.to(dtype), code_noise=draws.code_noise.to(dtype))
    half = objective(new(config).to(dtype), x_0.to(dtype), rounded)
    assert {part.dtype for part in half} == {torch.float32}
    for a, b in zip(half, single, strict=True):
        a, b = a.detach(), b.detach()
        assert float(a) == pytest.approx(float(b), rel=0.05)


# The model


@pytest.mark.parametrize("parametrisation", ["edm", "paper"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.01), (torch.bfloat16, 0.04)])
def test_score_of_a_half_precision_model_at_every_level(dtype, bound, parametrisation):
    model = new(replace(SMALL, parametrisation=parametrisation))
    x_0, z = noise(8, 1, 8, 8).clamp(-1, 1), noise(8, 2, seed=3)
    for t in (0.02, 0.3, 0.66, 0.8, 1.0):  # float16 made a τ of infinity from 0.65 on
        x = SDE.perturb(x_0, t, noise(8, 1, 8, 8, seed=1)).to(dtype)
        wanted = model.float().score(x.float(), t, z)
        half = model.to(dtype)
        for score in (half.score(x, t, z), half.score(x, t, z.to(dtype))):
            assert score.dtype == dtype and relative(score, wanted) < bound
        # A sampler's state may stay single around a network of half precision.
        around = half.score(x.float(), t, z)
        assert around.dtype == torch.float32 and relative(around, wanted) < bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.01), (torch.bfloat16, 0.03)])
def test_samples_of_a_shipped_model_in_half_precision(dtype, bound):
    model = ScoreModel.from_pretrained(CHECKPOINTS / "fig3")
    x_1, z = model.sde.prior_sample(4, 1, 28, 28, generator=generator()), torch.zeros(4, 2)
    with torch.no_grad():
        single = sampling.heun(sampling.condition(model, z), model.sde, x_1, steps=9)
        model = model.to(dtype)
        half = sampling.heun(sampling.condition(model, z), model.sde, x_1.to(dtype), steps=9)
    assert half.dtype == dtype
    assert float(half.float().std()) == pytest.approx(float(single.std()), rel=0.02)
    assert float((half.float() - single).square().mean().sqrt()) < bound


@pytest.mark.parametrize("kind", ["positional", "fourier"])
def test_frequencies_stay_exact_in_half_precision_and_follow_double(kind):
    torch.manual_seed(0)
    features = NoiseFeatures(16, kind)
    exact, log_sigma = features.frequencies.clone(), torch.linspace(-4.6, 3.9, 9)
    wanted = features(log_sigma)
    for dtype in HALVES:
        assert torch.equal(features.to(dtype).frequencies, exact)
        torch.testing.assert_close(features(log_sigma), wanted)
    assert features.half().float().double().frequencies.dtype == torch.float64


@pytest.mark.parametrize("kind", ["positional", "fourier"])
def test_weights_saved_in_half_precision_move_the_score_by_their_rounding_only(kind, tmp_path):
    model, x, z = new(replace(SMALL, features=kind)), noise(4, 1, 8, 8), noise(4, 2, seed=3)
    model.save_pretrained(tmp_path, dtype=torch.float16)
    loaded = ScoreModel.from_pretrained(tmp_path)
    assert torch.equal(
        loaded.network.conditioning.noise[0].frequencies,
        model.network.conditioning.noise[0].frequencies,
    )
    for t in (0.1, 0.5, 0.9):
        assert relative(loaded.score(x, t, z), model.score(x, t, z)) < 2e-3


def test_dtype_and_device_are_those_of_the_weights():
    model = new()
    assert (model.dtype, model.device) == (torch.float32, torch.device("cpu"))
    assert model.double().dtype == torch.float64 and model.to("meta").device.type == "meta"


def test_a_double_precision_model_takes_and_gives_what_it_is_given():
    model, x, z = new().double(), noise(3, 1, 8, 8), noise(3, 2, seed=1)
    for dtype in EVERY:
        assert model.score(x.to(dtype), 0.5, z).dtype == dtype
        assert model.denoise(x.to(dtype), 0.5, z).dtype == dtype
        assert model.encode(x.to(dtype)).dtype == dtype
    torch.testing.assert_close(model.score(x, 0.5, z), new().score(x, 0.5, z))


def test_denoiser_of_noise_in_single_precision_is_as_good_as_its_input():
    model, x_0, z = new(), noise(8, 1, 8, 8).clamp(-1, 1), noise(8, 2, seed=3)
    x_1 = SDE.perturb(x_0, 1.0, noise(8, 1, 8, 8, seed=1))
    single = model.denoise(x_1, 1.0, z)
    double = model.double().denoise(x_1.double(), 1.0, z.double())
    assert float((single - double).abs().max()) < 2e-6  # x + τ² s would lose 1e-5 of x ≈ 150


# The shipped weights


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_give_what_they_gave(name):
    model = ScoreModel.from_pretrained(CHECKPOINTS / name)
    config, draw = model.config, generator(1)
    x_0 = torch.rand(2, *config.image_shape, generator=draw) * 2 - 1
    eps = torch.randn(x_0.shape, generator=draw)
    z = torch.randn(2, config.latent, generator=draw) if config.latent else None
    z = torch.tensor([3, 7]) if config.num_classes else z
    for entry in SHIPPED[name]:
        kind, t = entry["kind"], entry["t"]
        with torch.no_grad():
            if kind == "code":
                found = model.encode(x_0)
            else:
                x_t = SDE.perturb(x_0, t, eps)
                tau = float(SDE.tau(t))
                found = (
                    tau * model.score(x_t, t, z)
                    if kind == "tau_score"
                    else model.denoise(x_t, t, z)
                )
        flat, wanted = found[0].flatten(), torch.tensor(entry["values"])
        index = torch.linspace(0, len(flat) - 1, len(wanted)).long()
        # Scores and codes were recorded in single precision, denoised images in double.
        bound = 5e-6 if kind == "denoised" else 1e-6 * max(1.0, float(flat.abs().max()))
        assert math.isfinite(bound) and float((flat[index] - wanted).abs().max()) < bound, entry
