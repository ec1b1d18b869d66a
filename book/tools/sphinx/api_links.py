"""Links to the API reference, from everywhere.

- A name in an annotation leads to its entry; names of torch lead to torch's documentation where
  its index can be had (once, kept in _build), and are plain text where it cannot.
- ``VESDE`` in double quotes, in prose and docstrings, and what a code cell imports from
  scorerep, are links too.
"""

import importlib
import inspect
import re
import urllib.request
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from book.tools import chapters
from book.tools.chapters import reach

PACKAGE = "scorerep"
TYPES = f"{PACKAGE}.types"
TORCH = "https://docs.pytorch.org/docs/stable/"
SECONDS = 5  # to wait for torch's index of names
INVENTORIES = Path(__file__).resolve().parents[3] / "_build" / "inventories"
IMPORT = re.compile(  # as Pygments writes "from scorerep.worlds import ring, labelled_quartet"
    r'(<span class="kn">from</span>(?:<span class="w">)? +(?:</span>)?<span class="nn">)'
    rf"({PACKAGE}[\w.]*)(</span>)"
    r'((?:<span class="w">)? +(?:</span>)?<span class="kn">import</span>)'
    r"((?:[^<\n]|<span class=\"(?:n|p|w)\">[^<]*</span>)*)"
)
NAME = re.compile(r'<span class="n">(\w+)</span>')


# Of annotations


def name_in_full(app, env, node, contnode):
    """Give a name in an annotation its full path, and link the array types to their table."""
    if node.get("refdomain") != "py" or not (module := node.get("py:module")):
        return None
    target = node["reftarget"]
    value = getattr(importlib.import_module(module), target.split(".")[0], None)
    if target in vars(importlib.import_module(TYPES)):
        objects = env.get_domain("std").anonlabels
        if "api-types" in objects:
            document, anchor = objects["api-types"]
            return make_refnode(app.builder, node["refdoc"], document, anchor, contnode, target)
    if inspect.isclass(value) or inspect.isfunction(value):
        full = f"{value.__module__}.{value.__qualname__}"
        node["reftarget"] = full.replace("torch._C.", "torch.")
        objects = env.get_domain("py").objects
        if found := objects.get(full):
            docname = found.docname
            return make_refnode(app.builder, node["refdoc"], docname, found.node_id, contnode, full)
    return None


def name_where_it_is_offered(app, env, node, contnode):
    """Lead ``scorerep.sde.VESDE`` to where that is defined, and a package to its modules' page."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith(f"{PACKAGE}."):
        return None
    objects = env.get_domain("py").objects
    full = home(target)
    if full in objects:
        entry = objects[full]
        to, anchor = entry.docname, entry.node_id
    elif inside := [entry for name, entry in objects.items() if name.startswith(f"{target}.")]:
        to, anchor = inside[0].docname, ""
    else:
        return None
    return make_refnode(app.builder, node["refdoc"], to, anchor, contnode, target)


def plain_text(app, env, node, contnode):
    """An annotation that leads nowhere is plain text: a name of another library, or an alias.

    Other dead references remain errors.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") == "py" and node.get("py:module"):
        module, _, name = target.rpartition(".")
        if not target.startswith(f"{PACKAGE}."):
            return contnode
        if reach.module_file(chapters.ROOT, module):
            value = getattr(importlib.import_module(module), name, None)
            if value is not None and not (inspect.isclass(value) or inspect.isroutine(value)):
                return contnode
    return None


def use_torch_index(app, config):
    """Link to torch's documentation if its index is at hand or comes at once."""
    file = INVENTORIES / "torch.inv"
    try:
        if not file.exists():
            with urllib.request.urlopen(f"{TORCH}objects.inv", timeout=SECONDS) as answer:
                content = answer.read()
            if not content.startswith(b"# Sphinx inventory version 2"):
                raise ValueError("not an index")
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_bytes(content)
            part.replace(file)
        config.intersphinx_mapping = {"torch": (TORCH, str(file))}
    except (OSError, ValueError) as error:
        logging.getLogger(__name__).info(f"no links to torch's documentation: {error}")
        config.intersphinx_mapping = {}


# Of names in prose and code


class LinkNames(SphinxPostTransform):
    """Literals that name something documented become links to it."""

    default_priority = 400

    def run(self, **kwargs):
        objects = self.env.get_domain("py").objects
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference) or isinstance(
                literal.parent, nodes.title
            ):
                continue
            if full := self.meant(literal.astext(), objects):
                entry = objects[full]
                link = make_refnode(
                    self.app.builder, self.env.docname, entry.docname, entry.node_id,
                    literal.deepcopy(), full,
                )  # fmt: skip
                literal.replace_self(link)

    @staticmethod
    def meant(text: str, objects) -> str | None:
        """The full name of what ``text`` says; None for what is not documented, or ambiguous."""
        name = text.strip().removesuffix("()")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
            return None
        if name in objects:
            return name
        if not (text.endswith("()") or "." in name or "_" in name or name[0].isupper()):
            return None  # a word that happens to be a function's name
        ends = [full for full in objects if full.endswith(f".{name}")]
        return ends[0] if len(ends) == 1 else None


def home(full: str) -> str:
    """Where a name that a package offers was defined: scorerep.sde.ve.VESDE for scorerep.sde."""
    parts = full.split(".")
    length = len(parts)
    while length and reach.module_file(chapters.ROOT, ".".join(parts[:length])) is None:
        length -= 1
    if not length or length == len(parts):
        return full
    value = getattr(importlib.import_module(".".join(parts[:length])), parts[length], None)
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def link_imports(app, pagename, templatename, context, doctree):
    """In code cells, lead from an import to what is imported."""
    if doctree is None or "body" not in context:
        return
    objects = app.env.get_domain("py").objects

    def link(full: str, text: str) -> str:
        full = full if full in objects else home(full)
        if full not in objects:
            return text
        entry = objects[full]
        address = app.builder.get_relative_uri(pagename, entry.docname)
        return f'<a class="code-link" href="{address}#{entry.node_id}">{text}</a>'

    def replace(match: re.Match) -> str:
        start, module, end, keyword, names = match.groups()
        linked = NAME.sub(lambda n: link(f"{module}.{n[1]}", n[0]), names)
        return f"{start}{link(module, module)}{end}{keyword}{linked}"

    context["body"] = IMPORT.sub(replace, context["body"])


def connect(app):
    """Have Sphinx call all of this."""
    app.connect("config-inited", use_torch_index, priority=100)
    app.connect("missing-reference", name_in_full, priority=100)
    app.connect("missing-reference", name_where_it_is_offered, priority=200)
    app.connect("missing-reference", plain_text, priority=900)
    app.connect("html-page-context", link_imports, priority=850)
    app.add_post_transform(LinkNames)
