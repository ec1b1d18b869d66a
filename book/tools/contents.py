"""The front page's list of chapters, in the order of _toc.yml: each with the question it asks."""

import re
from pathlib import Path

from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools import chapters

QUESTION = re.compile(r"^\*\*The question\.\*\*\s+(.+?)\n\n", re.MULTILINE | re.DOTALL)


def parts() -> dict[str, list[Path]]:
    """Caption → pages of the numbered parts of _toc.yml, which are the chapters."""
    toc, found = parse_toc_yaml(chapters.ROOT / "_toc.yml"), {}
    for tree in toc.root.subtrees:
        if tree.numbered:
            found[tree.caption] = [chapters.ROOT / f"{page}.md" for page in tree.items]
    return found


def question(path: Path) -> str:
    """What a chapter asks in its first paragraph; ``ChapterError`` where it asks nothing."""
    found = QUESTION.search(path.read_text("utf-8"))
    if not found or "?" not in found[1]:
        raise chapters.ChapterError(f"{path.name} has no paragraph **The question.** with a ?")
    return " ".join(found[1][: found[1].rindex("?") + 1].split())


def listing() -> str:
    """The list as MyST Markdown, under the parts' captions where there are several parts."""
    found, blocks = parts(), []
    for caption, pages in found.items():
        if len(found) > 1:
            blocks.append(f"**{caption}**")
        blocks += [f"{{doc}}`{path.stem}`\n: {question(path)}" for path in pages]
    return "\n\n".join(blocks)
