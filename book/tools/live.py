"""Views that move: sliders in a kernel, a still picture in the built page."""

import os
from collections.abc import Callable


def live_view(draw: Callable[..., None], **controls):
    """``draw(**values)`` with a slider for each argument; in the built page, which has no kernel to
    answer sliders, the still picture at their first values.

    Args:
        draw: makes a figure and shows it.
        controls: widgets of ipywidgets, each with a description.
    """
    if os.environ.get("SCOREREP_STILL"):
        draw(**{name: control.value for name, control in controls.items()})
        return
    import ipywidgets
    from IPython.display import display

    output = ipywidgets.interactive_output(draw, controls)
    display(ipywidgets.VBox([*controls.values(), output]))
