"""A moving picture that recurs: a code in the plane, and the image that a model draws of it."""

from collections.abc import Mapping, Sequence

import numpy as np

from book.tools.moving import Panel, show, slider


def show_code_plane(
    images,
    z,
    codes,
    colours: Mapping,
    said: Sequence[str],
    names: Sequence[str] | None = None,
    label: str = "A code and its image",
):
    """The images of a grid of codes, one at a time, beside the codes of data.

    Args:
        images: ``(n·n, 1 or 3, height, width)`` of ``scorerep.codes.effects.sample_grid``.
        z: their codes, ``(n·n, 2)`` at least, row by row from the top.
        codes: of data, ``(points, 2)``.
        colours: name → one value a point, as in ``Panel.points``.
        said: a sentence for each image.
        names: of the classes among the colours.
    """
    codes = np.asarray(codes)
    low, high = np.quantile(codes, [0.003, 0.997], axis=0)
    plane = Panel("z₁", "z₂", x=(low[0], high[0]), y=(low[1], high[1]), height=0.85)
    plane.points(codes, colours=colours, names=names)
    side = round(len(z) ** 0.5)
    # From rows, the highest z_2 first, to first axis z_1 and second z_2, both rising
    order = np.arange(side**2).reshape(side, side)[::-1].T
    at = np.asarray(z)[:, :2][order]
    plane.points(at[..., None, :], by="z1 z2", colour="C3", radius=7, handle=True)
    image = Panel(axes=False, height=1, wide=0.75)
    image.images(np.asarray(images)[order], by="z1 z2")
    middle = side // 2
    controls = [
        slider("z1", "z₁", at[:, 0, 0], start=middle),
        slider("z2", "z₂", at[0, :, 1], start=middle),
    ]
    show([plane, image], controls, lambda z1, z2: said[order[z1, z2]], label)
