"""Run the book's chapters: each once, and again only when it has to.

    python -m book.tools.chapters              run the chapters whose outputs are out of date
    python -m book.tools.chapters NAME...      of these; with --again, even if nothing changed
    python -m book.tools.chapters lint         write their cells to _build/lint, for ruff

Executed chapters are kept in _build/executed.
"""

import argparse

import nbformat

from book.tools import chapters
from book.tools.chapters import due


def write_cells():
    """Every chapter as ``_build/lint/NAME.ipynb`` without outputs: ruff reads notebooks."""
    folder = chapters.ROOT / "_build" / "lint"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        old.unlink()
    for path in chapters.chapters():
        nbformat.write(chapters.read(path), folder / f"{path.stem}.ipynb")


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
    return due.run_all(arguments.names, arguments.again)


if __name__ == "__main__":
    due.command(main)
