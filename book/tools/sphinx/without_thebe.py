"""Leave out Thebe's scripts, which Jupyter Book loads twice on each page, used or not.

The second copy is an error in the reader's browser (a constant declared again).
"""


def drop(app, pagename, templatename, context, doctree):
    def is_thebe(script):
        return "thebe" in f"{script.filename} {script.attributes.get('body')}".lower()

    context["script_files"] = [s for s in context.get("script_files", []) if not is_thebe(s)]


def setup(app):
    app.connect("html-page-context", drop, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
