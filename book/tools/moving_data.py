"""The data of a moving picture as its script reads them: JSON, points and images packed in it."""

import base64
import io
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from scorerep import plots

LOSSLESS = 200_000  # pixels of a sheet of images up to which it is kept exactly


def data_of(panels, controls, say) -> dict[str, Any]:
    """All that the script needs, as JSON has it."""
    numbers = [range(len(control.texts)) for control in controls if control.name != "colour"]
    names = [control.name for control in controls if control.name != "colour"]
    said = [say(**dict(zip(names, at))) for at in product(*numbers)] if say else []
    return {
        "palette": list(plots.CLASS_COLOURS),
        "ramp": [_hex(plots.CONTINUOUS(i / 15)) for i in range(16)],
        "controls": [
            {"name": c.name, "label": c.label, "texts": c.texts, "start": c.start, "kind": c.kind}
            for c in controls
        ],
        "said": {"by": names, "texts": [minus(text) for text in said]},
        "panels": [_panel(panel) for panel in panels],
    }


def _panel(panel) -> dict[str, Any]:
    ticks = {axis: _ticks(panel, axis) if panel.axes else [] for axis in "xy"}
    return {
        "x": panel.x, "y": panel.y, "log": panel.log, "title": panel.title, "axes": panel.axes,
        "xlabel": panel.xlabel, "ylabel": panel.ylabel, "height": panel.height,
        "wide": panel.wide, "ticks": ticks, "marks": [_mark(mark, panel) for mark in panel.marks],
    }  # fmt: skip


def _mark(mark: dict, panel) -> dict[str, Any]:
    values, count = mark["values"], prod(mark["values"].shape[: len(mark["by"])])
    found = {key: value for key, value in mark.items() if key != "values"}
    for i, kind in enumerate(found.get("colours", [])):
        found["colours"] = [*found["colours"]]
        found["colours"][i] = {key: value for key, value in kind.items() if key != "raw"}
    if mark["kind"] == "images":
        return found | _sheet(values.reshape(count, *values.shape[-3:]))
    frames = values.reshape(count, -1)
    if mark["kind"] == "points":  # in 65,535ths of the axes, one after the other
        ends = np.array([panel.x, panel.y], float)
        pairs = values.reshape(count, -1, 2).astype(float)
        for i, axis in enumerate("xy"):
            if axis in panel.log:
                ends[i], pairs[..., i] = np.log(ends[i]), np.log(pairs[..., i])
        share = (pairs - ends[:, 0]) / (ends[:, 1] - ends[:, 0])
        share = np.where(np.isfinite(share), share, 2)  # beyond the edge, where nothing is drawn
        whole = (((share + 1) / 3).clip(0, 1) * 65535).round().astype("<u2")
        return found | {"n": pairs.shape[1], "count": count, "data": _base64(whole)}
    rounded = [[None if np.isnan(v) else float(f"{v:.4g}") for v in row] for row in frames]
    return found | {"frames": [[_whole(v) for v in row] for row in rounded]}


def _sheet(images: np.ndarray) -> dict[str, Any]:
    """All frames in one WebP, row by row."""
    count, channels, height, width = images.shape
    pixels = (((images + 1) / 2).clip(0, 1) * 255).round().astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count * height / width)))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:count] = pixels.transpose(0, 2, 3, 1)
    sheet = sheet.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * height, columns * width, 3)
    file = io.BytesIO()
    lossless = sheet.shape[0] * sheet.shape[1] <= LOSSLESS
    Image.fromarray(sheet).save(file, "WEBP", lossless=lossless, quality=80, method=6)
    source = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"sheet": source, "columns": columns, "rows": rows, "size": (width, height)}


def colouring(name: str, values: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
    if np.issubdtype(values.dtype, np.integer):
        present = sorted({int(value) for value in values})
        words = [names[i] if names is not None else str(i) for i in present]
        return {"name": name, "kind": "class", "values": _base64(values.astype(np.uint8)),
                "present": present, "names": words, "raw": values}  # fmt: skip
    low, high = np.nanquantile(values, [0.01, 0.99])
    share = ((values - low) / (high - low)).clip(0, 1)
    shade = (np.nan_to_num(share) * 254).round().astype(np.uint8)
    shade[np.isnan(share)] = 255  # is not drawn
    return {"name": name, "kind": "value", "values": _base64(shade), "raw": shade / 254,
            "ends": [minus(f"{low:.2g}"), minus(f"{high:.2g}")]}  # fmt: skip


def _ticks(panel, axis: str) -> list[tuple[float, str]]:
    low, high = sorted(getattr(panel, axis))
    if axis == "x" and panel.xticks is not None:
        return [(float(place), word) for place, word in panel.xticks.items()]
    locator = (
        LogLocator(numticks=6) if axis in panel.log else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    )
    edge = 1e-9 * (high - low)
    places = [v for v in locator.tick_values(low, high) if low - edge <= v <= high + edge]
    return [(float(f"{v:.6g}"), minus(f"{0.0 if abs(v) < 1e-12 else v:.6g}")) for v in places]


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _hex(colour) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def _whole(value):
    return int(value) if value is not None and value == int(value) and abs(value) < 1e9 else value


def minus(text: str) -> str:
    """A true minus sign before numbers."""
    return "−" + text[1:] if text.startswith("-") else text.replace(" -", " −")
