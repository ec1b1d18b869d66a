"""The README says what the book holds, its code runs as pasted, and what it names is there."""

import re
import subprocess
import sys

import pytest

from book.tools import chapters, readme

TEXT = readme.README.read_text("utf-8")


def test_readme_is_in_step_with_claims_chapters_and_tables():
    assert readme.written(TEXT) == TEXT, "make notebooks"


def test_code_runs_as_pasted():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    check = (
        "assert again.shape == images.shape and bool(again.isfinite().all()) and z.shape[1] == 2"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        cwd=chapters.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_links_folders_and_commands_lead_to_what_is_there():
    for link in re.findall(r"\]\(((?:book|scorerep|tests)/[^)#]*)\)", TEXT):
        assert (chapters.ROOT / link).exists(), link
    for folder in re.findall(r"^\| `([\w/]+/)` \|", TEXT, re.MULTILINE):
        assert (chapters.ROOT / folder).is_dir(), folder
    for module in re.findall(r"python -m ([\w.]+)", TEXT):
        path = chapters.ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    targets = re.findall(r"^([a-z-]+):", (chapters.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE)) <= set(targets)


PAGE = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
scorerep: {weights: [], tables: [kept]}
---

# Page
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one page, which reads the table of one study."""
    for name in ("results", "studies"):
        (tmp_path / "book" / name).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    (tmp_path / "book/page.md").write_text(PAGE)
    (tmp_path / "book/studies/kept.py").write_text(
        '"""What is kept.\n\n    python -m book.studies.kept\n\nwrites results/kept.csv."""\n'
    )
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    return tmp_path / "book"


def test_table_that_no_study_makes_is_an_error(book):
    (book / "results/lost.csv").write_text("a\n1\n")
    with pytest.raises(chapters.ChapterError, match="no study says that it makes results/lost.csv"):
        readme.tables()
    (book / "results/lost.csv").rename(book / "results/kept.csv")
    row = "| What is kept | `python -m book.studies.kept` | [kept](book/results/kept.csv) | – |"
    assert f"{row} [page](book/page.md) |" in readme.tables()


def test_hours_are_the_study_s_own_where_its_table_has_no_seconds(book):
    (book / "results/kept.csv").write_text("a\n1\n")
    with open(book / "studies/kept.py", "a") as file:
        file.write("HOURS = 0.34  # measured\n")
    assert "| 0.3 | [page](book/page.md) |" in readme.tables()
    (book / "page.md").write_text(PAGE.replace("[kept]", "[]"))
    assert "| 0.3 | – |" in readme.tables()


def test_hours_of_tables_are_sums_over_runs_of_the_core_and_of_the_clock(book):
    # Rows of a run count on: 2 h and 1 h, not 3.5; of what a run did not time, nothing.
    runs = "run,seed,core_seconds\na,0,1800\na,0,7200\na,1,3600\nb,0,\n"
    (book / "results/runs.csv").write_text(runs)
    (book / "results/burden_seeds.csv").write_text("quantity,value\nseconds,1800\nconstant,9e9\n")
    (book / "results/floors.csv").write_text("seconds\n20\n30\n")
    (book / "results/untimed.csv").write_text("seconds\n3600\n")
    assert readme.hours(["runs"]) == readme.hours(["runs", "untimed"], stated=7.0) == "3.0"
    assert readme.hours(["burden_seeds"]) == "0.5 (clock)"  # the seeds of the plan, as the first
    assert readme.hours(["burden_seeds", "runs"]) == "3.0 + 0.5 (clock)"
    assert readme.hours(["floors"]) == "< 0.1"
    assert readme.hours(["untimed"]) == "–"


def test_every_table_with_seconds_is_summed():
    files = (chapters.ROOT / "book/results").glob("*.csv")
    timed = {file.stem for file in files if "seconds" in file.read_text("utf-8").split("\n")[0]}
    assert not readme.CORE.keys() & readme.CLOCK.keys()
    steps = {"recipe_quality_steps"}  # seconds of one step; how many were measured is not known
    assert {re.sub("_(seeds|long)$", "", name) for name in timed - steps} <= (
        readme.CORE.keys() | readme.CLOCK.keys()
    )


def test_commands_of_studies_have_their_words():
    """As in the first line of the docstring: without a part these two would do nothing."""
    assert "`python -m book.studies.burden lambda sigma_max`" in readme.tables()
    assert "`python -m book.studies.using_codes prior swap edit`" in readme.tables()


def test_all_but_four_studies_know_their_hours_and_every_row_its_chapters():
    rows = [row.strip("| ").split(" | ") for row in readme.tables().splitlines()[2:]]
    untimed = {re.search(r"studies\.(\w+)", row[1])[1] for row in rows if row[3] == "–"}
    assert untimed <= {"diversity", "features", "level_codes", "pairs"}  # nobody noted a time
    named = {
        path.stem: chapters.read(path).metadata["scorerep"].get("tables", [])
        for path in chapters.chapters()
    }
    for _, _, tables, _, pages in rows:
        made = set(re.findall(r"\[([\w-]+)\]", tables))
        assert set(re.findall(r"\[(\w+)\]", pages)) == {
            page for page, read in named.items() if made & set(read)
        }
        assert "](" in pages or pages == "–"
