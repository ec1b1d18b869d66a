"""Print the built site as one PDF, _build/html/scorerep.pdf, and say its pages and its size.

    python -m book.tools.pdf          make pdf, after make book

It reads the site in _build/html, so that no chapter runs again. The front page of the site then
links to the file.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pypdfium2

from book.tools import chapters
from book.tools.assets.browser import MissingTool
from book.tools.chapters import due
from book.tools.pdf import document, printing
from book.tools.sphinx import whole_book

SITE = chapters.ROOT / "_build" / "html"
WORK = chapters.ROOT / "_build" / "pdf"
NAME = "scorerep.pdf"
LARGEST = 40e6  # bytes


def make(site: Path = SITE, work: Path = WORK) -> tuple[Path, list[str]]:
    """Print a site; the file, and what is wrong with it.

    ``FileNotFoundError`` without a site, ``MissingTool`` without browser, node or npm.
    """
    work.mkdir(parents=True, exist_ok=True)
    _, modules = printing.tools(work)
    fonts = [modules / name for name in printing.FONTS]
    text, pages = document.assemble(site, fonts)
    (work / "book.html").write_text(text, "utf-8")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        made = Path(folder) / NAME
        printed = printing.print_twice(work / "book.html", made, work)
        problems = printed.problems()
        if made.stat().st_size > LARGEST:
            problems.append(f"{made.stat().st_size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}")
        target = site / NAME
        made.replace(target)
    with pypdfium2.PdfDocument(target) as opened:
        number = len(opened)
    pictures = sum(map(len, pages.pictures.values()))
    size = f"{number} pages, {target.stat().st_size / 1e6:.1f} MB"
    link(site, size)
    print(f"{target.name}: {size}, {pictures} pictures, {printed.formulas} formulas")
    return target, problems


def link(site: Path, size: str):
    """Have the site's front page lead to the PDF; ``ChapterError`` if it has no place for that."""
    page = document.front_page(site)
    text, places = whole_book.filled(page.read_text("utf-8"), f"../{NAME}", size)
    if not places:
        raise chapters.ChapterError(f"{page.name} has no directive whole-book for the link")
    page.write_text(text, "utf-8")


def main() -> bool:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.pdf",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    start = time.monotonic()
    try:
        target, problems = make()
    except FileNotFoundError as error:
        missing = f"{error.filename} is not there: make book comes first"
        raise chapters.ChapterError(missing) from None
    except (MissingTool, printing.PrintError) as error:
        raise chapters.ChapterError(f"no PDF was made: {error}") from None
    if problems:
        print("The PDF has problems:\n" + "\n".join(f"- {p}" for p in problems), file=sys.stderr)
    print(f"It is in {target.relative_to(chapters.ROOT)}, after {time.monotonic() - start:.0f} s.")
    return not problems


if __name__ == "__main__":
    due.command(main)
