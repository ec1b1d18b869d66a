"""The exported denoiser is the library's, in single and in half precision; the page's data fit."""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from scorerep import checkpoint, export, sampling
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs.paper import at_budget

CHECKPOINT = Path(__file__).parents[1] / "book/checkpoints" / "fig3"
SMALL = ModelConfig(image_shape=(1, 8, 8), channels=(8, 16), blocks=1, latent=2)
CONFIGS = {
    "code": SMALL,
    "paper": replace(SMALL, parametrisation="paper", features="fourier"),
    "attention": replace(SMALL, attention=(4,)),
    "labels": replace(SMALL, network="dense", latent=0, num_classes=10),
}


@cache
def model_of(name: str) -> ScoreModel:
    """The shipped model, or a small one moved off its start, where it outputs 0."""
    if name == "shipped":
        return ScoreModel.from_pretrained(CHECKPOINT)
    torch.manual_seed(0)
    model = ScoreModel(CONFIGS[name]).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model


@cache
def exported(name: str) -> onnx.ModelProto:
    return export.to_onnx(model_of(name))


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(session: onnxruntime.InferenceSession, **feed: torch.Tensor) -> torch.Tensor:
    (x_0,) = session.run(None, {name: value.numpy() for name, value in feed.items()})
    return torch.from_numpy(x_0)


@torch.no_grad()
def largest_difference(name: str, proto: onnx.ModelProto, batch: int = 3) -> float:
    """Between the exported denoiser and the library's, over times from 0.01 to 1.

    The library computes in double precision: at t = 1 in single precision the rounding of t
    alone, through the features of log σ, moves its output by more than 1e-4.
    """
    model, generator = model_of(name), torch.Generator().manual_seed(1)
    config, worst, onnx_model = model.config, 0.0, session(proto)
    labels, codes = torch.arange(batch), torch.randn(batch, 2, generator=generator)
    z = torch.eye(10)[labels] if config.num_classes else codes
    for t in (0.01, 0.2, 0.5, 0.8, 1.0):
        tau = model.sde.tau(t)
        x = torch.rand(batch, *config.image_shape, generator=generator) * 2 - 1
        x = x + tau.float() * torch.randn(x.shape, generator=generator)
        ours = run(onnx_model, x=x, tau=tau.float().expand(batch), z=z)
        try:
            theirs = model.double().denoise(x.double(), t, z.double())
        finally:
            model.float()
        assert theirs.std() > 0.01
        worst = max(worst, float((ours - theirs).abs().max()))
    return worst


@pytest.mark.parametrize("name", [*CONFIGS, "shipped"])
def test_export_equals_pytorch_within_1e_4(name):
    assert largest_difference(name, exported(name)) < 1e-4


def test_other_weights_are_a_difference():
    changed = onnx.ModelProto()
    changed.CopyFrom(exported("code"))
    tensor = next(i for i in changed.graph.initializer if list(i.dims) == [8, 1, 3, 3])
    values = onnx.numpy_helper.to_array(tensor) * np.float32(1.05)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert largest_difference("code", changed) > 1e-3


@pytest.mark.parametrize("name", ["code", "shipped"])
def test_half_weights_equal_pytorch_within_1e_2(name):
    assert largest_difference(name, export.in_half(exported(name))) < 1e-2


def test_half_weights_are_rounded_and_take_less_space():
    whole, half = exported("code"), export.in_half(exported("code"))
    assert half.ByteSize() < 0.7 * whole.ByteSize()
    assert largest_difference("code", half) > 1e-5
    types = {tensor.data_type for tensor in half.graph.initializer if len(tensor.dims) > 1}
    assert onnx.TensorProto.FLOAT not in types and onnx.TensorProto.FLOAT16 in types


def test_shipped_model_takes_two_megabytes_at_most():
    assert export.in_half(exported("shipped")).ByteSize() <= 2_000_000


