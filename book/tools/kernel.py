"""Make a notebook of the book run in any kernel: Colab's, a bare one, or this repository's own.

The first cell of every notebook (see book/tools/notebooks) clones the repository where it is not
there yet, and calls ``prepare``. Needs no more than the standard library, packaging and torch.
"""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement

NEVER = ("torch", "torchvision")  # what a kernel ships fits its driver; gigabytes otherwise


class KernelError(RuntimeError):
    """This kernel cannot run the book; the message says what is missing."""


def prepare(root: Path, budget: str = "book", weights: Sequence[str] = ()):
    """Install what is missing, choose data folder, weights and working folder, and say so.

    Args:
        root: the clone of the repository.
        budget: "book" for the weights that come with it; "paper" or "smoke" trains those of
            ``weights`` first, and goes on where an earlier call was stopped.
        weights: folders in ``checkpoints/`` that the chapter loads, as its header names them.

    Raises:
        KernelError: Python or torch is missing or too old, pip fails, weights are not there.
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


def missing(requirements: list[Requirement]) -> list[str]:
    """Names of those that this kernel has not, or has too old."""
    found = []
    for requirement in requirements:
        try:
            have = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            have = None
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            found.append(requirement.name)
    return sorted(found)


def install(requirements: list[Requirement]):
    """Have pip install what is missing, with all else held at the versions that are there."""
    if not (names := missing(requirements)):
        return
    if never := [name for name in names if name in NEVER]:
        raise KernelError(
            f"{' and '.join(never)} missing or too old in this kernel; install it as "
            "pytorch.org says for your machine, or use the repository's `make lab`"
        )
    print(f"installing {', '.join(names)}", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    listed = subprocess.run([*pip, "list", "--format=freeze"], capture_output=True, text=True)
    held = [line for line in listed.stdout.splitlines() if line.split("==")[0] not in names]
    with TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(held), "utf-8")
        command = [*pip, "install", "--quiet", "--constraint", str(constraints)]
        wanted = map(str, (r for r in requirements if r.name in names))
        done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"pip could not install {', '.join(names)}:\n{done.stderr.strip()}")
    importlib.invalidate_caches()


def train(root: Path, folder: Path, budget: str, weights: Sequence[str]):
    """The runs ``weights`` at another budget, into ``folder``; what else chapters read is copied.

    What cannot be trained is said before the first run, not after hours.
    """
    from dataclasses import replace

    from scorerep.checkpoint import read_card
    from scorerep.data import load_data
    from scorerep.runs.fit import fit, load_experiment
    from scorerep.runs.paper import PAPER, at_budget

    shipped, own = root / "book" / "checkpoints", folder / "book" / "checkpoints"
    if absent := [name for name in weights if not (shipped / name).is_dir()]:
        raise KernelError(f"no weights {', '.join(absent)} in {shipped}")
    runs = {name: read_card(shipped / name).get("experiment", {}).get("name") for name in weights}
    plan = {}
    for name, run in runs.items():
        if run in PAPER:
            old = load_experiment(shipped / name)
            plan[name] = replace(at_budget(run, budget), seed=old.seed, single_t=old.single_t)
        else:
            print(f"{name}: no run of the paper, the book's weights stay")
    for source in (root / "book" / "results", shipped):
        leave_out = shutil.ignore_patterns(*plan)
        if source.exists():
            shutil.copytree(source, own.parent / source.name, ignore=leave_out, dirs_exist_ok=True)
    for name, experiment in plan.items():
        print(f"{name}: training at the {budget} budget on {device()}", flush=True)
        data = load_data(experiment.data, "train", experiment.classes or None)
        fit(experiment, data, own / name)
    print("what the chapter asserts is about the book's weights, and may not hold for others")
