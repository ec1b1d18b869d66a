"""The programs behind the tables: one thread where seconds are counted, help that can be read."""

import ast
import re

import pytest

from book.tools import chapters
from book.tools.chapters import reach

PROGRAMS = [
    file
    for file in sorted((chapters.ROOT / "book/studies").glob("*.py"))
    if "__main__" in file.read_text("utf-8")
]
FRAGMENT = re.compile(
    r"(Of|For|With|From|By|Also|Or|Its|Their|Theirs|Whose|Instead|All of|One run|One each)\b"
)


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_study_says_how_many_threads_it_takes(file):
    calls = [ast.unparse(n) for n in ast.walk(reach.parsed(file)) if isinstance(n, ast.Call)]
    asked = "Arguments.threads" in help_texts(file.read_text("utf-8"))  # it is an option
    assert asked or any(call.startswith("torch.set_num_threads(") for call in calls)


def help_texts(source: str) -> dict[str, str]:
    """Field → the words behind it, of the dataclasses of a program."""
    found = {}
    for kind in ast.parse(source).body:
        if isinstance(kind, ast.ClassDef):
            for field, words in zip(kind.body, kind.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr):
                    found[f"{kind.name}.{field.target.id}"] = ast.literal_eval(words.value)
    return found


def unreadable(source: str) -> list[str]:
    """Options whose help does not name what it is about, or is no sentence by its end."""
    return [
        name
        for name, words in help_texts(source).items()
        if FRAGMENT.match(words) or not words.endswith(".") or not words[0].isupper()
    ]


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_help_of_every_option_can_be_read_alone(file):
    source = file.read_text("utf-8")
    assert help_texts(source)
    assert unreadable(source) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [("Of x_t.", True), ("Their noise level.", True), ("draws of x_t.", True), ("Draws", True),
     ("Draws of x_t for each constant.", False)],
)  # fmt: skip
def test_fragment_is_told(words, told):
    source = f'class Arguments:\n    draws: int = 1\n    """{words}"""'
    assert bool(unreadable(source)) == told
