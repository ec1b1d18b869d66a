"""Pictures that the reader moves: on the built page, which has no kernel, and in a live kernel.

    t = slider("t", "noise level t", levels)
    codes = Panel("z₁", "z₂", x=(-3, 3), y=(-3, 3))
    codes.points(z, by="t", colours={"class": labels, "stroke width": width})
    show([codes], [t], say=lambda t: f"kNN accuracy {accuracy[t]:.2f}")

A cell computes all frames beforehand; nothing is computed in the browser but the way from one
frame to the next. Panels hold lines, bands, points, bars, rules and images; what moves has a first
axis for each control it moves ``by``. The same data make a still figure at the controls' first
values (book/tools/moving_still.py): for print, for readers without scripts, and until the picture
is seen. On the page book/tools/sphinx/moving.py puts data and still into files of their own, and
book/tools/static/moving.js draws; in a kernel the output carries both with it.
"""

import base64
import html
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from scorerep import plots

STATIC = Path(__file__).parent / "static"
LIMIT = 400_000  # bytes of one picture's data
LOSSLESS = 200_000  # pixels of a sheet of images up to which it is kept exactly
MARKUP = """\
<div class="moving" role="group" aria-label="{label}">
<img class="moving-still" src="{still}" alt="{alt}">
<script type="application/json" class="moving-data">{data}</script>
</div>"""


@dataclass(frozen=True)
class Control:
    """Something that the reader sets: a slider, or a choice of words."""

    name: str
    label: str
    texts: tuple[str, ...]
    start: int = 0
    kind: str = "slider"

    def __post_init__(self):
        if len(self.texts) < 2:
            raise ValueError(f"values of the control {self.name!r} must be at least two")
        if not 0 <= self.start < len(self.texts):
            raise ValueError(
                f"start of the control {self.name!r} must be from 0 to {len(self.texts) - 1}, "
                f"got {self.start}"
            )


def slider(
    name: str, label: str, values: Sequence[float], start: int = 0, text: str = "{:.2f}"
) -> Control:
    """A slider over ``values``, which begins at number ``start`` of them.

    Args:
        name: by which panels and ``say`` know it.
        label: words beside it.
        values: one a frame, in order.
        start: number of the first frame shown, and of the still.
        text: how a value is written, e.g. "{:.2f}".
    """
    texts = (value if isinstance(value, str) else text.format(float(value)) for value in values)
    return Control(name, label, tuple(map(_minus, texts)), start)


def choice(name: str, label: str, values: Sequence[str], start: int = 0) -> Control:
    """A list of words, one of which is chosen; arguments as in ``slider``."""
    return Control(name, label, tuple(values), start, "choice")


