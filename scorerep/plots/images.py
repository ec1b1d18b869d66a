"""Images side by side, with their codes along the axes; drawn into ``ax``, if given."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from scorerep.plots.style import array, axes
from scorerep.types import Codes, Images


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
    ax = axes(ax)
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
        grid = array(codes).reshape(rows, columns, -1)
        _label_axis(ax.xaxis, width + gap, width, _numbers(grid[0, :, 0]), thin=True)
        _label_axis(ax.yaxis, height + gap, height, _numbers(grid[:, 0, 1]), thin=True)
        ax.set(xlabel="$z_1$", ylabel="$z_2$")
    else:
        _label_axis(ax.xaxis, width + gap, width, column_labels)
        _label_axis(ax.yaxis, height + gap, height, row_labels)
    return ax


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
