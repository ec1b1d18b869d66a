"""The live explorer in a real browser: what it loads, draws and says; how fast is reported.

The page is driven by explorer.mjs, on a small page and, where it has been built, on the site's own;
`make test-site` looks at that one only. What its pictures cost is told by how often the network is
evaluated; seconds of the clock and of the processor are printed, with a warning where an idle
machine with two cores would do better, and fail nothing.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

import browsing
from book.tools.assets import explorer as explorer_assets
from book.tools.assets import npm
from book.tools.sphinx import explorer as explorer_directive
from scorerep import sampling
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.sampling import samplers

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
BUILT = ROOT / "_build" / "html"
STATIC = BOOK / "tools/static"
FIRST_SECONDS, NEXT_MILLISECONDS, MEGABYTES = 3.0, 300.0, 6.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>Explorer</title>
<link rel="stylesheet" href="_static/explorer.css">
<script type="module" src="_static/explorer.js"></script></head>
<body style="font-family: sans-serif"><main>
<figure><img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="></figure>
{markup}</main></body></html>
"""


@pytest.fixture(scope="module")
def browser() -> tuple[Path, str]:
    """The folder of npm's modules and the browser; a reason is printed where one is missing."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    try:
        return explorer_assets.modules(), browsing.find_browser()
    except (npm.NpmError, browsing.MissingTool) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model() -> ScoreModel:
    return ScoreModel.from_pretrained(explorer_assets.WEIGHTS)


@pytest.fixture(scope="module")
def cases(model) -> list[dict]:
    """Starting points, codes, times and steps on which the samplers are compared."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 1, 28, 28, generator=generator)
    z = torch.randn(3, 2, generator=generator)
    settings = [(1.0, 6), (1.0, 18), (0.55, 10)]
    return [
        {"x": noise[i : i + 1] * float(model.sde.tau(t)), "z": z[i : i + 1], "t": t, "steps": steps}
        for i, (t, steps) in enumerate(settings)
    ]


@pytest.fixture(scope="module", params=["small_page", "built_site"])
def report(request, browser, cases, tmp_path_factory) -> dict:
    """What explorer.mjs saw on the page."""
    folder = tmp_path_factory.mktemp("explorer")
    if request.param == "built_site":
        page = "book/explorer.html"
        if not (BUILT / page).exists() or not is_current(BUILT / "_static"):
            pytest.skip("the book is not built from the present sources: make book")
        site = BUILT
    else:
        page, site = "page.html", folder
        assert explorer_assets.gather()
        shutil.copytree(explorer_assets.SITE, folder / "_static")
        for file in STATIC.glob("explorer*"):
            shutil.copy(file, folder / "_static")
        markup = explorer_directive.markup()
        (folder / page).write_text(PAGE.format(markup=markup), "utf-8")
    (folder / "input.json").write_text(
        json.dumps(
            {
                "cases": [
                    {**case, "x": case["x"].flatten().tolist(), "z": case["z"][0].tolist()}
                    for case in cases
                ]
            }
        )
    )
    modules, chromium = browser
    with browsing.served(site) as address:
        command = ["node", str(Path(__file__).with_name("explorer.mjs")), f"{address}{page}"]
        command += [str(modules), chromium, str(folder / "input.json")]
        command += list(filter(None, [os.environ.get("SCOREREP_SCREENS")]))
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nexplorer, {request.param}: first picture {seen['first_seconds']:.2f} s (processor "
            f"{seen['first_processor_seconds']:.2f} s), further ones "
            f"{statistics.median(seen['milliseconds']):.0f} ms (processor "
            f"{seen['processor_milliseconds']:.0f} ms) at {seen['evaluations']} evaluations, "
            f"{seen['bytes'] / 1e6:.2f} MB"
        )
    return seen


def is_current(static: Path) -> bool:
    """Whether the built site holds the scripts and the network that a build would make now."""
    stamp = explorer_assets.WORK / "gathered"
    same = (
        (static / file.name).exists() and (static / file.name).read_bytes() == file.read_bytes()
        for file in STATIC.glob("explorer*")
    )
    return all(same) and stamp.exists() and stamp.read_text() == explorer_assets.key()


def library_image(model: ScoreModel, drawn: dict) -> torch.Tensor:
    """The library's image for the starting point, code, time and steps of a drawn one, (784,)."""
    start = torch.tensor(drawn["start"]).view(1, 1, 28, 28)
    score = sampling.condition(model, torch.tensor(drawn["z"])[None])
    return sampling.heun(score, model.sde, start, drawn["t"], drawn["steps"]).flatten()


def test_nothing_is_loaded_before_the_reader_asks(report):
    names = [urlsplit(url).path.rsplit("/", 1)[-1] for url in report["before"]["requests"]]
    assert "explorer.js" in names
    for file in explorer_assets.ASSETS.iterdir():
        assert file.name not in names


def test_at_most_six_megabytes_are_transferred(report):
    assert 1e6 < report["bytes"] <= MEGABYTES * 1e6


def test_pictures_are_drawn_and_what_they_take_is_reported(report):
    assert report["evaluations"] >= 10
    first = min(report["first_seconds"], report["first_processor_seconds"])
    further = min(statistics.median(report["milliseconds"]), report["processor_milliseconds"])
    assert first > 0 and further > 0
    if first > FIRST_SECONDS or further > NEXT_MILLISECONDS:
        warnings.warn(f"first picture {first:.1f} s, further ones {further:.0f} ms", stacklevel=1)


