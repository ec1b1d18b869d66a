"""Numbers that a chapter's sentences type are held by the chapter itself.

A number with a decimal point, or a percentage, must stand in an assertion of the page, in what a
checked cell of the page printed (tests/book/golden), or in the page's header with a reason::

    scorerep:
      numbers: {"0.12": "a definition: the width of the band"}

Maths, code, links and captions are not read: $t=0.65$ is a setting.
"""

import ast
import json
import re

import pytest

from book.tools import chapters, references

CHAPTERS = chapters.chapters()
by_page = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)

FENCE = re.compile(r"^(`{3,}).*?^\1\s*$", re.M | re.S)
NOT_PROSE = re.compile(
    r"^---\n.*?^---$"  # the header
    r"|\$\$.*?\$\$(?: \([\w-]+\))?|\$[^$]+\$"
    r"|\{[\w:+-]+\}`[^`]*`|`+[^`\n]+`+"
    r"|\]\([^)]*\)|https?://\S+|<[^>\n]+>"
    r"|^% [^\n]*$|^:\w+: [^\n]*$"
    r"|(?:Figures?|Sections?|Eqs?\.|Table|Appendix|Python|version|A\.|§)\s*"
    r"\(?[\d.]+(?:,? (?:and )?[\d.]+)*\)?",
    re.M | re.S,
)  # fmt: skip
NUMBER = re.compile(r"(?<![\w.,/–-])([−-]?\d[\d,]*(?:\.\d+)?)(\s?%)?(?![\w/]|\.\d)")


def typed(text: str) -> list[tuple[str, float, int, bool]]:
    """What a page's prose types: text, value, decimals, whether it is a percentage."""
    found = []
    for match in NUMBER.finditer(NOT_PROSE.sub(" ", FENCE.sub("\n", text))):
        digits = match[1].replace(",", "").replace("−", "-")
        decimals = len(digits.partition(".")[2])
        if decimals or match[2]:
            found.append((match[0].strip(), float(digits), decimals, bool(match[2])))
    return found


def constants(node: ast.AST) -> list[float]:
    """The numbers below a node; −1 is one number."""
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and type(part.value) in (int, float):
            found.append(float(part.value))
    return found


def named(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def guards(source: str) -> tuple[set[float], list[tuple[float, float]]]:
    """Numbers and intervals in a cell's assertions, and in what they name: loops over displays."""
    numbers, intervals, tree = set(), [], ast.parse(source)
    asserted = [part for part in ast.walk(tree) if isinstance(part, ast.Assert)]
    names = {name for part in asserted for name in named(part)}
    for part in ast.walk(tree):  # a loop over what is named passes its numbers on
        if isinstance(part, ast.For) and names & named(part.target):
            names |= named(part.iter)
    for part in ast.walk(tree):
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        listed = getattr(part, "iter", None) or getattr(part, "value", None)
        bound = {name for target in targets if target for name in named(target)}
        if bound & names and isinstance(listed, ast.Tuple | ast.List | ast.Dict):
            numbers |= set(constants(listed))
    for part in asserted:
        numbers |= set(constants(part.test))
        for inner in ast.walk(part.test):
            ends = []
            if isinstance(inner, ast.Compare) and len(inner.ops) == 2:
                ends = [inner.left, inner.comparators[-1]]
            if isinstance(inner, ast.Call) and getattr(inner.func, "attr", "") == "between":
                ends = inner.args[:2]
            values = [constants(end) for end in ends]
            if len(values) == 2 and all(len(v) == 1 for v in values):
                intervals.append(tuple(sorted(v[0] for v in values)))
    return numbers, intervals


def printed(path) -> set[float]:
    """The numbers in the stored references of a page's checked cells."""
    keys = {references.cell_key(cell) for cell in references.checked_cells(path)}
    stored = [c for key, c in references.references(path).items() if key in keys]
    text = " ".join(str(line) for cell in stored for line in cell["output"])
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}


