"""The book's blocks and labels: what a cross reference shows, and which works are cited.

    labels = Labels.of_book()
    labels.words["fig-mnist-codes"]      # "Fig. 5.2"

Numbers are the site's: the chapter's by _toc.yml, then the order on the page.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import yaml
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text
from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools import chapters
from book.tools.chapters import ChapterError

OPENING = re.compile(r"^(\s*)(`{3,}|:{3,})\{([\w:.+-]+)\}[ \t]*(.*)$")
CODE = re.compile(r"^\s*(`{3,}|~{3,})")
EQUATION = re.compile(r"^\$\$(.*?)\$\$[ \t]*\(([\w:.-]+)\)[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Directive:
    """A block ``:::{name} argument``, its options, and its body as lines."""

    name: str
    argument: str
    options: dict[str, str]
    body: list[str]

    @property
    def label(self) -> str:
        return str(self.options.get("label") or self.options.get("name") or "")


def blocks(text: str):
    """The text in order: strings of prose, code fences as (verbatim,) and directives."""
    lines, prose, at = text.splitlines(), [], 0
    while at < len(lines):
        opening, code = OPENING.match(lines[at]), CODE.match(lines[at])
        if not (opening or code):
            prose.append(lines[at])
            at += 1
            continue
        fence = opening[2] if opening else code[1]
        end = _closing(lines, at + 1, fence)
        yield "\n".join(prose)
        prose = []
        if opening:
            yield _directive(opening[3], opening[4].strip(), lines[at + 1 : end])
        else:
            yield ("\n".join(lines[at : end + 1]),)
        at = end + 1
    yield "\n".join(prose)


def _closing(lines: list[str], start: int, fence: str) -> int:
    for at in range(start, len(lines)):
        line = lines[at].strip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return at
    raise ChapterError(f"a block {fence} is not closed: {lines[start - 1].strip()}")


def _directive(name: str, argument: str, body: list[str]) -> Directive:
    options, at = {}, 0
    if body and body[0].strip() == "---":
        at = next((i for i in range(1, len(body)) if body[i].strip() == "---"), len(body) - 1) + 1
        options = yaml.safe_load("\n".join(body[1 : at - 1])) or {}
    else:
        while at < len(body) and (option := re.match(r"\s*:([\w-]+):\s*(.*)$", body[at])):
            options[option[1]] = option[2].strip()
            at += 1
    return Directive(name, argument, options, body[at:])


@dataclass
class Labels:
    """What cross references lead to: label → the words the site shows for it."""

    words: dict[str, str] = field(default_factory=dict)
    """Labels of equations "(3.1)", figures "Fig. 3.1", theorems and exercises; section titles."""
    titles: dict[str, str] = field(default_factory=dict)
    """Page name → title."""
    works: dict[str, Entry] = field(default_factory=dict)
    """Citation key → entry of references.bib."""
    macros: dict[str, str] = field(default_factory=dict)
    """TeX macros of _config.yml."""
    link: Callable[[str], str] = "{}.ipynb".format
    """Page name → where its notebook is."""
    picture: Callable[[str], str] = "{}".format
    """A picture's file, as the page names it → where it is."""
    numbers: dict[tuple[str, int], str] = field(default_factory=dict)
    """(Page, index of an unlabelled or labelled block on it) → its words, for headings."""
    counters: Counter = field(default_factory=Counter)

    @classmethod
    def of_book(cls) -> "Labels":
        root = chapters.ROOT
        config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
        sphinx = config.get("sphinx", {}).get("config", {})
        macros = sphinx.get("mathjax3_config", {}).get("tex", {}).get("macros", {})
        if bad := [name for name, body in macros.items() if not isinstance(body, str)]:
            raise ChapterError(f"_config.yml: macros with arguments are not written out: {bad}")
        labels = cls(macros=macros)
        for file in config.get("bibtex_bibfiles", []):
            labels.works |= dict(parse_file(root / file).entries)
        prefixes = _chapter_numbers()
        for path in chapters.pages():
            labels._collect(path, prefixes.get(path.stem, ""))
        return labels

    def _collect(self, path, prefix: str):
        text = path.read_text("utf-8")
        if text.startswith("---\n"):
            text = text.split("\n---\n", 1)[1]
        self.titles[path.stem] = _first(r"^# +(.+)$", text) or path.stem
        self._collect_text(text, path.stem, prefix)
        for target in re.finditer(r"^\(([\w:.-]+)\)=\s*\n+#+ +(.+)$", text, re.MULTILINE):
            self.words.setdefault(target[1], target[2].strip())

    def _collect_text(self, text: str, page: str, prefix: str):
        for block in blocks(text):
            if isinstance(block, str):
                for equation in EQUATION.finditer(block):
                    self._number(equation[2], "", prefix)
            elif isinstance(block, Directive):
                kind = _kind(block)
                label = block.label
                if block.name == "code-cell":
                    label = block.options.get("mystnb", {}).get("figure", {}).get("name", "")
                if kind and (label or kind != "Fig."):
                    self._number(label, kind, prefix, (page, hash_of(block)))
                if block.name != "code-cell":
                    self._collect_text("\n".join(block.body), page, prefix)

    def _number(self, label: str, kind: str, prefix: str, block=None):
        self.counters[kind, prefix] += 1
        number = f"{prefix}{self.counters[kind, prefix]}"
        words = f"{kind} {number}" if kind else f"({number})"
        if label:
            self.words[label] = words
        if block:
            self.numbers[block] = words


def hash_of(block: Directive) -> int:
    return hash((block.name, block.argument, block.label, "\n".join(block.body)))


def _kind(block: Directive) -> str:
    if block.name in ("figure", "code-cell"):
        return "Fig."
    if block.name in ("table", "list-table") and block.label:
        return "Table"
    if block.name == "exercise":
        return "Exercise"
    if block.name == "math" and block.label:
        return ""
    name = block.name.removeprefix("prf:")
    return name.capitalize() if name != block.name and name not in ("proof", "ref") else ""


def _chapter_numbers() -> dict[str, str]:
    """Page name → "3." for the third chapter of the numbered parts."""
    toc, found = parse_toc_yaml(chapters.ROOT / "_toc.yml"), {}
    for tree in toc.root.subtrees:
        for page in tree.items if tree.numbered else []:
            found[str(page).rsplit("/")[-1]] = f"{len(found) + 1}."
    return found


def authors(work: Entry) -> str:
    """ "Song", "Dhariwal and Nichol" or "Song et al."."""
    people = work.persons.get("author") or work.persons.get("editor") or []
    names = [
        " ".join(str(Text.from_latex(n)) for n in p.prelast_names + p.last_names) for p in people
    ]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else None
