"""The score model: its three methods agree, its inputs are checked, its weights survive."""

import math
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from scorerep.checkpoint import CheckpointError
from scorerep.model import ModelConfig, ScoreModel

SMALL = ModelConfig(image_shape=(1, 8, 8), channels=(8, 8), blocks=1, latent=2)
TOY = ModelConfig(image_shape=(2,), channels=(16,), latent=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new(config: ModelConfig, stir: bool = True) -> ScoreModel:
    """A model in evaluation mode; ``stir`` moves it off its start, where it outputs 0."""
    torch.manual_seed(0)
    model = ScoreModel(config).eval()
    if stir:
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * torch.randn(p.shape))
    return model


def batch(config: ModelConfig, n: int = 3, dtype=torch.float32):
    x = torch.randn(n, *config.image_shape, generator=generator(1)).to(dtype)
    z = torch.randn(n, config.latent, generator=generator(2)) if config.latent else None
    return x, z


# Score and denoiser

CONFIGS = [
    replace(base, parametrisation=kind) for base in (SMALL, TOY) for kind in ("edm", "paper")
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_denoiser_is_tweedie_s_formula_of_the_score(config, t):
    model, (x, z) = new(config), batch(config)
    expected = x + float(model.sde.tau(t)) ** 2 * model.score(x, t, z)
    torch.testing.assert_close(model.denoise(x, t, z), expected)


@pytest.mark.parametrize("t", [1e-5, 0.02, 0.4, 1.0])
def test_edm_start_is_the_score_of_a_gaussian_of_the_data_s_variance(t):
    config = replace(SMALL, parametrisation="edm", sigma_data=0.4)
    model, (x, z) = new(config, stir=False), batch(config)
    expected = -x / (0.4**2 + float(model.sde.tau(t)) ** 2)
    torch.testing.assert_close(model.score(x, t, z), expected)


def test_paper_start_is_the_zero_score():
    config = replace(SMALL, parametrisation="paper")
    model, (x, z) = new(config, stir=False), batch(config)
    assert torch.equal(model.score(x, 0.3, z), torch.zeros_like(x))
    torch.testing.assert_close(model.denoise(x, 0.3, z), x)


@pytest.mark.parametrize("t", [0.1, 0.6])
def test_paper_score_is_the_network_over_tau(t):
    config = replace(SMALL, parametrisation="paper")
    model, (x, z) = new(config), batch(config)
    log_sigma = model.sde.sigma(t).log().float().expand(len(x))
    expected = model.network(x, log_sigma, z) / float(model.sde.tau(t))
    torch.testing.assert_close(model.score(x, t, z), expected)


@pytest.mark.parametrize("t", [0.1, 0.6, 1.0])
def test_edm_denoiser_is_that_of_karras_et_al_table_1(t):
    model, (x, z) = new(SMALL), batch(SMALL)
    s, tau = SMALL.sigma_data, float(model.sde.tau(t))
    skip = s**2 / (s**2 + tau**2)
    out = tau * s / (s**2 + tau**2) ** 0.5
    log_sigma = model.sde.sigma(t).log().float().expand(len(x))
    output = model.network(x / (s**2 + tau**2) ** 0.5, log_sigma, z)
    expected = skip * x + out * output
    torch.testing.assert_close(model.denoise(x, t, z), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_one_time_for_the_batch_or_one_each(config):
    model, (x, z) = new(config), batch(config)
    together = model.score(x, 0.3, z)
    torch.testing.assert_close(model.score(x, torch.tensor(0.3), z), together)
    torch.testing.assert_close(model.score(x, torch.full((3,), 0.3), z), together)
    mixed = torch.tensor([0.3, 0.8, 0.3])
    torch.testing.assert_close(model.score(x, mixed, z)[0], together[0])
    assert not torch.allclose(model.score(x, mixed, z)[1], together[1])


def test_items_of_a_batch_do_not_see_each_other():
    model, (x, z) = new(SMALL), batch(SMALL)
    alone = torch.cat([model.score(x[i : i + 1], 0.4, z[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model.score(x, 0.4, z), alone, rtol=1e-4, atol=1e-5)


def test_labels_and_their_one_hot_codes_are_the_same_condition():
    config = replace(SMALL, latent=0, num_classes=4)
    model, (x, _) = new(config), batch(config)
    y = torch.tensor([3, 0, 1])
    one_hot = torch.eye(4)[y]
    torch.testing.assert_close(model.score(x, 0.4, y), model.score(x, 0.4, one_hot))
    assert not torch.allclose(model.score(x, 0.4, y), model.score(x, 0.4, y.flip(0)))
    assert model.encoder is None


def test_a_label_as_a_number_stands_for_the_whole_batch():
    model = new(replace(SMALL, latent=0, num_classes=4))
    x, _ = batch(replace(SMALL, latent=0))
    expected = model.score(x, 0.4, torch.tensor([2, 2, 2]))
    for label in (2, torch.tensor(2)):
        torch.testing.assert_close(model.score(x, 0.4, label), expected)


def test_calling_the_model_is_its_score():
    model, (x, z) = new(SMALL), batch(SMALL)
    seen = []
    model.register_forward_hook(lambda module, arguments, output: seen.append(output.shape))
    assert torch.equal(model(x, 0.4, z), model.score(x, 0.4, z))
    assert seen == [(3, 1, 8, 8)]
    program = torch.export.export(model, (x, torch.tensor([0.2, 0.4, 0.9]), z))
    t = torch.tensor([0.1, 0.5, 1.0])
    torch.testing.assert_close(program.module()(x, t, z), model(x, t, z))


# Codes


@pytest.mark.parametrize("config", [SMALL, replace(TOY, latent=2)])
def test_code_is_deterministic_or_the_mean_of_a_gaussian(config):
    x, _ = batch(config)
    noise = torch.randn(3, 2, generator=generator(3))
    certain = new(config)
    assert certain.encode(x).shape == (3, 2)
    assert torch.equal(certain.encode(x), certain.encode(x, noise))
    uncertain = new(replace(config, probabilistic=True))
    mean, log_variance = uncertain.code_distribution(x)
    assert torch.equal(uncertain.encode(x), mean)
    drawn = uncertain.encode(x, noise)
    torch.testing.assert_close((drawn - mean) / torch.exp(0.5 * log_variance), noise)


def test_encoder_may_have_its_own_width():
    model = ScoreModel(replace(SMALL, encoder_channels=(4, 12)))
    assert model.encoder.down.skip_channels[-1] == 12
    assert model.network.down.skip_channels[-1] == 8


# Bad input, each with its own message

X = torch.zeros(3, 1, 8, 8)
Z = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (torch.zeros(3, 1, 9, 8), (3, 1, 9, 8)),
        (torch.zeros(3, 3, 8, 8), (3, 3, 8, 8)),
        (torch.zeros(3, 8, 8), (3, 8, 8)),
        (torch.zeros(3, 64), (3, 64)),
    ],
)
def test_images_of_another_shape_are_errors(x, shape):
    model = ScoreModel(SMALL)
    for call, name in (
        (lambda: model.score(x, 0.5, Z), "x_t"),
        (lambda: model.denoise(x, 0.5, Z), "x_t"),
        (lambda: model.encode(x), "x_0"),
    ):
        message = f"{name} must be floats of shape (batch, 1, 8, 8), got torch.float32 {shape}"
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_of_integers_are_errors(dtype):
    # Bytes of 0 to 255 are no pixels in [−1, 1], and their codes would look like any others.
    model, x = ScoreModel(SMALL), X.to(dtype)
    for call in (
        lambda: model.score(x, 0.5, Z), lambda: model.denoise(x, 0.5, Z),
        lambda: model.encode(x), lambda: model.code_distribution(x),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"must be floats of shape .*, got {dtype}"):
            call()


def test_images_that_are_no_tensor_are_errors():
    for x, kind in ((X.numpy(), "ndarray"), (X.tolist(), "list")):
        for call in (
            lambda x=x: ScoreModel(SMALL).score(x, 0.5, Z),
            lambda x=x: new(SMALL).encode(x),
        ):
            with pytest.raises(TypeError, match=f"must be a tensor of floats .*, got {kind}"):
                call()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_images_that_are_not_finite_have_no_code(value):
    x = X.clone()
    x[1, 0, 2, 3] = value
    for call in (new(SMALL).encode, new(SMALL).code_distribution):
        with pytest.raises(ValueError, match="x_0 must be finite"):
            call(x)


@pytest.mark.parametrize("probabilistic", [True, False])
def test_noise_of_another_shape_than_the_codes_is_an_error(probabilistic):
    model = new(replace(SMALL, probabilistic=probabilistic))
    message = "noise must have the shape of the codes, (3, 2), got (1, 2)"
    with pytest.raises(ValueError, match=re.escape(message)):
        model.encode(X, Z[:1])


@pytest.mark.parametrize("t", [0.0, -0.1, torch.tensor([0.5, 0.0, 0.5])])
def test_times_that_are_not_positive_are_errors(t):
    with pytest.raises(ValueError, match="t must be positive"):
        ScoreModel(SMALL).score(X, t, Z)


@pytest.mark.parametrize("t", [1.01, float("nan"), torch.tensor([0.5, 2.0, 0.5])])
def test_times_beyond_one_are_errors(t):
    for method in ("score", "denoise"):
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            getattr(ScoreModel(SMALL), method)(X, t, Z)


def test_missing_or_unwanted_condition_is_an_error():
    with pytest.raises(ValueError, match="this model is conditional: z must be given"):
        ScoreModel(SMALL).score(X, 0.5)
    with pytest.raises(ValueError, match="z was given, but this model is unconditional"):
        ScoreModel(replace(SMALL, latent=0)).score(X, 0.5, Z)
    with pytest.raises(ValueError, match="no encoder: its config has latent=0"):
        ScoreModel(replace(SMALL, latent=0)).encode(X)


@pytest.mark.parametrize("z", [torch.zeros(3, 3), torch.zeros(2, 2), torch.zeros(3)])
def test_codes_of_another_shape_are_errors(z):
    message = f"z must have shape (3, 2) for this model and batch, got {tuple(z.shape)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        ScoreModel(SMALL).score(X, 0.5, z)


@pytest.mark.parametrize("t", [torch.full((2,), 0.5), torch.full((3, 1), 0.5), [0.5] * 4])
def test_times_of_another_shape_are_errors(t):
    shape = tuple(torch.as_tensor(t).shape)
    for method in ("score", "denoise"):
        with pytest.raises(ValueError, match=re.escape(f"one number or (3,), got {shape}")):
            getattr(ScoreModel(SMALL), method)(X, t, Z)


@pytest.mark.parametrize("y", [torch.tensor([0.0, 1.9, 1.0]), 1.9])
def test_labels_that_are_no_integers_are_errors(y):
    model = ScoreModel(replace(SMALL, latent=0, num_classes=4))
    with pytest.raises(ValueError, match="labels must be integers, got torch.float32"):
        model.score(X, 0.5, y)


@pytest.mark.parametrize("y", [4, -1, torch.tensor(4)])
def test_a_label_for_all_out_of_range_is_an_error(y):
    model = ScoreModel(replace(SMALL, latent=0, num_classes=4))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3"):
        model.score(X, 0.5, y)


@pytest.mark.parametrize("y", [[0, 1, 4], [-1, 0, 0]])
def test_labels_out_of_range_are_errors(y):
    model = ScoreModel(replace(SMALL, latent=0, num_classes=4))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3"):
        model.score(X, 0.5, torch.tensor(y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (8, 8)}, "image_shape must be (channel, height, width)"),
        ({"image_shape": (1, 0, 8)}, "image_shape must be (channel, height, width)"),
        ({"image_shape": (1, 9, 9)}, "must be divisible by 2"),
        ({"channels": ()}, "channels must be at least 4 each"),
        ({"channels": (8, 2)}, "channels must be at least 4 each"),
        ({"channels": (7, 8)}, "the first one even"),
        ({"num_classes": 3}, "either num_classes or latent"),
        ({"latent": -1}, "latent must be at least 0, got -1"),
        ({"latent": 2.5}, "latent must be a whole number"),
        ({"latent": 0, "num_classes": 2.5}, "num_classes must be a whole number"),
        ({"blocks": True}, "blocks must be a whole number"),
        ({"image_shape": (1, 8.0, 8)}, "image_shape must be whole numbers"),
        ({"channels": (8, 8.5)}, "channels must be whole numbers"),
        ({"channels": 8}, "channels must be whole numbers"),
        ({"attention": ("8",)}, "attention must be whole numbers"),
        ({"encoder_channels": (8, 1)}, "encoder_channels must be whole numbers of at least 4 each"),
        ({"probabilistic": "yes"}, "probabilistic must be True or False, got 'yes'"),
        ({"latent": 0, "num_classes": 1}, "num_classes must be 0 or at least 2"),
        ({"parametrisation": "ddim"}, "parametrisation must be 'edm' or 'paper', got 'ddim'"),
        ({"features": "wavelet"}, "features must be 'positional' or 'fourier', got 'wavelet'"),
        ({"sigma_min": 60.0}, "0 < sigma_min < sigma_max"),
        ({"network": "resnet"}, "network must be 'unet' or 'dense', got 'resnet'"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie in [0, 1), got 1.0"),
        ({"dropout": math.nan}, "dropout must lie in [0, 1), got nan"),
        ({"sigma_data": 0.0}, "sigma_data must be a finite number larger than 0, got 0.0"),
        ({"attention": (16,)}, "resolutions of the network, (8, 4), got [16]"),
        ({"attention": (8, 2)}, "resolutions of the network, (8, 4), got [2]"),
        ({"image_shape": (2,), "attention": (2,)}, "resolutions of the network, (), got [2]"),
    ],
)
def test_impossible_architectures_are_errors(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ScoreModel(replace(SMALL, **changes))


# Weights in a folder

SAVED = [
    replace(SMALL, attention=(4,), probabilistic=True),
    replace(SMALL, latent=0, num_classes=3, features="fourier"),
    replace(TOY, features="fourier"),
]


@pytest.mark.parametrize("config", SAVED)
def test_saved_model_comes_back_exactly(config, tmp_path):
    model = new(config)
    model.save_pretrained(tmp_path / "model", note="a test")
    torch.manual_seed(77)  # the fixed random frequencies come from the file
    loaded = ScoreModel.from_pretrained(tmp_path / "model")
    assert loaded.config == config and not loaded.training
    for (name, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    x, z = batch(config)
    z = torch.tensor([0, 1, 2]) if config.num_classes else z
    assert torch.equal(loaded.score(x, 0.4, z), model.score(x, 0.4, z))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, "half"])
def test_weights_are_saved_as_floats_only(dtype, tmp_path):
    with pytest.raises(ValueError, match="dtype must be a floating-point type, got"):
        new(SMALL).save_pretrained(tmp_path / "model", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_a_device_without_a_name_is_an_error_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="device must be a name like 'cpu' .*, got 'gpu'"):
        ScoreModel.from_pretrained(tmp_path / "nothing", "gpu")


def test_a_model_without_an_encoder_is_not_saved_as_one(tmp_path):
    model = ScoreModel(replace(SMALL, latent=0))
    with pytest.raises(ValueError, match="this model has none"):
        model.save_pretrained(tmp_path, encoder_only=True)
    assert not list(tmp_path.iterdir())


def test_an_encoder_alone_stays_one_when_saved_again(tmp_path):
    model, (x, _) = new(SMALL), batch(SMALL)
    model.save_pretrained(tmp_path / "a", encoder_only=True)
    ScoreModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    loaded = ScoreModel.from_pretrained(tmp_path / "b")
    assert loaded.network is None and torch.equal(loaded.encode(x), model.encode(x))


def test_a_card_does_not_overwrite_the_config(tmp_path):
    with pytest.raises(ValueError, match="entry 'model' is the config"):
        new(SMALL).save_pretrained(tmp_path, model="x")
    assert not list(tmp_path.iterdir())


def test_half_precision_weights_come_back_within_rounding(tmp_path):
    model = new(SMALL)
    model.save_pretrained(tmp_path, dtype=torch.float16)
    stored = load_file(tmp_path / "model.safetensors")
    weights = {name for name, _ in model.named_parameters()}
    assert {v.dtype for k, v in stored.items() if k in weights} == {torch.float16}
    loaded = ScoreModel.from_pretrained(tmp_path)
    for (name, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert b.dtype == torch.float32
        # Half a unit of the 11-bit significand, or of the smallest subnormal.
        assert bool(((a - b).abs() <= a.abs() * 2**-11 + 2**-25).all()), name
    x, z = batch(SMALL)
    torch.testing.assert_close(loaded.encode(x), model.encode(x), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(
        loaded.score(x, 0.5, z), model.score(x, 0.5, z), atol=0.05, rtol=0.05
    )


def test_missing_card_and_missing_weights_are_named(tmp_path):
    new(SMALL).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="nowhere.*card.json is missing"):
        ScoreModel.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights at .*model.safetensors"):
        ScoreModel.from_pretrained(tmp_path)


def test_truncated_weights_are_named(tmp_path):
    new(SMALL).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        ScoreModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "other", [replace(SMALL, latent=3), replace(SMALL, channels=(12, 12)), replace(SMALL, latent=0)]
)
def test_weights_of_another_model_are_refused(other, tmp_path):
    new(SMALL).save_pretrained(tmp_path / "one")
    new(other).save_pretrained(tmp_path / "other")
    weights = (tmp_path / "other" / "model.safetensors").read_bytes()
    (tmp_path / "one" / "model.safetensors").write_bytes(weights)
    message = "another model" if other.latent == 0 else "another latent dimension or width"
    with pytest.raises(CheckpointError, match=f"one.model.safetensors .*{message}"):
        ScoreModel.from_pretrained(tmp_path / "one")


def test_card_that_describes_no_model_is_named(tmp_path):
    new(SMALL).save_pretrained(tmp_path)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(CheckpointError, match="card.json"):
        ScoreModel.from_pretrained(tmp_path)


def test_weights_that_are_not_a_checkpoint_of_any_model_are_refused(tmp_path):
    new(SMALL).save_pretrained(tmp_path)
    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="weights of another model: missing"):
        ScoreModel.from_pretrained(tmp_path)