def test_page_s_sampler_equals_the_library_s(report, model, cases):
    for case, image, levels in zip(cases, report["cases"], report["levels"], strict=True):
        score = sampling.condition(model, case["z"])
        ours = sampling.heun(score, model.sde, case["x"], case["t"], case["steps"])
        torch.testing.assert_close(torch.tensor(image), ours.flatten(), atol=5e-3, rtol=0)
        expected = samplers._levels(model.sde, case["t"], case["steps"], 0.01, 7.0)
        assert levels == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "step", ["first", "drag", "keyboard", "noise", "middle", "other_code", "more_steps"]
)
def test_picture_on_the_page_is_the_library_s(report, model, step):
    drawn = report[step]
    ours = library_image(model, drawn)
    torch.testing.assert_close(torch.tensor(drawn["image"]), ours, atol=1e-2, rtol=0)
    shown = torch.tensor(drawn["shown"]) / 127.5 - 1
    assert (shown - ours.clamp(-1, 1)).abs().max() < 2e-2
    assert shown.max() > 0.5 and shown.min() < -0.5  # strokes on a dark ground


def test_dragging_moves_the_code_to_where_the_point_is_dropped(report):
    assert report["drag"]["count"] > report["first"]["count"]
    for value, (low, high), share in zip(
        report["drag"]["z"], report["range"], (0.2, 0.25), strict=True
    ):
        assert value == pytest.approx(low + share * (high - low), abs=0.02 * (high - low))
    assert report["drag"]["start"] == report["first"]["start"]  # the same noise
    assert report["drag"]["image"] != report["first"]["image"]


def test_arrow_keys_move_the_code_and_are_spoken(report):
    moved = [b - a for a, b in zip(report["drag"]["z"], report["keyboard"]["z"], strict=True)]
    spans = [high - low for low, high in report["range"]]
    assert moved == pytest.approx([3 * 0.02 * spans[0], 0.1 * spans[1]], rel=1e-3)
    assert f"{report['keyboard']['z'][0]:.2f}" in report["value_text"]


def test_new_noise_changes_the_picture_and_not_the_code(report):
    assert report["noise"]["z"] == report["keyboard"]["z"]
    assert report["noise"]["start"] != report["keyboard"]["start"]
    assert report["noise"]["image"] != report["keyboard"]["image"]


def test_noise_is_standard_normal(report):
    mean, square, fourth = report["moments"]
    assert mean == pytest.approx(0, abs=0.03)
    assert square == pytest.approx(1, abs=0.04)
    assert fourth == pytest.approx(3, abs=0.3)


def test_slider_starts_from_a_test_image_under_noise(report, model):
    drawn, noise = report["middle"], report["noise"]
    assert drawn["t"] == pytest.approx(0.55)
    epsilon = torch.tensor(noise["start"]) / float(model.sde.tau(1.0))
    x_0 = torch.tensor(drawn["start"]) - float(model.sde.tau(0.55)) * epsilon
    example = report["examples"][3]
    data = load_data("mnist", "test")
    torch.testing.assert_close(x_0, data.batch([example["index"]]).flatten(), atol=1e-4, rtol=0)
    assert (torch.tensor(drawn["image"]) - x_0).square().mean() < 0.5 * (
        torch.tensor(noise["image"]) - x_0
    ).square().mean()


def test_code_of_another_image_can_be_taken(report):
    assert report["other_code"]["z"] == pytest.approx(report["examples"][7]["code"])
    assert report["other_code"]["start"] == report["middle"]["start"]
    assert report["other_code"]["image"] != report["middle"]["image"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_outside_a_phone_s_screen(report, theme):
    assert report["outside"][theme] == []


def test_without_webassembly_the_page_says_so_and_keeps_the_picture(report):
    seen = report["no_webassembly"]
    assert "WebAssembly is switched off" in seen["message"]
    assert "still picture" in seen["message"]
    assert seen["pictures"] >= 1 and not seen["live"] and seen["can_try_again"]
    assert seen["bytes"] < 150_000  # the page alone: it is told before megabytes are fetched
    assert seen["errors"] == []


def test_after_a_failed_download_the_reader_can_try_again(report):
    seen = report["unreachable"]
    assert "cannot run here" in seen["message"] and seen["can_try_again"]
    assert report["again"] >= 1


def test_page_throws_no_errors(report):
    assert report["errors"] == []


# The files


def test_lock_file_names_no_registry():
    for file in explorer_assets.SOURCE.iterdir():
        assert "resolved" not in file.read_text("utf-8").replace("registry-resolved", "")
        assert "://" not in file.read_text("utf-8"), file.name


def test_page_s_still_picture_is_of_the_weights_that_run_in_it():
    (folder,) = re.findall(r'^WEIGHTS = Path\("(.+)"\)$', (BOOK / "explorer.md").read_text(), re.M)
    assert (BOOK / folder).resolve() == explorer_assets.WEIGHTS


def test_without_npm_the_still_picture_stays(tmp_path, monkeypatch, capsys):
    for name, folder in (("WORK", "."), ("SITE", "site"), ("ASSETS", "site/explorer")):
        monkeypatch.setattr(explorer_assets, name, tmp_path / folder)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert explorer_assets.gather() is False
    assert "still picture stays: npm is not installed" in capsys.readouterr().out
    assert not explorer_assets.SITE.exists()
