"""Repair what the tools emit that a screen reader cannot use."""

REPAIRS = {
    # A fold is named by the words in it, "Show code cell source", not by one label for all.
    ' aria-label="Toggle hidden content"': "",
    # The table of execution times: words, which every font has and every reader reads aloud.
    "<p>✅</p>": "<p>ran</p>",
    "<p>❌</p>": "<p>failed</p>",
}


def repair(app, pagename, templatename, context, doctree):
    for emitted, better in REPAIRS.items():
        if "body" in context:
            context["body"] = context["body"].replace(emitted, better)


def setup(app):
    app.connect("html-page-context", repair, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
