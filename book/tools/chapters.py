"""The book's chapters as notebooks: each runs once, and again only when it has to.

    python -m book.tools.chapters              run the chapters whose outputs are out of date
    python -m book.tools.chapters NAME...      of these; with --again, even if nothing changed
    python -m book.tools.chapters lint         write their cells to _build/lint, for ruff

An executed chapter is kept as ``_build/executed/NAME.ipynb`` with what it rested on: its code
cells, the modules that they reach, the weights and tables that they read (book/tools/reach.py),
the pinned requirements and Python. The site and the notebook tests read only from there, so each
chapter runs once for both, and never shows stale output. Of a chapter that failed,
``NAME.failed.ipynb`` keeps the outputs so far and the error, for its page.
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import nbformat
import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools import reach, running
from book.tools.running import Interrupted

ROOT = Path(__file__).resolve().parents[2]
DATA_SETS = ("mnist", "cifar10-part")  # checked before the first chapter that names them runs
PROCESSOR_SECONDS = 180  # what a chapter should cost; more is reported
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SIGNALS = {"SIGINT": 130, "SIGTERM": 143}  # exit statuses, as a shell has them


class ChapterError(Exception):
    """A chapter that cannot be read or does not run; the message says which and why."""


# Sources


def pages() -> list[Path]:
    """The source file of every page in _toc.yml, in order."""
    return [ROOT / f"{name}.md" for name in parse_toc_yaml(ROOT / "_toc.yml")]


def chapters() -> list[Path]:
    """The pages that hold code. ``ChapterError`` for code cells that would silently not run."""
    found = []
    for path in pages():
        text = path.read_text("utf-8")
        if is_myst_markdown_notebook(text):
            found.append(path)
        elif "{code-cell}" in text:
            raise ChapterError(f"{path.name} has code cells but no jupytext header to run them")
    return found


def named(names: Sequence[str]) -> list[Path]:
    """The chapters of these names, all if there are none; ``ChapterError`` for other names."""
    known = {path.stem: path for path in chapters()}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ChapterError(f"no chapter is called {name!r}: {hint}")
    return [path for name, path in known.items() if not names or name in names]


def read(path: Path) -> NotebookNode:
    """A chapter's source as a notebook without outputs, read as the site reads it."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    extensions = set(config["parse"]["myst_enable_extensions"])
    return read_myst_markdown_notebook(
        path.read_text("utf-8"), MdParserConfig(enable_extensions=extensions), add_source_map=True
    )


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# What outputs rest on


def basis(path: Path) -> dict[str, str]:
    """Name of all that a chapter's outputs rest on → checksum; ``ChapterError`` if unclear."""
    notebook = read(path)
    cells = [(cell.source, _tags_for_running(cell)) for cell in code_cells(notebook)]
    found = {
        "its cells": _checksum(cells),
        "requirements.txt": _checksum(reach.direct_pins(ROOT)),
        "Python": ".".join(map(str, sys.version_info[:2])),
    }
    try:
        header = dict(notebook.metadata.get("scorerep", {}))
        return found | reach.checksums(ROOT, source_of(notebook), header)
    except (ValueError, SyntaxError) as error:
        raise ChapterError(f"{path.name}: {error}") from None


def source_of(notebook: NotebookNode) -> str:
    """The code of all cells that run, as one text."""
    return "\n\n".join(cell.source for cell in code_cells(notebook))