@dataclass
class Panel:
    """One part of a picture, with axes of fixed ends.

    Args:
        xlabel, ylabel: plain words, e.g. "t" or "z₁".
        x, y: ends of the axes.
        log: axes that are logarithmic, "x", "y" or "xy".
        title: words above.
        axes: False draws none, for images.
        height: of the panel, as a share of its width.
        wide: how much of the row it takes, beside panels with 1.
        xticks: place → word, instead of round numbers.
    """

    xlabel: str = ""
    ylabel: str = ""
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    log: str = ""
    title: str = ""
    axes: bool = True
    height: float = 0.75
    wide: float = 1.0
    xticks: Mapping[float, str] | None = None
    marks: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def line(self, x, y, by="", colour="C0", label="", dashed=False, width=1.6):
        """Lines through ``x`` and ``y``, ``(…, n)`` each; NaN breaks a line.

        Args:
            by: the controls that move it, e.g. "t" or "t scale": as many first axes of ``x`` or
                ``y``; one that lacks them is the same in all frames.
            colour: "C0" to "C9" or "ink".
            label: words in the key below the panel.
        """
        x, y = np.broadcast_arrays(_array(x), _array(y))
        points = np.stack([x, y], -1)
        self._add("line", by, points, 2, colour, label=label, dashed=dashed, width=width)

    def band(self, x, low, high, by="", colour="C0", label=""):
        """The area between two lines, as in ``line``."""
        x, low, high = np.broadcast_arrays(*map(_array, (x, low, high)))
        there, back = np.stack([x, low], -1), np.stack([x, high], -1)[..., ::-1, :]
        self._add("band", by, np.concatenate([there, back], -2), 2, colour, label=label)

    def points(
        self, xy, by="", colour="C0", colours=None, names=None, radius=2.0, label="", handle=False
    ):
        """Points ``(…, n, 2)``.

        Args:
            colours: name → one value a point: whole numbers are classes, others are shown by a
                scale. With two names or more the reader chooses.
            names: of the classes.
            radius: in 360ths of the panel's width.
            handle: whether the points can be dragged from frame to frame.
        """
        xy = _array(xy)
        kinds = []
        for name, values in (colours or {}).items():
            values = _array(values)
            if values.shape != (xy.shape[-2],):
                raise ValueError(
                    f"colours[{name!r}] must have one value a point, {xy.shape[-2]}, "
                    f"got {values.shape}"
                )
            kinds.append(_colouring(name, values, names))
        self._add("points", by, xy, 2, colour, label=label, radius=radius, handle=handle,
                  colours=kinds)  # fmt: skip

    def rule(self, at, by="", axis="x", colour="ink", handle=True):
        """A line across the panel at ``at`` of an axis, one value a frame; it can be dragged."""
        self._add("rule", by, _array(at)[..., None], 1, colour, axis=axis, handle=handle)

    def bars(self, x, heights, by="", colour="C0", width=0.8):
        """Bars at ``x``, ``(n,)``, of ``heights``, ``(…, n)``; ``colour`` may be a list."""
        x, heights = np.broadcast_arrays(_array(x), _array(heights))
        self._add("bars", by, np.stack([x, heights], -1), 2, colour, width=width)

    def images(self, images, by="", box=None):
        """One image a frame, ``(…, 1 or 3, height, width)`` in [−1, 1], over the whole panel.

        Args:
            box: (left, right, bottom, top) in units of the axes, instead of the whole panel.
        """
        self._add("images", by, _array(images), 3, "ink", box=box or (*self.x, *self.y))

    def _add(self, kind, by, values, inner, colour, **more):
        by = tuple(by.split())
        if values.ndim != len(by) + inner:
            raise ValueError(
                f"{kind} by {by} must have {len(by)} first axes and {inner} of its own, "
                f"got the shape {values.shape}"
            )
        self.marks.append(dict(kind=kind, by=by, values=values, colour=colour, **more))


def show(
    panels: Sequence[Panel],
    controls: Sequence[Control],
    say: Callable[..., str] | None = None,
    label: str = "A picture that moves",
):
    """Display a picture, with its still for programs that show no HTML.

    Args:
        panels: side by side, or one below the other on a phone.
        controls: at least one; the first values are those of the still.
        say: a sentence on what is seen, from the number of each control's value by its name; it is
            shown below the controls, and read out with a slider's value.
        label: name of the whole for readers who do not see it.

    Raises:
        ValueError: frames that do not fit the controls, unknown controls, or too much data.
    """
    from IPython.display import display

    from book.tools.moving_still import draw

    controls = [*controls, *_colour_controls(panels)]
    _check(panels, controls)
    figure = draw(panels, controls)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160)
    width, height = figure.get_size_inches() * 160
    data = {
        "text/html": markup(panels, controls, say, png.getvalue(), label),
        "image/png": base64.b64encode(png.getvalue()).decode(),
        "text/plain": f"<{label}>",
    }
    size = {"image/png": {"width": round(width / 2), "height": round(height / 2)}}
    display(data, metadata=size, raw=True)


