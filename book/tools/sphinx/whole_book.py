"""The directive ``whole-book``: the place of the link to the PDF, which ``make pdf`` fills in.

A site without the PDF has an empty place there, and says nothing of it (book/tools/pdf).
"""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

PLACE = '<p class="whole-book" hidden></p>'
LINK = '<a href="{address}">{name}</a>'
FILLED = f'<p class="whole-book">The whole book as one PDF: {LINK}, {{size}}.</p>'
ANY = re.compile(r'<p class="whole-book"[^>]*>.*?</p>', re.DOTALL)


def filled(page: str, address: str, size: str) -> tuple[str, int]:
    """A page's HTML that leads to the PDF, and in how many places it does."""
    words = FILLED.format(address=address, name=address.rpartition("/")[2], size=size)
    return ANY.subn(lambda _: words, page)


class WholeBook(SphinxDirective):
    def run(self):
        return [nodes.raw("", PLACE, format="html")]


def setup(app):
    app.add_directive("whole-book", WholeBook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
