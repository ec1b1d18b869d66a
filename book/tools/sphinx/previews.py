"""Previews of what a link leads to: equations, glossary terms, cited works.

Each page carries, as JSON, what the links on it lead to; book/tools/static/previews.js shows it
beside a link that the pointer rests on or the Tab key reaches. Without scripts, and on a phone, the
links are links. A page's first mention of a glossary term becomes such a link.
"""

import html
import json
import posixpath
import re
from collections.abc import Iterator

from docutils import nodes

LINK = re.compile(r'<a class="[^"]*\breference internal\b[^"]*" href="([^"#]*)#([^"]+)"')
ANCHOR = re.compile(r"</?a\b[^>]*>")
IDENTIFIER = re.compile(r'\sid="[^"]*"')
MARKUP = '<script type="application/json" id="previews">{}</script>'
# Terms that sentences also use as everyday words: they are linked only where an author does so.
EVERYDAY = {"budget", "card", "cells", "code", "collapse", "excess", "gain", "prior", "tail"}
ONE_ONLY = {"score"}  # scores are also what codes are given


# First mentions of terms


def terms(env) -> dict[str, tuple[str, str]]:
    """Glossary term → its page and anchor, the longest terms first."""
    known = {
        name: (page, anchor)
        for (kind, name), (page, anchor) in env.domains["std"].objects.items()
        if kind == "term"
    }
    for name in [name for name in known if ", " in name]:  # one entry for several words
        page = known.pop(name)
        known |= {part: page for part in name.split(", ")}
    chosen = [name for name in known if name not in EVERYDAY]
    return {name: known[name] for name in sorted(chosen, key=len, reverse=True)}


def texts(doctree: nodes.document) -> Iterator[nodes.Text]:
    """The running text of a page: not headings, captions, code, links, emphasis."""
    for paragraph in doctree.findall(nodes.paragraph):
        parent = paragraph.parent
        if isinstance(parent, (nodes.entry, nodes.citation)):
            continue  # tables are dense enough
        yield from [child for child in paragraph.children if isinstance(child, nodes.Text)]


def link_first_mentions(app, doctree, docname):
    """Make the first mention of each glossary term on a page a link to the glossary."""
    known = terms(app.env)
    pages = {page for page, _ in known.values()}
    if app.builder.format != "html" or not known or docname in pages or "/api" in docname:
        return
    linked = {node.get("refid", node.get("refuri", "")).rpartition("#")[2]
              for node in doctree.findall(nodes.reference)}  # fmt: skip
    left = {name: place for name, place in known.items() if place[1] not in linked}
    for text in list(texts(doctree)):
        while found := _first(text.astext(), left):
            name, start, end = found
            page, anchor = left[name]
            left = {other: place for other, place in left.items() if place[1] != anchor}
            words, parent = text.astext(), text.parent
            uri = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
            link = nodes.reference("", words[start:end], internal=True, refuri=uri)
            link["classes"].append("glossary-mention")
            rest = nodes.Text(words[end:])
            parent.replace(text, [nodes.Text(words[:start]), link, rest])
            text = rest


def _first(words: str, known: dict) -> tuple[str, int, int] | None:
    """The earliest mention of any term in a text, the longest where two begin together."""
    best = None
    for name in known:
        match = re.search(_pattern(name), words)
        if match and (best is None or match.start() < best[1]):
            best = (name, *match.span())
    return best


def _pattern(name: str) -> str:
    """A term as a sentence has it: at its start with a capital, in the plural with an s."""
    first = name[0]
    begin = f"[{first}{first.upper()}]" if first.islower() else re.escape(first)
    rest = re.escape(name[1:]).replace("'", "['’]").replace(r"\ ", r"\s+")
    plural = "" if name in ONE_ONLY else "s?"
    return rf"(?<![\w-]){begin}{rest}{plural}(?![\w-])"


# What links lead to