def test_sampler_on_the_exported_denoiser_draws_the_library_s_images():
    model, onnx_model = model_of("code"), session(export.in_half(exported("code")))
    z = torch.tensor([[0.5, -1.0], [1.0, 2.0]])
    x_1 = model.sde.prior_sample(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def score(x, t):
        tau = model.sde.tau(t).float()
        return (run(onnx_model, x=x, tau=tau.expand(len(x)), z=z) - x) / tau**2

    ours = sampling.heun(score, model.sde, x_1, steps=6)
    theirs = sampling.heun(sampling.condition(model, z), model.sde, x_1, steps=6)
    assert (theirs[0] - theirs[1]).abs().max() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=0)


def test_file_holds_no_trace_of_the_machine_that_wrote_it():
    content = exported("code").SerializeToString()
    assert str(Path(export.__file__).parents[1]).encode() not in content
    assert b".py" not in content


def test_page_data_are_the_encoder_s_codes_and_the_images_bytes():
    model, data = model_of("code"), load_data("digits", "test")
    page = json.loads(json.dumps(export.page_data(model, data, 20, 2)))
    with torch.no_grad():
        codes = model.encode(data.batch(slice(20)))
    torch.testing.assert_close(torch.tensor(page["codes"]), codes, rtol=1e-4, atol=1e-6)
    assert page["labels"] == data.labels[:20].tolist()
    assert [e["label"] for e in page["examples"]] == [i for i in range(10) for _ in range(2)]
    example = page["examples"][3]
    pixels = np.frombuffer(base64.b64decode(example["pixels"]), np.uint8).reshape(1, 8, 8)
    assert (pixels == data.images[example["index"]].numpy()).all()


@pytest.mark.parametrize(("scatter", "examples"), [(0, 1), (10**6, 1), (5, 0)])
def test_page_data_refuse_numbers_that_cannot_be(scatter, examples):
    with pytest.raises(ValueError, match="scatter must lie in"):
        export.page_data(model_of("code"), load_data("digits", "test"), scatter, examples)


def test_page_data_need_a_code_of_two_numbers():
    digits = load_data("digits", "test")
    with pytest.raises(ValueError, match="latent=0"):
        export.page_data(model_of("labels"), digits, 5, 1)
    with pytest.raises(ValueError, match="codes of two numbers, the plane of the page, got 3"):
        export.page_data(ScoreModel(replace(SMALL, latent=3)), digits, 5, 1)


def test_data_of_few_images_are_exported_whole(tmp_path):
    run = at_budget("digits", "smoke")
    torch.manual_seed(0)
    card = {"experiment": checkpoint.to_json(run)}
    ScoreModel(run.model).save_pretrained(tmp_path / "digits", **card)
    files = export.export(tmp_path / "digits", tmp_path / "page")
    page = json.loads((tmp_path / "page" / "data.json").read_text())
    assert len(page["codes"]) == len(load_data("digits", "test")) < 4000
    assert sorted(tmp_path.glob("page/*")) == sorted(files)


def test_pictures_without_labels_have_ten_to_start_from(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=pixels, x_test=pixels[:12])
    run = at_budget("digits", "smoke")
    ScoreModel(run.model).save_pretrained(tmp_path / "run", experiment=checkpoint.to_json(run))
    export.export(tmp_path / "run", tmp_path / "page", data=str(tmp_path / "own.npz"))
    page = json.loads((tmp_path / "page" / "data.json").read_text())
    assert [example["index"] for example in page["examples"]] == list(range(10))
    assert len(page["classes"]) == 1 and len(page["codes"]) == 12


@pytest.mark.parametrize("module", ["onnx", "onnxscript"])
def test_export_without_its_extra_says_what_to_install(module):
    code = f"import sys, runpy; sys.modules[{module!r}] = None; "
    code += "runpy.run_module('scorerep.export', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"{module} is not installed: pip install 'scorerep[export]'\n"
