"""Links have previews, pages have an address: on a small site, built in a second."""

import json
import re
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from book.tools.sphinx import addresses, previews, whole_book

EXTENSIONS = ["myst_parser", "sphinxcontrib.bibtex"] + [
    f"book.tools.sphinx.{name}" for name in ("addresses", "previews", "whole_book")
]
FILES = {
    "index.md": """# Front

**The question.** What does $\\sigma_{\\max}$ hide, and how much of it <b>?

```{whole-book}
```

```{toctree}
one
words
works
```
""",
    "one.md": """# One

The silhouette says little, a second silhouette no more. Codes of `silhouette` and
*silhouette*: see {term}`the constant`, and the tail of a law.

$$
a &= b \\\\ c &= d < e
$$ (eq-one)

By {eq}`eq-one` and {eq}`eq-two` as {cite:t}`who2020` has it, {ref}`elsewhere <there>`.

(there)=
## There

Denoisers and a posterior mean are the same.
""",
    "words.md": """# Words

:::{glossary}
silhouette
  How far classes lie apart, by {eq}`eq-two`: $s$.

the constant
  What remains.

tail
  An end.

posterior mean, denoiser
  The best guess.
:::

$$
s = 1
$$ (eq-two)
""",
    "works.md": "# Works\n\n```{bibliography}\n```\n",
    "works.bib": "@book{who2020, author={Who, A}, title={A Title}, year={2020}, publisher={P}}\n",
}


def built(folder, **settings):
    source, out = folder / "source", folder / "out"
    source.mkdir()
    for name, text in FILES.items():
        (source / name).write_text(text)
    (source / "conf.py").write_text("")
    overrides = {
        "extensions": EXTENSIONS,
        "bibtex_bibfiles": ["works.bib"],
        "bibtex_reference_style": "author_year",
        "myst_enable_extensions": ["dollarmath", "colon_fence", "amsmath"],
        "html_title": "A book",
        "html_theme": "basic",
        "nitpicky": True,
        **settings,
    }
    with patch_docutils(), docutils_namespace():
        app = Sphinx(source, source, out, folder / "trees", "html", overrides, status=None,
                     warningiserror=True, freshenv=True)  # fmt: skip
        app.build()
    assert app.statuscode == 0
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    theme = {"repository_url": "https://github.com/Owner/a-book"}
    folder = tmp_path_factory.mktemp("published")
    return built(folder, html_theme="sphinx_book_theme", html_theme_options=theme)


def shown(site, page):
    """What the page's links lead to."""
    store = BeautifulSoup((site / page).read_text("utf-8"), "html.parser").find(id="previews")
    return json.loads(store.string) if store else {}


def test_equations_terms_and_works_have_previews_and_other_links_none(site):
    found = shown(site, "one.html")
    assert {re.sub(r"\d+$", "", href) for href in found} == {
        "#equation-eq-one",
        "words.html#equation-eq-two",
        "words.html#term-silhouette",
        "words.html#term-the-constant",
        "words.html#term-posterior-mean-denoiser",
        "works.html#id",
    }
    text = {
        href.partition("#")[2]: BeautifulSoup(html, "html.parser") for href, html in found.items()
    }
    assert r"\begin{split}a &= b \\ c &= d < e\end{split}" in text["equation-eq-one"].get_text()
    assert text["equation-eq-two"].get_text() == r"\[s = 1\]"
    assert text["term-the-constant"].get_text() == "the constant What remains."
    works = [soup for anchor, soup in text.items() if anchor.startswith("id")]
    assert len(works) == 1 and "A Title" in works[0].get_text()
    assert not any(soup.find(["a", "button"]) or soup.find(id=True) for soup in text.values())
    assert "previews.js" in (site / "one.html").read_text("utf-8")


def test_page_without_such_links_loads_no_script(site):
    assert shown(site, "works.html") == {}
    assert "previews.js" not in (site / "works.html").read_text("utf-8")


