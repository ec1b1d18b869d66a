"""The book's chapters as notebooks: their sources, what outputs rest on, the outputs.

An executed chapter is kept as ``_build/executed/NAME.ipynb`` with what it rested on: its code
cells, the modules that they reach, the weights and tables that they read (reach.py),
the pinned requirements and Python. The site and the notebook tests read only from there, so each
chapter runs once for both (due.py), and never shows stale output. Of a chapter that failed,
``NAME.failed.ipynb`` keeps the outputs so far and the error, for its page.
"""

import difflib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import nbformat
import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools.chapters import reach, running

ROOT = Path(__file__).resolve().parents[3]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


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


def last_seconds(path: Path) -> float | None:
    """What a chapter took the last time, whether or not that is out of date."""
    notebook = _kept(executed_file(path))
    return notebook.metadata.run.seconds if notebook else None
