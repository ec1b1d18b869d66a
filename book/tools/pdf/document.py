"""One printable HTML document of the whole book, put together from the pages of the built site.

Pages follow one another in the order of _toc.yml, each under its own prefix, so that every anchor
is one of a kind and links between pages become links within the document. What only a screen can do
is left out; code that the site folds moves to an appendix, with a link at its old place.
"""

import html
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools import chapters
from book.tools.pdf.front import PAGE_OF, PLACE, Entry, contents, running_heads, title_page

CSS = Path(__file__).with_name("print.css")
POINTING = ("href", "aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")
ON_SCREEN_ONLY = (
    "script", "style", "button", "a.headerlink", "noscript",
    ".explorer", ".whole-book", ".toggle-button", "#previews", "a:has(> .viewcode-link)",
)  # fmt: skip
FOLDED = "details.hide"
CODE = "folded-code"  # the appendix with it


def parts() -> dict[str, list[str]]:
    """Caption → names of the pages below it, in order; the front page has no caption."""
    root = parse_toc_yaml(chapters.ROOT / "_toc.yml").root
    found = {"": [root.docname]}
    for tree in root.subtrees:
        found[tree.caption or ""] = [*found.get(tree.caption or "", []), *map(str, tree.items)]
    return {caption: [Path(page).name for page in pages] for caption, pages in found.items()}


class Pages:
    """The built pages, and what the document makes of them.

    Attributes:
        names: of the pages in the document.
        pictures: files of all pictures in it, by the page they are on.
        folded: the code that the site folds, as chapter → its sections' HTML.
    """

    def __init__(self, site: Path, names: list[str]):
        self.site, self.names = site, names
        self.pictures: dict[str, list[Path]] = {}
        self.folded: dict[str, list[str]] = {}
        self.uris = {(site / "book" / f"{name}.html").resolve(): name for name in names}

    def soup(self, name: str) -> BeautifulSoup:
        file = self.site / "book" / f"{name}.html"
        return BeautifulSoup(file.read_text("utf-8"), "html.parser")

    def article(self, name: str) -> tuple[str, Entry]:
        """A page's HTML in the document, and its line of the contents."""
        article = self.soup(name).select_one("article.bd-article")
        for tag in article.select(", ".join(ON_SCREEN_ONLY)):
            tag.decompose()
        self._still(article)
        self._point(article, name)
        self._pictures(article, name)
        self._unfold(article, name)
        _anchor_headings(article)
        heading = article.find("h1")
        entry = Entry(_words(heading), name)
        for section in article.select("h2"):
            place = section if section.get("id") else section.find_parent("section")
            entry.children.append(Entry(_words(section), place["id"]))
        body = article.decode_contents()
        style = f"page: p-{name}"
        return f'<article class="bd-article" id="{name}" style="{style}">{body}</article>', entry

    def _still(self, article: Tag):
        """A moving picture is its first frame, a fold is open."""
        for film in article.select("video[poster]"):
            image = BeautifulSoup("", "html.parser").new_tag("img", src=film["poster"])
            image["alt"] = film.get("aria-label", film.get("title", ""))
            film.replace_with(image)
        for fold in article.select("details:not(.hide)"):
            fold["open"] = ""

    def _point(self, article: Tag, name: str):
        """Give anchors the page's prefix, and have links lead to them."""
        for tag in article.find_all(id=True):
            tag["id"] = f"{name}.{tag['id']}"
        for tag in article.find_all(True):
            for key in POINTING:
                if tag.has_attr(key) and (key != "href" or tag.name == "a"):
                    self._lead(tag, key, name)

    def _lead(self, tag: Tag, key: str, name: str):
        if key != "href":
            tag[key] = " ".join(f"{name}.{one}" for one in str(tag[key]).split())
            return
        parts = urlsplit(tag["href"])
        if parts.scheme or parts.netloc:
            return
        file = (self.site / "book" / unquote(parts.path)).resolve() if parts.path else None
        target = self.uris.get(file) if file else name
        if target is None:  # a page or file of the site only: words remain
            tag.unwrap()
        else:
            anchor = unquote(parts.fragment)
            tag["href"] = f"#{target}.{anchor}" if anchor else f"#{target}"

    def _pictures(self, article: Tag, name: str):
        """Pictures by the address of their file, and at once."""
        files = self.pictures.setdefault(name, [])
        for image in article.find_all("img"):
            del image["loading"]
            if urlsplit(image["src"]).scheme == "data":
                continue
            file = (self.site / "book" / unquote(image["src"])).resolve()
            files.append(file)
            image["src"] = file.as_uri()

    def _unfold(self, article: Tag, name: str):
        """Code that the site folds goes to the appendix; pictures and words below it stay."""
        kept = self.folded.setdefault(name, [])
        for fold in article.select(FOLDED):
            anchor = f"{CODE}.{name}.{len(kept) + 1}"
            if fold.summary:
                fold.summary.decompose()
            for code in fold.select("div.highlight pre"):
                code.string = code.get_text()  # small, and without colours
            back = f'<a class="code-back" href="#{anchor}.from">{PLACE}</a>'
            code = f'<div class="code-of" id="{anchor}">{back}{fold.decode_contents()}</div>'
            kept.append(code)
            words = f"code: page {PAGE_OF}"
            mark = f'<a class="code-at" id="{anchor}.from" href="#{anchor}">{words}</a>'
            fold.replace_with(BeautifulSoup(mark, "html.parser"))