def _checksum(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _tags_for_running(cell: NotebookNode) -> list[str]:
    return sorted({"raises-exception", "skip-execution"} & set(cell.metadata.get("tags", [])))


# Outputs


def executed_file(path: Path) -> Path:
    return ROOT / "_build" / "executed" / f"{path.stem}.ipynb"


def failed_file(path: Path) -> Path:
    return executed_file(path).with_suffix(".failed.ipynb")


def executed(path: Path) -> NotebookNode | None:
    """The chapter with its outputs, and in ``metadata.run`` its seconds; None if out of date."""
    return _if_current(executed_file(path), path)


def failed(path: Path) -> NotebookNode | None:
    """The chapter up to the cell that failed, with ``metadata.run.error``; None if it did not."""
    return _if_current(failed_file(path), path)


def _if_current(file: Path, path: Path) -> NotebookNode | None:
    if (notebook := _kept(file)) is None:
        return None
    stored, now = notebook.metadata.run.basis, basis(path)
    # Files that the run opened and the header does not name count all the same.
    opened = [ROOT / name for name in stored if name not in now and "/" in name]
    return notebook if stored == now | _checksums(opened) else None


def _checksums(files: Iterable[Path]) -> dict[str, str]:
    """Name → checksum of files, as ``basis`` has them."""
    return {
        file.relative_to(ROOT).as_posix(): reach.file_checksum(file) if file.is_file() else "gone"
        for file in files
    }


def _kept(file: Path) -> NotebookNode | None:
    notebook = nbformat.read(file, as_version=4) if file.exists() else None
    return notebook if notebook and "basis" in notebook.metadata.get("run", {}) else None


def _keep(notebook: NotebookNode, file: Path):
    """Write a notebook in one go: another process never reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, suffix=".part", delete=False
    ) as part:
        nbformat.write(notebook, part)
    Path(part.name).replace(file)


# Running


def environment() -> dict[str, str]:
    """What a kernel needs: the package of this repository, and the data whatever its folder is."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {
        "PYTHONPATH": os.pathsep.join(paths),
        "SCOREREP_DATA": str(ROOT / os.environ.get("SCOREREP_DATA", "data")),
        # On a page, pictures that move share one script and style (moving.py).
        "SCOREREP_PAGE": "1",
        # Threads that wait for work otherwise spin, and take the processor from those that have it.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    return os.environ | settings


def run(path: Path) -> dict[str, float]:
    """Run a chapter in its own folder and keep the outputs.

    Returns ``seconds`` of the clock and ``processor_seconds``. ``ChapterError`` if a cell fails or
    the kernel hangs: then the outputs so far are kept beside the error. The same, and nothing is
    kept, if the sources change meanwhile. ``Interrupted`` by a signal.
    """
    notebook, before = read(path), basis(path)
    folders = [ROOT / "book/checkpoints", ROOT / "book/results"]
    try:
        cost, opened = running.execute(notebook, path.parent, environment(), folders)
    except running.CellFailed as error:
        text = COLOUR.sub("", str(error))
        notebook.metadata.run = {"basis": before, "error": text}
        _keep(notebook, failed_file(path))
        raise ChapterError(f"{path.name} failed: {text}") from None
    if basis(path) != before:
        raise ChapterError(f"{path.name}: files it rests on changed while it ran; run it again")
    unnamed = {k: v for k, v in _checksums(opened).items() if k not in before}
    # A table that is still to come has no place in a header; it counts once it is there.
    there = [name for name in unnamed if (ROOT / name).exists()]
    notebook.metadata.run = {"basis": before | unnamed, "unnamed": there, **cost}
    _keep(notebook, executed_file(path))
    failed_file(path).unlink(missing_ok=True)
    return cost


def run_all(names: Sequence[str] = (), again: bool = False) -> bool:
    """Run what is out of date, print what every chapter took, say whether all went well.

    Args:
        names: of chapters; all of them if there are none.
        again: run also those whose outputs are in date.
    """
    paths = named(names)
    due = [path for path in paths if again or executed(path) is None]
    if due and not get_data(data_sets(due)):
        return False
    last = [_last_seconds(path) for path in due]
    took, failures = [], []
    for number, path in enumerate(due, start=1):
        progress = f"[{number}/{len(due)}] {path.stem} …"
        print(progress, end=" " if sys.stdout.isatty() else "\n", flush=True)
        try:
            took.append(run(path)["seconds"])
        except ChapterError as error:
            took.append(None)
            print("failed", flush=True)
            print(f"{error}\n", file=sys.stderr, flush=True)
            failures.append(path.name)
            continue
        said = words(took[-1])
        notes = [f"last time {words(last[number - 1])}"] if last[number - 1] else []
        if number < len(due) and (left := seconds_left(last, took)):
            notes.append(f"about {words(left)} left")
        said += f" ({', '.join(notes)})" if notes else ""
        print(said if sys.stdout.isatty() else f"{progress} {said}", flush=True)
    print("\n".join(report(paths, due)))
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return not failures


def seconds_left(last: Sequence[float | None], took: Sequence[float | None]) -> float | None:
    """What the chapters that are due still take, at the pace of those that have run.

    Args:
        last: seconds of each chapter the last time it ran, None if it never did.
        took: seconds of the first of them now, None for one that failed.
    """
    done = [(before, now) for before, now in zip(last, took, strict=False) if now]
    both = [(before, now) for before, now in done if before]
    pace = sum(now for _, now in both) / sum(before for before, _ in both) if both else 1.0
    guesses = [now for _, now in done] + [pace * before for before in last[len(took) :] if before]
    if not guesses:
        return None
    usual = sum(guesses) / len(guesses)
    return sum(pace * before if before else usual for before in last[len(took) :])


def words(seconds: float) -> str:
    """A time as one says it: 41 s, 6 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def report(paths: Iterable[Path], due: Iterable[Path]) -> list[str]:
    """Lines that say what chapters cost, and which cost more than a chapter should."""
    lines, long = ["seconds  processor  chapter"], []
    for path in paths:
        if notebook := executed(path):
            ran = notebook.metadata.run
            note = "" if path in due else "  (kept)"
            lines.append(f"{ran.seconds:7.1f} {ran.processor_seconds:10.1f}  {path.stem}{note}")
            if ran.processor_seconds > PROCESSOR_SECONDS:
                long.append(f"{path.stem} ({ran.processor_seconds:.0f})")
    if long:
        lines.append(f"more than {PROCESSOR_SECONDS} processor seconds: {', '.join(long)}")
    return lines


def _last_seconds(path: Path) -> float | None:
    """What a chapter took the last time, whether or not that is out of date."""
    notebook = _kept(executed_file(path))
    return notebook.metadata.run.seconds if notebook else None


def data_sets(paths: Iterable[Path]) -> list[str]:
    """The data sets that chapters name."""
    sources = [source_of(read(path)) for path in paths]
    return [name for name in DATA_SETS if any(f'"{name}"' in source for source in sources)]


def get_data(names: Sequence[str]) -> bool:
    """Have the package fetch and check data sets; it says itself what is wrong."""
    return all(
        subprocess.run(
            [sys.executable, "-m", "scorerep", "data", name],
            cwd=ROOT, env=environment(), start_new_session=True,
        ).returncode == 0
        for name in names
    )  # fmt: skip


def write_cells():
    """Every chapter as ``_build/lint/NAME.ipynb`` without outputs: ruff reads notebooks."""
    folder = ROOT / "_build" / "lint"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        old.unlink()
    for path in chapters():
        nbformat.write(read(path), folder / f"{path.stem}.ipynb")


# The command line


def command(main: Callable[[], bool]) -> NoReturn:
    """Run a command to its exit status; a ``ChapterError`` and a signal are one line each."""

    def stop(number: int, _frame):
        raise Interrupted(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(0 if main() else 1)
    except ChapterError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, Interrupted) as stopped:
        name = str(stopped) or "SIGINT"
        print(f"\nStopped by {name}; the chapters that have run are kept.", file=sys.stderr)
        sys.exit(SIGNALS[name])


def main() -> bool:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.chapters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a chapter, or lint")
    parser.add_argument("--again", action="store_true", help="run even what is in date")
    arguments = parser.parse_args()
    if arguments.names == ["lint"]:
        write_cells()
        return True
    return run_all(arguments.names, arguments.again)


if __name__ == "__main__":
    command(main)
