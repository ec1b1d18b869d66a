"""A site served from a folder, and a real browser that visits its pages (visit.mjs)."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from book.tools.assets import npm

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODULES = ROOT / "_build" / "site-tests"
WIDTHS = (390, 1280)  # pixels: a phone, a laptop
THEMES = ("light", "dark")


class MissingTool(Exception):
    """The browser or its driver is not on this machine; the message says which."""


def find_browser() -> str:
    """The system's Chromium, or the one that the variable ``CHROMIUM`` names."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    for name in filter(None, (os.environ.get("CHROMIUM"), *names)):
        if found := shutil.which(name):
            return found
    raise MissingTool("no chromium was found; install the system's, or set CHROMIUM to its path")


def tools() -> tuple[str, Path]:
    """Path of the browser, and node_modules with the drivers; ``MissingTool`` without them."""
    if shutil.which("node") is None:
        raise MissingTool("node is not installed")
    browser = find_browser()
    try:
        return browser, npm.install(HERE, MODULES)
    except npm.NpmError as error:
        raise MissingTool(f"the browser's drivers: {error}") from None


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path):
    """The address of a local server of ``folder``, with a slash at its end."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


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
    browser, modules = tools()
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with served(folder) as base:
        job = dict(browser=browser, modules=str(modules), base=base, pages=pages, settle=settle,
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
