"""The gallery of the front page and its list of chapters, and the index of the paper's figures.

``chapter-list`` is made from the chapters (book/tools/contents.py), and so is ``chapter-map``, of
what they need and how long they take (book/tools/chapter_map.py). ``gallery`` shows pictures of
the executed chapters, so it is always in step with them; ``paper-figures`` is a table. Both read
a YAML file beside the chapters (gallery.yml, paper_figures.yml) and know only figures of chapters
that are in the table of contents.
"""

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from book.tools import chapter_map, chapters, contents

BOOK = chapters.ROOT / "book"


@dataclass(frozen=True)
class Figure:
    """A figure of an executed chapter."""

    page: str
    alt: str
    png: bytes


def figures() -> dict[str, Figure]:
    """Every figure that a chapter's code draws, by its label."""
    found = {}
    for path in chapters.chapters():
        if (ran := chapters.executed(path)) is None:
            continue
        cells = chapters.code_cells(chapters.read(path))
        for cell, done in zip(cells, chapters.code_cells(ran), strict=True):
            settings = cell.metadata.get("mystnb", {})
            pictures = [o.data["image/png"] for o in done.outputs
                        if "image/png" in o.get("data", {})]  # fmt: skip
            if (name := settings.get("figure", {}).get("name")) and pictures:
                alt = " ".join(settings.get("image", {}).get("alt", "").split())
                found[name] = Figure(path.stem, alt, base64.b64decode(pictures[-1]))
    return found


class ListDirective(SphinxDirective):
    """What all have in common: a data file, and text that is parsed as part of the page."""

    file: str

    def rows(self) -> list[dict]:
        self.env.note_dependency(str(BOOK / self.file))
        return yaml.safe_load((BOOK / self.file).read_text("utf-8"))

    def parsed(self, text: str) -> list[nodes.Node]:
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), str(BOOK / self.file)), 0, holder)
        return holder.children


class ChapterList(ListDirective):
    file = "contents.py"

    def run(self):
        return self.parsed(contents.listing())


class ChapterMap(ListDirective):
    file = "contents.py"

    def run(self):
        picture = nodes.raw("", chapter_map.drawing(), format="html")
        words = f":::{{dropdown}} The same in words\n{chapter_map.table()}\n:::"
        return [picture, *self.parsed(words)]


class Gallery(ListDirective):
    file = "gallery.yml"

    def run(self):
        known, box = figures(), nodes.container(classes=["gallery"])
        # Under the name and in the folder that MyST-NB gives the chapter's picture: stored once
        folder = Path(self.env.mystnb_config.output_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for row in self.rows():
            if (figure := known.get(row["figure"])) is None:
                continue
            file = folder / f"{hashlib.sha256(figure.png).hexdigest()}.png"
            file.write_bytes(figure.png)
            uri = "/" + Path(os.path.relpath(file.resolve(), self.env.srcdir)).as_posix()
            card = nodes.container(classes=["gallery-card"])
            card += nodes.image(uri=uri, alt=figure.alt, loading="lazy")
            card += self.parsed(f"{row['sentence']} {{numref}}`{row['figure']}`")
            box += card
        return [box]


def index(rows: list[dict], known: dict[str, Figure]) -> str:
    """The index of the paper's figures as a Markdown table, for figures that are ``known``."""
    lines = ["| paper | what it shows | here | what differs |", "| --- | --- | --- | --- |"]
    for row in rows:
        here = [f"{{numref}}`{label}`" for label in row["here"] if label in known]
        done = len(here) == len(row["here"])
        where = ", ".join(here) if done else "in preparation"
        lines.append(f"| {row['paper']} | {row['shows']} | {where} | {row['differs']} |")
    return "\n".join(lines)


class PaperFigures(ListDirective):
    file = "paper_figures.yml"

    def run(self):
        return self.parsed(index(self.rows(), figures()))


def setup(app):
    app.add_directive("chapter-list", ChapterList)
    app.add_directive("chapter-map", ChapterMap)
    app.add_directive("gallery", Gallery)
    app.add_directive("paper-figures", PaperFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
