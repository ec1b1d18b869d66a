"""The look of every figure, and the plots that recur. The only module that knows colours.

    use_style()                                  # once, at the top of a chapter
    scatter_codes(codes, labels, classes=test.classes)
    image_grid(images, 10, 10, codes=code_grid(-1, 1, 10))

Figures read on light and on dark pages alike: nothing is painted behind them, text and
axes are a mid grey, and colours are told apart by readers who see fewer of them. Make
figures ``WIDTH`` inches wide: in a column of 740 pixels the text then has 13.

Functions draw into ``ax`` (a new figure's if None), return the Axes and never show.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike
from torch import Tensor

from scorerep.types import Codes, Images, Points

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
    """RGB of n classes, the first ten of which stay apart for every kind of colour vision."""
    if n <= len(CLASS_COLOURS):
        return [to_rgb(colour) for colour in CLASS_COLOURS[:n]]
    return sns.color_palette("husl", n)


def scatter_codes(
    codes: Codes,
    values: ArrayLike,
    ax: Axes | None = None,
    kind: Literal["class", "continuous"] = "class",
    classes: Sequence[str] | None = None,
    label: str | None = None,
) -> Axes:
    """Two-dimensional codes, coloured by class or by a continuous value.

    Args:
        codes: ``(images, 2)``; of longer codes choose two coordinates.
        values: ``(images,)``, integer labels or, of the kind "continuous", numbers. NaN is not
            drawn.
        classes: names of the labels for the legend; those of one or two letters are written at the
            medians of the classes too.
        label: title of the legend or of the colour bar.
    """
    codes, values = _array(codes), _array(values)
    if codes.ndim != 2 or codes.shape[1] != 2 or values.shape != (len(codes),):
        raise ValueError(
            f"codes must be (images, 2) and values (images,), got {codes.shape} and {values.shape}"
        )
    if not len(codes):
        raise ValueError("codes must be of at least one image, got none")
    if kind not in ("class", "continuous"):
        raise ValueError(f"kind must be 'class' or 'continuous', got {kind!r}")
    ax = _axes(ax)
    # In random order, or the last class would cover the others.
    order = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(values)))
    codes, values = codes[order], values[order]
    dots = {"s": np.clip(6_000 / max(len(codes), 1), 1.5, 14), "linewidths": 0, "alpha": 0.8}
    if kind == "continuous":
        drawn = ax.scatter(*codes.T, c=values, cmap=CONTINUOUS, **dots, **_robust(values))
        bar = ax.figure.colorbar(drawn, ax=ax, label=label, pad=0.02)
        bar.outline.set_visible(False)
        bar.solids.set_alpha(1)
    else:
        _scatter_classes(ax, codes, values.astype(int), classes, label, dots)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def _scatter_classes(ax, codes, labels, classes, title, dots):
    present = np.unique(labels)
    names = classes if classes is not None else [str(i) for i in range(labels.max() + 1)]
    palette = class_palette(max(len(names), labels.max() + 1))
    ax.scatter(*codes.T, c=np.asarray(palette)[labels], **dots)
    for i in present:
        ax.scatter([], [], color=[palette[i]], s=20, linewidths=0, label=names[i])
    if len(present) == 1 and title is None:  # a key would say nothing
        return
    ax.legend(
        title=title, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1,
        ncols=-(-len(present) // 20),
    )  # fmt: skip
    if classes is not None and max(map(len, classes)) <= 2:
        middles = np.array([np.median(codes[labels == i], 0) for i in present])
        # Ten hues are more than a key can carry: the classes are also named in place.
        for i, (x, y) in zip(present, _spread(ax, middles)):
            ax.text(
                x, y, names[i], color="white", fontsize=7, fontweight="bold", ha="center",
                va="center", bbox={"boxstyle": "round,pad=0.15", "fc": _darker(palette[i])},
            ).get_bbox_patch().set_linewidth(0)  # fmt: skip


def _spread(ax: Axes, middles: np.ndarray, apart: float = 0.07) -> np.ndarray:
    """Push labels that are less than a share ``apart`` of the axes from each other away."""
    corner = np.array([ax.get_xlim()[0], ax.get_ylim()[0]])
    size = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    places = (middles - corner) / size + 1e-6 * np.arange(len(middles))[:, None]
    for _ in range(100):
        gaps = places[:, None] - places
        distance = np.linalg.norm(gaps, axis=-1)
        push = np.where((distance > 0) & (distance < apart), apart - distance, 0)
        places = places + 0.3 * (
            push[..., None] * gaps / np.maximum(distance, 1e-9)[..., None]
        ).sum(1)
    return corner + size * places


def image_grid(
    images: Images,
    rows: int,
    columns: int,
    ax: Axes | None = None,
    codes: Codes | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    gap: int = 1,
) -> Axes:
    """Images in [−1, 1], grey or RGB, row by row from the top left; the gaps stay transparent.

    Args:
        images: ``(rows·columns, 1 or 3, height, width)``; values outside [−1, 1] are clipped.
        codes: of ``code_grid``; the axes then carry their values.
        row_labels, column_labels: instead, one a row (from the top) or column.
        gap: pixels between images.
    """
    n, channels, height, width = images.shape
    if not n or n != rows * columns or channels not in (1, 3):
        raise ValueError(
            f"images must be ({rows * columns}, 1 or 3, height, width) for {rows} rows of "
            f"{columns}, got {tuple(images.shape)}"
        )
    ax = _axes(ax)
    shown = ((images.detach().cpu().float() + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
    mosaic = np.zeros((rows, height + gap, columns, width + gap, 4), np.float32)
    mosaic[:, :height, :, :width, :3] = shown.reshape(rows, columns, 3, height, width).permute(
        0, 3, 1, 4, 2
    )
    mosaic[:, :height, :, :width, 3] = 1
    whole = mosaic.reshape(rows * (height + gap), columns * (width + gap), 4)
    whole = whole[: len(whole) - gap, : whole.shape[1] - gap]
    ax.imshow(whole, interpolation="nearest", interpolation_stage="rgba")
    ax.spines[:].set_visible(False)
    if codes is not None:
        grid = _array(codes).reshape(rows, columns, -1)
        _label_axis(ax.xaxis, width + gap, width, _numbers(grid[0, :, 0]), thin=True)
        _label_axis(ax.yaxis, height + gap, height, _numbers(grid[:, 0, 1]), thin=True)
        ax.set(xlabel="$z_1$", ylabel="$z_2$")
    else:
        _label_axis(ax.xaxis, width + gap, width, column_labels)
        _label_axis(ax.yaxis, height + gap, height, row_labels)
    return ax


def plot_curve(
    x: ArrayLike,
    y: ArrayLike,
    error: ArrayLike | None = None,
    ax: Axes | None = None,
    label: str | None = None,
    **line,
) -> Axes:
    """A curve with a band of ± ``error``.

    Args:
        x: ``(n,)``.
        y: ``(n,)``, or ``(runs, n)``: then the mean is drawn, and the band is the standard
            deviation over the runs (n − 1 in the denominator) unless ``error`` is given.
        error: ``(n,)``, e.g. standard errors.
        label: of the curve in a legend.
        line: passed to ``Axes.plot``, e.g. ``color="C1"``, ``linestyle="--"``.
    """
    x, y = _array(x), _array(y)
    if y.ndim == 2:
        if error is None and len(y) > 1:
            error = y.std(0, ddof=1)
        y = y.mean(0)
    error = None if error is None else _array(error)
    if x.ndim != 1 or y.shape != x.shape or (error is not None and error.shape != x.shape):
        shapes = f"{x.shape}, {y.shape}, {None if error is None else error.shape}"
        raise ValueError(f"x, y and error must have one value for each x, got {shapes}")
    ax = _axes(ax)
    (drawn,) = ax.plot(x, y, label=label, **{"linewidth": 1.5, **line})
    if error is not None:
        ax.fill_between(x, y - error, y + error, color=drawn.get_color(), alpha=0.25, linewidth=0)
    return ax


def vector_field(
    ax: Axes,
    points: Points,
    vectors: Points,
    kind: Literal["quiver", "stream"] = "quiver",
    color=INK,
    **options,
) -> Axes:
    """Arrows at ``points``, or the stream lines through them; both ``(n, 2)``.

    Stream lines (``kind``) need the points of a full rectangular grid, in any order. All have one
    ``color``; ``options`` go to
    ``Axes.quiver`` or ``Axes.streamplot``.
    """
    points, vectors = _array(points), _array(vectors)
    if points.ndim != 2 or points.shape[1] != 2 or vectors.shape != points.shape:
        raise ValueError(
            f"points and vectors must both be (n, 2), got {points.shape} and {vectors.shape}"
        )
    if kind == "quiver":
        ax.quiver(
            *points.T, *vectors.T, color=color,
            **{"angles": "xy", "width": 0.005, "headwidth": 4, **options},
        )  # fmt: skip
    elif kind == "stream":
        xs, ys = np.unique(points[:, 0]), np.unique(points[:, 1])
        order = np.lexsort((points[:, 0], points[:, 1]))
        full = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
        if full.shape != points.shape or not (points[order] == full).all():
            raise ValueError("kind='stream' needs the points of a full rectangular grid")
        u, v = vectors[order].T.reshape(2, len(ys), len(xs))
        # Even steps to the last digit, which streamplot insists on.
        xs, ys = np.linspace(xs[0], xs[-1], len(xs)), np.linspace(ys[0], ys[-1], len(ys))
        ax.streamplot(xs, ys, u, v, color=color, **{"linewidth": 0.8, "arrowsize": 0.8, **options})
    else:
        raise ValueError(f"kind must be 'quiver' or 'stream', got {kind!r}")
    return ax


def density_heat(
    ax: Axes,
    log_prob: Callable[[Tensor], Tensor],
    extent: tuple[float, float, float, float],
    n: int = 200,
    color: str = CLASS_COLOURS[0],
) -> AxesImage:
    """Density of a law in the plane, as a colour the more opaque the higher the density.

    Args:
        log_prob: log-density of float64 points ``(n·n, 2)``, in nats; need not be normalised.
        extent: (left, right, bottom, top).
        n: points a side.
        color: of the highest density.
    """
    left, right, bottom, top = extent
    # Centres of the pixels that imshow will draw over the extent.
    steps = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    y, x = torch.meshgrid(
        bottom + (top - bottom) * steps, left + (right - left) * steps, indexing="ij"
    )
    values = log_prob(torch.stack([x.flatten(), y.flatten()], 1)).detach().reshape(n, n)
    rgba = np.empty((n, n, 4))
    rgba[..., :3] = to_rgb(color)
    rgba[..., 3] = 0.85 * torch.exp(values - values.max()).cpu()
    return ax.imshow(rgba, extent=extent, origin="lower", aspect="auto", interpolation="bilinear")


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax


def _array(values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # numpy has none
    return np.asarray(values)


def _robust(values: np.ndarray) -> dict[str, float]:
    # A few odd images must not use up the colours.
    low, high = np.quantile(values, [0.01, 0.99]) if len(values) else (0.0, 1.0)
    return {"vmin": low, "vmax": high}


def _darker(colour, luminance: float = 0.17) -> tuple[float, ...]:
    """The colour, darkened until white text on it has a contrast of at least 4.5."""
    rgb = np.asarray(colour)
    now = (rgb**2.2) @ [0.2126, 0.7152, 0.0722]
    return tuple(rgb * min(1.0, (luminance / now) ** (1 / 2.2)))


def _numbers(values: np.ndarray) -> list[str]:
    return [f"{value:.2g}".replace("-", "−") for value in np.where(abs(values) < 1e-6, 0, values)]


def _label_axis(axis, step: int, size: int, labels: Sequence[str] | None, thin: bool = False):
    if labels is None:
        axis.set_ticks([])
        return
    chosen = np.arange(len(labels))
    if thin and len(labels) > 6:  # the ends and some between
        chosen = np.unique(np.linspace(0, len(labels) - 1, 4).round().astype(int))
    axis.set_ticks(chosen * step + (size - 1) / 2, [labels[i] for i in chosen])
    axis.set_tick_params(length=0)
