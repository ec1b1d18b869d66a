"""Every page of the built site holds in a browser: `make test-site`, after `make book`.

What axe may find is in ``ALLOWED``: only what a dependency emits, each with its reason.
"""

import pytest

import browsing
import site_pages

SITE = site_pages.SITE
PAGES = site_pages.pages(SITE)
SIZE_LIMIT = 40e6  # bytes of the whole site
ALLOWED = [
    {
        "rule": "label-content-name-mismatch",
        "selector": "button.search-button-field",
        "reason": "the theme's button is named Search and also shows its keys, Ctrl+K",
    },
    {
        "rule": "aria-deprecated-role",
        "selector": "div.citation",
        "reason": "docutils gives entries of a bibliography the role doc-biblioentry",
    },
    {
        "rule": "aria-required-children",
        "selector": "div.citation-list",
        "reason": "docutils makes the bibliography a list whose entries have another role",
    },
]
by_page = pytest.mark.parametrize("page", PAGES)


def test_site_is_built_and_its_root_leads_in():
    assert PAGES, f"no site in {SITE}: make book"
    assert site_pages.forwarded_to(SITE, "index.html") in PAGES


# Without a browser


@by_page
def test_links_within_the_site_lead_somewhere(page):
    assert site_pages.dead_links(SITE, page) == []


@by_page
def test_pictures_are_put_into_words(page):
    assert site_pages.pictures_without_words(SITE, page) == []


@by_page
def test_page_is_spelt_right(page):
    assert site_pages.spelling_slips(SITE, page) == []


def test_site_is_no_larger_than_its_limit():
    files = [file for file in SITE.rglob("*") if file.is_file() and file.suffix != ".pdf"]
    total = sum(file.stat().st_size for file in files)  # the PDF has a limit of its own
    assert total <= SIZE_LIMIT, f"{total / 1e6:.1f} MB"


def test_no_picture_is_stored_twice():
    pictures = list((SITE / "_images").iterdir())
    assert len({picture.read_bytes() for picture in pictures}) == len(pictures) > 50


# In the browser, all pages in one go


@pytest.fixture(scope="session")
def visits():
    """The visits by page, width and theme; skips where browser or driver is missing."""
    try:
        results = browsing.visit(SITE, PAGES, ALLOWED)
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    return {(r["page"], r["width"], r["theme"]): r for r in results}


@pytest.mark.timeout(3600)  # the first test waits for all visits; minutes on an idle machine
@pytest.mark.parametrize("theme", browsing.THEMES)
@pytest.mark.parametrize("width", browsing.WIDTHS)
@by_page
def test_page_holds_in_the_browser(visits, page, width, theme):
    problems = visits[page, width, theme]["problems"]
    assert {kind: found for kind, found in problems.items() if found} == {}


def test_every_exception_is_still_needed(visits):
    used = {number for visit in visits.values() for number in visit["used"]}
    assert [e["selector"] for n, e in enumerate(ALLOWED) if n not in used] == []
