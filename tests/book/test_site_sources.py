"""What the site is made of is complete: modules, figures, pages."""

import ast
import re
import tomllib

import matplotlib.pyplot as plt
import pytest
import yaml
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

from book.tools import chapters, contents, notebooks, readme_gallery
from book.tools.chapters import reach
from book.tools.notebooks.labels import _chapter_numbers
from book.tools.sphinx import api, api_links, figure_lists, pictures, typography
from scorerep import sampling
from scorerep.model import ScoreModel
from scorerep.networks.unet import UNet
from scorerep.objective import Losses
from scorerep.plots import STYLE
from scorerep.sde import VESDE

ROOT = chapters.ROOT
BOOK = ROOT / "book"


def test_every_module_has_its_place_in_the_api_pages():
    modules = {
        ".".join(file.relative_to(ROOT / "scorerep").with_suffix("").parts)
        for file in (ROOT / "scorerep").rglob("*.py")
        if not file.stem.startswith("__") and file.stem != "types"
    }
    pages = [path for path in chapters.pages() if path.stem.startswith("api")]
    documented = [
        name
        for path in pages
        for name in re.findall(r"automodule:: scorerep\.([\w.]+)", path.read_text("utf-8"))
    ]
    assert sorted(documented) == sorted(modules)
    listed = re.findall(r"\{py:mod\}`~scorerep\.([\w.]+)`", (BOOK / "api.md").read_text("utf-8"))
    assert sorted(listed) == sorted(modules)


def test_sources_hold_no_tabs():
    """A tab is most often a backslash and a t, eaten by a script that wrote the page."""
    assert [path.name for path in BOOK.glob("*.md") if "\t" in path.read_text("utf-8")] == []


@pytest.mark.parametrize("before, after", [("", "."), ("(", ""), ("(", "),"), ("", "’s")])
def test_punctuation_stays_with_its_formula(before, after):
    formula = r'<span class="math notranslate nohighlight">\(x_t\)</span>'
    text = f"at {before}{formula}{after} and {formula} alone"
    kept = f'<span class="keep">{before}{formula}{after}</span>'
    assert typography.FORMULA.sub(typography.keep, text) == f"at {kept} and {formula} alone"


def test_picture_has_a_box_with_the_width_at_which_it_is_readable(tmp_path):
    assert pictures.DOTS_PER_INCH == STYLE["figure.dpi"]
    figure = ('<figure id="f"><img alt="a" src="../_images/f.png" /><figcaption>'
              '<span class="caption-number">Fig. 3.1 </span></figcaption></figure>')  # fmt: skip
    file = tmp_path / "f.png"
    plt.figure(figsize=(7, 2)).savefig(file, dpi=pictures.DOTS_PER_INCH)
    files = {"f.png": file}
    boxed = pictures.FIGURE.sub(lambda match: pictures.box(match, files), figure)
    opening = '<div class="picture-box" role="group" aria-label="Picture of Fig. 3.1"'
    assert f'{opening} style="--readable: 609px"><img alt="a"' in boxed
    assert boxed.count("</div>") == 1
    file.write_bytes(b"<svg/>" * 10)  # no PNG: left as it is
    assert pictures.FIGURE.sub(lambda match: pictures.box(match, files), figure) == figure


def test_array_types_are_all_in_their_table():
    source = reach.module_file(ROOT, "scorerep.types").read_text("utf-8")
    names = re.findall(r"^(\w+) = ", source, re.MULTILINE)
    table = (BOOK / "api.md").read_text("utf-8")
    assert [name for name in names if f"| {name} |" not in table] == []


def test_api_pages_repeat_no_words_of_a_base_class():
    lines = ["Define the computation performed at every call."]
    api.from_plain_text(None, "method", "", UNet.forward, None, lines)
    assert not any(lines)
    lines = ["The score."]
    api.from_plain_text(None, "method", "", ScoreModel.score, None, lines)
    assert "The score." in lines


def test_samplers_are_shown_as_functions_that_return_the_images():
    """Their source is a generator of states; ``sampler`` makes it a function."""
    for sampler in (sampling.heun, sampling.probability_flow):
        arguments, returned = api.as_written(None, "function", "", sampler, None, "", None)
        assert arguments.startswith("(score: Score, sde:") and returned == "Data"
    assert api.as_written(None, "function", "", sampling.states, None, "", None)[1] != "Data"


