"""Colours, sizes and inks of every figure: the only module that knows them."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from torch import Tensor

WIDTH = 7.0  # inches of a figure as wide as the text
INK = "#767676"  # text and axes: contrast 4.5 on white, 4.1 on #121212
# Six colours of seaborn's "colorblind". Its brown, pale pink, yellow and light blue are replaced:
# they fade on white, or meet another colour for a reader who sees only two primaries.
CLASS_COLOURS = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#805607", "#bc257a", "#949494", "#7572f1", "#18ade2",
)  # fmt: skip
# Viridis without its ends, which vanish on a dark or on a white page.
CONTINUOUS = ListedColormap(plt.get_cmap("viridis")(np.linspace(0.15, 0.9, 256)), "viridis_middle")

STYLE = {
    "figure.figsize": (WIDTH, 3.5),
    "figure.dpi": 160,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def use_style():
    """Set the look for all figures made from here on; in a notebook also how they are stored."""
    sns.set_theme(style="ticks", palette=CLASS_COLOURS, rc=STYLE)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # Not cropped: all figures keep one width, and so one size of text.
        set_matplotlib_formats("png", bbox_inches=None)


def class_palette(n: int) -> list[tuple[float, float, float]]:
    """RGB of n classes; up to ten stay apart for every kind of colour vision."""
    if n <= len(CLASS_COLOURS):
        return [to_rgb(colour) for colour in CLASS_COLOURS[:n]]
    return sns.color_palette("husl", n)


def axes(ax: Axes | None) -> Axes:
    """``ax``, or those of a new figure."""
    return plt.subplots()[1] if ax is None else ax


def array(values) -> np.ndarray:
    """``values``, a tensor or what numpy takes, as an array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # numpy has none
    return np.asarray(values)
