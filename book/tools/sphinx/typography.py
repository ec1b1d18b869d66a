"""Punctuation stays with its formula: no line begins with the full stop that belongs to it."""

import re

FORMULA = re.compile(
    r"(?P<before>[(\[“]?)"
    r'(?P<formula><span class="math notranslate nohighlight">\\\(.*?\\\)</span>)'
    r"(?P<after>(?:[.,;:!?)\]”%]|[’']s?)*)",
    re.DOTALL,
)


def keep(match: re.Match) -> str:
    """A formula with what touches it, if anything does, in a span that is not broken."""
    if not match["before"] and not match["after"]:
        return match[0]
    return f'<span class="keep">{match[0]}</span>'


def keep_together(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = FORMULA.sub(keep, context["body"])


def setup(app):
    app.connect("html-page-context", keep_together)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
