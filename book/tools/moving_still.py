"""The still of a moving picture: its panels at the controls' first values, by matplotlib."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from scorerep import plots


def draw(panels, controls) -> Figure:
    """The still, as wide as the text; the figure is closed for pyplot."""
    start = {control.name: control.start for control in controls}
    widths = [panel.wide for panel in panels]
    height = max(panel.height * plots.WIDTH * panel.wide / sum(widths) for panel in panels)
    labels = max(sum(bool(mark.get("label")) for mark in panel.marks) for panel in panels)
    height = min(height, 4.2) + 0.3 + 0.17 * labels
    fig, axes = plt.subplots(
        1, len(panels), figsize=(plots.WIDTH, height), width_ratios=widths,
        squeeze=False,
    )  # fmt: skip
    for ax, panel in zip(axes[0], panels, strict=True):
        _draw_panel(ax, panel, start)
    plt.close(fig)
    return fig


def _draw_panel(ax, panel, start: dict[str, int]):
    for mark in panel.marks:
        values = mark["values"][tuple(start[name] for name in mark["by"])]
        globals()[f"_{mark['kind']}"](ax, mark, values)
    ax.set(xlim=panel.x, ylim=panel.y, title=panel.title)
    for axis in panel.log:
        ax.set(**{f"{axis}scale": "log"})
    if panel.axes:
        ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
        if panel.xticks is not None:
            ax.set_xticks(list(panel.xticks), list(panel.xticks.values()))
        if any(mark.get("label") for mark in panel.marks):
            # Below, as on the page: inside it would cover marks.
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8, frameon=False)
    else:
        ax.axis("off")
        ax.set_aspect(panel.height * np.ptp(panel.x) / np.ptp(panel.y))


def colour(name: str) -> str:
    return plots.INK if name == "ink" else plots.CLASS_COLOURS[int(name[1:])]


def _line(ax, mark, values):
    style = {"linewidth": mark["width"], "label": mark["label"] or None}
    ax.plot(*values.T, "--" if mark["dashed"] else "-", color=colour(mark["colour"]), **style)


def _band(ax, mark, values):
    ax.fill(*values.T, color=colour(mark["colour"]), alpha=0.2, linewidth=0,
            label=mark["label"] or None)  # fmt: skip


def _points(ax, mark, values):
    shade: Sequence | str = colour(mark["colour"])
    options = {"s": mark["radius"] ** 2, "linewidths": 0, "label": mark["label"] or None}
    if kinds := mark["colours"]:
        raw = kinds[0]["raw"]
        if kinds[0]["kind"] == "class":
            shade = [plots.CLASS_COLOURS[int(i) % 10] for i in raw]
        else:
            shade = plots.CONTINUOUS(raw)
    ax.scatter(*values.T, c=shade, **options)


def _rule(ax, mark, values):
    line = ax.axvline if mark["axis"] == "x" else ax.axhline
    line(float(values[0]), color=colour(mark["colour"]), linewidth=1)


def _bars(ax, mark, values):
    names = mark["colour"]
    shades = [colour(name) for name in names] if isinstance(names, list) else colour(names)
    ax.bar(*values.T, width=mark["width"], color=shades)


def _images(ax, mark, values):
    shown = np.moveaxis(((values + 1) / 2).clip(0, 1), 0, -1)
    shown = np.broadcast_to(shown, (*shown.shape[:2], 3))
    ax.imshow(shown, extent=mark["box"], interpolation="nearest", aspect="auto", zorder=0.5)
