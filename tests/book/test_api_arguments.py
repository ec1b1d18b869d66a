"""Every public function says what its arguments are: by a type, in words, or on the library's page.

A type that carries a shape (scorerep.types) or a class of the package says it; so does a docstring
of the function, its class or its module that names the argument; and arguments that mean the same
everywhere have a table on the library's page.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from book.tools import chapters
from book.tools.chapters import reach

PACKAGE = chapters.ROOT / "scorerep"
MODULES = sorted(PACKAGE.rglob("*.py"))
TYPES = {  # of libraries, and aliases: what each of them is, they say
    "Generator", "Path", "Score", "Callback", "Sampler", "Optimizer", "Module", "Accelerator",
    "DataFrame", "ModelProto", "Resample", "Features",
}  # fmt: skip


@cache
def known_types() -> frozenset[str]:
    """The array types, and every class of the package."""
    types = reach.module_file(chapters.ROOT, "scorerep.types")
    aliases = re.findall(r"^(\w+) = ", types.read_text("utf-8"), re.MULTILINE)
    trees = [ast.parse(file.read_text("utf-8")) for file in MODULES]
    classes = [n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    return frozenset({*aliases, *classes, *TYPES})


@cache
def known_everywhere() -> frozenset[str]:
    """The arguments of the table on the library's page."""
    page = (chapters.ROOT / "book/api.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page[page.index("(api-arguments)=") :], re.MULTILINE)
    return frozenset(name for row in rows for name in re.findall(r"`(\w+)`", row))


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Name, function, and the words around it: of its module and its class."""
    around = ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, around
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            words = f"{around}\n{ast.get_docstring(node) or ''}"
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    if not item.name.startswith("_") or item.name == "__init__":
                        yield f"{node.name}.{item.name}", item, words


def undocumented(source: str) -> dict[str, list[str]]:
    """Function → the arguments that nothing explains."""
    found = {}
    for name, function, around in public(ast.parse(source)):
        words = f"{ast.get_docstring(function) or ''}\n{around}"
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        missing = [
            argument.arg
            for argument in arguments
            if argument.arg not in ("self", "cls")
            and argument.arg not in known_everywhere()
            and not re.search(rf"(?<!\w){argument.arg}(?!\w)", words)
            and not _typed(argument.annotation)
        ]
        if missing:
            found[name] = missing
    return found


def _typed(annotation: ast.expr | None) -> bool:
    return bool(annotation and set(re.findall(r"\w+", ast.unparse(annotation))) & known_types())


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_arguments_of_public_functions_are_explained(file):
    assert undocumented(file.read_text("utf-8")) == {}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('def f(speed):\n    """Fast."""', {"f": ["speed"]}),
        ('def f(speed):\n    """At ``speed``, in m/s."""', {}),
        ('def f(x: Data, seed: int):\n    """Of x."""', {}),
        ('def f(rows: int):\n    """Of rows."""', {}),
        ("def _f(speed): ...", {}),
        ('class A:\n    """At speed."""\n    def f(self, speed, mass): ...', {"A.f": ["mass"]}),
    ],
)
def test_argument_that_nothing_explains_is_told(source, wanted):
    assert undocumented(source) == wanted
