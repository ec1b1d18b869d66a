"""A site served from a folder, and a real browser that visits its pages (visit.mjs)."""

import json
import subprocess
import sys
from pathlib import Path

from book.tools.assets import browser
from book.tools.assets.browser import MissingTool, find_browser, served

__all__ = ["MissingTool", "find_browser", "served", "tools", "visit"]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODULES = ROOT / "_build" / "site-tests"
WIDTHS = (390, 1280)  # pixels: a phone, a laptop
THEMES = ("light", "dark")


def tools() -> tuple[str, Path]:
    """Path of the browser, and node_modules with the drivers; ``MissingTool`` without them."""
    return browser.tools(HERE, MODULES)


def visit(
    folder: Path,
    pages: list[str],
    allowed: list[dict] = (),
    widths=WIDTHS,
    themes=THEMES,
    shots: Path | None = None,
    settle: int = 300,
) -> list[dict]:
    """Visit every page at every width in every theme.

    Args:
        folder: the built site.
        pages: addresses relative to it.
        allowed: what axe may find, as ``rule``, ``selector`` (of the element or an ancestor)
            and ``reason``.
        shots: a folder for pictures of the whole pages, or None.
        settle: milliseconds to wait once a page has loaded.

    Returns one dict a visit: page, width, theme, the numbers of the allowed entries it ``used``,
    and its ``problems``, lists of sentences by kind. ``MissingTool`` without browser or driver.
    """
    chromium, modules = tools()
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with served(folder) as base:
        job = dict(browser=chromium, modules=str(modules), base=base, pages=pages, settle=settle,
                   allowed=list(allowed), widths=list(widths), themes=list(themes),
                   shots=str(shots) if shots else None)  # fmt: skip
        done = subprocess.run(
            ["node", HERE / "visit.mjs"], input=json.dumps(job), capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"the browser's driver failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":  # python tests/book/site/browsing.py FOLDER_FOR_PICTURES PAGE…
    site = ROOT / "_build" / "html"
    for result in visit(site, sys.argv[2:], shots=Path(sys.argv[1])):
        print(json.dumps(result, indent=1))
