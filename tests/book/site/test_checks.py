"""The checks of the site can fail: each finds its defect on a page made for it, and no other."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import browsing
import site_pages

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ background: white; color: black }} {style}</style></head>
<body><main><article><h1 id="top">A page</h1>{body}</article></main></body></html>"""
SOUND = '<p>Sound. <a href="#top">Up</a></p><img src="dot.svg" alt="A grey disc.">'
DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="9"/></svg>'


def write(site, body, style=""):
    (site / "dot.svg").write_text(DOT)
    (site / "page.html").write_text(PAGE.format(body=SOUND + body, style=style))


@pytest.mark.parametrize(
    ("body", "check", "said"),
    [
        ('<a href="gone.html">x</a>', site_pages.dead_links, "gone.html: no such file"),
        ('<a href="page.html#gone">x</a>', site_pages.dead_links, "#gone: no such anchor"),
        ('<a href="#gone">x</a>', site_pages.dead_links, "#gone: no such anchor"),
        ('<img src="gone.png" alt="Words.">', site_pages.dead_links, "gone.png: no such file"),
        ('<img src="dot.svg">', site_pages.pictures_without_words, "alt None"),
        ('<img src="dot.svg" alt=" ">', site_pages.pictures_without_words, "alt ' '"),
        ('<img src="dot.svg" alt="../_images/dot.svg">', site_pages.pictures_without_words, "dot"),
        ("<p>This is teh end.</p>", site_pages.spelling_slips, "teh ==> the"),  # codespell:ignore
    ],
)
def test_defect_is_found_without_a_browser(tmp_path, body, check, said):
    write(tmp_path, "")
    assert check(tmp_path, "page.html") == []
    site_pages.soup.cache_clear()
    site_pages.anchors.cache_clear()
    write(tmp_path, body)
    found = check(tmp_path, "page.html")
    assert len(found) == 1 and said in found[0]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "body", "style", "said"),
    [
        ("accessibility", '<p class="pale">Pale words</p>', ".pale { color: #aaa }", "color-contr"),
        ("accessibility", "<button></button>", "", "button-name"),
        ("keyboard", '<button tabindex="-1">Past</button>', "", "Past"),
        ("overflow", '<div class="wide">.</div>', ".wide { width: 500px; }", "508 px"),
        ("requests", '<script src="gone.js"></script>', "", "gone.js: 404"),
        ("foreign", '<script src="https://example.org/x.js"></script>', "", "example.org/x.js"),
        ("scripts", "<script>undefined_function()</script>", "", "undefined_function"),
        ("pictures", '<img src="data:image/png;base64,AA" alt="Words.">', "", "data:image"),
    ],
)
def test_defect_is_found_in_the_browser(tmp_path, kind, body, style, said):
    write(tmp_path, body, style)
    try:
        (result,) = browsing.visit(tmp_path, ["page.html"], widths=[390], themes=["light"])
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    assert said in " ".join(result["problems"].pop(kind))
    assert not any(result["problems"].values()), result["problems"]


@pytest.mark.timeout(3600)
def test_sound_page_passes_and_an_exception_excuses_only_its_own(tmp_path):
    write(tmp_path, '<p class="pale">Pale words</p>', ".pale { color: #aaa }")
    allowed = [{"rule": "color-contrast", "selector": ".other"},
               {"rule": "color-contrast", "selector": ".pale"}]  # fmt: skip
    try:
        result = browsing.visit(tmp_path, ["page.html"], allowed[:1], [1280], ["dark"])[0]
        assert result["problems"]["accessibility"] and result["used"] == []
        result = browsing.visit(tmp_path, ["page.html"], allowed, [1280], ["dark"])[0]
    except browsing.MissingTool as missing:
        pytest.skip(str(missing))
    assert not any(result["problems"].values()) and result["used"] == [1]


DEFECTS = {
    "links_within_the_site_lead_somewhere": '<a href="gone.html">Gone</a>',
    "pictures_are_put_into_words": '<img src="dot.svg">',
    "page_is_spelt_right": "<p>This is teh end.</p>",  # codespell:ignore
    "page_holds_in_the_browser": "<button></button>",
}


def outcomes_of(site, **environment) -> tuple[str, dict[str, str]]:
    """What `make test-site` says of the pages in a folder: its words, and test → worst outcome."""
    test = "tests/book/site/test_site.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", test, "-v", "-p", "no:cacheprovider"],
        cwd=site_pages.ROOT, capture_output=True, text=True,
        env=os.environ | {"SCOREREP_SITE": str(site), "COLUMNS": "200"} | environment,
    )  # fmt: skip
    outcomes = re.findall(r"::test_(\w+)\S* (PASSED|FAILED|SKIPPED)", done.stdout)
    return done.stdout, dict(sorted(outcomes, key=lambda pair: pair[1] == "FAILED"))


@pytest.mark.timeout(3600)
def test_each_defect_makes_its_test_of_the_site_fail(tmp_path):
    """A dead link, a picture without words, a slip of spelling and a violation that axe finds."""
    write(tmp_path, "")
    _, sound = outcomes_of(tmp_path)
    assert all(sound[name] != "FAILED" for name in DEFECTS)
    write(tmp_path, "".join(DEFECTS.values()))
    _, outcomes = outcomes_of(tmp_path)
    wanted = dict.fromkeys(DEFECTS, "FAILED")
    if sound["page_holds_in_the_browser"] == "SKIPPED":
        wanted["page_holds_in_the_browser"] = "SKIPPED"
    assert {name: outcomes[name] for name in DEFECTS} == wanted
    assert outcomes["site_is_no_larger_than_its_limit"] == "PASSED"


@pytest.mark.timeout(3600)
def test_site_that_is_too_large_fails(tmp_path):
    write(tmp_path, "")
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(41_000_000)
    _, outcomes = outcomes_of(tmp_path, CHROMIUM="none", PATH="")
    assert outcomes["site_is_no_larger_than_its_limit"] == "FAILED"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("missing", ["node", "chromium"])
def test_without_browser_or_node_the_tests_are_skipped_and_say_why(tmp_path, missing):
    write(tmp_path, "")
    (tmp_path / "bin").mkdir()
    if missing == "chromium" and (node := shutil.which("node")):
        (tmp_path / "bin" / "node").symlink_to(node)
    said, outcomes = outcomes_of(tmp_path, PATH=str(tmp_path / "bin"), CHROMIUM="")
    assert outcomes["page_holds_in_the_browser"] == "SKIPPED"
    assert outcomes["links_within_the_site_lead_somewhere"] == "PASSED"
    reasons = {"node": "node is not installed", "chromium": "no chromium was found"}
    reason = reasons["node"] if shutil.which("node") is None else reasons[missing]
    assert re.search(rf"^SKIPPED \[\d+\] .*{reason}", said, re.MULTILINE)


def test_missing_browser_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(browsing.MissingTool, match="node is not installed"):
        browsing.tools()
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(browsing.MissingTool, match="no chromium was found"):
        browsing.find_browser()
