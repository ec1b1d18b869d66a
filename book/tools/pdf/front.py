"""What stands before the pages of the printed book: title, contents, heads of its sheets."""

import html
import re
import subprocess
import tomllib
from dataclasses import dataclass, field

import yaml
from bs4 import BeautifulSoup

from book.tools import chapters
from book.tools.sphinx.addresses import plain

PLACE = "…"  # of a page's number, until the first printing tells it
PAGE_OF = f'<span class="page-of">{PLACE}</span>'


@dataclass
class Entry:
    """A line of the contents, and what stands below it."""

    title: str
    anchor: str
    children: list["Entry"] = field(default_factory=list)


def contents(entries: dict[str, list[Entry]], deep: set[str]) -> str:
    """The list of contents; pages of the parts in ``deep`` with their sections."""
    lines = []
    for caption, pages in entries.items():
        if caption:
            lines.append(f'<p class="part">{html.escape(caption)}</p>')
        for entry in pages:
            lines.append(_line(entry, "toc-page"))
            if caption in deep:
                lines += [_line(child, "toc-section") for child in entry.children]
    return f'<nav id="contents" aria-label="Contents"><h1>Contents</h1>{"".join(lines)}</nav>'


def _line(entry: Entry, kind: str) -> str:
    return (
        f'<p class="{kind}"><a href="#{entry.anchor}"><span>{entry.title}</span>'
        f'<span class="dots"></span>{PAGE_OF}</a></p>'
    )


def title_page() -> str:
    """Title, authors, what it explains, and of which state of the sources it is."""
    config = yaml.safe_load((chapters.ROOT / "_config.yml").read_text("utf-8"))
    cited = yaml.safe_load((chapters.ROOT / "CITATION.cff").read_text("utf-8"))["references"][0]
    names = ", ".join(f"{one['given-names']} {one['family-names']}" for one in cited["authors"])
    return f"""<header id="title-page">
<h1>{html.escape(config["title"])}</h1>
<p class="authors">{html.escape(config["author"])}</p>
<p>An executable book on <em>{html.escape(cited["title"])}</em><br>
by {html.escape(names)} ({cited["year"]})</p>
<p class="edition">{edition()}</p>
<p class="edition">Every figure and every printed number comes from code that ran when the book was
built. Code that draws a figure is at the end, page by page. What moves, and what answers to a
reader, is on the site.</p></header>"""


def edition() -> str:
    """Version and, in a clone, commit and day."""
    with (chapters.ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    command = ["git", "-C", str(chapters.ROOT), "log", "-1", "--format=%h of %cs"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # no git here
        commit = ""
    return f"Version {version}" + (f", commit {commit}" if commit else "")


def running_heads(entries: dict[str, list[Entry]]) -> str:
    """Styles that set each page's title at the head of its sheets."""
    rules = []
    for entry in [entry for pages in entries.values() for entry in pages]:
        words = BeautifulSoup(entry.title, "html.parser").get_text()
        words = re.sub(r"\\\((.*?)\\\)", lambda formula: plain(formula[1]), words, flags=re.DOTALL)
        words = " ".join(words.split()).replace("\\", "").replace('"', "”")
        rules.append(f'@page p-{entry.anchor} {{ @top-left {{ content: "{words}" }} }}')
    return "\n".join(rules)
