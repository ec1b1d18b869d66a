"""The directive ``floor-calculator``: a page that says how much of a reader's loss is floor.

The floors of the data sets are those of book/results/floors.csv; they go into the page, and
book/tools/static/floor-calculator.js computes the rest there, so that it works on a page from a
file too. Without scripts a sentence points to the command.
"""

import json
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd
import torch

from book.tools.sphinx import live

RESULTS = Path(__file__).parents[2] / "results" / "floors.csv"
PIXELS = {"digits": 64, "mnist": 784, "cifar10": 3072}
TIMES = 64  # at which a loss is averaged
CHOICES = {
    "images": ("Images", {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "8×8 digits"}),
    "target": (
        "The network predicts",
        {
            "eps": "the noise ε", "x0": "the clean image", "v": "v", "score": "the score",
            "F": "F (EDM)", "flow": "a velocity (flow matching)",
        },
    ),
    "path": (
        "Schedule",
        {
            "vp-linear": "VP linear (DDPM)", "vp-cosine": "VP cosine", "ve": "VE",
            "sub-vp": "sub-VP", "edm": "EDM, t = σ", "flow": "straight line (flow)",
        },
    ),
    "density": ("t is drawn", {"uniform": "uniformly", "normal": "logit-normally"}),
    "weighting": (
        "Weight",
        {
            "none": "none", "tau2": "τ²", "snr": "SNR, as for x₀",
            "min-snr": "min-SNR (5), as for x₀", "edm": "EDM, as for x₀",
        },
    ),
    "scale": ("Pixels from", {"1": "−1 to 1", "0.5": "0 to 1"}),
    "pixels": ("Over pixels", {"mean": "a mean", "sum": "a sum"}),
}  # fmt: skip
NUMBERS = {
    "mean": ("Mean of ln σ or logit t", "0"),
    "std": ("Its standard deviation", "1"),
    "data": ("σ_data", "0.5"),
    "factor": ("Times a factor", "1"),
    "loss": ("Your loss", "0.03"),
}
MARKUP = """
<div class="floor-calculator" data-floors="{data}">
<noscript><p>This calculator needs JavaScript; the command <code>scorerep floor</code> answers the
same.</p></noscript>
<div class="fc-controls" role="group" aria-label="What you train">{controls}</div>
<output aria-live="polite"></output>
<svg role="img" aria-label="Loss by noise level"></svg>
<p class="fc-legend"><span class="fc-key fc-key-floor">floor</span>
<span class="fc-key fc-key-linear">best linear denoiser</span>
<span class="fc-key fc-key-ceiling">answering the mean</span>
<span class="fc-key fc-key-loss">your loss, averaged over t</span>
<span class="fc-key fc-key-known">memorised</span></p>
<details><summary>The same as a table</summary>
<table class="dataframe"><thead><tr><th scope="col">t</th><th scope="col">σ</th>
<th scope="col">floor</th><th scope="col">linear</th><th scope="col">mean</th>
<th scope="col">memorised</th></tr></thead><tbody></tbody></table></details>
</div>
"""


def floors(file: Path = RESULTS) -> dict:
    """What the page's script needs of each data set, and normal quantiles of its times."""
    worlds = {}
    for name, found in pd.read_csv(file).groupby("data"):
        found = found.sort_values("sigma")
        columns = {
            "levels": found["sigma"],
            "share": found["mmse"] / found["linear"],
            "error": found["standard_error"] / found["linear"],
            "linear": found["linear"],
        }
        worlds[name] = {
            "images": int(found["images"].iloc[0]),
            "pixels": PIXELS[name],
            "variance": float(found["variance"].iloc[0]),
            **{key: [float(f"{x:.5g}") for x in column] for key, column in columns.items()},
        }
    shares = (torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES
    return {"worlds": worlds, "quantiles": torch.special.ndtri(shares).tolist()}


def markup(file: Path = RESULTS) -> str:
    """The calculator's HTML."""
    data = floors(file)
    controls = []
    for name, (label, choices) in CHOICES.items():
        known = {k: v for k, v in choices.items() if name != "images" or k in data["worlds"]}
        options = "".join(f'<option value="{k}">{v}</option>' for k, v in known.items())
        controls.append(
            f'<label><span>{label}</span><select name="{name}">{options}</select></label>'
        )
    for name, (label, value) in NUMBERS.items():
        controls.append(
            f'<label><span>{label}</span><input name="{name}" type="text" inputmode="decimal" '
            f'value="{value}" autocomplete="off"></label>'
        )
    text = json.dumps(data, separators=(",", ":"))
    return MARKUP.format(data=escape(text), controls="".join(controls))


def setup(app):
    script = partial(app.add_js_file, "floor-calculator.js", loading_method="defer")
    live.offer(app, "floor-calculator", markup, script, reads=[RESULTS])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
