"""The score model in other hands: an ONNX file, and the data of a page that runs it.

    python -m scorerep.export book/checkpoints/fig3 OUT
    python -m scorerep.export RUN OUT PICTURES      # where a run's own pictures are now

writes ``OUT/denoiser.onnx`` and ``OUT/data.json``. The network is exported as *one* function,
the denoiser

    D(x, τ, z) = E[x_0 | x_t = x, z] = x + τ² ∇ log p_t(x | z),

as a function of the noise level τ and not of t. That is all a sampler needs: in τ the
probability flow is dx/dτ = (x − D)/τ. Weights may be stored in half precision; they are cast
once, when the file is loaded, and all arithmetic is single precision.
"""

import base64
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.colors import to_hex
from torch import nn

from scorerep.checkpoint import CheckpointError, write_whole
from scorerep.codes.scores import encode_in_batches
from scorerep.data import DataError
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.plots import class_palette
from scorerep.runs.fit import load_experiment
from scorerep.sde import expand_as
from scorerep.types import Codes, Data, Times

try:
    import onnx
    import onnxscript  # noqa: F401, which torch's exporter asks for at last
    from onnx import TensorProto, helper, numpy_helper
except ModuleNotFoundError as error:
    kind = SystemExit if __name__ == "__main__" else ModuleNotFoundError
    raise kind(f"{error.name} is not installed: pip install 'scorerep[export]'") from None

OPSET = 18


class Denoiser(nn.Module):
    """The model's D(x, τ, z) without checks, so that it can be traced.

    Shapes: x ``(batch, *image_shape)``, τ ``(batch,)`` > 0 in the units of the data, z
    ``(batch, k)`` codes or, for a model of labels, one-hot rows; always seen, also by a model
    with ``code_dropout``.
    """

    def __init__(self, model: ScoreModel):
        super().__init__()
        self.model = model

    def forward(self, x: Data, tau: Times, z: Codes | None = None) -> Data:
        # σ² = τ² + σ²(0): the network is told σ, the kernel's deviation is τ.
        log_sigma = 0.5 * torch.log(tau**2 + self.model.config.sigma_min**2)
        if self.model.config.code_dropout:
            z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        return self.model.denoised(x, expand_as(tau, x), log_sigma, z)


def to_onnx(model: ScoreModel) -> onnx.ModelProto:
    """The denoiser of a model on the CPU: inputs ``x``, ``tau``, ``z`` (if any), output ``x_0``.

    The encoder is left out. The batch may have any size.
    """
    conditions = model.config.conditions
    arguments = [torch.zeros(2, *model.config.image_shape), torch.ones(2)]
    arguments += [torch.zeros(2, conditions)] if conditions else []
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():  # the exporter's, about its own insides
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Denoiser(model).eval(),
            tuple(arguments),
            input_names=["x", "tau", "z"][: len(arguments)],
            output_names=["x_0"],
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in arguments),
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    _forget_origins(proto)
    onnx.checker.check_model(proto)
    return proto


def _forget_origins(proto: onnx.ModelProto):
    """Drop the exporter's notes: stack traces with this machine's paths, longer than the net."""
    graph = proto.graph
    entries = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for entry in (proto, graph, *(entry for kind in entries for entry in kind)):
        del entry.metadata_props[:]
        entry.doc_string = ""


def in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with kernels and matrices in float16, each cast to float32; the rest stays.

    Runtimes fold the casts into the weights as they load: a run is as fast as before.
    """
    half = onnx.ModelProto()
    half.CopyFrom(proto)
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.checker.check_model(half)
    return half


def page_data(model: ScoreModel, data: ImageData, scatter: int, examples: int) -> dict[str, Any]:
    """What a page needs beside the network, as plain data for JSON.

    Args:
        model: a model with a code of two numbers.
        data: images that were not trained on.
        scatter: how many codes, those of the first images of ``data``.
        examples: how many images of each class go along with their codes, the first ones.

    Pixels are base64 of bytes 0 to 255, row by row; x_0 = pixel/127.5 − 1.
    """
    config, classes = model.config, len(data.classes)
    if not config.latent:
        raise ValueError("model has no code: its config has latent=0")
    if config.latent != 2:
        raise ValueError(
            f"model must have codes of two numbers, the plane of the page, got {config.latent}"
        )
    if not 1 <= scatter <= len(data) or examples < 1:
        raise ValueError(
            f"scatter must lie in 1..{len(data)} and examples be positive, "
            f"got {scatter} and {examples}"
        )
    firsts = [(data.labels == label).nonzero()[:examples, 0] for label in range(classes)]
    chosen = torch.cat(firsts)
    codes = encode_in_batches(model, data.batch(slice(scatter)))
    own_codes = encode_in_batches(model, data.batch(chosen))
    return {
        "image_shape": list(config.image_shape),
        "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max,
        "sigma_data": config.sigma_data,
        "data": f"{data.name} {data.split}",
        "classes": list(data.classes),
        "colours": [to_hex(colour) for colour in class_palette(classes)],
        "codes": _rounded(codes),
        "labels": data.labels[:scatter].tolist(),
        "examples": [
            {
                "index": int(index),
                "label": int(data.labels[index]),
                "code": code,
                "pixels": base64.b64encode(data.images[index].numpy().tobytes()).decode(),
            }
            for index, code in zip(chosen, _rounded(own_codes), strict=True)
        ],
    }


def export(
    folder: str | Path,
    out: str | Path,
    half: bool = True,
    scatter: int = 4000,
    examples: int | None = None,
    data: str | None = None,
) -> list[Path]:
    """Write the denoiser of a checkpoint ``folder`` to ``out``, and data of test images.

    Args:
        half: weights in float16.
        scatter: at most this many test images have their codes written.
        examples: images of each class that are written themselves; None for ten in all, one of
            each class at least.
        data: where the experiment's data are, if no longer where they were.
    """
    model, experiment = ScoreModel.from_pretrained(folder), load_experiment(Path(folder))
    if data is not None:
        experiment = replace(experiment, data=data)
    images = experiment.load("test")
    if examples is None:  # pictures without labels are of one class
        examples = max(1, 10 // max(1, len(images.classes)))
    page = page_data(model, images, min(scatter, len(images)), examples)
    proto = in_half(to_onnx(model)) if half else to_onnx(model)
    return [
        _write(Path(out) / "denoiser.onnx", proto.SerializeToString()),
        _write(Path(out) / "data.json", json.dumps(page, separators=(",", ":")).encode()),
    ]


def _rounded(codes: Codes) -> list[list[float]]:
    return [[float(f"{value:.5g}") for value in row] for row in codes.tolist()]


def _write(path: Path, content: bytes) -> Path:
    write_whole(path, lambda part: part.write_bytes(content))
    return path


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit("usage: python -m scorerep.export FOLDER OUT [DATA]")
    try:
        folder, out, *pictures = sys.argv[1:]
        for file in export(folder, out, data=pictures[0] if pictures else None):
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
    except (ValueError, OSError, CheckpointError, DataError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
