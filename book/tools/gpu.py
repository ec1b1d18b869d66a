"""A loan of a GPU of ten minutes, used whole: tests, speeds, then the runs that matter most.

    make gpu OUT=folder MINUTES=9                   # on the machine with the GPU
    make gpu OUT=folder MINUTES=9 STATE=before      # and go on with what an earlier loan brought
    python -m book.tools.gpu unpack folder          # at home: runs to the queue, speeds to results
    python -m scorerep queue work --plan book.studies.plan:AT_PAPER    # scores, rows, weights

The machine may be bare and without a network: nothing is installed, and what training does not
need (tyro, beartype, scikit-image) may be missing. The data are where SCOREREP_DATA says. What
comes back is small: tests.txt, gpu.csv, and the state of the runs in pieces of 15 MB, the run of
most value first. ``--trial`` does all of it in a minute on a CPU, with budgets of a few steps.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch._inductor import config as inductor

from scorerep.checkpoint import read_card
from scorerep.data import ImageData
from scorerep.model import ScoreModel
from scorerep.runs import queue
from scorerep.runs.costs import step_operations
from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import at_budget
from scorerep.runs.tables import merge_rows
from scorerep.training import training_loop

NETWORKS = {"MNIST": "fig2ab", "CIFAR-10": "fig4-cifar", "CIFAR-10, deep": "fig2cd"}
MODES = {  # precision, compiled, CUDA graphs
    "float32": ("no", False, False), "bf16": ("bf16", False, False),
    "bf16, compiled": ("bf16", True, False), "bf16, CUDA graphs": ("bf16", True, True),
}  # fmt: skip
KEY = ["device", "network", "mode", "processes"]
PIECE, PIECES = 15_000_000, 4
PACKING = 20  # seconds at the end


def device() -> torch.device:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{device().type}, {platform.machine()}"


def wait():
    """Until the accelerator has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def product_rate(dtype: torch.dtype, size: int) -> float:
    """Operations a second of a large matrix product: what the device can do at best."""
    a, b = (torch.randn(size, size, device=device(), dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(8):
        wait()
        started = time.perf_counter()
        a @ b
        wait()
        rates.append(2 * size**3 / (time.perf_counter() - started))
    return max(rates)


def speed(name: str, experiment: Experiment, mode: str, seconds: float, best: dict) -> dict:
    """Steps a second of training, and the share of the device's best rate that they use."""
    precision, compiled, graphs = MODES[mode]
    budget = replace(experiment.optimisation, iterations=10**9, precision=precision)
    budget = replace(budget, compile=compiled, frozen_iterations=0)
    count, shape = max(1_000, budget.batch_size), experiment.model.image_shape
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    data = ImageData(pixels, torch.zeros(count, dtype=torch.long), ("a", "b"), "noise", "train")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with inductor.patch("triton.cudagraphs", graphs):
        loop = training_loop(ScoreModel(experiment.model), data, experiment.objective(), budget)
        started = time.perf_counter()
        for _ in range(5):
            next(loop)
        wait()
        first, steps, started = time.perf_counter() - started, 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < seconds:
            for _ in range(5):
                next(loop)
            wait()
            steps += 5
        taken = time.perf_counter() - started
    rate = step_operations(experiment) * budget.batch_size * steps / taken
    return {
        "device": device_name(), "network": name, "mode": mode, "processes": 1,
        "batch": budget.batch_size, "steps_a_second": steps / taken, "steps": steps,
        "first_seconds": first, "tflop_a_second": rate / 1e12,
        "share_of_product": rate / best[precision],
        "memory_mb": torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }  # fmt: skip


def measure(out: Path, trial: bool):
    """Rows of gpu.csv, one after the other: what is not reached in time is left out."""
    size = 512 if trial else 8_192
    best = {"no": product_rate(torch.float32, size), "bf16": product_rate(torch.bfloat16, size)}
    modes = [m for m, (_, compiled, _) in MODES.items() if not (trial and compiled)]
    for name, figure in NETWORKS.items():
        experiment = at_budget(figure, "smoke" if trial else "paper")
        for mode in modes:
            row = speed(name, experiment, mode, 0.3 if trial else 4.0, best)
            merge_rows(pd.DataFrame([row]), out / "gpu.csv", KEY)
            print(f"{name}, {mode}: {row['steps_a_second']:.2f} steps a second", flush=True)


def limited(command: list[str], seconds: float, log: Path | None = None, **known: str):
    """A command that is ended after so many seconds; what it wrote by then is kept."""
    with log.open("w") if log else open(os.devnull, "w") as file:
        try:
            subprocess.run(
                command, timeout=max(1.0, seconds), env=os.environ | known,
                stdout=file if log else None, stderr=subprocess.STDOUT if log else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"ended after {seconds:.0f} s: {' '.join(command[2:])}", flush=True)


def loan(a: argparse.Namespace):
    """The whole of it: tests, speeds, runs, packing."""
    started, out = time.monotonic(), a.out

    def left() -> float:
        return 60 * a.minutes - (time.monotonic() - started)

    out.mkdir(parents=True, exist_ok=True)
    known = {"SCOREREP_GPU_TESTS": "cpu"} if a.trial else {}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py"]
    limited([*command, "-p", "no:cacheprovider"], 0.25 * left(), out / "tests.txt", **known)
    print((out / "tests.txt").read_text()[-1_500:], flush=True)
    command = [sys.executable, "-m", "book.tools.gpu", "measure", "--out", str(out)]
    limited([*command, *["--trial"] * a.trial], 0.4 * left())
    runs = a.runs
    if a.state:
        unpack(a.state, runs, None)
    plan = "book.studies.plan:TRIAL" if a.trial else "book.studies.plan:ON_GPU"
    queue.work(plan, runs, a.workers, hours=max(1.0, left() - PACKING) / 3600, nice=0)
    rows = list(run_rows(queue.load_plan(plan), runs, a.workers))
    if rows:
        merge_rows(pd.DataFrame(rows), out / "gpu.csv", KEY)
    pack(queue.load_plan(plan), runs, out, *((100_000, 100) if a.trial else (PIECE, PIECES)))
    print(queue.show(queue.status(queue.load_plan(plan), runs)))


def run_rows(plan: queue.Plan, root: Path, processes: int) -> Iterator[dict]:
    """Steps a second of the runs, several of them on the card at once."""
    for run in plan.runs:
        if (root / run.name / "card.json").exists():
            card = read_card(root / run.name)
            yield {
                "device": device_name(), "network": run.name, "mode": "a run",
                "processes": processes, "batch": run.experiment.optimisation.batch_size,
                "steps": card["iterations_done"],
                "steps_a_second": card["iterations_done"] / card["seconds"],
                "torch": torch.__version__,
            }  # fmt: skip


def pack(plan: queue.Plan, root: Path, out: Path, piece: int, pieces: int):
    """Folders of runs as one archive in pieces, in order of the plan, as many as there is room."""
    for old in out.glob("state.tar.*"):
        old.unlink()
    room, packed = piece * pieces, out / ".state.tar"
    with tarfile.open(packed, "w") as archive:
        for run in plan.runs:
            files = [
                path for path in sorted((root / run.name).rglob("*"))
                if path.suffix in (".json", ".safetensors", ".txt") and path.name[0] != "."
            ]  # fmt: skip
            # The averaged weights are in the state, too.
            files = [f for f in files if f.name != "model.safetensors" or f.parent.name == "start"]
            size = sum(path.stat().st_size + 2_048 for path in files)
            if size > room - 20_480:
                print(f"no room for {run.name}: {size / 1e6:.1f} MB", flush=True)
                continue
            room -= size
            for path in files:
                archive.add(path, path.relative_to(root))
    with packed.open("rb") as file:
        for number in range(pieces):
            if part := file.read(piece):
                (out / f"state.tar.{number:03d}").write_bytes(part)
    packed.unlink()


def unpack(folder: Path, root: Path, results: Path | None):
    """Pieces of a loan back to folders of runs, and its speeds to the table of results."""
    parts = sorted(folder.glob("state.tar.*"))
    with tempfile.TemporaryFile() as file:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)
        file.seek(0)
        if parts:
            root.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=file) as archive:
                archive.extractall(root, filter="data")
    if results and (folder / "gpu.csv").exists():
        merge_rows(pd.read_csv(folder / "gpu.csv"), results / "gpu.csv", KEY)
    print(f"{len(parts)} pieces: {root}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="A loan of a GPU, used whole.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("loan", "measure"):
        command = commands.add_parser(name)
        command.add_argument("--out", type=Path, required=True, help="folder that comes back")
        command.add_argument("--trial", action="store_true", help="a few steps, on any device")
    command = commands.choices["loan"]
    command.add_argument("--minutes", type=float, default=9.0, help="of the loan, all in all")
    command.add_argument("--workers", type=int, default=4, help="runs on the card at once")
    command.add_argument("--state", type=Path, help="folder that an earlier loan brought back")
    command.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="where runs live")
    command = commands.add_parser("unpack")
    command.add_argument("folder", type=Path, help="that a loan brought back")
    command.add_argument("--runs", type=Path, default=queue.default_folder(), help="the queue's")
    command.add_argument("--results", type=Path, default=Path("book/results"))
    a = parser.parse_args()
    if a.command == "loan":
        loan(a)
    elif a.command == "measure":
        measure(a.out, a.trial)
    else:
        unpack(a.folder, a.runs, a.results)


if __name__ == "__main__":
    main()
