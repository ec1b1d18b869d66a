"""The system's Chromium, and a local server for what it looks at.

The browser tests and the book as a PDF drive it by npm's playwright-core, each with a lock file of
its own.
"""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from book.tools.assets import npm


class MissingTool(Exception):
    """The browser or its driver is not on this machine; the message says which."""


def find_browser() -> str:
    """The system's Chromium, or the one that the variable ``CHROMIUM`` names."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    for name in filter(None, (os.environ.get("CHROMIUM"), *names)):
        if found := shutil.which(name):
            return found
    raise MissingTool("no chromium was found; install the system's, or set CHROMIUM to its path")


def tools(source: Path, target: Path) -> tuple[str, Path]:
    """Path of the browser, and node_modules with the drivers; ``MissingTool`` without them.

    Args:
        source: the folder of their package.json and lock file.
        target: the folder they are installed in.
    """
    if shutil.which("node") is None:
        raise MissingTool("node is not installed")
    browser = find_browser()
    try:
        return browser, npm.install(source, target)
    except npm.NpmError as error:
        raise MissingTool(f"the browser's drivers: {error}") from None


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a local server of ``folder``, with a slash at its end."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
