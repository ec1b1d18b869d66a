"""The pages of the site become one document: anchors, links, pictures and folds. No browser."""

import re

import pytest
from bs4 import BeautifulSoup

from book.tools import chapters
from book.tools.pdf import document, printing

PAGE = """<!DOCTYPE html><html><head>
<link rel="stylesheet" href="../_static/site.css"><link rel="stylesheet" href="https://host/x.css">
<script>window.MathJax = {"tex": {}}</script><script src="../_static/mathjax/tex.js?v=1"></script>
</head><body><article class="bd-article">%s</article></body></html>"""
FRONT = """<section id="front"><h1>Front<a class="headerlink" href="#front">#</a></h1>
<p class="whole-book" hidden></p><p><a href="one.html#sec">There</a>, <a href="one.html">one</a>,
<a href="#front">here</a>, <a href="../genindex.html">index</a>, <a href="https://x.org/">x</a></p>
<p>The video <a href="one.html#f%C3%BCr">there</a>.</p></section>"""
ONE = """<section id="one"><h1><span class="section-number">1. </span>One: <span class="math">
\\(\\sigma\\)</span></h1><section id="sec"><h2>Sec "tion"</h2><button>Copy</button>
<details class="admonition hide above-input"><summary>Show</summary><pre>plot()</pre></details>
<details class="note"><summary>More</summary><p>Said.</p></details>
<figure id="front"><img loading="lazy" src="../_images/a.png" alt="A."></figure>
<video poster="../_images/b.png" aria-label="B."></video><span id="für"></span>
<script>moves()</script></section></section>"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The document of a site with two pages, as soup, and its pages."""
    root, site = tmp_path / "root", tmp_path / "site"
    (site / "book").mkdir(parents=True)
    root.mkdir()
    toc = "format: jb-book\nroot: book/front\nparts:\n  - caption: Part\n    numbered: 1\n"
    (root / "_toc.yml").write_text(f"{toc}    chapters:\n      - file: book/one\n")
    for name in ("_config.yml", "CITATION.cff", "pyproject.toml"):
        (root / name).write_text((chapters.ROOT / name).read_text("utf-8"))
    monkeypatch.setattr(chapters, "ROOT", root)
    for name, body in {"front": FRONT, "one": ONE}.items():
        (site / "book" / f"{name}.html").write_text(PAGE % body)
    text, pages = document.assemble(site, [site / "font.css"])
    return BeautifulSoup(text, "html.parser"), pages, site


def test_anchors_are_one_of_a_kind_and_every_link_within_leads_to_one(made):
    soup, _, _ = made
    anchors = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(anchors) == len(set(anchors)) and {"front.front", "one.front"} <= set(anchors)
    within = [link["href"] for link in soup.find_all("a", href=True) if link["href"][0] == "#"]
    assert {"#one.sec", "#one", "#front.front", "#one.für"} <= set(within)
    assert {link[1:] for link in within} <= set(anchors)


def test_other_sites_are_linked_and_pages_of_the_site_only_are_words(made):
    soup, _, _ = made
    outside = [a["href"] for a in soup.find_all("a", href=True) if a["href"][0] != "#"]
    assert outside == ["https://x.org/"]
    assert "index" in soup.find(id="front").get_text()


def test_contents_have_every_page_and_the_chapters_sections(made):
    soup, _, _ = made
    lines = [(p["class"][0], p.a["href"]) for p in soup.find(id="contents").find_all("p") if p.a]
    assert lines == [("toc-page", "#front"), ("toc-page", "#one"), ("toc-section", "#one.sec"),
                     ("toc-page", "#folded-code")]  # fmt: skip
    assert "1. One:" in soup.find(id="contents").get_text()


def test_folded_code_is_at_the_end_with_a_way_there_and_back(made):
    soup, _, _ = made
    one, end = soup.find(id="one"), soup.find(id="folded-code")
    assert "plot()" not in one.get_text() and "plot()" in end.get_text()
    way = one.select_one("a.code-at")
    assert end.find(id=way["href"][1:]) is not None
    assert end.select_one("a.code-back")["href"] == f"#{way['id']}"


def test_what_moves_stands_still_and_what_folds_is_open(made):
    soup, pages, site = made
    one = soup.find(id="one")
    files = [site / "_images" / name for name in ("a.png", "b.png")]
    assert pages.pictures == {"front": [], "one": files}
    assert [(i["src"], i["alt"]) for i in one.find_all("img")] == [
        (files[0].as_uri(), "A."), (files[1].as_uri(), "B."),
    ]  # fmt: skip
    assert one.find("details").has_attr("open") and not one.find(["button", "script", "video"])
    assert not soup.select(".whole-book, .headerlink")


def test_document_asks_no_other_host_and_its_heads_say_what_page_it_is(made):
    soup, _, site = made
    named = [tag.get("href") or tag.get("src") for tag in soup.find_all(["link", "script"])]
    named = [address for address in named if address]
    assert all(address.startswith("file://") for address in named)
    assert (site / "_static/mathjax/tex.js").as_uri() in named
    heads = soup.find("style").string
    assert '@page p-front { @top-left { content: "Front" } }' in heads
    assert re.search(r'@page p-one \{ @top-left \{ content: "1. One: σ" \} \}', heads)


def test_site_without_a_page_is_told(made, tmp_path):
    (made[2] / "book/one.html").unlink()
    with pytest.raises(FileNotFoundError, match="one.html"):
        document.assemble(made[2])


def test_what_the_browser_found_is_told_in_sentences():
    sound = printing.Printed([], [], [], [], 3)
    assert sound.problems() == []
    found = printing.Printed(["a table"], ["b.png"], ["\\x"], ["https://h/"], 3).problems()
    assert len(found) == 4 and found[0] == "over the edge: a table"
