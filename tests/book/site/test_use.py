"""The site can be used: the front page's picture is dragged, keys reach it, the search finds."""

import json
import subprocess

import pytest

import browsing
import site_pages

SITE = site_pages.SITE
pytestmark = pytest.mark.timeout(3600)


def driven(script: str, **job) -> dict:
    """What a script of this folder saw in the browser; skips without browser or driver."""
    try:
        browser, modules = browsing.tools()
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    job |= dict(browser=browser, modules=str(modules), word="silhouette")
    done = subprocess.run(
        ["node", browsing.HERE / script], input=json.dumps(job), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found():
    with browsing.served(SITE) as base:
        return driven("use.mjs", base=base)


@pytest.fixture(scope="module")
def from_file():
    return driven("from_file.mjs", base=f"{SITE.as_uri()}/")


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


# Previews of links


@pytest.fixture(scope="module")
def previews():
    with browsing.served(SITE) as base:
        return driven("previews.mjs", base=base)


@pytest.mark.parametrize("kind", ["equation", "term", "work"])
def test_pointer_on_a_link_shows_what_it_leads_to(previews, kind):
    shown = previews[kind]
    assert not shown["hidden"] and shown["within"] and shown["role"] == "tooltip"
    assert shown["described"] and len(shown["text"]) + 40 * shown["formulas"] > 20
    assert shown["links"] == 0
    assert shown["formulas"] > 0 or kind != "equation"


def test_preview_stays_while_the_pointer_is_in_it_and_escape_takes_it_away(previews):
    assert not previews["entered"]["hidden"]
    assert previews["escaped"]["hidden"] and previews["escaped"]["described"] is None


def test_key_that_reaches_a_link_shows_its_preview_and_escape_leaves_the_reader_there(previews):
    assert not previews["focused"]["hidden"]
    assert previews["focused"]["described"] == previews["active"] == previews["still"]
    assert previews["dismissed"]["hidden"]


def test_finger_follows_the_link(previews):
    assert previews["tapped"] == "glossary.html"


def test_previews_hold_in_both_themes_and_ask_no_other_host(previews):
    assert previews["violations"] and not any(previews["violations"].values())
    assert previews["foreign"] == []


# The calculator of floors, on a page that is served and on one from a file


@pytest.fixture(scope="module", params=["served", "from a file"])
def calculator(request):
    if request.param == "from a file":
        return driven("floor.mjs", base=f"{SITE.as_uri()}/")
    with browsing.served(SITE) as base:
        return driven("floor.mjs", base=base)


def test_calculator_answers_what_is_typed_and_chosen(calculator):
    assert calculator["problems"] == []
    assert calculator["start"].startswith("Averaged over the training: floor")
    answers = [calculator[name] for name in ("start", "typed", "digits", "edm")]
    assert len(set(answers)) == 4 and calculator["moved"]
    assert all("our loss" in text for text in answers)


def test_calculator_takes_the_usual_schedule_of_a_target(calculator):
    assert (calculator["path"], calculator["mean"]) == ("edm", "-1.2")


def test_calculator_names_what_is_no_number_and_needs_no_loss(calculator):
    assert calculator["wrong"] == "Not a number that can be used: Your loss."
    assert calculator["invalid"] == "true"
    assert "our loss" not in calculator["without"]


def test_keyboard_reaches_every_control_of_the_calculator_in_order(calculator):
    order = ["images", "target", "path", "weighting", "scale", "pixels", "mean", "std", "data"]
    assert calculator["reached"][: len(order) + 3] == [*order, "factor", "loss", "summary"]


def test_calculator_can_be_heard_printed_and_held_in_the_hand(calculator):
    assert "Averaged over the training: floor" in calculator["label"]
    assert calculator["rows"] == 16 and calculator["printed"]
    assert calculator["wide"] <= 390


def test_calculator_without_scripts_points_to_the_command(calculator):
    assert "scorerep floor" in calculator["still"]


# Opened from a file: the address that `make book` prints


def test_front_page_s_picture_moves_on_a_page_from_a_file(from_file):
    assert from_file["start"] and from_file["moved"] != from_file["start"]


def test_moving_picture_loads_its_data_on_a_page_from_a_file(from_file):
    before, after = from_file["moving"]
    assert before and after != before


def test_explorer_says_on_a_page_from_a_file_how_it_would_run(from_file):
    assert from_file["still"] > 0
    if "explorer" in from_file:  # else the site was built without npm
        assert "make serve" in from_file["explorer"] and from_file["disabled"]


def test_search_and_formulas_work_on_pages_from_a_file(from_file):
    assert any(found.startswith("glossary.html") for found in from_file["search"])
    assert from_file["formulas"] > 0


EXPECTED = (
    "/explorer.js",  # a module, which the page's message is about
    ".woff2",  # asked for ahead of time in a way that files refuse; the styles then load them
    "search.html",  # lines of text below the pages that were found, which Sphinx would fetch
)


def test_nothing_else_fails_on_pages_from_a_file(from_file):
    assert [p for p in from_file["problems"] if not any(e in p for e in EXPECTED)] == []
    assert {status for _, status in from_file["fonts"]} == {"loaded"}
