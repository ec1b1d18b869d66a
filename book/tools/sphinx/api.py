"""The API reference: signatures and docstrings as they are written.

- A signature shows the annotations of the source, ``x: Data``, not what they evaluate to.
- Each entry leads to its source, and to the chapters whose cells import it.

Links to its entries from everywhere: api_links.py.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from functools import cache
from typing import Annotated, get_args, get_origin

from book.tools import chapters
from book.tools.chapters import reach
from book.tools.sphinx import api_links
from book.tools.sphinx.api_links import PACKAGE, home

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
    if hasattr(obj, "states"):  # a sampler is written as a generator, and called as a function
        returns = "Data"
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

FIELDS = ("attribute", "data", "property")
HIDDEN = "\0"  # a colon, while napoleon reads


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


def hide_colons(app, what, name, obj, options, lines):
    """Napoleon, which comes next, takes the words of a field before a colon for its type."""
    if what in FIELDS:
        lines[:] = [line.replace(":", HIDDEN) for line in lines]


def show_colons(app, what, name, obj, options, lines):
    """Napoleon has been there."""
    if what in FIELDS:
        lines[:] = [line.replace(HIDDEN, ":") for line in lines]


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


def name_bases(app, what, name, obj, options, lines):
    """End a class with those of the package that it extends; bases of other libraries say little.

    (autodoc's own line names these too, and ``object`` where there are none.)
    """
    if what in ("class", "exception") and inspect.isclass(obj):
        if bases := [_full(base) for base in obj.__bases__ if _is_ours(base)]:
            links = ", ".join(f":py:class:`~{base}`" for base in bases)
            lines += ["", f"*Extends* {links}.", ""]


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith(f"{PACKAGE}.") and not kind.__name__.startswith("_")


def _full(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# Chapters that use an entry


@cache
def used_in() -> dict[str, list[str]]:
    """Full name of what chapters import from the package → the chapters, in the book's order."""
    found = {}
    for path in chapters.chapters():
        source = chapters.source_of(chapters.read(path))
        for name in sorted(set(reach.imported(ast.parse(source)))):
            if name.startswith(f"{PACKAGE}."):
                users = found.setdefault(home(name), [])
                users += [path.stem] if path.stem not in users else []
    return found


def name_chapters(app, what, name, obj, options, lines):
    """End an entry with the chapters whose cells import it."""
    if what in ("class", "function", "exception", "data") and (users := used_in().get(name)):
        links = ", ".join(f":doc:`/book/{user}`" for user in users)
        lines += ["", f"*Used in* {links}.", ""]


def setup(app):
    for extension in ("autodoc", "napoleon", "intersphinx", "viewcode"):
        app.setup_extension(f"sphinx.ext.{extension}")
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", types_alone)
    app.connect("autodoc-process-docstring", from_plain_text, priority=100)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    app.connect("autodoc-process-docstring", name_bases, priority=800)
    app.connect("autodoc-process-docstring", name_chapters, priority=900)
    api_links.connect(app)
