"""The front page's picture computes what the library computes: its script in node, side by side."""

import base64
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from book.tools.sphinx import score_field
from scorerep.worlds.mixture import GaussianMixture, ring

SCRIPT = Path(score_field.__file__).parents[1] / "static" / "score-field.js"
RUN = """
await import(process.argv[1]);
const field = globalThis.scoreField;
let text = "";
for await (const part of process.stdin) text += part;
const { world, cases } = JSON.parse(text);
const answers = cases.map(([x, tau, z]) => {
  const weight = field.weights(world, z);
  return { weight, ...field.posterior(world, weight, x, tau) };
});
console.log(JSON.stringify(answers));
"""


def in_node(world: dict, cases: list) -> list[dict]:
    address = "data:text/javascript;base64," + base64.b64encode(SCRIPT.read_bytes()).decode()
    done = subprocess.run(
        ["node", "--input-type=module", "-e", RUN, address],
        input=json.dumps({"world": world, "cases": cases}), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_guess_and_what_is_hidden_equal_the_library_s():
    law, random = ring(score_field.GROUPS), torch.Generator().manual_seed(0)
    places = (4 * torch.rand(40, 2, generator=random, dtype=torch.float64) - 2).tolist()
    codes = [None, 0.3, 2.6, 5.9]
    levels = [0.1, 0.4, 2.0]
    cases = [[x, levels[i % 3], codes[i % 4]] for i, x in enumerate(places)]
    answers = in_node(score_field.world(), cases)
    angles = torch.atan2(law.means[:, 1], law.means[:, 0])
    for (x, tau, z), got in zip(cases, answers, strict=True):
        weights = law.weights
        if z is not None:
            weights = (8 * torch.cos(z - angles)).softmax(0)
        given = GaussianMixture(weights, law.means, law.variances[:, 0])
        point = torch.tensor([x], dtype=torch.float64)
        assert torch.allclose(torch.tensor(got["weight"], dtype=torch.float64), weights)
        wanted = given.posterior_mean(point, tau)[0].tolist()
        assert got["mean"] == pytest.approx(wanted, abs=1e-9)
        assert got["variance"] == pytest.approx(float(given.posterior_variance(point, tau)))
        score = given.score(point, tau)[0] * tau**2  # the arrow is the score, times τ²
        moved = [m - p for m, p in zip(got["mean"], x, strict=True)]
        assert moved == pytest.approx(score.tolist(), abs=1e-9)


def test_points_of_the_picture_lie_near_their_groups():
    world = score_field.world()
    assert len(world["colours"]) == len(world["means"]) == score_field.GROUPS
    assert len(world["points"]) == score_field.POINTS
    near = [math.dist((x, y), world["means"][k]) for x, y, k in world["points"]]
    assert max(near) < 6 * world["variance"] ** 0.5
