"""The notebooks for Colab are the chapters: in step, readable without MyST, and self-sufficient."""

import ast
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from nbformat.v4 import new_markdown_cell
from packaging.requirements import Requirement

from book.tools import chapters, kernel, notebooks
from book.tools.notebooks.labels import Labels, authors
from book.tools.notebooks.text import plain
from book.tools.sphinx.repository import add_buttons, web_address

ROOT = chapters.ROOT
NAMES = [path.stem for path in chapters.chapters()]
by_name = pytest.mark.parametrize("name", NAMES)


def load(name):
    return nbformat.read(ROOT / "book/notebooks" / f"{name}.ipynb", as_version=4)


# The notebooks of this book


def test_notebooks_are_in_step_with_their_chapters():
    old = [file.name for file in notebooks.out_of_step()]
    assert not old, "make notebooks"


@by_name
def test_notebook_has_the_code_of_its_chapter_and_no_outputs(name):
    cells = chapters.code_cells(load(name))
    source = chapters.code_cells(chapters.read(ROOT / "book" / f"{name}.md"))
    assert [cell.source for cell in cells[1:]] == [cell.source for cell in source]
    assert "kernel.prepare(" in cells[0].source
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@by_name
def test_no_myst_is_left(name):
    text = "\n\n".join(cell.source for cell in load(name).cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|``.*?``", "", text, flags=re.DOTALL)
    assert not re.search(r"\{[\w:.-]+\}`|^\s*:::|^\([\w:-]+\)=|^:\s|\$\$ *\(", text, re.MULTILINE)
    for macro in Labels.of_book().macros:
        assert not re.search(rf"\\{macro}(?![A-Za-z])", text), macro


def test_ids_are_unique_and_a_change_leaves_the_other_cells_alone():
    cells = [new_markdown_cell(text) for text in ("one", "two", "two", "three")]
    notebooks._set_ids(cells)
    before = [cell.id for cell in cells]
    assert len(set(before)) == 4
    cells[0].source = "other"
    notebooks._set_ids(cells)
    assert [cell.id for cell in cells][1:] == before[1:]


def test_metadata_asks_colab_for_a_gpu_where_the_chapter_does():
    metadata = load("mnist").metadata
    assert metadata.accelerator == "GPU" and metadata.colab.gpuType == "T4"
    assert metadata.kernelspec.name == "python3"
    assert "accelerator" not in load("intro").metadata


# Plain Markdown


@pytest.fixture
def labels():
    found = Labels(
        words={"eq-a": "(3.1)", "fig-a": "Fig. 3.2", "thm-a": "Theorem 3.1", "sec-a": "A section"},
        titles={"other": "Another page"},
        macros={"E": r"\mathbb{E}", "tr": r"\operatorname{tr}"},
    )
    found.words["ex-a"] = "Exercise 3.1"
    return found


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("by {eq}`eq-a` and {prf:ref}`thm-a`", "by (3.1) and Theorem 3.1"),
        ("see {numref}`fig-a`, {numref}`Figure %s <fig-a>`", "see Fig. 3.2, Figure 3.2"),
        ("{ref}`sec-a`, {ref}`there <sec-a>`", "A section, there"),
        ("see {doc}`other`", "see [Another page](other.ipynb)"),
        ("see {doc}`this </book/other>`", "see [this](other.ipynb)"),
        ("[](#fig-a), [there](#fig-a)", "Fig. 3.2, there (Fig. 3.2)"),
        ("[](#sec-a), [there](#sec-a), [](#eq-a)", "A section, there, (3.1)"),
        ("[](other.md), [this](other.md)", "[Another page](other.ipynb), [this](other.ipynb)"),
        ("[a site](https://a.org/#x), $[x](t)$", "[a site](https://a.org/#x), $[x](t)$"),
        ("{py:class}`~a.b.C`, {abbr}`SDE`, {new:role}`kept`", "`C`, SDE, kept"),
        ("(sec-a)=\n# Title", "# Title"),
        ("% a comment\ntext", "text"),
        ("$$\nx\n$$ (eq-a)", "$$\nx\n\\tag{3.1}\n$$"),
        (r"$\E x$, $\tr A$, $\Epsilon$", r"$\mathbb{E} x$, $\operatorname{tr} A$, $\Epsilon$"),
        ("Term\n: Meaning\n  goes on", "- Term: Meaning\n  goes on"),
        (":::{note}\nText\n:::", "> **Note.** Text"),
        (":::{prf:proof}\nClear.\n:::", "*Proof.* Clear. ∎"),
        ("::::{card} Title\n:class: x\n:::{new}\nText\n:::\n::::", "**Title**\n\nText"),
        ("```{raw} html\n<b>\n```\nafter", "after"),
        ("```python\n{eq}`eq-a`\n```", "```python\n{eq}`eq-a`\n```"),
        ("```{code-block} python\nf(x)\n```", "```python\nf(x)\n```"),
        (
            ":::{solution} ex-a\n:class: dropdown\n\nYes.\n:::",
            "<details>\n<summary>Solution to Exercise 3.1</summary>\n\nYes.\n\n</details>",
        ),
    ],
)  # fmt: skip
def test_myst_becomes_plain_markdown(labels, source, wanted):
    assert plain(source, labels, "page").replace("{\\mathbb{E}}", "\\mathbb{E}") == wanted


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{eq}`eq-b`", "no equation, figure, theorem or section has the label eq-b"),
        ("[](#fig-b)", "has the label fig-b"),
        ("[](gone.md)", r"a link to nothing that is known: \[\]\(gone.md\)"),
        ("{cite}`sung2021score`", "references.bib has no work sung2021score: is it song2021score"),
    ],
)
def test_reference_to_nothing_is_an_error(labels, source, message):
    labels.works["song2021score"] = None
    with pytest.raises(chapters.ChapterError, match=message):
        plain(source, labels, "page")


