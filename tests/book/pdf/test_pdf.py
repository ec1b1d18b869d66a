"""The printed book, _build/html/scorerep.pdf: `make test-pdf`, after `make pdf`.

Read by PDFium. Each check can fail: the last tests print small documents with one defect each.
"""

import ctypes
import re
import unicodedata
from collections import Counter
from functools import cache

import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from bs4 import BeautifulSoup

from book.tools.assets.browser import MissingTool
from book.tools.pdf import __main__ as command
from book.tools.pdf import document, printing

MILLIMETRE = 72 / 25.4  # points
LEFT, RIGHT = 20 * MILLIMETRE, 190 * MILLIMETRE  # the text's edges on A4 (print.css)
SLACK = 1.5  # points: italics lean, and code wraps within its frame
FOOT = 5 * MILLIMETRE, 15 * MILLIMETRE  # between them is the number of the sheet
BODY = 10.0  # points
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def book():
    file = command.SITE / command.NAME
    assert file.exists(), "no PDF: make pdf"
    with pypdfium2.PdfDocument(file) as opened:
        yield opened


@cache
def words_of(page: pypdfium2.PdfPage) -> str:
    return page.get_textpage().get_text_range()


def squeezed(text: str) -> str:
    """Letters and digits alone: lines, hyphens and formulas' spacing differ on paper."""
    return re.sub(r"[^\w]", "", unicodedata.normalize("NFKC", text)).lower()


def links(opened, page):
    """Rectangle and number of the target's page (from 1) of every link within the document."""
    place, found = ctypes.c_int(0), pdfium.FPDF_LINK()
    while pdfium.FPDFLink_Enumerate(page, place, found):
        if target := pdfium.FPDFLink_GetDest(opened, found):
            box = pdfium.FS_RECTF()
            pdfium.FPDFLink_GetAnnotRect(found, box)
            number = pdfium.FPDFDest_GetDestPageIndex(opened, target) + 1
            yield (box.left, box.bottom, box.right, box.top), number


def line_at(page, box) -> tuple[str, str]:
    """Words of a line of the contents, and the number at its end."""
    left, bottom, right, top = box
    inner = (top - bottom) / 4  # without what hangs in from the lines around it
    text, number = page.get_textpage(), right - 10 * MILLIMETRE
    title = text.get_text_bounded(left, bottom + inner, number, top - inner)
    return title, text.get_text_bounded(number, bottom + inner, right, top - inner).strip()


def over_the_edge(page) -> list[str]:
    """Signs that reach over the text's edges. (MathJax clips its long brackets, which are signs of
    a private kind.)"""
    text, found = page.get_textpage(), []
    for index in range(text.count_chars()):
        code = pdfium.FPDFText_GetUnicode(text, index)
        if code <= 32 or 0xE000 <= code <= 0xF8FF:
            continue
        left, _, right, _ = text.get_charbox(index)
        if left < LEFT - SLACK or right > RIGHT + SLACK:
            found.append(f"{chr(code)} from {left:.0f} to {right:.0f}")
    return found


def size_of_type(page) -> float:
    """The most frequent size of type on a page, in points."""
    text, matrix, sizes = page.get_textpage(), pdfium.FS_MATRIX(), Counter()
    for index in range(text.count_chars()):
        pdfium.FPDFText_GetMatrix(text, index, matrix)
        sizes[round(matrix.d * pdfium.FPDFText_GetFontSize(text, index), 1)] += 1
    return sizes.most_common(1)[0][0]


def pictures_on(page) -> int:
    return sum(1 for _ in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]))


def first_sheets(opened) -> dict[str, int]:
    """Page of the book → number of its first sheet."""
    places = printing.destinations(command.SITE / command.NAME)
    return {name: places[name] for names in document.parts().values() for name in names}


def test_sheets_are_numbered(book):
    wrong = []
    for number, page in enumerate(book, start=1):
        width, _ = page.get_size()
        foot = page.get_textpage().get_text_bounded(0, FOOT[0], width, FOOT[1])
        foot = re.sub(r"\W", "", foot)  # long bars of formulas, which are clipped, count as there
        if foot != ("" if number == 1 else str(number)):
            wrong.append(f"{number}: {foot!r}")
    assert wrong == [] and len(book) > 100


def test_every_picture_of_the_site_is_on_its_chapter_s_sheets(book):
    starts = first_sheets(book)
    last = printing.destinations(command.SITE / command.NAME)[document.CODE]
    ends = [*sorted(starts.values())[1:], last]
    counted = {}
    for (name, first), end in zip(sorted(starts.items(), key=lambda item: item[1]), ends):
        page = (command.SITE / "book" / f"{name}.html").read_text("utf-8")
        article = BeautifulSoup(page, "html.parser").select_one("article.bd-article")
        for fold in article.select("details.hide"):
            fold.decompose()
        wanted = len(article.find_all("img"))
        counted[name] = wanted, sum(pictures_on(book[n - 1]) for n in range(first, end))
    assert {name: pair for name, pair in counted.items() if pair[0] > pair[1]} == {}
    assert sum(wanted for wanted, _ in counted.values()) > 20


