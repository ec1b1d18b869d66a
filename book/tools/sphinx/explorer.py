"""The directive ``explorer``: the live explorer, or a sentence where its files are missing.

book/tools/assets/explorer.py gathers the files before Sphinx runs. The scripts come only with pages
that have the directive, and load nothing until the reader presses the button.
"""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from book.tools.assets import explorer as assets

MISSING = (
    "The live explorer is not part of this copy of the book: it was built without npm, "
    "which fetches the runtime. The still picture on this page shows the same."
)


def markup() -> str:
    """The explorer's HTML, with the size of what it loads."""
    html = (assets.SOURCE / "explorer.html").read_text("utf-8")
    return html.replace("@MEGABYTES@", f"{assets.megabytes():.1f}")


class explorer(nodes.raw):
    """The explorer's HTML in a document."""


class ExplorerDirective(SphinxDirective):
    def run(self):
        if not assets.ASSETS.is_dir():
            return [nodes.note("", nodes.paragraph("", MISSING))]
        return [explorer("", markup(), format="html")]


def add_files(app, config):
    if assets.SITE.is_dir():
        config.html_static_path.append(str(assets.SITE))


def add_scripts(app, pagename, templatename, context, doctree):
    if doctree is not None and next(doctree.findall(explorer), None) is not None:
        app.add_js_file("explorer.js", type="module")
        app.add_css_file("explorer.css")


def setup(app):
    app.add_directive("explorer", ExplorerDirective)
    app.add_node(explorer, html=(lambda visitor, node: visitor.visit_raw(node), None))
    app.connect("config-inited", add_files, priority=100)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