def markup(panels, controls, say, png: bytes, label: str) -> str:
    """The HTML of ``show``; in a kernel with style and script, on the page without."""
    text = json.dumps(_data(panels, controls, say), separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > LIMIT:
        raise ValueError(f"the picture has {len(text.encode()):,d} bytes of data, over {LIMIT:,d}")
    still = io.BytesIO()
    Image.open(io.BytesIO(png)).save(still, "WEBP", quality=90, method=6)
    found = MARKUP.format(
        label=html.escape(label), alt=html.escape(label), data=text.replace("</", "<\\/"),
        still=f"data:image/webp;base64,{base64.b64encode(still.getvalue()).decode()}",
    )  # fmt: skip
    if os.environ.get("SCOREREP_PAGE"):
        return found
    style, script = ((STATIC / f"moving.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"<style>{style}</style>\n{found}\n<script>{script}</script>"


def _data(panels, controls, say) -> dict[str, Any]:
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
        "said": {"by": names, "texts": [_minus(text) for text in said]},
        "panels": [_panel(panel) for panel in panels],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    ticks = {axis: _ticks(panel, axis) if panel.axes else [] for axis in "xy"}
    return {
        "x": panel.x, "y": panel.y, "log": panel.log, "title": panel.title, "axes": panel.axes,
        "xlabel": panel.xlabel, "ylabel": panel.ylabel, "height": panel.height,
        "wide": panel.wide, "ticks": ticks, "marks": [_mark(mark, panel) for mark in panel.marks],
    }  # fmt: skip


def _mark(mark: dict, panel: Panel) -> dict[str, Any]:
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


def _colouring(name: str, values: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
    if np.issubdtype(values.dtype, np.integer):
        present = sorted({int(value) for value in values})
        words = [names[i] if names is not None else str(i) for i in present]
        return {"name": name, "kind": "class", "values": _base64(values.astype(np.uint8)),
                "present": present, "names": words, "raw": values}  # fmt: skip
    low, high = np.nanquantile(values, [0.01, 0.99])
    share = ((values - low) / (high - low)).clip(0, 1)
    shade = np.where(np.isnan(share), 255, (share * 254).round()).astype(np.uint8)
    return {"name": name, "kind": "value", "values": _base64(shade), "raw": shade / 254,
            "ends": [_minus(f"{low:.2g}"), _minus(f"{high:.2g}")]}  # fmt: skip


def _colour_controls(panels: Sequence[Panel]) -> list[Control]:
    """The choice of a colouring, where points have two or more; all must have the same."""
    kinds = {tuple(kind["name"] for kind in mark["colours"])
             for panel in panels for mark in panel.marks if mark.get("colours")}  # fmt: skip
    kinds = {names for names in kinds if len(names) > 1}
    if len(kinds) > 1:
        raise ValueError(f"colours must have the same names in all panels, got {sorted(kinds)}")
    return [choice("colour", "coloured by", names) for names in kinds]


def _check(panels: Sequence[Panel], controls: Sequence[Control]):
    sizes = {control.name: len(control.texts) for control in controls}
    if not sizes:
        raise ValueError("controls must be at least one")
    for mark in (mark for panel in panels for mark in panel.marks):
        if unknown := set(mark["by"]) - set(sizes):
            raise ValueError(f"{mark['kind']} moves by {sorted(unknown)}, which is no control")
        wanted, got = [sizes[name] for name in mark["by"]], mark["values"].shape
        if list(got[: len(wanted)]) != wanted:
            raise ValueError(
                f"{mark['kind']} by {mark['by']} must have the first axes {wanted}, got {got}"
            )


def _ticks(panel: Panel, axis: str) -> list[tuple[float, str]]:
    low, high = sorted(getattr(panel, axis))
    if axis == "x" and panel.xticks is not None:
        return [(float(place), word) for place, word in panel.xticks.items()]
    locator = (
        LogLocator(numticks=6) if axis in panel.log else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    )
    edge = 1e-9 * (high - low)
    places = [v for v in locator.tick_values(low, high) if low - edge <= v <= high + edge]
    return [(float(f"{v:.6g}"), _minus(f"{0.0 if abs(v) < 1e-12 else v:.6g}")) for v in places]


def _array(values) -> np.ndarray:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _hex(colour) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def _whole(value):
    return int(value) if value is not None and value == int(value) and abs(value) < 1e9 else value


def _minus(text: str) -> str:
    """A true minus sign before numbers."""
    return "−" + text[1:] if text.startswith("-") else text.replace(" -", " −")
