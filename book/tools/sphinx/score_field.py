"""The directive ``score-field``: the front page's picture that can be dragged.

The world is ``scorerep.worlds.ring``; its parameters and some of its points go into the page, and
book/tools/static/score-field.js computes the rest there. Without scripts a sentence points to the
still figure.
"""

import json
from functools import partial

import torch

from book.tools.sphinx import live
from scorerep import plots
from scorerep.worlds.mixture import ring

GROUPS, POINTS = 6, 240
MARKUP = """
<div class="score-field" data-world='{world}'>
<noscript><p>This picture moves with JavaScript; the figure below is its still.</p></noscript>
<svg viewBox="-2.1 -2.1 4.2 4.2" role="group"
 aria-label="Arrows from places in the plane to the best guess of the clean point."></svg>
<div class="sf-controls">
<label><input type="checkbox" checked> the network is told the code</label>
<label><span>code</span> <input type="range" min="0" max="359" step="1" value="150"></label>
<label><span>noise</span> <input type="range" min="-1" max="0.3" step="0.01" value="-0.2"></label>
<output></output>
</div>
</div>
"""


def world() -> dict:
    """Groups, points with the number of their group, and colours, as the page's script has it."""
    law = ring(GROUPS)
    points, labels = law.sample(POINTS, torch.Generator().manual_seed(0))
    return {
        "weights": law.weights.tolist(),
        "means": law.means.tolist(),
        "variance": float(law.variances[0, 0]),
        "points": [
            [round(x, 3), round(y, 3), int(k)]
            for (x, y), k in zip(points.tolist(), labels, strict=True)
        ],
        "colours": [
            "#" + "".join(f"{round(255 * part):02x}" for part in colour)
            for colour in plots.class_palette(GROUPS)
        ],
    }


def setup(app):
    script = partial(app.add_js_file, "score-field.js", loading_method="defer")
    live.offer(app, "score-field", lambda: MARKUP.format(world=json.dumps(world())), script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
