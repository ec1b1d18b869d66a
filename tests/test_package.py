"""What the project promises of its own code."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import scorerep

FOLDER = Path(scorerep.__file__).parent
CORE = (
    "types data images sde mixture linear_gaussian empirical layers network encoder model "
    "times objective training checkpoint sampling likelihood evaluation"
).split()


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    source = path.read_text("utf-8")
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
              tokenize.ENDMARKER}  # fmt: skip
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in layout
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - docstrings)


def test_core_has_at_most_2000_lines_of_code():
    assert 1000 < sum(code_lines(FOLDER / f"{name}.py") for name in CORE) <= 2000


@pytest.mark.parametrize("name", CORE)
def test_module_of_the_core_fits_on_a_few_screens(name):
    assert len((FOLDER / f"{name}.py").read_text("utf-8").splitlines()) <= 250


def test_package_docstring_names_every_module():
    for path in FOLDER.glob("[a-z]*.py"):
        assert path.stem in scorerep.__doc__, path.stem


def test_weights_are_never_pickled():
    for path in FOLDER.glob("*.py"):
        names = {n.attr for n in ast.walk(ast.parse(path.read_text("utf-8")))
                 if isinstance(n, ast.Attribute)}  # fmt: skip
        assert not names & {"load_state", "save_state"}, path.name
        assert "torch.load" not in path.read_text("utf-8"), path.name
        assert "torch.save" not in path.read_text("utf-8"), path.name