def test_every_field_of_a_public_named_tuple_has_words_that_the_api_shows():
    words = {}  # (class, field) → what Sphinx reads behind it or above it
    for file in (ROOT / "scorerep").rglob("*.py"):
        for item in reach.parsed(file).body:
            if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
                if "NamedTuple" in map(ast.unparse, item.bases):
                    assert ast.get_docstring(item), item.name
                    read = ModuleAnalyzer.for_file(file, file.stem).find_attr_docs()
                    for field in item.body:
                        if isinstance(field, ast.AnnAssign):
                            key = item.name, field.target.id
                            words[key] = " ".join(read.get(key, []))
    assert len(words) > 20
    assert [key for key, text in words.items() if not text.strip()] == []


def test_colon_in_the_words_of_a_field_is_a_colon():
    def read(lines):
        return str(GoogleDocstring(lines, what="attribute", name="Losses.regulariser"))

    words = "Before its weight: L1 norm, or KL in nats."
    assert ":type:" in read([words])  # what is prevented
    lines = [words]
    for change in (api.from_plain_text, api.hide_colons):
        change(None, "attribute", "", None, None, lines)
    lines = read(lines).split("\n")
    api.show_colons(None, "attribute", "", None, None, lines)
    assert [line for line in lines if line] == [words]


def sphinx_settings() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["sphinx"]["config"]


def test_api_names_bases_of_the_package_alone():
    assert "show-inheritance" not in sphinx_settings()["autodoc_default_options"]
    for kind, wanted in ((VESDE, ["*Extends* :py:class:`~scorerep.sde.linear.LinearSDE`."]),
                         (UNet, []), (Losses, [])):  # fmt: skip
        lines = []
        api.name_bases(None, "class", "", kind, None, lines)
        assert [line for line in lines if line] == wanted


def labels() -> set[str]:
    """Labels of figures in all chapters, those not yet in the table of contents too."""
    text = "".join(path.read_text("utf-8") for path in BOOK.glob("*.md"))
    return set(re.findall(r"^    name: (fig-[\w-]+)$", text, re.MULTILINE))


def test_index_covers_the_paper_s_eleven_figures_with_labels_that_exist():
    rows = yaml.safe_load((BOOK / "paper_figures.yml").read_text("utf-8"))
    numbers = {int(n) for row in rows for n in re.findall(r"\d+", row["paper"])}
    assert numbers == set(range(1, 12))
    assert {label for row in rows for label in row["here"]} <= labels()


def test_front_page_lists_every_chapter_with_its_question():
    assert "```{chapter-list}" in chapters.pages()[0].read_text("utf-8")
    listed = re.findall(r"^\{doc\}`(\w+)`\n: .+\?$", contents.listing(), re.MULTILINE)
    assert listed == list(_chapter_numbers())


def test_chapter_that_asks_nothing_is_named(tmp_path):
    path = tmp_path / "mute.md"
    path.write_text("# Mute\n\n**The question.** How? And why\nnot? We shall see.\n\nText\n")
    assert contents.question(path) == "How? And why not?"
    path.write_text("# Mute\n\nWhy not?\n")
    with pytest.raises(chapters.ChapterError, match="mute.md has no paragraph"):
        contents.question(path)


DRAWING = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, name: python3}
---
# A draft

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-draft
    caption: A picture.
  image:
    alt: A line
      that rises.