def test_first_mention_of_a_term_leads_to_the_glossary_and_everyday_words_do_not(site):
    page = BeautifulSoup((site / "one.html").read_text("utf-8"), "html.parser")
    links = [(a.get_text(), a["href"]) for a in page.select("a.glossary-mention")]
    assert links == [("silhouette", "words.html#term-silhouette"),
                     ("Denoisers", "words.html#term-posterior-mean-denoiser")]  # fmt: skip
    words = BeautifulSoup((site / "words.html").read_text("utf-8"), "html.parser")
    assert not words.select("a.glossary-mention")


@pytest.mark.parametrize(
    ("words", "found"),
    [("The ELBO is", "ELBO"), ("elbo", None), ("KL codes", "KL code"), ("precode", None),
     ("Score", "score"), ("the scores", None),
     ("Tweedie’s formula", "Tweedie's formula"), ("kNN\naccuracy", "kNN accuracy")],
)  # fmt: skip
def test_term_is_told_as_sentences_have_it(words, found):
    known = ["score", "ELBO", "KL code", "Tweedie's formula", "kNN accuracy"]
    first = previews._first(words, dict.fromkeys(known))
    assert (first and first[0]) == found


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/Owner/a-book", "https://owner.github.io/a-book/"),
        ("https://github.com/owner/Owner.github.io", "https://owner.github.io/"),
        ("https://gitlab.com/group/sub/book", "https://group.gitlab.io/sub/book/"),
        ("https://example.org/o/n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_pages_address_follows_from_the_repository_s(repository, address):
    assert addresses.pages_address(repository) == address


@pytest.mark.parametrize(
    ("formula", "text"),
    [(r"\sigma_{\max}", "σmax"), (r"\nabla_x\log p_t(x)", "∇x log pt(x)"), ("\\Sigma", "Σ"),
     (r"p(x_0\mid x_t)", "p(x0|xt)"), (r"\lambda(t)", "λ(t)")],
)  # fmt: skip
def test_formula_is_plain_text_where_none_is_set(formula, text):
    assert addresses.plain(formula) == text


def properties(site, page):
    soup = BeautifulSoup((site / page).read_text("utf-8"), "html.parser")
    return soup, {tag["property"]: tag["content"] for tag in soup.find_all("meta", property=True)}


def test_published_page_has_its_address_its_words_and_a_place_in_the_sitemap(published):
    soup, found = properties(published, "one.html")
    assert soup.find("link", rel="canonical")["href"] == "https://owner.github.io/a-book/one.html"
    assert found["og:url"] == "https://owner.github.io/a-book/one.html"
    assert found["og:title"] == "One" and found["og:description"].startswith("The silhouette says")
    assert soup.find("meta", attrs={"name": "description"})["content"] == found["og:description"]
    root = ElementTree.parse(published / "sitemap.xml").getroot()
    places = [place.text for place in root.iter(f"{{{addresses.SPACE}}}loc")]
    assert places == [f"https://owner.github.io/a-book/{name}.html"
                      for name in ("index", "one", "words", "works")]  # fmt: skip
    text = (published / "llms.txt").read_text("utf-8")
    assert "- [One](https://owner.github.io/a-book/_sources/one.md" in text


def test_without_an_address_nothing_claims_one(site):
    soup, found = properties(site, "index.html")
    assert "og:url" not in found and not soup.find("link", rel="canonical")
    assert not (site / "sitemap.xml").exists()
    assert found["og:description"] == "What does σmax hide, and how much of it <b>?"
    text = (site / "llms.txt").read_text("utf-8")
    assert text.startswith("# A book\n\n> What does σmax hide")
    linked = re.findall(r"^- \[[^]]+\]\((\S+?)\)", text, re.MULTILINE)
    assert len(linked) == 4 and all((site / file).exists() for file in linked)


def test_place_of_the_pdf_is_empty_until_it_is_made(site):
    page = (site / "index.html").read_text("utf-8")
    place = BeautifulSoup(page, "html.parser").select_one(".whole-book")
    assert place.has_attr("hidden") and not place.get_text()
    for size in ("3 pages, 1.0 MB", "4 pages, 2.0 MB"):  # made again, the new size replaces the old
        page, places = whole_book.filled(page, "../book.pdf", size)
        place = BeautifulSoup(page, "html.parser").select_one(".whole-book")
        assert places == 1 and place.find("a")["href"] == "../book.pdf"
        assert size in place.get_text() and not place.has_attr("hidden")
