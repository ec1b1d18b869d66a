"""Outputs of the executed chapters for Sphinx, which never runs a cell itself.

Before Sphinx reads a page, the notebook cache that it looks into is filled from
``_build/executed``: each chapter's outputs, joined to its present source, as prose, tags and
captions may be newer. A chapter that failed has its outputs up to there, and one that has not run
as it stands has none; both say so at the top of their page.
"""

import re
import shutil
from datetime import datetime
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.db import NbCacheRecord, session_context
from nbformat import NotebookNode
from sphinx.util import logging

from book.tools import chapters
from book.tools.chapters import reach
from book.tools.sphinx import moving

FIGURES = re.compile(r"^```\{(gallery|paper-figures)\}", re.MULTILINE)  # of other pages
HINT = "make chapter NAME={} runs it, make book all that have not run"


def fill_cache(folder: Path) -> dict[str, str]:
    """Fill the cache in a folder anew; page → what is missing on it, and why."""
    shutil.rmtree(folder, ignore_errors=True)
    cache, missing = get_cache(folder), {}
    for path in chapters.chapters():
        ran = chapters.executed(path)
        if ran is None:
            ran = chapters.failed(path)
            missing[path.stem] = ran.metadata.run.error if ran else ""
        if ran is None:
            continue
        record = cache.cache_notebook_bundle(
            CacheBundleIn(_joined(path, ran), str(path), data=_data(ran)), check_validity=False
        )
        with session_context(cache.db) as session:  # the page of execution times shows it
            when = datetime.fromtimestamp(_file(path, ran).stat().st_mtime)
            session.query(NbCacheRecord).filter_by(pk=record.pk).update({"created": when})
            session.commit()
    return missing


def _joined(path: Path, ran: NotebookNode) -> NotebookNode:
    """A chapter's source with the outputs of a run of the same code."""
    notebook = chapters.read(path)
    for cell, done in zip(chapters.code_cells(notebook), chapters.code_cells(ran), strict=True):
        alt = " ".join(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").split())
        for data in (output.get("data", {}) for output in done.outputs):
            if alt and "moving-still" in data.get("text/html", ""):
                data["text/html"] = moving.with_alt(data["text/html"], alt)
        cell.update(outputs=done.outputs, execution_count=done.execution_count)
    for name in ("language_info", "widgets"):
        if name in ran.metadata:
            notebook.metadata[name] = ran.metadata[name]
    return notebook


def _data(ran: NotebookNode) -> dict[str, float]:
    return {"execution_seconds": ran.metadata.run.get("seconds", 0.0)}


def _file(path: Path, ran: NotebookNode) -> Path:
    return (chapters.failed_file if "error" in ran.metadata.run else chapters.executed_file)(path)


def use_outputs(app, config):
    folder = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(folder)
    try:
        app.missing_outputs = fill_cache(folder)
    except chapters.ChapterError as error:
        logging.getLogger(__name__).error(str(error))
        app.missing_outputs = {path.stem: "" for path in chapters.pages()}
    for name, error in app.missing_outputs.items():
        if not error:  # or Sphinx would run it, within a time limit and in any kernel
            config.nb_execution_excludepatterns.append(f"book/{name}.md")
    if app.missing_outputs:
        names = ", ".join(app.missing_outputs)
        logging.getLogger(__name__).warning(
            f"without all their outputs, as they failed or have not run as they stand: {names}. "
            "make book runs them and builds the site",
            type="scorerep", subtype="outputs",
        )  # fmt: skip


def changed(app, env, added, changed, removed):
    """Pages to read again, as their outputs are other ones, or they show others' figures."""
    now = {path.stem: _state(path) for path in chapters.chapters()}
    before = getattr(env, "scorerep_outputs", {})
    env.scorerep_outputs = now
    names = {name for name, state in now.items() if before.get(name, "") != state}
    if names:
        names |= {path.stem for path in chapters.pages() if FIGURES.search(path.read_text("utf-8"))}
    return [docname for docname in env.found_docs if docname.rpartition("/")[2] in names]


def _state(path: Path) -> str:
    """What the outputs of a chapter are known by."""
    ran = chapters.executed(path) or chapters.failed(path)
    return reach.file_checksum(_file(path, ran)) if ran else ""


def tell(app, doctree):
    """Say at the top of a page that its outputs are missing."""
    name = app.env.docname.rpartition("/")[2]
    if (error := app.missing_outputs.get(name)) is None:
        return
    if error:
        title, text = "This chapter failed", "Outputs are missing from the cell on that raised:"
        content = [nodes.paragraph("", text), nodes.literal_block(error, error, language="text")]
    else:
        title = "This chapter has not run as it stands"
        content = [nodes.paragraph("", f"Its outputs are missing; {HINT.format(name)}.")]
    notice = nodes.admonition("", nodes.title("", title), *content, classes=["danger", "not-run"])
    heading = next(doctree.findall(nodes.title), None)
    if heading is not None:
        heading.parent.insert(heading.parent.index(heading) + 1, notice)


def setup(app):
    app.connect("config-inited", use_outputs, priority=100)
    app.connect("env-get-outdated", changed)
    app.connect("doctree-read", tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