---
import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.show()
```
"""


def test_figure_appears_once_its_chapter_is_in_the_contents(tmp_path, monkeypatch):
    files = {
        "_config.yml": "parse: {myst_enable_extensions: []}\n",
        "_toc.yml": "format: jb-book\nroot: book/front\n",
        "requirements.txt": "",
        "book/front.md": "# Front\n",
        "book/draft.md": DRAWING,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    row = {"paper": 4, "shows": "A line", "here": ["fig-draft"], "differs": "nothing"}
    assert figure_lists.figures() == {}
    assert "| in preparation |" in figure_lists.index([row], {})

    (tmp_path / "_toc.yml").write_text(files["_toc.yml"] + "chapters: [{file: book/draft}]\n")
    assert figure_lists.figures() == {}  # not run yet
    chapters.run(tmp_path / "book" / "draft.md")
    known = figure_lists.figures()
    assert known["fig-draft"].page == "draft" and known["fig-draft"].alt == "A line that rises."
    assert known["fig-draft"].png.startswith(b"\x89PNG")
    assert "| {numref}`fig-draft` |" in figure_lists.index([row], known)
    row["here"].append("fig-other")
    assert "| in preparation |" in figure_lists.index([row], known)


def test_gallery_shows_figures_that_exist():
    rows = yaml.safe_load((BOOK / "gallery.yml").read_text("utf-8"))
    assert {row["figure"] for row in rows} <= labels()
    assert all(row["sentence"].strip().endswith((".", "?")) for row in rows)


def test_readme_has_the_gallery_that_the_command_writes():
    (shown,) = readme_gallery.between("gallery").findall(readme_gallery.README.read_text("utf-8"))
    rows = readme_gallery.rows()
    files = {f"{row['figure']}.png" for row in rows}
    assert set(re.findall(r'src="book/gallery/([^"]+)"', shown)) == files
    assert {file.name for file in readme_gallery.FOLDER.iterdir()} == files
    assert [row["figure"] for row in rows if row["sentence"] not in shown] == []
    assert sum(f.stat().st_size for f in readme_gallery.FOLDER.iterdir()) <= readme_gallery.LIMIT
    linked = re.findall(r'(?:href|src)="([^"]+)"', shown)
    assert linked and all((ROOT / file).exists() for file in linked)


def test_readme_has_the_badges_of_the_address_that_the_notebooks_have():
    (shown,) = readme_gallery.between("badges").findall(readme_gallery.README.read_text("utf-8"))
    assert shown == readme_gallery.badges(notebooks.address()), "make gallery"


@pytest.mark.parametrize(
    ("address", "colab"),
    [("", False), ("https://gitlab.com/o/n", False), ("https://github.com/o/n", True)],
)
def test_badges_lead_to_what_is_there_and_to_colab_only_with_an_address(address, colab):
    text = readme_gallery.badges(address)
    links = re.findall(r"\[!\[([^]]+)\]\(\S+?\)\]\((\S+?)\)", text)
    assert len(links) == len(text.splitlines()) == 5 + colab
    for _, link in links[:5]:  # as GitHub resolves them, from the page of README.md
        assert (ROOT / link.replace("../../actions", ".github")).exists()
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert python == ">=3.11" and "Python 3.11 to 3.14" in text
    assert ("/github/o/n/blob/main/book/notebooks/intro.ipynb" in text) == colab


def test_readme_cites_the_paper_as_the_bibliography_does():
    (shown,) = re.findall(r"```bibtex\n(.*?\n)```", readme_gallery.README.read_text("utf-8"), re.S)
    assert shown in (BOOK / "references.bib").read_text("utf-8")


@pytest.mark.parametrize("file", sorted(chapters.pages()), ids=lambda file: file.stem)
def test_commands_name_weights_from_the_root(file):
    """Commands run there; only cells of a page run in book/."""
    lines = file.read_text("utf-8").replace("\\\n", " ").split("\n")
    commands = [line for line in lines if re.search(r"python -m|scorerep (train|sample)", line)]
    assert [c for c in commands if re.search(r"(?<![\w/])checkpoints/", c)] == []


def test_no_page_of_the_book_waits_for_its_words():
    waiting = [path.name for path in chapters.pages() if "@@" in path.read_text("utf-8")]
    assert waiting == []


@pytest.mark.parametrize(
    ("target", "plain"),
    [("torch.Gone", True), ("scorerep.sampling.Score", True), ("scorerep.model.ScoreModel", False),
     ("scorerep.model.Gone", False), ("scorerep.gone.Gone", False)],
)  # fmt: skip
def test_annotation_that_leads_nowhere_is_text_and_a_dead_name_of_ours_an_error(target, plain):
    node = {"refdomain": "py", "py:module": "scorerep.model", "reftarget": target}
    assert (api_links.plain_text(None, None, node, "text") == "text") == plain
