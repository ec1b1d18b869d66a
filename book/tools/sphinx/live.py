"""Directives whose HTML a script of the page brings to life; only pages that have one load it."""

from collections.abc import Callable, Iterable
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class live(nodes.raw):
    """The HTML in a document; ``of`` is the name of its directive."""


def offer(
    app,
    name: str,
    markup: Callable[[], str | nodes.Node],
    add_files: Callable[[], None],
    reads: Iterable[Path] = (),
):
    """Offer the directive ``name``.

    Args:
        markup: the HTML, or what stands on the page instead.
        add_files: adds scripts and styles to a page that has it.
        reads: files that the HTML is made from.
    """

    class Live(SphinxDirective):
        def run(self):
            for file in reads:
                self.env.note_dependency(str(file))
            found = markup()
            html = isinstance(found, str)
            return [live("", found, format="html", of=name) if html else found]

    def add(app, pagename, templatename, context, doctree):
        if doctree is not None and any(node["of"] == name for node in doctree.findall(live)):
            add_files()

    app.setup_extension(__name__)
    app.add_directive(name, Live)
    app.connect("html-page-context", add)


def setup(app):
    app.add_node(live, html=(lambda visitor, node: visitor.visit_raw(node), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