def _anchor_headings(article: Tag):
    """Move a section's anchors into its heading, which may stand on the next sheet."""
    for heading in article.select("section > :is(h2, h3, h4, h5, h6)"):
        section = heading.parent
        for mark in section.find_all("span", id=True, recursive=False):
            if not mark.get_text(strip=True) and mark in heading.find_previous_siblings("span"):
                heading.insert(0, mark.extract())
        if section.get("id") and not heading.get("id"):
            heading["id"] = section["id"]
            del section["id"]


def _words(heading: Tag) -> str:
    """A heading's HTML for the contents: its formulas, but no links or anchors."""
    copy = BeautifulSoup(str(heading), "html.parser").find(heading.name)
    for tag in copy.find_all("a"):
        tag.unwrap()
    for tag in copy.find_all(id=True):
        del tag["id"]
    return copy.decode_contents().strip()


def appendix(pages: Pages, titles: dict[str, str]) -> Iterator[str]:
    """The code that the site folds, by the pages it is on."""
    yield f'<article class="bd-article" id="{CODE}" style="page: p-{CODE}">'
    yield "<h1>Code of the figures</h1><p>The cells that the site folds, in the order of the book; "
    yield "the number beside each is the page that it belongs to.</p>"
    for name, sections in pages.folded.items():
        if sections:
            heading = f'<h2 id="{CODE}.{name}">{titles[name]}</h2>'
            yield f"<section>{heading}{''.join(sections)}</section>"
    yield "</article>"


def assemble(site: Path, fonts: Sequence[Path] = ()) -> tuple[str, Pages]:
    """The document's HTML, and the pages it is made of.

    Args:
        site: the built site; ``FileNotFoundError`` if a page of _toc.yml is missing.
        fonts: style sheets of the typefaces.
    """
    listed = parts()
    pages = Pages(site.resolve(), [name for names in listed.values() for name in names])
    bodies, entries = [], {}
    for caption, names in listed.items():
        for name in names:
            body, entry = pages.article(name)
            bodies.append(body)
            entries.setdefault(caption, []).append(entry)
    titles = {entry.anchor: entry.title for lines in entries.values() for entry in lines}
    bodies.append("".join(appendix(pages, titles)))
    entries.setdefault("Code", []).append(Entry("Code of the figures", CODE))
    numbered = {tree.caption for tree in parse_toc_yaml(chapters.ROOT / "_toc.yml").root.subtrees
                if tree.numbered}  # fmt: skip
    return _page(pages, bodies, entries, numbered, fonts), pages


def _page(pages: Pages, bodies: list[str], entries: dict, numbered: set[str], fonts) -> str:
    front = pages.soup(pages.names[0])
    folder = pages.site / "book"
    config = yaml.safe_load((chapters.ROOT / "_config.yml").read_text("utf-8"))
    styles = [file.as_uri() for file in fonts]
    styles += [
        Path(os.path.normpath(folder / unquote(urlsplit(link["href"]).path))).as_uri()
        for link in front.select('link[rel="stylesheet"]')
        if not urlsplit(link["href"]).scheme
    ]
    styles.append(CSS.as_uri())
    sheets = "".join(f'<link rel="stylesheet" href="{uri}">' for uri in styles)
    maths, scripts = "", []
    for script in BeautifulSoup(_with_maths(pages), "html.parser").find_all("script"):
        if script.string and "window.MathJax" in script.string:
            maths = script.string
        elif "mathjax" in script.get("src", "").lower():
            scripts.append(_address(folder, script["src"]))
    for script in front.find_all("script", src=re.compile("score-field")):
        scripts.append(_address(folder, script["src"]))
    lean = "MathJax.options = {...MathJax.options, enableMenu: false, enableAssistiveMml: false};"
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">
<title>{html.escape(config["title"])}</title>
<meta name="author" content="{html.escape(config["author"])}">
{sheets}<style>{running_heads(entries)}</style>
<script>{maths}
{lean}</script>
{"".join(f'<script defer src="{uri}"></script>' for uri in scripts)}</head>
<body class="tex2jax_ignore mathjax_ignore">{title_page()}{contents(entries, numbered)}
<main>{"".join(bodies)}</main></body></html>"""


def front_page(site: Path) -> Path:
    """The file of the site's front page."""
    return site / "book" / f"{parts()[''][0]}.html"


def _with_maths(pages: Pages) -> str:
    """The HTML of the first page that loads MathJax; ``ValueError`` if none does."""
    for name in pages.names:
        text = (pages.site / "book" / f"{name}.html").read_text("utf-8")
        if "window.MathJax" in text:
            return text
    raise ValueError("no page of the site loads MathJax")


def _address(folder: Path, source: str) -> str:
    parts = urlsplit(source)
    if parts.scheme:
        return source
    return Path(os.path.normpath(folder / unquote(parts.path))).as_uri()
