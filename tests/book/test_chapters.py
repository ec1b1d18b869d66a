"""The chapters ran, in time, with the outputs on record; and the checks themselves can fail."""

import shutil
import warnings

import pytest
from nbformat.v4 import new_code_cell

from book.tools import chapters, references

REPOSITORY = chapters.ROOT
CHAPTERS = chapters.chapters()
CELLS = [
    pytest.param(path, cell, id=f"{path.stem}: {references.last_line(cell)[:50]}")
    for path in CHAPTERS
    for cell in references.checked_cells(path)
]
by_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


# The chapters, as `make chapters` left them


@pytest.mark.book
@by_chapter
def test_chapter_ran_as_it_stands(path):
    assert chapters.executed(path) is not None, f"{path.name} failed or is out of date"


@pytest.mark.book
@pytest.mark.parametrize(("path", "cell"), CELLS)
def test_output_equals_its_reference(path, cell):
    reference = references.references(path).get(references.cell_key(cell))
    assert reference is not None, "no reference is stored for this code: make golden"
    output = references.outputs(path)[references.cell_key(cell)]
    assert not references.differences(reference["output"], output, cell.metadata.get("tolerance"))


@by_chapter
def test_random_and_time_dependent_outputs_are_marked(path):
    for cell in chapters.code_cells(chapters.read(path)):
        tags = cell.metadata.get("tags", [])
        assert not {references.TAG, references.IGNORED} <= set(tags)
        if references.varies(cell):
            assert references.IGNORED in tags, references.last_line(cell)


@pytest.mark.parametrize(
    ("code", "varies"),
    [
        ("start = time.perf_counter()", True),
        ("print(torch.__version__)", True),
        ("x = np.random.default_rng()", True),
        ("print(os.cpu_count(), platform.machine())", True),
        ("x = torch.randn(3, generator=torch.Generator().manual_seed(0))", False),
        ("card['seconds']", False),
    ],
)
def test_what_varies_is_seen_in_the_code(code, varies):
    assert references.varies(new_code_cell(code)) == varies


@by_chapter
def test_no_reference_is_left_over(path):
    kept = {references.cell_key(cell) for cell in references.checked_cells(path)}
    assert set(references.references(path)) <= kept, (
        "references of cells that are gone: make golden"
    )


@pytest.mark.book
@by_chapter
def test_chapter_takes_three_minutes_at_most(path):
    notebook = chapters.executed(path)
    if notebook is None:
        pytest.skip("has not run")
    seconds = notebook.metadata.scorerep.seconds
    if seconds > chapters.SECONDS_LIMIT:
        warnings.warn(f"{path.name} took {seconds:.0f} s", stacklevel=1)
    assert seconds < 1.25 * chapters.SECONDS_LIMIT  # a busy machine is not a slow chapter


@pytest.mark.book
def test_chapters_take_45_seconds_on_average():
    ran = [notebook for path in CHAPTERS if (notebook := chapters.executed(path))]
    mean = sum(notebook.metadata.scorerep.seconds for notebook in ran) / max(len(ran), 1)
    if mean > 45:
        warnings.warn(f"the chapters take {mean:.0f} s on average, should be 45", stacklevel=1)
    assert mean < 90


# The comparison with references


@pytest.mark.parametrize(
    ("reference", "output", "tolerance"),
    [
        ("loss 0.512 after 100 steps", "loss 0.514 after 100 steps", None),
        ("kNN 0.91", "kNN 0.90", None),  # one unit of the last digit
        ("1.5e-03", "1.51e-03", None),
        ("−2.30", "-2.31", None),
        ("gap 12 images", "gap 13 images", 0.1),
        ("mean 0.0000", "mean -0.0001", None),
    ],
)
def test_numbers_agree_within_tolerance(reference, output, tolerance):
    assert references.differences([reference], [output], tolerance) == []


@pytest.mark.parametrize(
    ("reference", "output", "tolerance"),
    [
        ("loss 0.512", "loss 0.530", None),
        ("100 steps", "101 steps", None),
        ("loss 0.512", "cost 0.512", None),
        ("2.30", "-2.30", None),
        ("loss 0.512", "loss nan", None),
        ("0.512", "0.600", 0.1),
        ("1.5e-03", "1.5e-02", None),
        ("VESDE2", "VESDE3", None),  # a digit in a name is part of the name
    ],
)
def test_other_words_and_numbers_are_differences(reference, output, tolerance):
    assert len(references.differences([reference], [output], tolerance)) == 1


