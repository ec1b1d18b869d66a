"""The book's chapters as notebooks: each runs once, and again only when it has to.

    python -m book.tools.chapters         run the chapters whose outputs are out of date
    python -m book.tools.chapters lint    write their cells to _build/lint, for ruff

An executed chapter is kept as ``_build/executed/NAME.ipynb`` with the key it was
run under: a checksum of its code cells, of the package, of the shipped weights and
results, and of the pinned requirements. The site and the notebook tests read only
from there, so each chapter runs once for both, and never shows stale output.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
DATA_SETS = ("mnist", "cifar10")  # fetched before the first chapter runs
SECONDS_LIMIT = 180  # what a chapter may take on two cores; see tests/test_book.py
PATIENCE = 2  # a chapter is stopped only after this many times the limit: machines differ


class ChapterError(Exception):
    """A chapter that cannot be read or does not run; the message says which and why."""


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


def read(path: Path) -> NotebookNode:
    """A chapter's source as a notebook without outputs, read as the site reads it."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    extensions = set(config["parse"]["myst_enable_extensions"])
    return read_myst_markdown_notebook(
        path.read_text("utf-8"), MdParserConfig(enable_extensions=extensions), add_source_map=True
    )


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def key(path: Path) -> str:
    """Checksum of all that a chapter's outputs rest on."""
    digest = hashlib.sha256()
    cells = [(cell.source, _tags_for_running(cell)) for cell in code_cells(read(path))]
    digest.update(json.dumps([cells, sys.version_info[:2]]).encode())
    for file in (
        ROOT / "requirements.txt",
        *_files("book/tools", "live.py"),
        *_files("scorerep", ".py"),
        *_files("book/studies", ".py"),
        *_files("book/checkpoints"),
        *_files("book/results"),
    ):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(ROOT)} {content}\n".encode())
    return digest.hexdigest()


def _tags_for_running(cell: NotebookNode) -> list[str]:
    return sorted({"raises-exception", "skip-execution"} & set(cell.metadata.get("tags", [])))


def _files(folder: str, suffix: str = "") -> list[Path]:
    return sorted(
        file
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.name.endswith(suffix) and "__pycache__" not in file.parts
    )


def executed_file(path: Path) -> Path:
    return ROOT / "_build" / "executed" / f"{path.stem}.ipynb"


def executed(path: Path) -> NotebookNode | None:
    """The chapter with its outputs and ``metadata.scorerep.seconds``; None if out of date."""
    file = executed_file(path)
    if not file.exists():
        return None
    notebook = nbformat.read(file, as_version=4)
    return notebook if notebook.metadata.scorerep.key == key(path) else None


def environment() -> dict[str, str]:
    """What a kernel needs: the package of this repository, and the data whatever its folder is."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    data = ROOT / os.environ.get("SCOREREP_DATA", "data")
    # A page has no kernel to answer sliders: views that move show a still picture (figures.py).
    still = {"SCOREREP_STILL": "1"}
    return os.environ | still | {
        "PYTHONPATH": os.pathsep.join(paths), "SCOREREP_DATA": str(data)
    }  # fmt: skip


def run(path: Path) -> float:
    """Run a chapter in its own folder, keep the outputs, return the seconds it took.

    ``ChapterError`` if a cell fails or time is up, or if the sources change meanwhile; then
    nothing is kept, and the chapter runs again the next time.
    """
    notebook, before = read(path), key(path)
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: max(1, PATIENCE * SECONDS_LIMIT + start - time.perf_counter()),
        record_timing=False,
        store_widget_state=False,  # views are still pictures on a page (figures.live_view)
        extra_arguments=["--log-level=ERROR"],  # no word about its local sockets
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute(env=environment())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise ChapterError(f"{path.name} failed:\n{error}") from None
    seconds = time.perf_counter() - start
    if key(path) != before:
        raise ChapterError(f"{path.name}: files it rests on changed while it ran; run it again")
    notebook.metadata.scorerep = {"key": before, "seconds": round(seconds, 1)}
    file = executed_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(file)
    return seconds


def run_all() -> bool:
    """Run what is out of date, print the seconds of every chapter, say whether all went well."""
    due = [path for path in chapters() if executed(path) is None]
    if due and not get_data():
        return False
    failures = []
    for path in due:
        print(f"running {path.name} …", flush=True)
        try:
            run(path)
        except ChapterError as error:
            print(f"{error}\n", file=sys.stderr, flush=True)
            failures.append(path.name)
    print("seconds  chapter")
    for path in chapters():
        if notebook := executed(path):
            note = "" if path in due else "  (kept)"
            print(f"{notebook.metadata.scorerep.seconds:7.1f}  {path.stem}{note}")
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return not failures


def get_data() -> bool:
    """Have the package fetch and check the data sets; it says itself what is wrong."""
    return all(
        subprocess.run(
            [sys.executable, "-m", "scorerep", "data", name], cwd=ROOT, env=environment()
        ).returncode == 0
        for name in DATA_SETS
    )  # fmt: skip


def write_cells():
    """Every chapter as ``_build/lint/NAME.ipynb`` without outputs: ruff reads notebooks."""
    folder = ROOT / "_build" / "lint"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        old.unlink()
    for path in chapters():
        nbformat.write(read(path), folder / f"{path.stem}.ipynb")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["lint"]:
            write_cells()
        elif not run_all():
            sys.exit(1)
    except ChapterError as error:
        sys.exit(str(error))
