"""The look of every figure, and the plots that recur.

    use_style()                                  # once, at the top of a chapter
    scatter_codes(codes, labels, classes=test.classes)
    image_grid(images, 10, 10, codes=code_grid(-1, 1, 10))

Figures read on light and on dark pages alike: nothing is painted behind them, text and
axes are a mid grey, and colours are told apart by readers who see fewer of them. Make
figures ``WIDTH`` inches wide: in a column of 740 pixels the text then has 13.

Functions draw into ``ax`` (a new figure's if None), return the Axes and never show.

style        colours, sizes, inks;           codes    codes in the plane
images       side by side, in a grid;        curves   with bands, vector fields, densities
"""

from scorerep.plots.codes import scatter_codes
from scorerep.plots.curves import density_heat, plot_curve, vector_field
from scorerep.plots.images import image_grid
from scorerep.plots.style import (
    CLASS_COLOURS,
    CONTINUOUS,
    INK,
    STYLE,
    WIDTH,
    class_palette,
    use_style,
)

__all__ = [
    "CLASS_COLOURS",
    "CONTINUOUS",
    "INK",
    "STYLE",
    "WIDTH",
    "class_palette",
    "density_heat",
    "image_grid",
    "plot_curve",
    "scatter_codes",
    "use_style",
    "vector_field",
]
