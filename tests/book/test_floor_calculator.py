"""The page's calculator of floors computes what the library computes: its script in node."""

import base64
import json
import math
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from book.tools.sphinx import floor_calculator
from scorerep.runs.losses import answer
from scorerep.worlds.floor import Target, Weight, average, floor_of
from scorerep.worlds.schedule import Schedule

SCRIPT = Path(floor_calculator.__file__).parents[1] / "static" / "floor-calculator.js"
RUN = """
await import(process.argv[1]);
const page = globalThis.floorCalculator;
let text = "";
for await (const part of process.stdin) text += part;
const { worlds, quantiles, cases } = JSON.parse(text);
console.log(JSON.stringify(cases.map(({ images, loss, ...settings }) => {
  const table = page.rows(worlds[images], settings, quantiles);
  const found = page.judge(table, loss ?? NaN);
  return { table, found, said: page.sentences(found, loss ?? NaN, "so many") };
})));
"""
PATHS = {  # path: how t is drawn, mean, standard deviation
    "ve": ("uniform", 0, 1),
    "vp-linear": ("uniform", 0, 1),
    "vp-cosine": ("normal", -0.3, 0.8),
    "sub-vp": ("uniform", 0, 1),
    "edm": ("uniform", -1.2, 1.2),
    "flow": ("normal", 0.5, 1.0),
}
STORED = pd.read_csv(floor_calculator.RESULTS)
NAMES = sorted(STORED["data"].unique())
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def in_node(cases: list[dict]) -> list[dict]:
    address = "data:text/javascript;base64," + base64.b64encode(SCRIPT.read_bytes()).decode()
    done = subprocess.run(
        ["node", "--input-type=module", "-e", RUN, address],
        input=json.dumps({**floor_calculator.floors(), "cases": cases}), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def case(i: int, path: str, target: str, weighting: str = "none", **changes) -> dict:
    density, mean, std = PATHS[path]
    return {
        "images": NAMES[i % len(NAMES)], "path": path, "target": target, "weighting": weighting,
        "density": density, "mean": mean, "std": std, "data": (0.5, 0.8)[i % 2],
        "scale": (1, 0.5)[i % 2], "pixels": ("mean", "sum")[i % 3 == 0],
        "factor": (1, 0.5)[i % 5 == 0], "loss": None, **changes,
    }  # fmt: skip


def by_library(case: dict) -> pd.DataFrame:
    found = STORED[STORED["data"] == case["images"]].drop(columns="data").copy()
    found["sigma"] *= case["scale"]
    found[["mmse", "standard_error", "linear", "variance"]] *= case["scale"] ** 2
    logit = case["density"] == "normal" and case["path"] != "edm"
    density = "logit-normal" if logit else None
    moments = (case["mean"], case["std"]) if logit or case["path"] == "edm" else (None, None)
    schedule = Schedule(case["path"], density, *moments)
    table = floor_of(
        found, schedule, schedule.spread(floor_calculator.TIMES), case["target"],
        case["weighting"], case["data"],
    )  # fmt: skip
    pixels = floor_calculator.PIXELS[case["images"]] if case["pixels"] == "sum" else 1
    table[["floor", "standard_error", "linear", "ceiling"]] *= pixels * case["factor"]
    return table


@needs_node
def test_every_row_and_average_equals_the_library_s():
    grid = product(PATHS, Target.__args__, Weight.__args__)
    cases = [case(i, *chosen) for i, chosen in enumerate(grid)]
    for asked, got in zip(cases, in_node(cases), strict=True):
        table, name = by_library(asked), str(asked)
        for ours, theirs in (
            ("t", "t"), ("sigma", "sigma"), ("floor", "floor"), ("error", "standard_error"),
            ("linear", "linear"), ("ceiling", "ceiling"),
        ):  # fmt: skip
            values = [row[ours] for row in got["table"]]
            # Five digits of each stored number are on the page.
            assert values == pytest.approx(table[theirs].tolist(), rel=2e-4, abs=1e-300), name
        assert [row["memorised"] for row in got["table"]] == table["memorised"].tolist(), name
        least = average(table)
        assert got["found"]["floor"] == pytest.approx(least.value, rel=2e-4), name
        assert got["found"]["error"] == pytest.approx(least.standard_error, rel=2e-4), name
        for column in ("linear", "ceiling"):
            assert got["found"][column] == pytest.approx(average(table, column).value, rel=2e-4)


@needs_node
def test_verdict_is_the_command_s():
    """At losses on either side of floor, linear denoiser and mean."""
    phrases = {
        "below": "is below the floor",
        "between": "could still be won",
        "above linear": "the best linear denoiser has",
        "above mean": "larger than that of answering the mean",
    }
    asked = []
    for i, (path, target) in enumerate([("vp-linear", "eps"), ("flow", "flow"), ("edm", "F")]):
        table = by_library(case(i, path, target))
        least, linear, ceiling = (average(table, c).value for c in ("floor", "linear", "ceiling"))
        for loss in (0.5 * least, (least + linear) / 2, (linear + ceiling) / 2, 1.1 * ceiling):
            asked.append(case(i, path, target, loss=loss))
    verdicts = []
    for one, got in zip(asked, in_node(asked), strict=True):
        said = " ".join(answer(by_library(one), one["loss"]))
        verdict = got["found"]["verdict"]
        verdicts.append(verdict)
        assert phrases[verdict] in said
        for other in {"below": ["between"], "between": ["above linear", "above mean"]}.get(
            verdict, ["below"]
        ):
            assert phrases[other] not in said
        if verdict == "between":
            assert re.search(r"of the loss [\d.e+-]+, (\d+)% is floor", said)[1] in got["said"][1]
    assert verdicts == ["below", "between", "above linear", "above mean"] * 3


@needs_node
def test_numbers_are_said_as_one_reads_them():
    (got,) = in_node([case(1, "vp-linear", "eps", images=NAMES[0], loss=0.03)])
    assert got["said"][0].startswith("Averaged over the training: floor 0.0")
    assert math.isclose(got["found"]["share"], got["found"]["floor"] / 0.03)
    (nothing,) = in_node([case(1, "vp-linear", "eps")])
    assert nothing["found"]["verdict"] == "none" and "Your loss" not in " ".join(nothing["said"])


def test_every_control_has_a_name_and_every_choice_is_the_library_s():
    html = floor_calculator.markup()
    assert html.count("<label><span>") == html.count("<select") + html.count("<input") == 12
    assert set(floor_calculator.CHOICES["target"][1]) == set(Target.__args__)
    assert set(floor_calculator.CHOICES["weighting"][1]) == set(Weight.__args__)
    assert set(floor_calculator.CHOICES["path"][1]) == set(PATHS)
    assert len(html) < 25_000  # of the page
