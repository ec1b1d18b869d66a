"""The site can be used: the front page's picture is dragged, keys reach it, the search finds."""

import json
import subprocess

import pytest

import browsing
import site_pages

SITE = site_pages.SITE
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def found():
    try:
        browser, modules = browsing.tools()
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    with browsing.served(SITE) as base:
        job = dict(browser=browser, modules=str(modules), base=base, word="silhouette")
        done = subprocess.run(
            ["node", browsing.HERE / "use.mjs"],
            input=json.dumps(job), capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_dragging_the_point_moves_it_and_changes_what_is_hidden(found):
    assert found["point"]["moved"] == pytest.approx([-60, -40], abs=3)
    assert found["point"]["said"] != found["start"]


def test_dragging_the_code_turns_it(found):
    before, after = map(int, found["angles"])
    assert before != after
    assert found["code"]["said"] != found["point"]["said"]


def test_without_its_code_only_one_number_is_left(found):
    assert "with this code" in found["start"] and "with this code" not in found["untold"]


def test_keyboard_reaches_every_control_and_moves_the_point(found):
    assert {"sf-point", "checkbox", "range"} <= set(found["reached"])
    assert found["key"]["moved"] > 2 and found["key"]["changed"]


def test_search_finds_a_chapter(found):
    assert "glossary.html" in found["search"] and "mnist.html" in found["search"]


def test_without_scripts_a_sentence_points_to_the_still(found):
    assert "figure below" in found["without"]
