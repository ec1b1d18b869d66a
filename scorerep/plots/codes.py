"""Codes in the plane, coloured by class or by a continuous value; drawn into ``ax``, if given."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from scorerep.plots.style import CONTINUOUS, array, axes, class_palette
from scorerep.types import Codes


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
    codes, values = array(codes), array(values)
    if codes.ndim != 2 or codes.shape[1] != 2 or values.shape != (len(codes),):
        raise ValueError(
            f"codes must be (images, 2) and values (images,), got {codes.shape} and {values.shape}"
        )
    if not len(codes):
        raise ValueError("codes must be of at least one image, got none")
    if kind not in ("class", "continuous"):
        raise ValueError(f"kind must be 'class' or 'continuous', got {kind!r}")
    ax = axes(ax)
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


def _robust(values: np.ndarray) -> dict[str, float]:
    # A few odd images must not use up the colours.
    low, high = np.quantile(values, [0.01, 0.99]) if len(values) else (0.0, 1.0)
    return {"vmin": low, "vmax": high}


def _darker(colour, luminance: float = 0.17) -> tuple[float, ...]:
    """The colour, darkened until white text on it has a contrast of at least 4.5."""
    rgb = np.asarray(colour)
    now = (rgb**2.2) @ [0.2126, 0.7152, 0.0722]
    return tuple(rgb * min(1.0, (luminance / now) ** (1 / 2.2)))
