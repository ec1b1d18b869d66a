"""The API reference: signatures as they are written, and links to it from everywhere.

- A signature shows the annotations of the source, ``x: Data``, not what they evaluate to.
- A name in an annotation leads to its page here; names of torch lead to torch's documentation
  where its index can be had (once, kept in _build), and are plain text where it cannot.
- ``VESDE`` in double quotes, in prose and docstrings, and what a code cell imports from
  scorerep, are links too.
- Each entry leads to its source, and to the chapters whose cells import it.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import urllib.request
from functools import cache
from pathlib import Path
from typing import Annotated, get_args, get_origin

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from book.tools import chapters, reach

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


# Signatures


def as_written(app, what, name, obj, options, signature, return_annotation):
    """Arguments and return annotation from the source of a function, method or class."""
    is_class = inspect.isclass(obj)
    if is_class and (hasattr(obj, "_fields") or dataclasses.is_dataclass(obj)):
        return (f"({', '.join(_fields(obj))})", None)
    if is_class and "__init__" not in vars(obj):
        return (signature, return_annotation)
    function = inspect.unwrap(obj.__init__ if is_class else obj)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):
        return (signature, return_annotation)
    if not isinstance(tree, ast.FunctionDef):
        return (signature, return_annotation)
    first = [*tree.args.posonlyargs, *tree.args.args][:1]
    if first and first[0].arg in ("self", "cls") and (is_class or what == "method"):
        tree.args.args = tree.args.args[1:]
    returns = ast.unparse(tree.returns) if tree.returns and not is_class else None
    return (f"({ast.unparse(tree.args)})", returns)


def _fields(cls: type) -> list[str]:
    """The fields of a dataclass or named tuple, as they are written in its body."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    written = [item for item in body if isinstance(item, ast.AnnAssign)]
    for item in written:  # what the command line makes of a type is not the reader's business
        if isinstance(item.annotation, ast.Subscript):
            if ast.unparse(item.annotation.value) == "Annotated":
                item.annotation = item.annotation.slice.elts[0]
    return [ast.unparse(item) for item in written if not item.target.id.startswith("_")]


def types_alone(app, what, name, obj, options, lines):
    """Fields show their type alone, as in signatures. (A class is written before its members.)"""
    for field, kind in inspect.get_annotations(obj).items() if what == "class" else ():
        if get_origin(kind) is Annotated:
            obj.__annotations__[field] = get_args(kind)[0]


# Docstrings


def from_plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with ``literals`` and *stress*; all other signs mean themselves.

    What is indented after an empty line is code, or a formula.
    """
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = []  # a named tuple's own words
    if inspect.isfunction(obj) and not obj.__doc__:
        lines[:] = []  # words of a base class of torch
    written = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if paragraph.startswith("    "):
            written += [f".. code-block:: {_language(paragraph)}", "", *paragraph.split("\n"), ""]
        else:
            parts = re.split(r"(``[^`]*``)", paragraph)
            written += ["".join(map(_escaped, parts)), ""]
    lines[:] = "\n".join(written).split("\n")


def _language(code: str) -> str:
    try:
        ast.parse(textwrap.dedent(code))
    except SyntaxError:
        return "text"
    return "python"


def _escaped(text: str) -> str:
    if text.startswith("``"):
        return text
    text = re.sub(r"(?<!\w)\*(\w[^*]*\w)\*(?!\w)", "\0\\1\0", text.replace("\\", r"\\"))
    return re.sub(r"([|*`]|_(?!\w))", r"\\\1", text).replace("\0", "*")


# Chapters that use an entry


@cache
def used_in() -> dict[str, list[str]]:
    """Full name of what chapters import from the package → the chapters, in the book's order."""
    found = {}
    for path in chapters.chapters():
        source = chapters.source_of(chapters.read(path))
        for name in sorted(set(reach.imported(ast.parse(source)))):
            if name.startswith(f"{PACKAGE}."):
                users = found.setdefault(_home(name), [])
                users += [path.stem] if path.stem not in users else []
    return found


def name_chapters(app, what, name, obj, options, lines):
    """End an entry with the chapters whose cells import it."""
    if what in ("class", "function", "exception", "data") and (users := used_in().get(name)):
        links = ", ".join(f":doc:`/book/{user}`" for user in users)
        lines += ["", f"*Used in* {links}.", ""]


# Links of annotations


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
    full = _home(target)
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


# Links of names in prose and code


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


def _home(full: str) -> str:
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
        full = full if full in objects else _home(full)
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


def setup(app):
    for extension in ("autodoc", "napoleon", "intersphinx", "viewcode"):
        app.setup_extension(f"sphinx.ext.{extension}")
    app.connect("config-inited", use_torch_index, priority=100)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", types_alone)
    app.connect("autodoc-process-docstring", from_plain_text, priority=100)
    app.connect("autodoc-process-docstring", name_chapters, priority=900)
    app.connect("missing-reference", name_in_full, priority=100)
    app.connect("missing-reference", name_where_it_is_offered, priority=200)
    app.connect("missing-reference", plain_text, priority=900)
    app.connect("html-page-context", link_imports, priority=850)
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
