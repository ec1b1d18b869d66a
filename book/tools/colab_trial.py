"""Colab without Colab: the notebooks in a bare environment, an empty folder, from a clone.

    python -m book.tools.colab_trial                 the chapters below, with Colab's versions
    python -m book.tools.colab_trial --all           every chapter
    python -m book.tools.colab_trial --newest mnist  this one, with the newest versions of all

The environment holds what colab_packages.txt lists and nothing else, so that the notebooks have to
install what Colab lacks. Two things are not as on Colab: Python is the one at hand, and torch
and torchvision are the ones of this environment, lent by links, because another copy is
gigabytes (``--newest`` installs its own). The address that the notebooks clone is
redirected by git's ``url.insteadOf`` to a copy of this working tree. No network but pip's.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import torch
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from book.tools import chapters, notebooks, references
from book.tools.notebooks.labels import Labels

ROOT = chapters.ROOT

CHAPTERS = ("intro", "mnist")  # one that needs the package only, one that needs data and weights
PACKAGES = Path(__file__).with_name("colab_packages.txt")
LENT = ("torch", "torchvision")
LENT_FOLDERS = (
    "torch",
    "torchgen",
    "functorch",
    "torchvision",
    "torchvision.libs",
    "nvidia",
    "triton",
)
NOWHERE = "https://colab-test.invalid/scorerep"  # where the notebooks carry no address


def packages() -> list[str]:
    """The lines of the list, as pip reads them."""
    lines = (line.split("  #")[0].strip() for line in PACKAGES.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def environment(folder: Path, newest: bool = False) -> Path:
    """The interpreter of the bare environment in ``folder``; kept until the list changes."""
    listed = packages()
    if newest:  # by name, with what they need
        listed = sorted({line.split("==")[0] for line in listed})
        key = time.strftime("%Y-%m-%d")
    else:
        listed = [line for line in listed if line.split("==")[0] not in LENT]
        key = json.dumps([listed, sys.version, torch.__file__, torch.__version__, "no needs"])
    home = folder / f"env-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    python, ready = home / "bin" / "python", home / "ready"
    if ready.exists():
        remove_unlisted(python, ready.read_text("utf-8").split())
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--upgrade"] if newest else ["--no-deps", "--no-compile"]
    subprocess.run([*pip, *options, *listed], check=True)
    if not newest:
        lend_torch(home)
    ready.write_text("\n".join(installed(python)), "utf-8")
    return python


def installed(python: Path) -> list[str]:
    """Names of the packages of an environment."""
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return sorted(package["name"] for package in json.loads(done.stdout))


def remove_unlisted(python: Path, listed: list[str]):
    """Take away what notebooks of an earlier test have installed."""
    if extra := sorted(set(installed(python)) - set(listed)):
        subprocess.run(
            [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *extra], check=True
        )


def lend_torch(home: Path):
    """Make torch and torchvision of this environment importable in the other, and nothing else."""
    here, lent = Path(torch.__file__).parents[1], home / "lent"
    lent.mkdir()
    for source in (here / name for name in LENT_FOLDERS):
        if source.exists():
            (lent / source.name).symlink_to(source)
    for info in (info for name in LENT for info in here.glob(f"{name}-*.dist-info")):
        # Without what it needs, which is there by the links: on Colab pip finds that satisfied.
        lines = (info / "METADATA").read_text("utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("Requires-Dist:")]
        (lent / info.name).mkdir()
        (lent / info.name / "METADATA").write_text("\n".join(kept), "utf-8")
    site = next(home.glob("lib/python*/site-packages"))
    (site / "lent.pth").write_text(f"{lent}\n")


def copy_repository(folder: Path) -> Path:
    """The working tree, with what is not committed yet, as a git repository to clone from."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for step in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "copy"]):
        subprocess.run([*git, *step], check=True)
    return folder


def run(name: str, python: Path, repository: Path, folder: Path) -> NotebookNode:
    """A chapter's notebook in the empty ``folder``, with outputs; nbclient's errors if it fails."""
    made = nbformat.read(ROOT / "book/notebooks" / f"{name}.ipynb", as_version=4)
    address = notebooks.carried()
    if not address:
        address = NOWHERE
        made = notebooks.notebook(ROOT / "book" / f"{name}.md", Labels.of_book(), address)
    made.cells.append(new_code_cell("import scorerep\n\nprint(scorerep.__file__)"))
    spec = {
        "argv": [
            str(python),
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--log-level=ERROR",
        ],
        "display_name": "bare",
        "language": "python",
    }
    kernels = folder.parent / "kernels"
    (kernels / "bare").mkdir(parents=True, exist_ok=True)
    (kernels / "bare" / "kernel.json").write_text(json.dumps(spec))
    specs = KernelSpecManager(ensure_native_kernel=False)
    specs.kernel_dirs = [str(kernels)]
    client = NotebookClient(
        made,
        km=AsyncKernelManager(kernel_name="bare", kernel_spec_manager=specs),
        timeout=1800,
        resources={"metadata": {"path": str(folder)}},
    )
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "IPYTHONDIR": str(folder.parent / "ipython"),
    }
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND")
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    client.execute(cleanup_kc=True, env=inherited | redirect)
    return made


def differences(name: str, made: NotebookNode) -> list[str]:
    """Where the checked outputs leave the site's references, which are of other versions."""
    path = ROOT / "book" / f"{name}.md"
    stored, found = references.references(path), []
    tolerances = {
        references.cell_key(cell): cell.metadata.get("tolerance")
        for cell in references.checked_cells(path)
    }
    for cell in chapters.code_cells(made):
        key = references.cell_key(cell)
        if key in stored:
            wanted, got = stored[key]["output"], references.text_of(cell)
            found += references.differences(wanted, got, tolerances.get(key))
    return found


def problems(name: str, made: NotebookNode, folder: Path, newest: bool) -> list[str]:
    """What is wrong with a notebook that ran without an error."""
    setup, *_, last = (references.text_of(cell) for cell in chapters.code_cells(made))
    print("\n".join(f"    {line}" for line in setup), flush=True)
    found = differences(name, made)
    if newest and found:  # other versions may differ in more than the last digit
        print("\n".join(f"    not as on the site: {line}" for line in found))
        found = []
    if not any(line.startswith("installing") for line in setup):
        found.append("nothing was installed: is the environment bare?")
    if not any(line.startswith("device: ") for line in setup):
        found.append("the first cell does not name the device")
    if not last[0].startswith(str(folder)):
        found.append(f"the package is not that of the clone but {last[0]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--newest", action="store_true", help="newest versions, torch included")
    parser.add_argument("--all", action="store_true", help="every chapter")
    parser.add_argument("chapters", nargs="*", default=CHAPTERS)
    options = parser.parse_args()
    if options.all:
        options.chapters = [path.stem for path in chapters.chapters()]
    failures = 0
    with TemporaryDirectory() as temporary:
        repository = copy_repository(Path(temporary) / "repository")
        for name in options.chapters:
            start, folder = time.perf_counter(), Path(temporary).resolve() / name / "content"
            folder.mkdir(parents=True)
            python = environment(ROOT / "_build" / "colab", options.newest)
            ready = time.perf_counter()
            print(f"{name}: environment {ready - start:.0f} s", flush=True)
            try:
                made = run(name, python, repository, folder)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                found = [str(error)]
            else:
                print(f"{name}: ran in {time.perf_counter() - ready:.0f} s, from an empty folder")
                found = problems(name, made, folder, options.newest)
            failures += len(found)
            for problem in found:
                print(f"{name}: {problem}", file=sys.stderr, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
