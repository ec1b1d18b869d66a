"""One run of a queue, in a process of its own: train and score in stages, or a study.

Rows join the table one stage at a time, with the same key once. Weights are shipped before the last
rows join; the mark that the run is done is set after these rows.
"""

import math
import os
import runpy
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout

from scorerep.runs.fit import fit
from scorerep.runs.queue.life import signs_of_life
from scorerep.runs.queue.plan import Plan, Run, load_plan
from scorerep.runs.queue.states import finished
from scorerep.runs.stages import KEY, Judge, averaged, train_in_stages
from scorerep.runs.tables import merge_rows, write_table

HELD = 75  # exit status of a run that another process holds
STOPPED = 130  # and of one that was told to stop


def execute(plan: Plan, run: Run, root: Path) -> bool:
    """Do a run, or go on with it; False if another process holds it."""
    place = root / run.name
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / ".lock", timeout=0), signs_of_life(place) as used:
            if not (place / "done").exists() and run.name not in finished(plan, root):
                (place / "failed").unlink(missing_ok=True)
                train(plan, run, root, used) if run.experiment else study(run, root)
            if plan.scored:
                (place / "done").touch()
    except Timeout:
        return False
    except Exception as error:
        (place / "failed").write_text(f"{type(error).__name__}: {error}\n")
        raise
    return True


def study(run: Run, root: Path):
    """A module as a program, within this process: whatever ends this one ends it too."""
    module, *arguments = (part.replace("{runs}", str(root)) for part in run.study)
    before = sys.argv
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise RuntimeError(f"{' '.join(run.study)} ended with status {stop.code}") from None
    finally:
        sys.argv = before


def train(plan: Plan, run: Run, root: Path, used: Callable[[], float] = lambda: math.nan):
    """Train and score in stages; rows at each stage, weights before the last ones.

    Args:
        used: says how many processor seconds the run has used by now.
    """
    place, experiment = root / run.name, run.experiment
    classifier = plan.classifiers / f"{experiment.data.partition('-')[0]}-classifier"
    judge = Judge(experiment.data, experiment.classes, classifier, plan.most)
    start = place / "start" if run.start else None
    if start and not start.exists():
        copy_weights(run.start, start)
    if not plan.scored:
        fit(experiment, judge.train, place, plan.save_every, progress=False, start=start)
        return
    written = [int(path.stem.removeprefix("rows-")) for path in place.glob("rows-*.csv")]
    total = experiment.optimisation.total_iterations
    for rows in train_in_stages(
        experiment, place, judge, run.samples, start, plan.stages, written, plan.save_every
    ):
        stage = max((row["iterations"] for row in rows), default=0)
        for row in rows:
            row["core_seconds"] = round(used(), 1) if row["code"] == "trained" else None
        if stage == total:
            ship(plan, run, place)
        if rows:
            write_table(pd.DataFrame(rows), place / f"rows-{stage}.csv")
            publish(plan, root, place)
    publish(plan, root, place)  # if it was killed between the two


def publish(plan: Plan, root: Path, place: Path):
    """The run's rows so far join the table, once each."""
    rows = [pd.read_csv(path) for path in sorted(place.glob("rows-*.csv"))]
    if rows:
        with FileLock(root / f".{plan.table.name}.lock"):
            merge_rows(pd.concat(rows), plan.table, KEY)


def copy_weights(source: Path, target: Path):
    """Weights to begin with: kept beside the run, since what it ships may replace the source."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    part.replace(target)


def ship(plan: Plan, run: Run, place: Path):
    """Averaged weights of the finished run in half precision, with their card."""
    if not run.ships:
        return
    model, card = averaged(place)
    parts = model.encoder if run.encoder_only else model
    size = 2e-6 * sum(tensor.numel() for tensor in parts.state_dict().values())
    if size > run.most_mb:
        raise ValueError(f"weights of {run.name} take {size:.1f} MB, more than {run.most_mb:g}")
    if run.encoder_only:
        card |= {"encoder_only": True}
    model.save_pretrained(plan.checkpoints / run.ships, torch.float16, **card)


def main(module: str, root: str, name: str, nice: str = "0") -> int:
    """The run ``name`` of a plan's ``module``, under ``root``, in this process made ``nice``.

    Returns its exit status.
    """
    os.nice(int(nice))
    torch.set_num_threads(1)

    def stop(*_):
        for kind in (signal.SIGINT, signal.SIGTERM):  # once: saving is not to be interrupted
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, stop)
    plan = load_plan(module)
    try:
        return 0 if execute(plan, plan.named(name), Path(root)) else HELD
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "stopped; the same command goes on", flush=True)
        return STOPPED
