"""Build the site from the executed chapters: ``python -m book.tools.build_site``.

Sphinx finds every chapter's outputs in a notebook cache that is filled here, and never runs
a cell itself. It starts from nothing each time: a second build on the same folder would not
repeat the warnings of the first, and would pass.
"""

import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.db import NbCacheRecord, session_context

from book.tools.assets import explorer as explorer_assets
from book.tools.assets import offline as offline_assets
from book.tools.chapters import (
    ROOT,
    ChapterError,
    chapters,
    code_cells,
    environment,
    executed,
    executed_file,
    pages,
    read,
)

BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"  # where _config.yml has it looked for, by default
HTML = BUILD / "html"
FAILED = BUILD / "html-failed"  # what a build with problems leaves, to look at


def fill_cache():
    """Join each chapter's outputs to its present source: prose, tags and captions may be newer."""
    cache = get_cache(CACHE)
    for path in chapters():
        notebook, ran = read(path), executed(path)
        if ran is None:
            raise ChapterError(f"{path.name} has not been run as it stands: make chapters")
        for cell, done in zip(code_cells(notebook), code_cells(ran), strict=True):
            cell.update(outputs=done.outputs, execution_count=done.execution_count)
        for name in ("language_info", "widgets"):
            if name in ran.metadata:
                notebook.metadata[name] = ran.metadata[name]
        data = {"execution_seconds": ran.metadata.scorerep.seconds}
        record = cache.cache_notebook_bundle(
            CacheBundleIn(notebook, str(path), data=data), check_validity=False
        )
        when = datetime.fromtimestamp(executed_file(path).stat().st_mtime)
        with session_context(cache.db) as session:  # the page of execution times shows it
            session.query(NbCacheRecord).filter_by(pk=record.pk).update({"created": when})
            session.commit()


def build() -> list[str]:
    """Build, and return what is wrong with it: nothing, one hopes."""
    for old in (HTML, FAILED, BUILD / ".doctrees", BUILD / "jupyter_execute", CACHE):
        shutil.rmtree(old, ignore_errors=True)
    fill_cache()
    explorer_assets.gather()
    offline_assets.gather()
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT]
    command += ["-W", "-n", "--keep-going", "-q"]
    env = environment()  # for book/_ext and the API pages
    env["PYTHONPATH"] += os.pathsep + str(ROOT / "book")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)  # warnings: stderr
    problems = []
    if done.returncode:
        problems.append(f"jupyter-book ended with status {done.returncode}:\n{done.stdout}")
    for path in pages():
        if not (HTML / path.relative_to(ROOT)).with_suffix(".html").exists():
            problems.append(f"no page was made of {path.name}")
    for record in get_cache(CACHE).list_project_records():
        problems.append(f"Sphinx ran {Path(record.uri).name} itself: its outputs were not found")
    if problems and HTML.exists():
        HTML.rename(FAILED)
    return problems


if __name__ == "__main__":
    try:
        if problems := build():
            sys.exit("The book was not built:\n" + "\n".join(f"- {p}" for p in problems))
    except ChapterError as error:
        sys.exit(str(error))
    print(f"The book is in {HTML.relative_to(ROOT)}: open {(HTML / 'index.html').as_uri()}")
