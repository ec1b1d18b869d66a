"""Print an assembled document by Chromium, and read what came of it.

The first printing tells on which page each anchor is; the second has these numbers in the contents
and beside the links to folded code. Numbers take the same room in both, so no page moves, which is
checked.
"""

import ctypes
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium

from book.tools.assets import browser

HERE = Path(__file__).parent
SCRIPT = HERE / "print.mjs"
WIDTH = 642  # CSS pixels: 170 mm, the text's width (print.css)
FONTS = [
    f"@fontsource/source-serif-4/{name}.css" for name in ("400", "400-italic", "600", "600-italic")
] + [f"@fontsource/source-code-pro/{name}.css" for name in ("400", "600")]


class PrintError(Exception):
    """A book that could not be printed as it should be; the message says why."""


@dataclass(frozen=True)
class Printed:
    """What the browser said of the document when it was laid out.

    Attributes:
        beyond: what reaches over the text's edge.
        missing: pictures that did not load.
        unread: formulas that MathJax could not read.
        foreign: addresses of other hosts that were asked for.
        formulas: how many were set.
    """

    beyond: list[str]
    missing: list[str]
    unread: list[str]
    foreign: list[str]
    formulas: int

    def problems(self) -> list[str]:
        return [
            *(f"over the edge: {text}" for text in self.beyond),
            *(f"picture not loaded: {text}" for text in self.missing),
            *(f"formula not set: {text}" for text in self.unread),
            *(f"asked of another host: {text}" for text in self.foreign),
        ]


def tools(work: Path) -> tuple[str, Path]:
    """The browser and node_modules with driver and typefaces; ``browser.MissingTool``."""
    return browser.tools(HERE, work / "npm")


def destinations(file: Path) -> dict[str, int]:
    """Anchor → number of its page, from 1, of every anchor that a link in a PDF leads to."""
    found = {}
    with pypdfium2.PdfDocument(file) as document:
        for index in range(pdfium.FPDF_CountNamedDests(document)):
            size = ctypes.c_long()
            pdfium.FPDF_GetNamedDest(document, index, None, ctypes.byref(size))
            name = ctypes.create_string_buffer(size.value)
            place = pdfium.FPDF_GetNamedDest(document, index, name, ctypes.byref(size))
            anchor = name.raw.decode("utf-16-le").rstrip("\0")
            found[anchor] = pdfium.FPDFDest_GetDestPageIndex(document, place) + 1
    return found


def print_twice(document: Path, target: Path, work: Path) -> Printed:
    """Print a document into ``target``.

    ``PrintError`` if the browser fails, or pages moved between the printings.
    ``browser.MissingTool`` without browser, node or npm.
    """
    chromium, modules = tools(work)
    first = work / "first.pdf"
    job = dict(browser=chromium, modules=str(modules), document=document.as_uri(), width=WIDTH,
               first=str(first), last=str(target))  # fmt: skip
    with subprocess.Popen(
        ["node", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        try:
            said = _ask(process, job)
            before = destinations(first)
            _ask(process, before)
        finally:
            process.kill()
    if (after := destinations(target)) != before:
        moved = sorted(anchor for anchor in after if after[anchor] != before.get(anchor))
        raise PrintError(f"pages moved when they were numbered: {', '.join(moved[:5])}")
    first.unlink()
    return Printed(**said)


def _ask(process: subprocess.Popen, words: dict) -> dict:
    """Send a line of JSON, and return the line that answers it."""
    try:
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        raise PrintError(f"the browser's driver failed: {process.stderr.read()[-2000:]}")
    return json.loads(line)
