"""Words of the pages that can be checked without a build: pictures' alternatives, names of code."""

import ast
import builtins
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest

from book.tools import chapters

ROOT = chapters.ROOT
PAGES = sorted(chapters.pages())
by_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


# Pictures are put into words

FILE_NAME = re.compile(r"\S*\.(png|svg|jpe?g|gif|webp)|(image|figure|picture|plot)?", re.IGNORECASE)
PICTURE = re.compile(r"!\[(.*?)\]\(|^[`:]{3,}\{(?:figure|image)\}.*\n((?::.*\n)*)", re.MULTILINE)


def wordless(notebook) -> list[str]:
    """The pictures of a page that have no alternative text, by their names or beginnings."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            settings = cell.metadata.get("mystnb", {})
            alt = " ".join(str(settings.get("image", {}).get("alt") or "").split())
            if ("figure" in settings or "image" in settings) and FILE_NAME.fullmatch(alt):
                found.append(settings.get("figure", {}).get("name", cell.source[:40]))
            continue
        for match in PICTURE.finditer(cell.source):
            option = re.search(r"^:alt:(.*)$", match[2] or "", re.MULTILINE)
            alt = match[1] if match[1] is not None else option[1] if option else ""
            if FILE_NAME.fullmatch(alt.strip()):
                found.append(match[0].splitlines()[0])
    return found


@by_page
def test_pictures_are_put_into_words(path):
    assert wordless(chapters.read(path)) == []


@pytest.mark.parametrize(
    ("alt", "wanted"),
    [("    alt: A line that rises.", []), ("    alt: line.png", ["fig-a"]), ("", ["fig-a"])],
)
def test_picture_of_a_cell_without_words_is_told(tmp_path, alt, wanted):
    header = "---\njupytext: {text_representation: {extension: .md, format_name: myst}}\n---\n"
    figure = "mystnb:\n  figure:\n    name: fig-a\n    caption: A picture.\n"
    image = f"  image:\n{alt}\n" if alt else ""
    path = tmp_path / "page.md"
    path.write_text(f"{header}\n```{{code-cell}}\n---\n{figure}{image}---\nplot()\n```\n")
    assert wordless(chapters.read(path)) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("![](a.png)", True),
        ("![a.png](a.png)", True),
        ("![A disc.](a.png)", False),
        ("```{figure} a.png\n:name: fig-a\n\nCaption\n```\n", True),
        ("```{figure} a.png\n:alt: A disc.\n\nCaption\n```\n", False),
    ],
)
def test_picture_of_a_file_without_words_is_told(tmp_path, text, told):
    (tmp_path / "page.md").write_text(f"# Page\n\n{text}\n")
    assert bool(wordless(chapters.read(tmp_path / "page.md"))) == told


# Names of code name something

LITERAL = re.compile(r"(?<![`{}\w])(`{1,2})([^`\n]+)\1(?!`)")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
ELSEWHERE = {  # names of other libraries and tools that the pages speak of
    "Accelerate", "GitHub", "JupyterLab", "README", "float16", "float32", "float64", "bfloat16",
    "int64", "uint8", "True", "False", "None",
}  # fmt: skip


@cache
def identifiers() -> frozenset[str]:
    """Every name in the project's code: defined, used, an attribute, an argument, a module."""
    sources = [file.read_text("utf-8") for folder in ("scorerep", "book/studies", "book/tools")
               for file in (ROOT / folder).rglob("*.py")]  # fmt: skip
    sources += [chapters.source_of(chapters.read(path)) for path in chapters.chapters()]
    sources += re.findall(r"^```python\n(.*?)^```", (ROOT / "book/api.md").read_text(), re.M | re.S)
    names = set(dir(builtins)) | ELSEWHERE
    for source in sources:
        tree = ast.parse(source)
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            for field in ("id", "attr", "arg", "name", "module", "asname"):
                value = getattr(node, field, None)
                names |= set(value.split(".")) if isinstance(value, str) else set()
            text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in docstrings:
                names |= set(re.findall(r"\w+", text))  # columns, settings, modules
    for table in (ROOT / "book/results").glob("*.csv"):
        columns = table.open(encoding="utf-8").readline().strip().split(",")
        names |= {*columns, *(column.removeprefix("r2_") for column in columns)}
    for file in ROOT.rglob("*"):
        if not {"_build", ".venv", ".git"} & set(file.relative_to(ROOT).parts):
            names |= {file.name, file.stem}
    return frozenset(names)


def nameless(text: str) -> list[str]:
    """The literals of a page that look like names of code and name nothing."""
    text = re.sub(r"^(```+|:::+)\{code-cell\}.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for match in LITERAL.finditer(text):
        literal = match[2].strip()
        if text[: match.start()].endswith("}") or not NAME.fullmatch(literal):
            continue  # a role, or no name
        parts = literal.removesuffix("()").split(".")
        looks = "." in literal or "_" in literal or literal.endswith("()") or literal[0].isupper()
        known = literal in identifiers() or all(part in identifiers() for part in parts)
        if looks and not known and not importable(".".join(parts)):
            found.append(literal)
    return found


def importable(name: str) -> bool:
    """Whether a dotted name is one of another library."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return "." in name


def docstrings(file: Path) -> str:
    """All docstrings of a module, and the strings below its fields."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    values = [node.value for node in nodes if isinstance(node, ast.Expr)]
    texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return "\n\n".join(texts)


@by_page
def test_names_of_code_name_something(path):
    assert nameless(path.read_text("utf-8")) == []


@pytest.mark.parametrize("folder", ["scorerep", "book/studies"])
def test_names_of_code_in_docstrings_name_something(folder):
    found = {
        file.name: nameless(docstrings(file)) for file in sorted((ROOT / folder).rglob("*.py"))
    }
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("The class `VESDEE` is not.", ["VESDEE"]),
        ("Call `load_dat()`, or ``scorerep.sde.VESDE``.", ["load_dat()"]),
        ("`VESDE`, `load_data()`, `scorerep.sampling.heun`, `make book`, `fig3`", []),
        ("`scipy.optimize.brentq`, `scipy.optimize.brent_q`", ["scipy.optimize.brent_q"]),
        ("{py:class}`scorerep.Gone` is for Sphinx to tell", []),
    ],
)
def test_name_that_does_not_exist_is_told(text, told):
    assert nameless(text) == told


# Loops of training are the library's


@by_page
def test_no_chapter_writes_a_training_loop_of_its_own(path):
    """But for the page that is about writing one, and sixty linear codes trained as one batch."""
    source = chapters.source_of(chapters.read(path))
    assert (".backward()" in source) == (path.stem in ("one_page", "linear_gaussian"))


# The answer at the top of a chapter

ANSWER = re.compile(r"\*\*The answer[^*]*\*\*(.*?)\n\n", re.DOTALL)
ANSWERS = {
    path.stem: found[1] for path in PAGES if (found := ANSWER.search(path.read_text("utf-8")))
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_two_sentences(name):
    plain = " ".join(ANSWERS[name].replace("Eq. ", "").split())
    assert len(re.findall(r"[.!?](?= |$)", plain)) == 2, plain


def test_answers_are_found():
    assert len(ANSWERS) > 20
