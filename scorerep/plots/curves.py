"""Curves with bands, vector fields and densities in the plane; drawn into ``ax``."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike
from torch import Tensor

from scorerep.plots.style import CLASS_COLOURS, INK, array, axes
from scorerep.types import Points


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
    x, y = array(x), array(y)
    if y.ndim == 2:
        if error is None and len(y) > 1:
            error = y.std(0, ddof=1)
        y = y.mean(0)
    error = None if error is None else array(error)
    if x.ndim != 1 or y.shape != x.shape or (error is not None and error.shape != x.shape):
        shapes = f"{x.shape}, {y.shape}, {None if error is None else error.shape}"
        raise ValueError(f"x, y and error must have one value for each x, got {shapes}")
    ax = axes(ax)
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
    """``vectors`` as arrows at ``points``, or their field's stream lines; both ``(n, 2)``.

    Stream lines (``kind``) need the points of a full rectangular grid, in any order. All have one
    ``color``; ``options`` go to
    ``Axes.quiver`` or ``Axes.streamplot``.
    """
    points, vectors = array(points), array(vectors)
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
