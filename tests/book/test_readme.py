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


def test_table_that_no_study_makes_is_an_error(tmp_path, monkeypatch):
    for name in ("results", "studies"):
        (tmp_path / "book" / name).mkdir(parents=True)
    (tmp_path / "book/results/lost.csv").write_text("a\n1\n")
    (tmp_path / "book/studies/kept.py").write_text(
        '"""What is kept.\n\n    python -m book.studies.kept\n\nwrites results/kept.csv."""\n'
    )
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    with pytest.raises(chapters.ChapterError, match="no study says that it makes results/lost.csv"):
        readme.tables()
    (tmp_path / "book/results/lost.csv").rename(tmp_path / "book/results/kept.csv")
    row = "| What is kept | `python -m book.studies.kept` | [kept](book/results/kept.csv) |"
    assert row in readme.tables()
