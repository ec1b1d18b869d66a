"""The chapters ran with the outputs on record; and the checks themselves can fail."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import psutil
import pytest
from nbformat.v4 import new_code_cell

from book.tools import chapters, contents, references
from book.tools.chapters import due, running
from book.tools.sphinx import figure_lists

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
        ("x = np.random.default_rng(0)", False),
        ("np.random.shuffle(x)", True),
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
def test_what_the_chapters_cost_is_on_record_in_processor_seconds():
    ran = {path.stem: kept.metadata.run for path in CHAPTERS if (kept := chapters.executed(path))}
    assert all(0 < cost.processor_seconds for cost in ran.values()), ran
    for line in due.report(CHAPTERS, [])[len(ran) + 1 :]:
        warnings.warn(line, stacklevel=1)


@pytest.mark.book
@by_chapter
def test_header_names_the_weights_and_tables_that_the_chapter_read(path):
    if notebook := chapters.executed(path):
        assert notebook.metadata.run.get("unnamed", []) == []


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


# The machinery, on a book of two chapters

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---
"""
CHAPTER = f"""{HEADER}# One

```{{code-cell}} ipython3
:tags: [nbval-check-output]
import scorerep
print("value", scorerep.VALUE)
```
"""
OTHER = f"""{HEADER}# Two

```{{code-cell}} ipython3
print("other")
```
"""


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A package, two chapters and a table of contents in a folder of their own."""
    files = {
        "scorerep/__init__.py": "VALUE = 1.25\n",
        "requirements.txt": "",
        "_config.yml": "parse:\n  myst_enable_extensions: [dollarmath]\n",
        "_toc.yml": "format: jb-book\nroot: book/one\nchapters: [{file: book/two}]\n",
        "book/one.md": CHAPTER,
        "book/two.md": OTHER,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(due, "get_data", lambda names: True)
    monkeypatch.setattr(references, "GOLDEN", tmp_path / "golden")
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def ran(out: str) -> list[str]:
    """The chapters that a run says it ran."""
    return re.findall(r"^\[\d/\d\] (\w+) … \d+ s", out, re.MULTILINE)


def test_chapter_runs_once_and_again_only_after_a_change(small_book, capfd):
    path = small_book / "book/one.md"
    assert due.run_all() and ran(capfd.readouterr().out) == ["one", "two"]
    assert references.outputs(path) == {next(iter(references.outputs(path))): ["value 1.25"]}
    assert due.run_all() and capfd.readouterr().out.count("(kept)") == 2

    path.write_text(CHAPTER.replace("# One", "# Other prose, same code"))
    assert chapters.executed(path) is not None
    (small_book / "scorerep/__init__.py").write_text("VALUE = 1.5\n")
    assert due.run_all() and ran(capfd.readouterr().out) == ["one"]  # two never imports it
    (small_book / "requirements.txt").write_text("numpy==2\n")
    assert chapters.executed(path) is None


def test_file_that_was_read_counts_even_if_the_header_does_not_name_it(small_book):
    path, table = small_book / "book/two.md", small_book / "book/results/table.csv"
    table.parent.mkdir()
    table.write_text("a\n1\n")
    table.with_name("other.csv").write_text("a\n1\n")
    code = (
        'import pathlib\nname = "table"\nprint(pathlib.Path("results", f"{name}.csv").read_text())'
    )
    header = HEADER.replace("jupytext:", "scorerep: {weights: [], tables: []}\njupytext:")
    path.write_text(OTHER.replace(HEADER, header).replace('print("other")', code))
    chapters.run(path)
    assert chapters.executed(path).metadata.run.unnamed == ["book/results/table.csv"]
    table.with_name("other.csv").write_text("a\n2\n")
    assert chapters.executed(path) is not None
    table.write_text("a\n2\n")
    assert chapters.executed(path) is None
    table.unlink()
    assert chapters.executed(path) is None


def test_named_chapters_run_and_other_names_are_an_error(small_book, capfd):
    assert due.run_all(["two"]) and ran(capfd.readouterr().out) == ["two"]
    assert due.run_all(["two"]) and ran(capfd.readouterr().out) == []
    assert due.run_all(["two"], again=True) and ran(capfd.readouterr().out) == ["two"]
    with pytest.raises(chapters.ChapterError, match="called 'tow': did you mean two"):
        due.run_all(["tow"])


def test_changed_library_makes_a_chapter_test_fail(small_book):
    path = small_book / "book/one.md"
    chapters.run(path)
    chapters.run(small_book / "book/two.md")
    references.renew()
    cell = references.checked_cells(path)[0]
    test_output_equals_its_reference(path, cell)
    (small_book / "scorerep/__init__.py").write_text("VALUE = 1.5\n")
    with pytest.raises(chapters.ChapterError, match="has not run"):
        references.outputs(path)
    chapters.run(path)
    with pytest.raises(AssertionError, match="'value 1.5' where the reference has 'value 1.25'"):
        test_output_equals_its_reference(path, cell)


def test_only_references_that_do_not_agree_are_written_anew(small_book, capsys):
    path = small_book / "book/one.md"
    text = CHAPTER.replace('print("value', 'print("nothing", 12)\nprint("value')
    path.write_text(text + CHAPTER.removeprefix(HEADER).replace('"value",', '"twice", 2 *'))
    for chapter in chapters.chapters():
        chapters.run(chapter)
    references.renew()
    (first, second) = (references.cell_key(cell) for cell in references.checked_cells(path))
    file = references.reference_file(path)

    def alter(key, old, new):
        table = json.loads(file.read_text())
        table[key]["output"] = [line.replace(old, new) for line in table[key]["output"]]
        file.write_text(json.dumps(table))

    alter(first, "1.25", "1.251")  # of another machine: agrees
    alter(second, "2.5", "3.5")
    capsys.readouterr()
    references.renew()
    assert "one: 1 of 2 references are new" in capsys.readouterr().out
    assert references.references(path)[first]["output"] == ["nothing 12", "value 1.251"]
    assert references.references(path)[second]["output"] == ["twice 2.5"]
    before = file.stat().st_mtime_ns
    references.renew()
    assert file.stat().st_mtime_ns == before

    path.write_text(text.replace("[nbval-check-output]", "[]"))
    chapters.run(path)
    references.renew()
    assert not file.exists()


@pytest.mark.slow
def test_wrong_factor_in_the_library_makes_a_chapters_test_fail(small_book, monkeypatch):
    """The real library, one factor of it changed, under a real chapter and its references."""
    factor = "return (weights * guidance.square()"
    for name in ("_config.yml", "requirements.txt", "book/intro.md"):
        (small_book / name).write_bytes((REPOSITORY / name).read_bytes())
    shutil.copytree(REPOSITORY / "scorerep", small_book / "scorerep", dirs_exist_ok=True)
    (mixture,) = (
        file
        for file in (small_book / "scorerep").rglob("*.py")
        if factor in file.read_text("utf-8")
    )
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


def test_failing_cell_is_shown_and_its_error_is_kept_for_the_page(small_book, capfd):
    path = small_book / "book/one.md"
    path.write_text(CHAPTER.replace("print", "print('before'); print").replace("VALUE", "MISSING"))
    for _ in range(2):
        assert not due.run_all()
        seen = capfd.readouterr()
        assert "no attribute 'MISSING'" in seen.err and "failed: one.md" in seen.err
        assert "\x1b[" not in seen.err
        assert chapters.executed(path) is None
    assert chapters.executed(small_book / "book/two.md") is not None
    kept = chapters.failed(path)
    assert "no attribute 'MISSING'" in kept.metadata.run.error
    assert chapters.code_cells(kept)[0].outputs[0].text == "before\n"
    path.write_text(CHAPTER)
    assert chapters.failed(path) is None  # of other code
    chapters.run(path)
    assert not chapters.failed_file(path).exists()


def test_code_cells_without_a_jupytext_header_are_an_error(small_book):
    (small_book / "book/one.md").write_text("# One\n\n```{code-cell}\n1 + 1\n```\n")
    with pytest.raises(chapters.ChapterError, match="no jupytext header"):
        chapters.chapters()


# Slow is not broken, a hanging kernel is


def test_only_a_kernel_that_does_nothing_is_silent():
    watch = running.Watch(now=0.0)
    assert watch.silence(10.0, processor_seconds=0.5, sent=0) == 10.0  # hardly any work
    assert watch.silence(20.0, processor_seconds=1.2, sent=0) == 0.0  # slow, but it computes
    assert watch.silence(29.0, processor_seconds=1.9, sent=0) == 9.0
    assert watch.silence(30.0, processor_seconds=1.9, sent=1) == 0.0  # it printed
    assert watch.silence(90.0, processor_seconds=2.0, sent=1) == 60.0


def test_chapter_that_hangs_is_stopped_and_its_cell_named(small_book, monkeypatch):
    path, started = small_book / "book/two.md", small_book / "started"
    sleep = f"import time\nopen({str(started)!r}, 'w').close()\ntime.sleep(3600)"
    path.write_text(OTHER.replace('print("other")', sleep))

    class Watch(running.Watch):  # half an hour goes by in a moment
        def silence(self, *seen):
            return math.inf if started.exists() else super().silence(*seen)

    monkeypatch.setattr(running, "Watch", Watch)
    with pytest.raises(chapters.ChapterError, match="nothing for 30 min.* begins 'import time'"):
        chapters.run(path)
    assert "said nothing" in chapters.failed(path).metadata.run.error


def test_kernel_that_dies_is_told(small_book):
    path = small_book / "book/two.md"
    path.write_text(OTHER.replace('print("other")', "import os\nos._exit(1)"))
    with pytest.raises(chapters.ChapterError, match="two.md failed: the kernel died"):
        chapters.run(path)


def test_processor_seconds_are_those_of_the_kernel_and_not_of_the_clock(small_book):
    path = small_book / "book/two.md"
    work = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 1: pass"
    path.write_text(OTHER.replace('print("other")', f"{work}\ntime.sleep(2)"))
    cost = chapters.run(path)
    assert cost["processor_seconds"] >= 1 and cost["seconds"] >= 3
    assert cost["processor_seconds"] < cost["seconds"] - 1


def test_another_kernel_called_python3_is_not_used(small_book, tmp_path, monkeypatch):
    folder = tmp_path / "jupyter/kernels/python3"
    folder.mkdir(parents=True)
    wrong = {"argv": ["/bin/false", "{connection_file}"], "display_name": "wrong"}
    (folder / "kernel.json").write_text(json.dumps(wrong | {"language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = small_book / "book/two.md"
    path.write_text(OTHER.replace('print("other")', "import sys; print(sys.executable)"))
    chapters.run(path)
    assert list(references.outputs(path).values()) == [[sys.executable]]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_in_one_line_and_what_has_run_is_kept(small_book, number, status):
    started = small_book / "started"
    text = f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(3600)"
    (small_book / "book/two.md").write_text(OTHER.replace('print("other")', text))
    code = (
        "import pathlib, sys; from book.tools import chapters; from book.tools.chapters import due;"
        "chapters.ROOT = pathlib.Path(sys.argv[1]); due.get_data = lambda names: True;"
        "due.command(lambda: due.run_all())"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, small_book], cwd=REPOSITORY, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while not (started.exists() and started.read_text()):
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    child.send_signal(number)
    out, err = child.communicate()
    assert child.returncode == status
    assert err.strip() == f"Stopped by {number.name}; the chapters that have run are kept."
    assert "[2/2] two …" in out and chapters.executed(small_book / "book/one.md") is not None
    assert not psutil.pid_exists(int(started.read_text()))  # the kernel is gone, too
    assert not list((small_book / "_build/executed").glob("*.part"))


def test_time_left_is_told_from_the_last_run_at_the_pace_of_this_one():
    assert due.seconds_left([10, 20, 30], [20]) == pytest.approx(100)
    assert due.seconds_left([None, None, None], [4]) == pytest.approx(8)
    assert due.seconds_left([10, None, 30], [10]) == pytest.approx(20 + 30)
    assert due.seconds_left([None, 5], [None]) == pytest.approx(5)  # the first one failed
    assert due.seconds_left([None, None], [None]) is None
    assert [due.words(s) for s in (41, 354, 7000)] == ["41 s", "6 min", "1.9 h"]


def test_last_time_and_costly_chapters_are_reported(small_book, monkeypatch, capfd):
    due.run_all()
    capfd.readouterr()
    monkeypatch.setattr(due, "PROCESSOR_SECONDS", 0)
    assert due.run_all(again=True)  # a costly chapter is no failure
    seen = capfd.readouterr().out
    assert re.search(r"^\[1/2\] one … \d+ s \(last time \d+ s, about \d+ s left\)$", seen, re.M)
    assert re.search(r"^more than 0 processor seconds: one \(\d+\), two \(\d+\)$", seen, re.M)


def test_first_run_tells_the_time_from_what_chapters_cost_elsewhere(small_book, monkeypatch, capfd):
    monkeypatch.setattr(due, "SECONDS", small_book / "seconds.json")
    due.SECONDS.write_text('{"one": 100, "two": 500, "gone": 900}')
    assert due.run_all()
    seen = capfd.readouterr().out
    assert seen.startswith("2 chapters to run: about 10 min\n[1/2] one …")
    assert re.search(r"^\[1/2\] one … \d+ s \(about [\d.]+ \w+ left\)$", seen, re.M)
    assert "last time" not in seen

    due.note_seconds()
    costs = {name: chapters.executed(small_book / f"book/{name}.md").metadata.run.processor_seconds
             for name in ("one", "two")}  # fmt: skip
    assert due.usual_seconds() == costs and "2 chapters" in capfd.readouterr().out
    near = {name: round(cost * 1.4, 2) for name, cost in costs.items()}
    due.SECONDS.write_text(json.dumps(near))
    (small_book / "book/two.md").write_text(OTHER.replace("other", "another"))  # has not run
    due.note_seconds()
    assert due.usual_seconds() == near and capfd.readouterr().out == ""
    due.SECONDS.unlink()
    assert due.run_all() and "1 chapter to run: about" in capfd.readouterr().out


def test_what_each_chapter_costs_is_shipped():
    seconds = due.usual_seconds()
    assert set(seconds) == {path.stem for path in CHAPTERS}, "make golden"
    assert all(0 < cost < 10 * due.PROCESSOR_SECONDS for cost in seconds.values())


def test_template_of_a_chapter_runs_and_has_what_a_chapter_needs(small_book, monkeypatch):
    path = small_book / "book/one.md"
    template = REPOSITORY / "book/tools/chapters/template.md"
    path.write_text(template.read_text("utf-8"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    shutil.rmtree(small_book / "scorerep")
    (small_book / "scorerep").symlink_to(REPOSITORY / "scorerep")
    assert due.run_all(["one"])
    (cell,) = references.checked_cells(path)
    lines = references.outputs(path)[references.cell_key(cell)]
    assert len(lines) == 4 and lines[0].startswith("τ = 0.1: squared error 0.0")
    assert contents.question(path).endswith("sentences?")
    assert list(figure_lists.figures()) == ["fig-template"]
