"""MathJax, served by the site itself, so that it reads without a network.

``gather`` fetches it by npm (book/tools/assets/web) into ``_build/web/static``; the Sphinx
extension book/tools/sphinx/offline.py points the pages there. Where npm is missing the pages go on
loading it from a content delivery network, and a notice says so.
"""

import shutil
from pathlib import Path

from book.tools.assets import npm

ROOT = Path(__file__).resolve().parents[3]
SOURCE = Path(__file__).with_name("web")
WEB = ROOT / "_build" / "web"
STATIC = WEB / "static"

# From node_modules to a folder of the site; MathJax asks for its parts by these relative names.
PARTS = {
    "mathjax/es5": (
        "mathjax",
        [
            "tex-mml-chtml.js",
            "output/chtml/fonts/woff-v2/*.woff",
            "input/tex/extensions/*.js",
            "a11y/*.js",  # the reader's choice in MathJax's menu
            "sre/mathmaps/base.json",
            "sre/mathmaps/en.json",
            "ui/*.js",
        ],
    ),
}
MATHJAX = "mathjax/tex-mml-chtml.js"


def gather() -> bool:
    """Have ``STATIC`` hold the scripts; say on the terminal, and return False, if that fails."""
    stamp, key = WEB / "gathered", npm.checksum(SOURCE) + repr(PARTS)
    if STATIC.is_dir() and stamp.exists() and stamp.read_text() == key:
        return True
    shutil.rmtree(STATIC, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    try:
        modules = npm.install(SOURCE, WEB)
    except npm.NpmError as error:
        print(f"MathJax will be loaded from its public host, not from the site: {error}")
        return False
    for package, (folder, patterns) in PARTS.items():
        for pattern in patterns:
            files = sorted((modules / package).glob(pattern))
            if not files:
                raise FileNotFoundError(f"npm's {package} has no {pattern}")
            for file in files:
                copy = STATIC / folder / file.relative_to(modules / package)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    shutil.rmtree(modules)  # the rest is never served
    stamp.write_text(key)
    return True
