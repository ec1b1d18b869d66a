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
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from book.tools.moving_data import colouring, data_of, minus

STATIC = Path(__file__).parent / "static"
LIMIT = 400_000  # bytes of one picture's data
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
    return Control(name, label, tuple(map(minus, texts)), start)


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
            kinds.append(colouring(name, values, names))
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
    text = json.dumps(data_of(panels, controls, say), separators=(",", ":"), ensure_ascii=False)
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


def _array(values) -> np.ndarray:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values)
