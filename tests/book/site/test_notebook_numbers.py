"""The notebooks number equations, figures and theorems as the site does."""

import re

import nbformat
import pytest

import site_pages
from book.tools import chapters

NOTEBOOKS = sorted((chapters.ROOT / "book/notebooks").glob("*.ipynb"))
CAPTION = re.compile(r'caption-number">\s*([A-Z][\w.]*\s[\d.]+)\s*<')
EQUATION = re.compile(r'eqno">(\([\d.]+\))')
HEADED = re.compile(r"\*\*([A-Z][\w.]*\s[\d.]+?)\.?(?: \(.*?\)\.|\.)?\*\*")
TAGGED = re.compile(r"\\tag\{(.*?)\}")


def differences(html: str, text: str) -> set[str]:
    """Numbers that only the page has, or only the notebook."""
    shown = set(CAPTION.findall(html)) | set(EQUATION.findall(html))
    return shown ^ (set(HEADED.findall(text)) | {f"({tag})" for tag in TAGGED.findall(text)})


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_numbers_are_those_of_the_site(file):
    page = site_pages.SITE / "book" / f"{file.stem}.html"
    cells = nbformat.read(file, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if site_pages.soup(page).select(".not-run"):
        pytest.skip("the page has not all its outputs: make book")
    assert differences(page.read_text("utf-8"), text) == set()


def test_another_number_is_told():
    html = '<span class="caption-number">Fig. 3.1 </span> <span class="eqno">(3.2)<a'
    assert differences(html, r"**Fig. 3.1.** and \tag{3.2}") == set()
    assert differences(html, r"**Fig. 3.2.** and \tag{3.2}") == {"Fig. 3.1", "Fig. 3.2"}
