"""Pictures stay readable on a phone: each in a box that scrolls, no smaller than its words allow.

A figure drawn for 7 inches would be shrunk to half its size there, its labels with it. Every box
carries the width at which its own picture is readable; book.css uses it on narrow screens, and
pictures.js lets the keyboard reach those boxes that do scroll.
"""

import re
import struct
from pathlib import Path

FIGURE = re.compile(
    r'(?P<open><(?:figure\b[^>]*|div class="gallery-card[^>]*)>\s*)(?P<picture><img\b[^>]*/?>)'
    r"(?P<rest>.*?</(?:figure|div)>)",
    re.DOTALL,
)
SOURCE = re.compile(r'src="[^"]*?([^/"]+)"')
NUMBER = re.compile(r'<span class="caption-number">(.*?)</span>')
DOTS_PER_INCH = 160  # of the book's pictures (scorerep.plots)
READABLE = 87  # CSS pixels an inch: letters of 9 points are 11 pixels high


def png_width(path: Path) -> int | None:
    """Width in dots, from a PNG file's header; None for another kind of file."""
    with path.open("rb") as file:
        head = file.read(24)
    return struct.unpack(">I", head[16:20])[0] if head[1:4] == b"PNG" else None


def box(match: re.Match, files: dict[str, Path]) -> str:
    """A figure with its picture in a box."""
    source = SOURCE.search(match["picture"])
    path = files.get(source[1]) if source else None
    width = png_width(path) if path else None
    if width is None:
        return match[0]
    number = NUMBER.search(match["rest"])
    name = f"Picture of {number[1].strip()}" if number else "Picture"
    style = f"--readable: {round(width / DOTS_PER_INCH * READABLE)}px"
    opening = f'<div class="picture-box" role="group" aria-label="{name}" style="{style}">'
    return f"{match['open']}{opening}{match['picture']}</div>{match['rest']}"


def put_into_boxes(app, pagename, templatename, context, doctree):
    if "body" in context:
        files = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
        context["body"] = FIGURE.sub(lambda match: box(match, files), context["body"])


def setup(app):
    app.connect("html-page-context", put_into_boxes)
    app.add_js_file("pictures.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
