"""The chapters as notebooks for Colab and other kernels, made from the text sources.

A notebook has the chapter's code unchanged, its text as plain Markdown, no outputs, and one
cell more: the first, which fetches the package and what it needs. The repository's address in
that cell is ``repository.url`` of _config.yml, else the one the notebooks already carry, else
git's remote. Never edit a notebook: edit the .md.
"""

import hashlib
import json
import re
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import chapters
from book.tools.chapters import ChapterError
from book.tools.notebooks.labels import Labels
from book.tools.notebooks.text import plain, reference_list
from book.tools.sphinx.repository import remote_address

GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com/github"
HINT = (
    "The next cell makes this notebook run, on Colab or elsewhere: it fetches the book's package "
    "and installs what the kernel lacks. It is not part of the chapter."
)
SETUP = """\
# @title Run this first: the book's package, weights and data
REPOSITORY = "{address}"
{budget}
import subprocess
import sys
from pathlib import Path

here = Path.cwd()
known = [p for p in (here, *here.parents) if (p / "scorerep/runs/fit.py").exists()]
root = known[0] if known else here / "scorerep-book"
if not root.exists():
    if not REPOSITORY:
        raise RuntimeError("Set REPOSITORY to the address of the book's repository.")
    clone = ["git", "clone", "--quiet", "--depth=1", REPOSITORY, str(root)]
    subprocess.run(clone, check=True)
sys.path.insert(0, str(root))

from book.tools import kernel

kernel.prepare(root{arguments})"""
FOLDERS = {"weights": ("checkpoints", ""), "tables": ("results", ".csv")}
BUDGET = (
    'BUDGET = "book"  # "paper": first train this chapter\'s weights as in the paper, for hours'
)


def file_of(path: Path) -> Path:
    return path.parent / "notebooks" / f"{path.stem}.ipynb"


def weights_of(path: Path) -> list[str]:
    """The weights that a chapter may train anew: those of its header, unless that says otherwise.

    ``ChapterError`` for a header without ``scorerep``, or with names of nothing.
    """
    header = chapters.read(path).metadata.get("scorerep")
    known = {*FOLDERS, "retrain", "numbers"}
    if not isinstance(header, dict) or (unknown := set(header) - known):
        raise ChapterError(
            f"{path.name}: its header needs a line like scorerep: {{weights: [fig3], tables: []}}"
            + (f", and {', '.join(sorted(unknown))} means nothing" if header else "")
        )
    for key, (folder, suffix) in FOLDERS.items():
        for name in header.get(key, []):
            if not (chapters.ROOT / "book" / folder / f"{name}{suffix}").exists():
                raise ChapterError(f"{path.name}: its header names {name}, not in book/{folder}")
    return list(header.get("weights", [])) if header.get("retrain", True) else []


def configured() -> dict:
    config = yaml.safe_load((chapters.ROOT / "_config.yml").read_text("utf-8"))
    return config.get("repository", {})


def carried() -> str:
    """The address that the notebooks at hand have in their first cell; "" if none."""
    for path in chapters.chapters():
        if file_of(path).exists():
            match = re.search(r'REPOSITORY = \\"(\S+?)\\"', file_of(path).read_text("utf-8"))
            if match:
                return match[1]
    return ""


def address() -> str:
    """The repository's web address; "" where nobody has said it yet."""
    return configured().get("url") or carried() or remote_address(chapters.ROOT) or ""


def notebook(path: Path, labels: Labels, address: str) -> NotebookNode:
    """A chapter as a notebook; ``ChapterError`` names the file for what cannot be converted."""
    branch = configured().get("branch", "main")
    labels.link, labels.picture = "{}.ipynb".format, "../{}".format
    if address.startswith(GITHUB):  # Colab follows no relative links
        name = address.removeprefix(GITHUB)
        labels.link = f"{COLAB}/{name}/blob/{branch}/book/notebooks/{{}}.ipynb".format
        labels.picture = f"{address}/raw/{branch}/book/{{}}".format
    source, cells = chapters.read(path), []
    try:
        for cell in source.cells:
            if cell.cell_type == "code":
                if not any(known.cell_type == "code" for known in cells):
                    cells += [new_markdown_cell(HINT), _setup_cell(path, address)]
                cells.append(_code_cell(cell))
                cells += _caption(cell, labels, path.stem)
            elif text := plain(cell.source, labels, path.stem).strip():
                cells.append(new_markdown_cell(text))
        if works := reference_list(path.read_text("utf-8"), labels):
            cells.append(new_markdown_cell(works))
    except ChapterError as error:
        raise ChapterError(f"{path.name}: {error}") from None
    _set_ids(cells)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    metadata["colab"] = {"provenance": [], "toc_visible": True, **source.metadata.get("colab", {})}
    if "accelerator" in source.metadata:
        metadata["accelerator"] = source.metadata["accelerator"]
    made = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(made)
    return made


def _setup_cell(path: Path, address: str) -> NotebookNode:
    weights = weights_of(path)
    budget = f"{BUDGET}\n" if weights else ""
    arguments = f", BUDGET, {json.dumps(weights)}" if weights else ""
    return new_code_cell(SETUP.format(address=address, budget=budget, arguments=arguments))


def _code_cell(cell: NotebookNode) -> NotebookNode:
    tags = cell.metadata.get("tags", [])
    return new_code_cell(cell.source, metadata={"tags": tags} if tags else {})


def _caption(cell: NotebookNode, labels: Labels, page: str) -> list[NotebookNode]:
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if "caption" not in figure:
        return []
    number = labels.words.get(figure.get("name"), "Figure")
    return [new_markdown_cell(f"**{number}.** {plain(figure['caption'], labels, page).strip()}")]


def _set_ids(cells: list[NotebookNode]):
    """Ids by content, so that a change of one cell leaves the others' lines alone."""
    seen = set()
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type} {cell.source}".encode()).hexdigest()[:8]
        number, name = 1, digest
        while name in seen:
            number, name = number + 1, f"{digest}-{number + 1}"
        seen.add(name)
        cell.id = name


def texts(address: str) -> dict[Path, str]:
    """Notebook file → its content, for every chapter."""
    labels = Labels.of_book()
    return {
        file_of(path): nbformat.writes(notebook(path, labels, address)) + "\n"
        for path in chapters.chapters()
    }


def out_of_step() -> list[Path]:
    """Notebooks that are not what the sources give: changed, missing, or left over."""
    wanted = texts(address())
    present = set((chapters.ROOT / "book/notebooks").glob("*.ipynb"))
    old = {
        file for file in wanted if file not in present or file.read_text("utf-8") != wanted[file]
    }
    return sorted(old | (present - set(wanted)))


def write():
    """Bring the notebooks into step."""
    wanted = texts(address())
    for file in out_of_step():
        if file not in wanted:
            file.unlink()
            print(f"removed {file.name}")
            continue
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(wanted[file], "utf-8")
        part.replace(file)
        print(f"wrote {file.name}")
    if not address():
        print("No address of the repository is known: the notebooks ask for it outside a clone.")
