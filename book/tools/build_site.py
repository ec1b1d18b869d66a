"""Run the chapters that are out of date and build the site into _build/html.

    python -m book.tools.build_site               the whole book: make book
    python -m book.tools.build_site --page NAME   one page for a look, in _build/page: make page

Sphinx starts from nothing each time: a second build on the same folder would not repeat the
warnings of the first, and would pass. It is not started at all if nothing has changed since it last
built without a problem. The site it replaces stays until the new one is ready. If a chapter failed,
the site is built all the same, with a notice on that chapter's page; the exit status says so.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jupyter_cache import get_cache

from book.tools import chapters
from book.tools.assets import explorer as explorer_assets
from book.tools.assets import offline as offline_assets
from book.tools.chapters import due, reach
from book.tools.sphinx.repository import remote_address

BUILD = chapters.ROOT / "_build"
HTML = BUILD / "html"
FAILED = BUILD / "html-failed"  # what a build with problems leaves, to look at
DOCTREES = BUILD / ".doctrees"  # of the site in HTML
PAGE = BUILD / "page"
STAMP = BUILD / "html-made-of"
WARNINGS = BUILD / "warnings.txt"  # of a build without all outputs
INPUTS = ("_config.yml", "_toc.yml", "requirements.txt", "CITATION.cff")
FOLDERS = ("book", "scorerep")
NOT_READ = {"__pycache__", "checkpoints", "results"}  # by Sphinx


def made_of() -> str:
    """Checksum of all that a site is made of."""
    files = [chapters.ROOT / name for name in INPUTS]
    for folder in FOLDERS:
        files += (chapters.ROOT / folder).rglob("*")
    files += (BUILD / "executed").glob("*.ipynb")
    files += [explorer_assets.WORK / "gathered", offline_assets.WEB / "gathered"]
    digest = hashlib.sha256(f"{sys.version} {remote_address(chapters.ROOT)}".encode())
    for file in sorted(set(files)):
        parts = file.relative_to(chapters.ROOT).parts
        if file.is_file() and not NOT_READ & set(parts):
            digest.update(f"{file} {reach.file_checksum(file)}\n".encode())
    return digest.hexdigest()


def build() -> list[str]:
    """Build, and return what is wrong with it: nothing, one hopes."""
    explorer_assets.gather()
    offline_assets.gather()
    missing = [path.name for path in chapters.chapters() if chapters.executed(path) is None]
    wanted = made_of()
    if not missing and HTML.is_dir() and STAMP.exists() and STAMP.read_text() == wanted:
        print("Nothing has changed since the site was built.")
        return []
    STAMP.unlink(missing_ok=True)
    BUILD.mkdir(exist_ok=True)
    print("Building the site with Sphinx: one to two minutes, without a word", flush=True)
    work = Path(tempfile.mkdtemp(prefix="site-", dir=BUILD))
    try:
        problems = run_sphinx(work, strict=not missing)
        made = work / "_build" / "html"
        if problems:
            _replace(FAILED, made)
        else:
            _replace(HTML, made)
            _replace(DOCTREES, work / "_build" / ".doctrees")
            shutil.rmtree(FAILED, ignore_errors=True)
            if not missing:
                STAMP.write_text(wanted)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if missing:
        problems.append(f"without all their outputs, as their pages say: {', '.join(missing)}")
    return problems


def run_sphinx(work: Path, strict: bool) -> list[str]:
    """Build the site into ``work/_build/html``, and return what is wrong.

    Args:
        strict: take every warning for a problem. Without all outputs there are warnings of figures
            that are not there to be referred to; they go to a file.
    """
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(chapters.ROOT)]
    command += ["--path-output", str(work), "-n", "-q", *(["-W", "--keep-going"] if strict else [])]
    done = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=None if strict else subprocess.PIPE, text=True,
        env=chapters.environment(), cwd=chapters.ROOT, start_new_session=True,
    )  # fmt: skip
    try:
        said, warned = done.communicate()
    finally:
        if done.poll() is None:
            done.kill()
            done.wait()
    problems = []
    if done.returncode:
        problems.append(f"jupyter-book ended with status {done.returncode}:\n{said}{warned or ''}")
        if not (work / "_build" / "html").exists():
            return problems
    elif warned:
        WARNINGS.write_text(warned, "utf-8")
        print(f"Warnings for want of outputs are in {WARNINGS.relative_to(chapters.ROOT)}.")
    for path in chapters.pages():
        file = work / "_build" / "html" / path.relative_to(chapters.ROOT)
        if not file.with_suffix(".html").exists():
            problems.append(f"no page was made of {path.name}")
    for record in get_cache(work / "_build" / ".jupyter_cache").list_project_records():
        problems.append(f"Sphinx ran {Path(record.uri).name} itself: its outputs were not found")
    return problems


def _replace(target: Path, new: Path):
    """Put ``new`` in the place of a folder, which is there until that moment."""
    if not new.exists():
        return
    old = new.with_name(f"{new.name}.old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def build_page(path: Path) -> Path:
    """Build one page for a look, with the numbers and links of the site; the file it is in.

    The first time Sphinx reads the whole book, unless a site is there to go on from; then only the
    pages that changed.
    """
    from jupyter_book.sphinx import build_sphinx

    out, trees = PAGE / "html", PAGE / ".doctrees"
    if not trees.exists() and DOCTREES.exists() and HTML.exists():
        shutil.copytree(HTML, out, dirs_exist_ok=True)
        shutil.copytree(DOCTREES, trees)
    os.environ.update(chapters.environment())
    if not trees.exists():
        print("Sphinx reads the whole book, the first time only: about a minute", flush=True)
    failed = build_sphinx(
        chapters.ROOT, out, doctreedir=trees, noconfig=True,
        path_config=chapters.ROOT / "_config.yml", filenames=[str(path)], quiet=True,
        confoverrides={
            "external_toc_path": (chapters.ROOT / "_toc.yml").as_posix(),
            "latex_individualpages": False,
            "nitpicky": True,
        },
    )  # fmt: skip
    file = (out / path.relative_to(chapters.ROOT)).with_suffix(".html")
    if failed or not file.exists():
        raise chapters.ChapterError(f"{path.name}: no page was made of it")
    return file


def pages_named(names: Iterable[str]) -> list[Path]:
    """Pages by their names; ``ChapterError`` for a name that is none."""
    known = {path.stem: path for path in chapters.pages()}
    for name in names:
        if name not in known:
            raise chapters.ChapterError(f"no page is called {name!r}: there are {', '.join(known)}")
    return [known[name] for name in names]


def main() -> bool:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.build_site",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--page", metavar="NAME", help="build this page alone, for a look")
    page = parser.parse_args().page
    if page:
        (path,) = pages_named([page])
        went_well = path not in chapters.chapters() or due.run_all([page])
        print(f"{page} is in {build_page(path).as_uri()}")
        return went_well
    went_well = due.run_all()
    if problems := build():
        print("The book has problems:\n" + "\n".join(f"- {p}" for p in problems), file=sys.stderr)
    if HTML.exists():
        place = HTML.relative_to(chapters.ROOT)
        print(f"The book is in {place}: open {(HTML / 'index.html').as_uri()}")
    return went_well and not problems


if __name__ == "__main__":
    due.command(main)