def test_wrong_citation_is_one_line_with_the_files_name(small_book):
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("# One", "# One\n\nBy {cite}`nobody1999`."))
    with pytest.raises(chapters.ChapterError, match="^one.md: references.bib has no work nobody1"):
        notebooks.texts("")


def test_works_with_the_same_authors_and_year_are_told_apart():
    """By a letter after the year in references.bib, which site and notebooks share."""
    cited = [(authors(work), work.fields["year"]) for work in Labels.of_book().works.values()]
    assert sorted(set(cited)) == sorted(cited)


# A book of one chapter

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
scorerep: {weights: [fig2ab], tables: []}
---
# One

![a picture](a.png) of {doc}`one`

```{code-cell} ipython3
path = "checkpoints/fig2ab"
```
"""


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    files = {
        "_config.yml": "repository: {url: '', branch: main}\nparse: {myst_enable_extensions: []}\n",
        "_toc.yml": "format: jb-book\nroot: book/one\n",
        "book/one.md": CHAPTER,
        "book/checkpoints/fig2ab/card.json": "{}",
        "pyproject.toml": "[project]\ndependencies = []\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    return tmp_path


def test_notebook_is_out_of_step_after_any_change_until_written(small_book, capsys):
    file, chapter = small_book / "book/notebooks/one.ipynb", small_book / "book/one.md"
    assert notebooks.out_of_step() == [file]
    notebooks.write()
    assert notebooks.out_of_step() == []
    chapter.write_text(CHAPTER.replace("# One", "# Two"))
    assert notebooks.out_of_step() == [file]
    notebooks.write()
    (small_book / "book/notebooks/old.ipynb").write_text("{}")
    assert notebooks.out_of_step() == [small_book / "book/notebooks/old.ipynb"]
    notebooks.write()
    assert not (small_book / "book/notebooks/old.ipynb").exists()
    assert notebooks.out_of_step() == []


def test_budget_is_one_variable_where_weights_are_loaded(small_book):
    made = notebooks.notebook(small_book / "book/one.md", Labels.of_book(), "")
    setup = chapters.code_cells(made)[0].source
    assert 'BUDGET = "book"' in setup and 'kernel.prepare(root, BUDGET, ["fig2ab"])' in setup


@pytest.mark.parametrize(
    ("header", "weights"),
    [
        ("{weights: [fig2ab], tables: []}", ["fig2ab"]),
        ("{weights: []}", []),
        ("{weights: [fig2ab], retrain: false}", []),
    ],
)
def test_weights_are_those_of_the_header(small_book, header, weights):
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("{weights: [fig2ab], tables: []}", header))
    assert notebooks.weights_of(path) == weights
    made = notebooks.notebook(path, Labels.of_book(), "")
    assert ("BUDGET = " in chapters.code_cells(made)[0].source) == bool(weights)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{weights: [fig2ab-dense]}",
            "one.md: its header names fig2ab-dense, not in .*checkpoints",
        ),
        ("{tables: [nothing]}", "one.md: its header names nothing, not in book/results"),
        ("{weightz: [fig2ab]}", "one.md: its header needs a line like scorerep: .*weightz means"),
        ("", "one.md: its header needs a line like scorerep: "),
    ],
)
def test_header_without_weights_or_with_wrong_names_is_an_error(small_book, header, message):
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("{weights: [fig2ab], tables: []}", header))
    with pytest.raises(chapters.ChapterError, match=message):
        notebooks.weights_of(path)


def paths_in(code: str) -> dict[str, set[str]]:
    """Weights and tables that a chapter's code names, as a path or as a part of one."""
    found = {"weights": set(), "tables": set()}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found["weights"] |= set(re.findall(r"checkpoints/([\w-]+)", node.value))
            found["tables"] |= set(re.findall(r"results/([\w-]+)\.csv", node.value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            name = getattr(node.right, "value", None)
            if isinstance(name, str) and (ROOT / "book/checkpoints" / name).is_dir():
                found["weights"].add(name)
        if isinstance(node, ast.JoinedStr) and "results/" in ast.unparse(node):
            every = {file.stem for file in (ROOT / "book/results").glob("*.csv")}
            found["tables"] |= every & strings_in(code)  # a name made as the code runs
    return found


def strings_in(code: str) -> set[str]:
    values = (getattr(node, "value", None) for node in ast.walk(ast.parse(code)))
    return {value for value in values if isinstance(value, str)}


@by_name
def test_header_names_what_the_code_reads_and_nothing_else(name):
    path = ROOT / "book" / f"{name}.md"
    notebook = chapters.read(path)
    code = "\n".join(cell.source for cell in chapters.code_cells(notebook))
    header, read = notebook.metadata["scorerep"], paths_in(code)
    notebooks.weights_of(path)  # no error
    for key, (folder, _) in notebooks.FOLDERS.items():
        if key not in header:  # all of the folder, which the code then names alone
            assert folder in strings_in(code), f"{key} is missing in the header"
            continue
        assert read[key] <= set(header[key]), f"not in the header's {key}"
        studies = re.findall(r"^from book\.studies\.(\w+) import", code, re.MULTILINE)
        sources = [code, *((ROOT / f"book/studies/{s}.py").read_text("utf-8") for s in studies)]
        written = " ".join(text for source in sources for text in strings_in(source))
        for item in header[key]:
            assert item in written or folder in strings_in(code), f"{item} is not in the code"


def test_jupyters_editor_keeps_what_the_header_says():
    """A chapter saved in JupyterLab, by jupytext, keeps its GPU, its weights and its tables."""
    text = (ROOT / "book/mnist.md").read_text("utf-8")
    saved = jupytext.writes(jupytext.reads(text, fmt="md:myst"), fmt="md:myst")
    header, kept = (yaml.safe_load(part.split("\n---\n")[0]) for part in (text, saved))
    del kept["jupytext"], header["jupytext"]
    assert kept == header and {"accelerator", "colab", "scorerep"} <= set(kept)


def test_address_is_configured_or_carried_or_of_the_remote(small_book, monkeypatch):
    monkeypatch.setattr(notebooks, "remote_address", lambda folder: "https://github.com/some/fork")
    assert notebooks.address() == "https://github.com/some/fork"
    notebooks.write()
    monkeypatch.setattr(
        notebooks, "remote_address", lambda folder: "https://github.com/another/fork"
    )
    assert notebooks.address() == "https://github.com/some/fork"  # a fork changes nothing unasked
    assert notebooks.out_of_step() == []
    config = small_book / "_config.yml"
    config.write_text(config.read_text().replace("url: ''", "url: https://github.com/o/n"))
    assert notebooks.address() == "https://github.com/o/n"
    assert notebooks.out_of_step() == [small_book / "book/notebooks/one.ipynb"]


def test_links_and_pictures_lead_to_the_repository_once_it_has_an_address(small_book):
    def text(address):
        made = notebooks.notebook(small_book / "book/one.md", Labels.of_book(), address)
        return made.cells[0].source

    assert "![a picture](../a.png) of [One](one.ipynb)" in text("")
    there = text("https://github.com/o/n")
    assert "(https://github.com/o/n/raw/main/book/a.png)" in there
    assert (
        "(https://colab.research.google.com/github/o/n/blob/main/book/notebooks/one.ipynb)" in there
    )


# The first cell's work


def test_only_what_is_missing_or_too_old_is_wanted():
    wanted = [Requirement(line) for line in ("numpy>=1", "no-such-package", "torch>=999")]
    assert kernel.missing(wanted) == ["no-such-package", "torch"]


def test_pip_installs_what_is_missing_and_is_held_to_what_is_there(monkeypatch, capsys):
    commands, held = [], []

    def pip(command, **options):
        commands.append(command)
        if "--constraint" in command:
            held.extend(Path(command[command.index("--constraint") + 1]).read_text().split())
        listed = "numpy==2.1.3\nold-thing==1.0\n"
        return type("Done", (), {"returncode": 0, "stdout": listed, "stderr": ""})

    monkeypatch.setattr(kernel, "missing", lambda requirements: ["first", "old-thing"])
    monkeypatch.setattr(kernel.subprocess, "run", pip)
    kernel.install([Requirement(r) for r in ("first>=1", "numpy", "old-thing>=2")])
    assert commands[1][-2:] == ["first>=1", "old-thing>=2"] and "numpy" not in commands[1]
    assert held == ["numpy==2.1.3"]  # too old is not held
    assert "installing first, old-thing" in capsys.readouterr().out


def test_what_cannot_be_installed_is_said(monkeypatch):
    with pytest.raises(kernel.KernelError, match="torch missing or too old"):
        kernel.install([Requirement("torch>=999")])
    failed = type("Done", (), {"returncode": 1, "stdout": "", "stderr": "no such thing"})
    monkeypatch.setattr(kernel.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(kernel.KernelError, match="pip could not install nothing-of-this:\nno such"):
        kernel.install([Requirement("nothing-of-this")])


def test_nothing_is_done_where_all_is_there(monkeypatch):
    monkeypatch.setattr(kernel.subprocess, "run", None)
    kernel.install([Requirement("numpy")])


def test_absent_weights_are_named_before_anything_is_trained(small_book, monkeypatch):
    monkeypatch.setattr("scorerep.runs.fit.fit", None)
    with pytest.raises(kernel.KernelError, match="no weights fig2ab-dense in "):
        kernel.train(small_book, small_book / "runs", "smoke", ["fig2ab", "fig2ab-dense"])


def test_prepare_chooses_folders_and_names_device_and_budget(small_book, monkeypatch, capsys):
    monkeypatch.chdir(small_book)
    monkeypatch.setenv("SCOREREP_DATA", "x")
    monkeypatch.delenv("SCOREREP_DATA")
    kernel.prepare(small_book, "book", ["small"])
    assert Path.cwd() == small_book / "book"
    assert os.environ["SCOREREP_DATA"] == str(small_book / "data")
    printed = capsys.readouterr().out
    assert "device: cpu" in printed or "device: cuda" in printed
    assert f"budget: book, weights from {small_book / 'book/checkpoints'}" in printed


def test_another_budget_trains_the_chapters_weights_anew(small_book, monkeypatch, capsys):
    from scorerep.data import load_data
    from scorerep.runs.fit import fit, load_experiment
    from scorerep.runs.paper import at_budget

    shipped = replace(at_budget("digits", "smoke"), seed=3)
    own = replace(shipped, name="of this test")
    data = load_data("digits", "train")
    fit(shipped, data, small_book / "book/checkpoints/small", progress=False)
    fit(own, data, small_book / "book/checkpoints/other", progress=False)
    monkeypatch.chdir(small_book)
    monkeypatch.setenv("SCOREREP_DATA", os.environ.get("SCOREREP_DATA", "data"))
    kernel.prepare(small_book, "smoke", ["small", "other"])
    assert Path.cwd() == small_book / "runs/smoke/book"
    assert load_experiment(Path("checkpoints/small")).seed == 3
    assert Path("checkpoints/other/model.safetensors").exists()
    assert "other: no run of the paper" in capsys.readouterr().out


# The site's buttons


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:o/n.git\n", "https://github.com/o/n"),
        ("https://github.com/o/n", "https://github.com/o/n"),
        ("ssh://git@gitlab.com/o/n.git", "https://gitlab.com/o/n"),
        ("/some/folder", None),
        ("", None),
    ],
)
def test_address_of_a_remote_however_git_spells_it(remote, address):
    assert web_address(remote) == address


@pytest.mark.parametrize(
    ("url", "repository", "colab"),
    [
        ("", False, False),
        ("https://gitlab.com/o/n", True, False),
        ("https://github.com/o/n", True, True),
    ],
)
def test_buttons_only_with_an_address_and_colab_only_on_github(tmp_path, url, repository, colab):
    config = type("Config", (), {"html_theme_options": {"repository_url": url}})
    add_buttons(type("App", (), {"srcdir": tmp_path}), config)
    options = config.html_theme_options
    assert options.get("use_repository_button", False) == repository
    assert bool(options.get("launch_buttons", {}).get("colab_url")) == colab


def test_setup_cell_finds_the_clone_it_is_in(tmp_path):
    """Run as it stands, in a folder below the repository's root."""
    source = chapters.code_cells(load("intro"))[0].source
    code = f"import json\n{source}\nprint(json.dumps([str(root), str(Path.cwd())]))"
    done = kernel.subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [str(ROOT), str(ROOT / "book")]