def keep_equations(app, doctree):
    """Keep the formula of each equation that has a label, by its anchor."""
    kept = getattr(app.env, "scorerep_equations", {})
    kept[app.env.docname] = {
        anchor: node.astext()
        for node in doctree.findall(nodes.math_block)
        if node.get("label")
        for anchor in [nodes.make_id(f"equation-{node['label']}"), *node["ids"]]
    }
    app.env.scorerep_equations = kept


def merge(app, env, docnames, other):
    theirs = getattr(other, "scorerep_equations", {})
    ours = getattr(env, "scorerep_equations", {})
    env.scorerep_equations = ours | {name: theirs[name] for name in docnames if name in theirs}


def purge(app, env, docname):
    getattr(env, "scorerep_equations", {}).pop(docname, None)


def targets(app) -> dict[tuple[str, str], str]:
    """Page and anchor → HTML of the preview."""
    if (found := getattr(app, "preview_targets", None)) is not None:
        return found
    env, found = app.env, {}
    for page, equations in getattr(env, "scorerep_equations", {}).items():
        for anchor, formula in equations.items():
            found[page, anchor] = _equation(formula)
    pages = {page for page, _ in terms(env).values()}
    pages |= {c.bibliography_key.docname for c in getattr(env.domains.get("cite"), "citations", [])}
    for page in sorted(pages):
        doctree = env.get_and_resolve_doctree(page, app.builder)
        for item in doctree.findall(nodes.definition_list_item):
            heads, definition = item[:-1], item[-1]
            text = f"<strong>{heads[0].astext()}</strong> {_rendered(app, page, definition)}"
            found |= {(page, anchor): text for head in heads for anchor in head["ids"]}
        for work in doctree.findall(nodes.citation):
            text = "".join(_rendered(app, page, part) for part in work[1:])
            found |= {(page, anchor): text for anchor in work["ids"]}
    app.preview_targets = found
    return found


def _equation(formula: str) -> str:
    """A formula in the form that MathJax reads."""
    body = formula.strip()
    lines = r"\\" in body and r"\begin" not in body
    body = f"\\begin{{split}}{body}\\end{{split}}" if lines else body
    return f'<div class="math">\\[{html.escape(body)}\\]</div>'


def _rendered(app, page: str, node: nodes.Node) -> str:
    """A part of a page as HTML without links and anchors: a preview holds nothing to press."""
    # The writer asks its builder on which page it is, for addresses of pictures and the like.
    before = getattr(app.builder, "current_docname", page)
    app.builder.current_docname = page
    try:
        body = app.builder.render_partial(node)["fragment"]
    finally:
        app.builder.current_docname = before
    body = re.sub(r"^\s*<dd>(.*)</dd>\s*$", r"\1", body, flags=re.DOTALL)
    return IDENTIFIER.sub("", ANCHOR.sub("", body)).strip()


def add_previews(app, pagename, templatename, context, doctree):
    """Put into a page what its links lead to."""
    if doctree is None or "body" not in context:
        return
    here, known, shown = app.builder.get_target_uri(pagename), targets(app), {}
    uris = {app.builder.get_target_uri(page): page for page, _ in known}
    for path, anchor in LINK.findall(context["body"]):
        uri = posixpath.normpath(posixpath.join(posixpath.dirname(here), path)) if path else here
        text = known.get((uris.get(uri, ""), html.unescape(anchor)))
        if text:
            shown[html.unescape(f"{path}#{anchor}")] = text
    if shown:
        data = json.dumps(dict(sorted(shown.items())), ensure_ascii=False).replace("</", "<\\/")
        context["body"] += MARKUP.format(data)
        app.add_js_file("previews.js", loading_method="defer")


def setup(app):
    app.connect("doctree-read", keep_equations)
    app.connect("env-merge-info", merge)
    app.connect("env-purge-doc", purge)
    app.connect("doctree-resolved", link_first_mentions)
    app.connect("html-page-context", add_previews, priority=800)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True,
            "parallel_write_safe": True}  # fmt: skip