def test_every_line_of_the_contents_leads_to_its_page(book):
    sheets = range(2, first_sheets(book)["intro"])
    lines, wrong = 0, []
    for number in sheets:
        page = book[number - 1]
        for box, target in links(book, page):
            title, place = line_at(page, box)
            lines += 1
            there = squeezed(title)[:12] in squeezed(words_of(book[target - 1]))
            if place != str(target) or not there:
                wrong.append(f"{title!r} {place} leads to {target}")
    listed = sum(len(names) for names in document.parts().values())
    assert wrong == [] and lines > listed


def test_links_within_the_book_lead_to_pages_and_none_to_this_machine(book):
    count = 0
    for page in book:
        for _, target in links(book, page):
            assert 1 <= target <= len(book)
            count += 1
    raw = (command.SITE / command.NAME).read_bytes()
    assert not re.findall(rb"/URI \((?:file:|http://127)[^)]*", raw)
    assert count > 500


def test_bookmarks_have_every_chapter_once_and_on_its_sheet(book):
    starts, marks = first_sheets(book), {}
    for mark in book.get_toc():
        marks.setdefault(squeezed(mark.get_title()), mark.get_dest().get_index() + 1)
    for name, sheet in starts.items():
        page = (command.SITE / "book" / f"{name}.html").read_text("utf-8")
        heading = BeautifulSoup(page, "html.parser").select_one("article.bd-article h1")
        heading.select_one(".headerlink").decompose()
        assert marks.get(squeezed(heading.get_text())) == sheet, heading.get_text()


def test_nothing_reaches_over_the_edge(book):
    found = {n: over_the_edge(page)[:3] for n, page in enumerate(book, start=1)}
    assert {number: signs for number, signs in found.items() if signs} == {}


def test_type_has_the_size_it_was_given(book):
    """One thing too wide and the browser prints all of it smaller."""
    sizes = {name: size_of_type(book[sheet - 1]) for name, sheet in first_sheets(book).items()}
    assert Counter(sizes.values()).most_common(1)[0][0] == pytest.approx(BODY, abs=0.15)


def test_file_is_tagged_named_and_no_larger_than_its_limit(book):
    assert pdfium.FPDFCatalog_IsTagged(book)
    assert book.get_metadata_dict()["Title"] == "Score-based representation learning"
    assert (command.SITE / command.NAME).stat().st_size <= command.LARGEST


def test_front_page_of_the_site_leads_to_the_file_and_says_its_size(book):
    page = document.front_page(command.SITE)
    place = BeautifulSoup(page.read_text("utf-8"), "html.parser").select_one(".whole-book")
    assert (page.parent / place.find("a")["href"]).resolve() == command.SITE / command.NAME
    assert f"{len(book)} pages" in place.get_text() and not place.has_attr("hidden")


# The checks can fail

SMALL = """<!DOCTYPE html><html lang="en" data-theme="light"><head><title>T</title>
<link rel="stylesheet" href="{css}">
<script>
window.MathJax = {{startup: {{promise: Promise.resolve(), document: {{math: []}}}}}}
</script>
</head><body><nav id="contents"><h1>Contents</h1><p class="toc-page"><a href="#one"><span>One</span>
<span class="dots"></span><span class="page-of">…</span></a></p></nav><main>
<article class="bd-article" id="one"><h1>One</h1><p>{words}</p>{body}</article></main></body></html>
"""


def printed(folder, body):
    file = folder / "book.html"
    words = "Some words that fill a line or two of the page. " * 20
    file.write_text(SMALL.format(css=document.CSS.as_uri(), words=words, body=body), "utf-8")
    try:
        said = printing.print_twice(file, folder / "book.pdf", command.WORK)
    except MissingTool as missing:
        pytest.skip(str(missing))
    return said.problems(), pypdfium2.PdfDocument(folder / "book.pdf")


def test_sound_document_has_no_problems_and_its_number_is_filled_in(tmp_path):
    long = "<pre>" + "x" * 300 + "</pre>"  # wraps
    problems, opened = printed(tmp_path, long)
    assert problems == [] and not any(map(over_the_edge, opened))
    ((box, target),) = links(opened, opened[0])
    assert target == 2 and line_at(opened[0], box) == ("One", "2")
    assert size_of_type(opened[1]) == pytest.approx(BODY, abs=0.15)


def test_what_reaches_over_the_edge_is_found_by_the_browser_and_in_the_file(tmp_path):
    line = '<p style="position: relative; left: 40mm; white-space: nowrap">A line too long.</p>'
    problems, opened = printed(tmp_path, line.replace("A line", "A line of words " * 7))
    assert any("over the edge" in problem for problem in problems)
    small = size_of_type(opened[1]) < BODY - 0.3
    assert small or any(map(over_the_edge, opened))


def test_missing_picture_and_another_host_are_problems(tmp_path):
    body = '<img src="gone.png" alt="Gone."><img src="https://example.org/x.png" alt="Far.">'
    problems, _ = printed(tmp_path, body)
    assert sum("not loaded" in problem for problem in problems) == 2
    assert sum("another host" in problem for problem in problems) == 1