def test_missing_line_is_a_difference():
    assert references.differences(["a", "b"], ["a"], None)


# The machinery, on a book of one chapter

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---
# One

```{code-cell} ipython3
:tags: [nbval-check-output]
import scorerep
print("value", scorerep.VALUE)
```
"""


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A package, a chapter and a table of contents in a folder of their own."""
    files = {
        "scorerep/__init__.py": "VALUE = 1.25\n",
        "requirements.txt": "",
        "_config.yml": "parse:\n  myst_enable_extensions: [dollarmath]\n",
        "_toc.yml": "format: jb-book\nroot: book/one\n",
        "book/one.md": CHAPTER,
        "book/checkpoints/small/card.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(chapters, "get_data", lambda: True)
    monkeypatch.setattr(references, "GOLDEN", tmp_path / "golden")
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def test_chapter_runs_once_and_again_only_after_a_change(small_book, capfd):
    path = small_book / "book/one.md"
    assert chapters.run_all()
    assert references.outputs(path) == {next(iter(references.outputs(path))): ["value 1.25"]}
    assert chapters.run_all() and "(kept)" in capfd.readouterr().out

    path.write_text(CHAPTER.replace("# One", "# Other prose, same code"))
    assert chapters.executed(path) is not None
    for name in ("scorerep/new.py", "book/checkpoints/small/card.json", "book/results/table.csv",
                 "requirements.txt"):  # fmt: skip
        file = small_book / name
        before = file.read_text() if file.exists() else None
        file.parent.mkdir(exist_ok=True)
        file.write_text("# changed\n")
        assert chapters.executed(path) is None, name
        file.unlink() if before is None else file.write_text(before)
        assert chapters.executed(path) is not None, name


def test_changed_library_makes_a_chapter_test_fail(small_book):
    path = small_book / "book/one.md"
    chapters.run(path)
    references.renew()
    cell = references.checked_cells(path)[0]
    test_output_equals_its_reference(path, cell)
    (small_book / "scorerep/__init__.py").write_text("VALUE = 1.5\n")
    with pytest.raises(chapters.ChapterError, match="has not run"):
        references.outputs(path)
    chapters.run(path)
    with pytest.raises(AssertionError, match="'value 1.5' where the reference has 'value 1.25'"):
        test_output_equals_its_reference(path, cell)


@pytest.mark.slow
def test_wrong_factor_in_the_library_makes_a_chapters_test_fail(small_book, monkeypatch):
    """The real library, one factor of it changed, under a real chapter and its references."""
    factor = "return (weights * guidance.square()"
    for name in ("_config.yml", "requirements.txt", "book/intro.md"):
        (small_book / name).write_bytes((REPOSITORY / name).read_bytes())
    shutil.copytree(REPOSITORY / "scorerep", small_book / "scorerep", dirs_exist_ok=True)
    mixture = small_book / "scorerep/worlds/law.py"
    text = mixture.read_text("utf-8")
    assert text.count(factor) == 1
    mixture.write_text(text.replace(factor, factor.replace("(weights", "1.1 * (weights")), "utf-8")
    monkeypatch.setattr(references, "GOLDEN", REPOSITORY / "tests/book/golden")
    path = small_book / "book/intro.md"
    chapters.run(path)
    failed = []
    for cell in references.checked_cells(path):
        try:
            test_output_equals_its_reference(path, cell)
        except AssertionError as error:
            failed.append(str(error))
    assert len(failed) == 1 and "constant without code" in failed[0]


def test_failing_cell_is_shown_and_nothing_is_kept(small_book, capfd):
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("VALUE", "MISSING"))
    for _ in range(2):
        assert not chapters.run_all()
        assert "no attribute 'MISSING'" in capfd.readouterr().err
        assert chapters.executed(path) is None


def test_chapter_that_takes_too_long_is_stopped(small_book, monkeypatch):
    monkeypatch.setattr(chapters, "SECONDS_LIMIT", 1)
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("import scorerep", "import time, scorerep; time.sleep(60)"))
    with pytest.raises(chapters.ChapterError, match="one.md failed"):
        chapters.run(path)


def test_code_cells_without_a_jupytext_header_are_an_error(small_book):
    (small_book / "book/one.md").write_text("# One\n\n```{code-cell}\n1 + 1\n```\n")
    with pytest.raises(chapters.ChapterError, match="no jupytext header"):
        chapters.chapters()
