"""The directive ``explorer``: the live explorer, or a sentence where its files are missing.

book/tools/assets/explorer.py gathers the files before Sphinx runs. The scripts come only with pages
that have the directive, and load nothing until the reader presses the button.
"""

from docutils import nodes

from book.tools.assets import explorer as assets
from book.tools.sphinx import live

MISSING = (
    "The live explorer is not part of this copy of the book: it was built without npm, "
    "which fetches the runtime. The still picture on this page shows the same."
)


def markup() -> str | nodes.Node:
    """The explorer's HTML, with the size of what it loads."""
    if not assets.ASSETS.is_dir():
        return nodes.note("", nodes.paragraph("", MISSING))
    html = (assets.SOURCE / "explorer.html").read_text("utf-8")
    return html.replace("@MEGABYTES@", f"{assets.megabytes():.1f}")


def add_files(app, config):
    if assets.SITE.is_dir():
        config.html_static_path.append(str(assets.SITE))


def setup(app):
    def add_scripts():
        app.add_js_file("explorer.js", type="module")
        app.add_css_file("explorer.css")

    live.offer(app, "explorer", markup, add_scripts)
    app.connect("config-inited", add_files, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
