"""Where the site is published, and what follows: canonical links, previews elsewhere, a sitemap.

The address is ``html.baseurl`` of _config.yml or, where that is empty, the Pages address of
``repository.url`` (or of git's remote, see repository.py): one setting serves both. Without an
address a page still has its title, description and picture's words; what needs an absolute address
is left out. ``llms.txt`` lists the pages' Markdown for language models, by the form of llmstxt.org.
"""

import html
import re
import unicodedata
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from docutils import nodes
from sphinx.util.nodes import clean_astext

from book.tools.sphinx.repository import remote_address

LONGEST = 300  # signs of a description
COMMAND = re.compile(r"\\([A-Za-z]+)|\\.")
PARAGRAPH = re.compile(r"^(The question|The answer, in short)\.\s*")
SPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"


def pages_address(repository: str | None) -> str:
    """Where GitHub's or GitLab's Pages publish a repository: ``https://owner.github.io/name/``."""
    parts = urlsplit(repository or "")
    owner, _, name = parts.path.strip("/").partition("/")
    if not name or parts.netloc not in ("github.com", "gitlab.com"):
        return ""
    host = f"{owner.lower()}.{parts.netloc.removesuffix('.com')}.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def set_address(app, config):
    repository = config.html_theme_options.get("repository_url") or remote_address(app.srcdir)
    address = config.html_baseurl or pages_address(repository)
    config.html_baseurl = f"{address.rstrip('/')}/" if address else ""


# Words and picture of a page


def plain(formula: str) -> str:
    """A formula as plain text, for places that set none: ``\\sigma_{\\max}`` is σmax."""

    def sign(match: re.Match) -> str:
        name = match[1] or ""
        case, word = "SMALL" if name[:1].islower() else "CAPITAL", name.upper()
        for known in (f"GREEK {case} LETTER {word.replace('LAMBDA', 'LAMDA')}", word):
            try:
                return unicodedata.lookup(known)
            except KeyError:
                continue
        return {"mid": "|", "varphi": "φ", "to": "→", "": ""}.get(name, f"\0{name}\0")

    text = re.sub(r"_\{\0|[{}_^$]|\s+", "", COMMAND.sub(sign, formula))
    return re.sub("\0+", " ", text).strip()


def description(doctree: nodes.document) -> str:
    """The first paragraph of a page as plain text, cut after a word where it is long."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            copy = paragraph.deepcopy()
            for formula in list(copy.findall(nodes.math)):
                formula.replace_self(nodes.Text(plain(formula.astext())))
            text = PARAGRAPH.sub("", " ".join(copy.astext().split()))
            if len(text) > LONGEST:
                text = text[:LONGEST].rpartition(" ")[0].rstrip(",;:") + " …"
            return text
    return ""


def picture(app, doctree: nodes.document) -> tuple[str, str] | None:
    """Address within the site and words of a page's first picture."""
    for image in doctree.findall(nodes.image):
        if (name := app.builder.images.get(image["uri"])) and name.endswith((".png", ".webp")):
            return f"_images/{name}", " ".join(image.get("alt", "").split())
    return None


def tags(app, pagename: str, title: str, doctree: nodes.document) -> dict[str, str]:
    """Open Graph's properties of a page."""
    base, found = app.config.html_baseurl, {"og:title": title, "og:type": "article"}
    found["og:site_name"] = app.config.html_title or app.config.project
    if words := description(doctree):
        found["og:description"] = words
    if base:
        found["og:url"] = base + app.builder.get_target_uri(pagename)
        if shown := picture(app, doctree):
            found["og:image"], found["og:image:alt"] = base + shown[0], shown[1]
    return found


def add_tags(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    title = html.unescape(re.sub(r"<[^>]+>|\\[()]", "", context.get("title", "")))
    found = tags(app, pagename, title, doctree)
    lines = [f'<meta property="{name}" content="{html.escape(text)}" />'
             for name, text in found.items()]  # fmt: skip
    if "og:description" in found:
        words = html.escape(found["og:description"])
        lines.append(f'<meta name="description" content="{words}" />')
    if "og:image" in found:
        lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] = context.get("metatags", "") + "\n".join(lines) + "\n"


# Lists of pages


def pages(app) -> list[str]:
    """The pages in the order of the table of contents."""
    root = app.config.root_doc
    listed = [name for name in app.env.toctree_includes.get(root, [])]
    return [name for name in dict.fromkeys([root, *listed]) if name in app.env.found_docs]


def sitemap(addresses: list[str]) -> bytes:
    ElementTree.register_namespace("", SPACE)
    root = ElementTree.Element(f"{{{SPACE}}}urlset")
    for address in addresses:
        place = ElementTree.SubElement(root, f"{{{SPACE}}}url")
        ElementTree.SubElement(place, f"{{{SPACE}}}loc").text = address
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def language_models(app, names: list[str]) -> str:
    """The text of llms.txt: each page's source with its description."""
    base = app.config.html_baseurl
    root = app.env.get_doctree(names[0])
    lines = [f"# {app.config.html_title or app.config.project}", "", f"> {description(root)}", ""]
    lines += ["## Pages", ""]
    for name in names:
        doctree = app.env.get_doctree(name)
        title = clean_astext(app.env.titles[name])
        source = f"_sources/{name}.md"
        if not Path(app.outdir, source).exists():
            source = app.builder.get_target_uri(name)
        words = description(doctree)
        lines.append(f"- [{title}]({base}{source})" + (f": {words}" if words else ""))
    return "\n".join(lines) + "\n"


def write_lists(app, error):
    if error or app.builder.format != "html":
        return
    names, out, base = pages(app), Path(app.outdir), app.config.html_baseurl
    (out / "llms.txt").write_text(language_models(app, names), "utf-8")
    if base:
        uris = [base + app.builder.get_target_uri(name) for name in names]
        (out / "sitemap.xml").write_bytes(sitemap(uris))


def setup(app):
    app.connect("config-inited", set_address, priority=100)
    app.connect("html-page-context", add_tags)
    app.connect("build-finished", write_lists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
