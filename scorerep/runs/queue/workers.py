"""Workers: they take the next run that is free, each in a process of one thread.

A run holds a lock in its folder, and has its folder outside the work tree: under the environment
variable SCOREREP_RUNS, else ``~/scorerep-runs``. Everything can be killed at any moment and started
again. A run goes on from its last saved state, at most two minutes back, to the same weights and
rows as if it had not been stopped.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from scorerep.runs.queue.life import BEAT
from scorerep.runs.queue.one_run import HELD
from scorerep.runs.queue.plan import Plan, Run, load_plan
from scorerep.runs.queue.states import finished, state_of

GRACE = 60.0  # seconds that a run has to finish its step and save


def next_run(plan: Plan, root: Path, only: str = "*", leave: Collection[str] = ()) -> Run | None:
    """The first run that is neither done nor held nor waits for another.

    Args:
        only: a pattern of names, as a shell has them.
        leave: names that are passed over.
    """
    known = finished(plan, root)
    words = {run.name: state_of(run, root, known).word for run in plan.runs}
    for run in plan.runs:
        ready = all(words[name] == "done" for name in run.needs)
        free = words[run.name] not in ("done", "running") and run.name not in leave
        if ready and free and fnmatch(run.name, only):
            return run
    return None


def work(
    module: str, root: Path, workers: int = 1, only: str = "*", hours: float | None = None,
    nice: int = 10,
) -> int:  # fmt: skip
    """Do runs, the next one first, in ``workers`` processes; the number of runs that failed.

    Args:
        module: of the plan.
        only: a pattern of names, such as ``fig4*``.
        hours: stop after so many hours; None for when there is nothing left.
        nice: added to the niceness of the processes.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    plan = load_plan(module)
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    running: dict[str, subprocess.Popen] = {}
    left: dict[str, float] = {}  # held by others: until when they are left alone
    failed: set[str] = set()
    with stop_on_signals() as stopped:
        while True:
            for name, process in list(running.items()):
                if (status := process.poll()) is None:
                    continue
                del running[name]
                if status == HELD:
                    left[name] = time.monotonic() + 6 * BEAT
                elif status:
                    failed.add(name)
                word = {0: "done", HELD: "another's"}.get(status, f"failed ({status})")
                print(f"{time.strftime('%H:%M')} {name}: {word}", flush=True)
            if stopped.is_set() or (deadline and time.monotonic() > deadline):
                break
            leave = {*running, *failed, *(n for n, end in left.items() if end > time.monotonic())}
            while len(running) < workers and (run := next_run(plan, root, only, leave)):
                running[run.name] = start_run(module, root, run.name, nice)
                leave.add(run.name)
                print(f"{time.strftime('%H:%M')} {run.name}: {run.decides}", flush=True)
            if not running and not any(end > time.monotonic() for end in left.values()):
                break
            stopped.wait(1.0)
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:  # it goes on from its last saved state
                process.kill()
    return len(failed)


def start_run(module: str, root: Path, name: str, nice: int) -> subprocess.Popen:
    """A process of one thread for the run ``name``; what it prints goes to the run's ``log.txt``.

    ``module`` has the plan; ``nice``, 0 to 19, is how far it stands back behind other processes.
    """
    place = root / name
    place.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = os.environ | threads | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "scorerep.runs.queue", module, str(root), name, str(nice)]
    with (place / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,  # Ctrl-C is for the worker, which then stops its runs
        )  # fmt: skip


@contextmanager
def stop_on_signals():
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: stopped.set()) for kind in kinds]
    try:
        yield stopped
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
