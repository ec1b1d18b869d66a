"""What can be checked of a built site without a browser: links, pictures' words, spelling."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[3]
SITE = Path(
    os.environ.get("SCOREREP_SITE", ROOT / "_build" / "html")
)  # tests of tests have another
FILE_NAME = re.compile(r"\S*\.(png|svg|jpe?g|gif|webp)|[\w./-]*/[\w./-]*|(image|figure|picture)?")
REFERENCES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "srcset"}


def pages(site: Path) -> list[str]:
    """The address of every page a reader can stay on, relative to the site."""
    found = (file.relative_to(site) for file in site.rglob("*.html"))
    names = sorted(path.as_posix() for path in found if not path.parts[0].startswith("_"))
    return [name for name in names if forwarded_to(site, name) is None]


def forwarded_to(site: Path, page: str) -> str | None:
    """Where a page sends its reader at once, or None."""
    for tag in soup(site / page).find_all("meta", attrs={"http-equiv": True}):
        if tag["http-equiv"].lower() == "refresh":
            return tag["content"].partition("url=")[2].strip()
    return None


@cache
def soup(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text("utf-8"), "html.parser")


@cache
def anchors(file: Path) -> frozenset[str]:
    tags = soup(file).find_all(lambda tag: tag.has_attr("id") or tag.has_attr("name"))
    return frozenset(tag.get(key) for tag in tags for key in ("id", "name"))


def dead_links(site: Path, page: str) -> list[str]:
    """Links, pictures and scripts within the site that lead nowhere, anchors included."""
    here, dead = site / page, []
    for tag in soup(here).find_all(list(REFERENCES)):
        address = (tag.get(REFERENCES[tag.name]) or "").strip()
        parts = urlsplit(address)
        if not address or address == "#" or parts.scheme or parts.netloc:
            continue
        target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
        if target.is_dir():
            target = target / "index.html"
        if not target.is_file():
            dead.append(f"{address}: no such file")
        elif parts.fragment and target.suffix == ".html":
            if unquote(parts.fragment) not in anchors(target):
                dead.append(f"{address}: no such anchor")
    return dead


def pictures_without_words(site: Path, page: str) -> list[str]:
    """Pictures whose alternative text is missing, empty, or no more than a file's name."""
    return [
        f"{(image.get('src') or '')[:80]}: alt {image.get('alt')!r}"
        for image in soup(site / page).find_all("img")
        if FILE_NAME.fullmatch((image.get("alt") or "").strip(), re.IGNORECASE)
        and image.get("role") != "presentation"
    ]


def spelling_slips(site: Path, page: str) -> list[str]:
    """What codespell finds in a page's text, code and docstrings included."""
    article = soup(site / page).find("article") or soup(site / page).body
    command = [sys.executable, "-m", "codespell_lib", "-"]
    done = subprocess.run(
        command, input=article.get_text(" "), capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode and not done.stdout.strip():
        raise RuntimeError(f"codespell failed: {done.stderr[-500:]}")
    return [line.strip() for line in done.stdout.splitlines() if "==>" in line]


def search_misses(site: Path, words: list[str]) -> list[str]:
    """Which of the words the search index does not know."""
    index = (site / "searchindex.js").read_text("utf-8")
    return [word for word in words if f'"{word}"' not in index]
