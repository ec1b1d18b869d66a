"""MyST Markdown to plain Markdown, for readers of notebooks: Colab and most kernels know no MyST.

    plain(text, Labels.of_book(), page="mnist")

Directives become headed paragraphs, roles become the words and numbers that the site shows, TeX
macros are written out. What is not known loses its markup and keeps its words.
"""

import difflib
import re

from pybtex.database import Entry
from pybtex.richtext import Text

from book.tools.chapter_map import table
from book.tools.chapters import ChapterError
from book.tools.contents import listing
from book.tools.notebooks.labels import EQUATION, Directive, Labels, authors, blocks, hash_of

ROLE = re.compile(r"\{([\w:.+-]+)\}(`+)([^`]+?)\2", re.DOTALL)
TARGET = re.compile(r"^\(([\w:.-]+)\)=[ \t]*\n", re.MULTILINE)
TERM = re.compile(r"^(?![-:\s#])(\S[^\n]*)\n:[ \t]+([^\n]*(?:\n[ \t]+\S[^\n]*)*)", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(#?([\w:./-]*?)(?:\.md)?\)")
PICTURE = re.compile(r"(!\[[^\]]*\])\((?!https?:)([^)\s]+)\)")
HEADED = ("note", "tip", "hint", "important", "warning", "caution", "attention", "seealso")
ONLY_ON_THE_SITE = ("raw", "tableofcontents", "toctree", "nb-exec-table", "bibliography", "iframe",
                    "gallery", "score-field", "floor-calculator", "whole-book")  # fmt: skip
NAMES = {"code", "file", "kbd", "func", "class", "mod", "meth", "attr", "obj", "data", "exc"}


def plain(text: str, labels: Labels, page: str) -> str:
    """``text``, a piece of the page, as plain Markdown."""
    parts = []
    for block in blocks(text):
        if isinstance(block, str):
            parts.append(_prose(block, labels))
        elif isinstance(block, tuple):
            parts.append(block[0])
        else:
            parts.append(_render(block, labels, page))
    joined = "\n\n".join(part.strip("\n") for part in parts if part.strip())
    return re.sub(r"\n{3,}", "\n\n", joined)


def _render(block: Directive, labels: Labels, page: str) -> str:
    body = "\n".join(block.body)
    name, title = block.name, _prose(block.argument, labels)
    number = labels.numbers.get((page, hash_of(block)), "")
    if name in ONLY_ON_THE_SITE:
        return ""
    if name == "chapter-list":
        return plain(listing(), labels, page)
    if name == "chapter-map":
        return plain(table(), labels, page)
    if name == "math":
        equation = f"$$\n{body.strip()}\n$$" + (f" ({block.label})" if block.label else "")
        return _prose(equation, labels)
    if name in ("code-block", "code", "literalinclude", "sourcecode"):
        return f"```{block.argument}\n{body}\n```"
    if name in ("figure", "image"):
        picture = _prose(f"![{block.options.get('alt', '')}]({block.argument})", labels)
        caption = plain(body, labels, page)
        return picture + (f"\n\n*{number}.* {caption}" if caption else "")
    inside = plain(body, labels, page)
    if name == "prf:proof":
        return f"*Proof.* {inside} ∎"
    if name == "solution":
        of = labels.words.get(block.argument, "the exercise")
        return f"<details>\n<summary>Solution to {of}</summary>\n\n{inside}\n\n</details>"
    if name == "dropdown":
        return f"<details>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"
    if number:
        return f"**{number}{f' ({title})' if title else ''}.** {inside}"
    if name in HEADED or name == "admonition":
        head = title if name == "admonition" else name.capitalize().replace("also", " also")
        inside = inside if name == "admonition" else "\n\n".join(filter(None, [title, inside]))
        return "\n".join(f"> {line}".rstrip() for line in f"**{head}.** {inside}".splitlines())
    return "\n\n".join(filter(None, [f"**{title}**" if title else "", inside]))


def _prose(text: str, labels: Labels) -> str:
    """Prose without blocks: targets, comments, attributes, definition lists, roles, maths."""
    text = TARGET.sub("", text + "\n")[:-1]
    text = re.sub(r"^(%.*|\{[#.][^}\n]*\})\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=[\])`])\{[#.][^}\n]*\}", "", text)
    text = TERM.sub(lambda m: f"- {m[1]}: " + re.sub(r"\n\s*", "\n  ", m[2]), text)
    text = EQUATION.sub(
        lambda m: f"$${m[1].rstrip()}\n\\tag{{{_lookup(labels, m[2]).strip('()')}}}\n$$", text
    )
    text = PICTURE.sub(lambda m: f"{m[1]}({labels.picture(m[2])})", text)
    text = LINK.sub(lambda m: _link(m[0], m[1], m[2], labels), text)
    text = ROLE.sub(lambda m: _role(m[1], " ".join(m[3].split()), labels), text)
    for macro, tex in labels.macros.items():
        tex = tex if "operatorname" in tex else f"{{{tex}}}"
        text = re.sub(rf"\\{macro}(?![A-Za-z])", lambda _, tex=tex: tex, text)
    return text


def _role(name: str, content: str, labels: Labels) -> str:
    explicit = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
    words, target = (explicit[1], explicit[2]) if explicit else ("", content)
    if name in ("eq", "math:numref", "prf:ref"):
        return _lookup(labels, target)
    if name == "numref":
        found = _lookup(labels, target)
        number = found.rsplit(" ", 1)[-1]
        return re.sub(r"%s|\{number\}", number, words) if words else found
    if name == "ref":
        return words or labels.words.get(target, target)
    if name == "doc":
        page = target.rsplit("/", 1)[-1]
        if page not in labels.titles:
            return words or target
        return f"[{words or labels.titles[page]}]({labels.link(page)})"
    if name.startswith("cite"):
        return _cite(name, target.split(","), labels)
    if name == "math":
        return f"${content}$"
    if name.split(":")[-1] in NAMES or name == "download":
        short = target.rsplit(".", 1)[-1] if target.startswith("~") else target
        return f"`{words or short}`"
    return words or target


def _link(whole: str, words: str, target: str, labels: Labels) -> str:
    """MyST's links to labels, ``[](#fig-x)`` and ``[words](#sec-x)``, and to pages."""
    if (page := target.rsplit("/", 1)[-1]) in labels.titles and "#" not in whole:
        return f"[{words or labels.titles[page]}]({labels.link(page)})"
    if "#" in whole:
        found = _lookup(labels, target)
        return f"{words} ({found})" if words and re.search(r"\d", found) else words or found
    if not words:
        raise ChapterError(f"a link to nothing that is known: {whole}")
    return whole


def _lookup(labels: Labels, label: str) -> str:
    if label not in labels.words:
        raise ChapterError(f"no equation, figure, theorem or section has the label {label}")
    return labels.words[label]


def _cite(role: str, keys: list[str], labels: Labels) -> str:
    works, year = [_work(labels, key.strip()) for key in keys], "year"
    if role == "cite:t":
        return ", ".join(f"{authors(work)} ({work.fields[year]})" for work in works)
    return f"({'; '.join(f'{authors(work)}, {work.fields[year]}' for work in works)})"


def _work(labels: Labels, key: str) -> Entry:
    if key not in labels.works:
        near = difflib.get_close_matches(key, labels.works, 1)
        hint = f": is it {near[0]}?" if near else ""
        raise ChapterError(f"references.bib has no work {key}{hint}")
    return labels.works[key]


def reference_list(text: str, labels: Labels) -> str:
    """The works that a page's source cites, as a list; "" if none."""
    cited = {
        key.strip()
        for role in ROLE.finditer(text)
        if role[1].startswith("cite")
        for key in role[3].split(",")
    }
    lines = []
    works = [_work(labels, key) for key in cited]
    for work in sorted(works, key=lambda work: (authors(work), work.fields["year"])):
        title = str(Text.from_latex(work.fields["title"]))
        line = f"- {authors(work)} ({work.fields['year']}). *{title}*."
        if venue := work.fields.get("journal") or work.fields.get("booktitle"):
            line += f" {Text.from_latex(venue)}."
        if doi := work.fields.get("doi"):
            line += f" https://doi.org/{doi}"
        elif url := work.fields.get("url"):
            line += f" {url}"
        elif eprint := work.fields.get("eprint"):
            line += f" https://arxiv.org/abs/{eprint}"
        lines.append(line)
    return "## References\n\n" + "\n".join(lines) if lines else ""
