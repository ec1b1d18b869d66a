"""Pages get the outputs that are there, and say what is missing; nothing is built twice."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from jupyter_cache import get_cache

from book.tools import build_site, chapters
from book.tools.sphinx import outputs

REPOSITORY = chapters.ROOT
HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, name: python3}
---
"""


def page(title: str, code: str) -> str:
    return f"{HEADER}# {title}\n\n```{{code-cell}} ipython3\n{code}\n```\n"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Three chapters: one ran, one failed in its second line, one never ran."""
    for name, code in (("ran", "print(1)"), ("failed", "print(2)\n1 / 0"), ("new", "print(3)")):
        (tmp_path / "book").mkdir(exist_ok=True)
        (tmp_path / f"book/{name}.md").write_text(page(name, code))
    toc = "format: jb-book\nroot: book/ran\nchapters: [{file: book/failed}, {file: book/new}]\n"
    (tmp_path / "_toc.yml").write_text(toc)
    (tmp_path / "_config.yml").write_text("parse: {myst_enable_extensions: []}\n")
    (tmp_path / "requirements.txt").write_text("")
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    chapters.run(tmp_path / "book/ran.md")
    with pytest.raises(chapters.ChapterError):
        chapters.run(tmp_path / "book/failed.md")
    return tmp_path


def application(book):
    """What the extension needs of Sphinx."""
    config = SimpleNamespace(nb_execution_excludepatterns=[], nb_execution_cache_path="")
    found = {f"book/{name}" for name in ("ran", "failed", "new")}
    env = SimpleNamespace(docname="", found_docs=found)
    return SimpleNamespace(outdir=book / "_build/html", config=config, env=env)


def notice(app, name) -> str:
    """What a page says of itself below its title."""
    title = nodes.title("", name)
    section = nodes.section("", title, nodes.paragraph("", "Text"))
    app.env.docname = f"book/{name}"
    outputs.tell(app, nodes.document(None, None, "", section))
    assert section[0] is title and section[-1].astext() == "Text"
    return section[1].astext() if len(section) == 3 else ""


def test_cache_holds_what_ran_and_pages_say_what_is_missing(book):
    app = application(book)
    outputs.use_outputs(app, app.config)
    cache = get_cache(app.config.nb_execution_cache_path)
    held = {path.stem: cache.merge_match_into_notebook(chapters.read(path))[1].cells[-1].outputs
            for path in chapters.chapters()[:2]}  # fmt: skip
    assert held["ran"][0].text == "1\n" and held["failed"][0].text == "2\n"
    assert held["failed"][1].ename == "ZeroDivisionError"
    with pytest.raises(KeyError):
        cache.match_cache_notebook(chapters.read(book / "book/new.md"))
    assert app.config.nb_execution_excludepatterns == ["book/new.md"]  # Sphinx runs nothing itself

    assert notice(app, "ran") == ""
    assert "failed" in notice(app, "failed") and "ZeroDivisionError" in notice(app, "failed")
    assert "has not run" in notice(app, "new") and "make chapter NAME=new" in notice(app, "new")


def test_page_is_read_again_when_its_outputs_are_other_ones(book):
    app = application(book)
    changed = lambda: sorted(outputs.changed(app, app.env, set(), set(), set()))  # noqa: E731
    assert changed() == ["book/failed", "book/ran"]
    assert changed() == []
    chapters.run(book / "book/new.md")
    assert changed() == ["book/new"]


@pytest.fixture
def site(book, monkeypatch):
    """build_site, with a Sphinx that writes one file or finds a problem; the list of its runs."""
    runs = []
    names = {"BUILD": "", "HTML": "html", "FAILED": "html-failed", "DOCTREES": ".doctrees",
             "STAMP": "html-made-of"}  # fmt: skip
    for name, place in names.items():
        monkeypatch.setattr(build_site, name, book / "_build" / place)
    for assets in (build_site.explorer_assets, build_site.offline_assets):
        monkeypatch.setattr(assets, "gather", lambda: True)
    monkeypatch.setattr(build_site.explorer_assets, "WORK", book / "_build/explorer")
    monkeypatch.setattr(build_site.offline_assets, "WEB", book / "_build/web")

    def run_sphinx(work, strict):
        assert not runs or (book / "_build/html").exists()  # yesterday's is still there
        runs.append(strict)
        print("Sphinx is silent")
        (work / "_build/html").mkdir(parents=True)
        (work / "_build/html/index.html").write_text(f"site {len(runs)}")
        return list(site_problems)

    site_problems = []
    monkeypatch.setattr(build_site, "run_sphinx", run_sphinx)
    return SimpleNamespace(
        runs=runs,
        problems=site_problems,
        shown=lambda: (book / "_build/html/index.html").read_text(),
    )


@pytest.mark.slow
def test_plain_jupyter_book_builds_the_pages_with_what_has_run(book):
    shutil.copytree(
        REPOSITORY / "book/tools", book / "book/tools", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("_config.yml", "book/__init__.py", "book/references.bib"):
        shutil.copy(REPOSITORY / name, book / name)
    elsewhere = book / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", book, "-q"],
        cwd=elsewhere, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "without all their outputs" in done.stderr and "failed, new" in done.stderr
    shown = {
        name: re.sub(r"<[^>]*>", "", (book / f"_build/html/book/{name}.html").read_text("utf-8"))
        for name in ("ran", "failed", "new")
    }
    assert re.search(r"print\(1\)\s+1\s", shown["ran"])
    assert "ZeroDivisionError" in shown["failed"] and "make chapter NAME=new" in shown["new"]


def test_site_is_built_without_all_outputs_and_says_so(book, site, capsys):
    (problem,) = build_site.build()
    said = capsys.readouterr().out
    assert re.search(r"Building the site with Sphinx: .* minutes.*\nSphinx is silent", said)
    assert problem.endswith("as their pages say: failed.md, new.md")
    assert site.shown() == "site 1" and site.runs == [False]
    build_site.build()
    assert len(site.runs) == 2  # a site with a hole is never taken for a finished one


def test_nothing_is_built_twice_and_a_site_with_problems_replaces_none(book, site, capsys):
    (book / "book/failed.md").write_text(page("failed", "print(2)"))
    for path in chapters.chapters():
        chapters.run(path)
    assert build_site.build() == [] and site.runs == [True]
    capsys.readouterr()
    assert build_site.build() == [] and site.runs == [True]
    assert capsys.readouterr().out == "Nothing has changed since the site was built.\n"
    (book / "book/ran.md").write_text(page("ran", "print(1)") + "\nOther words.\n")
    site.problems.append("a warning")
    assert build_site.build() == ["a warning"] and len(site.runs) == 2
    assert site.shown() == "site 1"
    assert (book / "_build/html-failed/index.html").read_text() == "site 2"
    site.problems.clear()
    assert build_site.build() == [] and site.shown() == "site 3"
    assert not (book / "_build/html-failed").exists()
    assert not list((book / "_build").glob("site-*"))
