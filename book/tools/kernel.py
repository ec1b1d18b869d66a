"""Make a notebook of the book run in any kernel: Colab's, a bare one, or this repository's own.

The first cell of every notebook (see book/tools/notebooks.py) clones the repository where it is not
there yet, and calls ``prepare``. Needs no more than the standard library, packaging and torch.
"""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

NEVER = ("torch", "torchvision")  # what a kernel ships fits its driver; gigabytes otherwise


class KernelError(RuntimeError):
    """This kernel cannot run the book; the message says what is missing."""


def prepare(root: Path, budget: str = "book", weights: tuple[str, ...] = ()):
    """Install what is missing, choose data folder, weights and working folder, and say so.

    Args:
        root: the clone of the repository.
        budget: "book" for the weights that come with it; "paper" or "smoke" trains those of
            ``weights`` first, and goes on where an earlier call was stopped.
        weights: folders in ``checkpoints/`` that the chapter loads.

    Raises:
        KernelError: Python or torch is missing or too old.
    """
    root = Path(root).resolve()
    if sys.version_info < (3, 11):  # noqa: UP036, this runs wherever a notebook is opened
        raise KernelError("the book needs Python 3.11 or newer")
    install(read_requirements(root))
    os.environ.setdefault("SCOREREP_DATA", str(root / "data"))
    folder = root if budget == "book" or not weights else root / "runs" / budget
    if folder != root:
        train(root, folder, budget, weights)
    # Chapters name their files as seen from book/; another budget has a book/ of its own.
    (folder / "book").mkdir(parents=True, exist_ok=True)
    os.chdir(folder / "book")
    print(f"device: {device()}")
    if weights:
        print(f"budget: {budget}, weights from {folder / 'book/checkpoints'}")
    else:
        print("budget: the chapter's own, as on the site; it loads no weights")


def device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({os.cpu_count()} cores)"


def read_requirements(root: Path, extra: str = "cli") -> list[Requirement]:
    """The package's dependencies and its extra's, of pyproject.toml: lower bounds, no pins."""
    import tomllib  # not in older Pythons, which ``prepare`` turns away

    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    found, lines = [], [*project["dependencies"], *extras.get(extra, [])]
    while lines:
        requirement = Requirement(lines.pop(0))
        if requirement.name == project.get("name"):  # the package's own, by another extra
            lines += [line for name in sorted(requirement.extras) for line in extras[name]]
        elif str(requirement) not in map(str, found):
            found.append(requirement)
    return found


def missing(requirements: list[Requirement]) -> list[Requirement]:
    """Those that this kernel has not, or has too old."""
    found = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            have = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(requirement)
            continue
        if not requirement.specifier.contains(have, prereleases=True):
            found.append(requirement)
    return found


def install(requirements: list[Requirement]):
    """Install only what is missing, then only what that needs: nothing that is there moves."""
    while wanted := missing(requirements):
        names = sorted(requirement.name for requirement in wanted)
        if never := sorted(set(names) & set(NEVER)):
            raise KernelError(
                f"{' and '.join(never)} missing or too old in this kernel; install it as "
                "pytorch.org says for your machine, or use the repository's `make lab`"
            )
        print(f"installing {', '.join(names)}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", *map(str, wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise KernelError(f"pip could not install {', '.join(names)}:\n{done.stderr.strip()}")
        importlib.invalidate_caches()
        requirements = [
            Requirement(line) for name in names for line in importlib.metadata.requires(name) or []
        ]


def train(root: Path, folder: Path, budget: str, weights: tuple[str, ...]):
    """The runs ``weights`` at another budget, into ``folder/checkpoints``; the rest is copied."""
    from dataclasses import replace

    from scorerep.data import load_data
    from scorerep.runs.fit import fit, load_experiment
    from scorerep.runs.paper import PAPER, at_budget

    for name in ("results", "checkpoints"):
        if (root / "book" / name).exists():
            leave_out = shutil.ignore_patterns(*weights)
            shutil.copytree(
                root / "book" / name, folder / "book" / name, ignore=leave_out, dirs_exist_ok=True
            )
    for name in weights:
        shipped, own = (top / "book/checkpoints" / name for top in (root, folder))
        old = load_experiment(shipped) if shipped.exists() else None
        run = old.name if old else name
        if run not in PAPER:
            print(f"{name}: its run {run!r} has no other budget, the book's weights stay")
            shutil.copytree(shipped, own, dirs_exist_ok=True)
            continue
        new = at_budget(run, budget)
        if old:
            new = replace(new, seed=old.seed, single_t=old.single_t)
        print(f"{name}: training {run} at the {budget} budget on {device()}", flush=True)
        fit(new, load_data(new.data, "train", new.classes or None), own)
