"""Every moving picture of the built site, moved in a browser by pointer, keys and choices.

At a laptop's width in the light theme and at a phone's in the dark one, where the reader also asks
for less motion.
"""

import json
import subprocess

import pytest

import browsing
import site_pages

SITE = site_pages.SITE
LIMIT = 400_000  # bytes of the data of a page's moving pictures
PAGES = [
    page for page in site_pages.pages(SITE) if site_pages.soup(SITE / page).select_one(".moving")
]
by_page = pytest.mark.parametrize("page", PAGES)
pytestmark = pytest.mark.timeout(3600)


def files_of(page: str) -> list:
    places = site_pages.soup(SITE / page).select(".moving .moving-data")
    return [(SITE / page).parent / place["data-src"] for place in places]


def test_site_has_moving_pictures():
    assert PAGES, f"no moving picture in {SITE}: make book"


@by_page
def test_data_of_a_page_are_within_their_limit(page):
    assert sum(file.stat().st_size for file in files_of(page)) <= LIMIT


@pytest.fixture(scope="module")
def found():
    """What was seen of every picture, by page; skips without browser or driver."""
    try:
        browser, modules = browsing.tools()
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    with browsing.served(SITE) as base:
        job = dict(browser=browser, modules=str(modules), base=base, pages=PAGES)
        done = subprocess.run(
            ["node", browsing.HERE / "moving.mjs"], input=json.dumps(job), capture_output=True,
            text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {(r["page"], r["look"]): r for r in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("look", ["wide, light", "phone, dark, less motion"])
@by_page
def test_picture_moves_by_keys_pointer_and_choice_and_axe_finds_nothing(found, page, look):
    seen = found[page, look]
    assert seen["problems"] == [] and seen["violations"] == []
    assert seen["loaded"] == []  # data come when their picture is near
    assert len(seen["pictures"]) == len(files_of(page))
    for picture in seen["pictures"]:
        assert picture["named"] and picture["inside"]
        for control in picture["controls"]:
            assert control["reached"], control
            assert control["drawn"] > 1, control  # keys, and for a slider the pointer, change it
            assert control["said"] > 1, control
        assert picture["dragged"] in (True, None)
        assert not picture["gliding"] or look == "wide, light"


@by_page
def test_print_and_a_reader_without_scripts_have_the_still(found, page):
    seen = found[page, "wide, light"]
    assert seen["printed"] and all(p == ["still"] for p in seen["printed"])
    assert seen["without"] and all(p == ["still"] for p in seen["without"])