def held(value: float, decimals: int, percent: bool, numbers: set[float], intervals) -> bool:
    """Whether a number, or a hundredth of it, is one of these, or lies in a narrow interval."""
    value, scales = abs(value), ((1, 0.01) if percent else (1,))
    digits = {1: decimals, 0.01: decimals + 2}
    for scale in scales:
        goal = round(value * scale, digits[scale])
        if any(abs(round(abs(n), digits[scale]) - goal) < 1e-9 for n in numbers):
            return True
        if any(low <= goal <= high and high - low <= 0.2 * goal for low, high in intervals):
            return True
    return False


def unguarded(path) -> list[str]:
    text = path.read_text("utf-8")
    notebook = chapters.read(path)
    numbers, intervals = printed(path), []
    for cell in chapters.code_cells(notebook):
        found = guards(cell.source)
        numbers |= found[0]
        intervals += found[1]
    allowed = dict(notebook.metadata.get("scorerep", {})).get("numbers", {})
    return [
        shown
        for shown, *number in typed(text)
        if shown not in allowed and not held(*number, numbers, intervals)
    ]


@by_page
def test_typed_numbers_are_held(path):
    assert unguarded(path) == []


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes a page with a sentence, a cell and entries of its header."""
    monkeypatch.setattr(references, "GOLDEN", tmp_path)
    kind = "jupytext: {text_representation: {extension: .md, format_name: myst}}"

    def write(sentence: str, cell: str = "", header: str = ""):
        path = tmp_path / "page.md"
        path.write_text(
            f"---\n{kind}\nscorerep:\n  tables: []\n{header}---\n\n{sentence}\n\n"
            f"```{{code-cell}}\n{cell}\n```\n"
        )
        return path

    return write


@pytest.mark.parametrize(
    "sentence", ["It rose to 0.62 at last.", "Of the images 62 % were.", "By −0.62 (one seed)."]
)
def test_number_that_nothing_holds_is_told(page, sentence):
    assert unguarded(page(sentence, "value = 0.62\nassert value > 0.5")) == [
        re.search(r"−?\d[\d.]*(?: %)?", sentence)[0]
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "assert abs(value - 0.62) < 0.005",
        "assert 0.6 < value < 0.65",
        "assert values.between(0.6, 0.65).all()",
        "typed = {'a': 0.62}\nassert typed == found",
        "for value, wanted in ((found, 0.62),):\n    assert value == wanted",
        "typed = {'a': (0.62, 1)}\nfor name, end in typed.items():\n    assert found[name] == end",
    ],
)
@pytest.mark.parametrize("sentence", ["It rose to 0.62.", "Of the images 62 % were."])
def test_number_in_an_assertion_is_held(page, sentence, cell):
    assert unguarded(page(sentence, cell)) == []


def test_wide_interval_holds_no_number(page):
    assert unguarded(page("It rose to 0.62.", "assert 0.1 < value < 0.9")) == ["0.62"]


def test_what_a_checked_cell_printed_holds_a_number_as_it_is_rounded(page, tmp_path):
    path = page(
        "It rose to 0.62, of 6,240.5 images, or 62 %; before, 0.63.", ":tags: [CHECK]\n\nprint(a)"
    )
    path.write_text(path.read_text().replace("CHECK", references.TAG))
    (cell,) = references.checked_cells(path)
    old = {"code": "", "output": ["share 0.63"]}
    new = {"code": "", "output": ["share 0.6249", "images 6,240.5"]}
    (tmp_path / "page.json").write_text(json.dumps({"0": old, references.cell_key(cell): new}))
    assert unguarded(path) == ["0.63"]


def test_header_allows_a_number_with_its_reason(page):
    entry = 'numbers: {"0.62": a setting}'
    assert unguarded(page("A width of 0.62.", header=f"  {entry}\n")) == []
    assert unguarded(page("A width of 0.63.", header=f"  {entry}\n")) == ["0.63"]


def test_maths_code_links_and_names_are_not_read():
    text = "At $t=0.65$ `0.1` of [it](a-0.2.html), Figure 3.2, Section 2.1, Python 3.11, Eq. (8)."
    assert typed(text) == []


@by_page
def test_allowed_numbers_are_typed_and_have_reasons(path):
    allowed = dict(chapters.read(path).metadata.get("scorerep", {})).get("numbers", {})
    shown = {text for text, *_ in typed(path.read_text("utf-8"))}
    assert set(allowed) <= shown and all(isinstance(r, str) and r for r in allowed.values())
