"""A queue of runs: a list in order of value, workers that take the next, a table of what is done.

    scorerep queue status                     # the list
    scorerep queue work --workers 2           # one process a core, one thread each, niced
    python -m scorerep.runs.queue MODULE FOLDER NAME    # one run, as a worker starts it

The list is a ``Plan`` in a module of its own. A run is an experiment to train and score in stages,
or a study: a module that is run as a program and can be stopped and started again. Each runs in
a process of its own, holds a lock in its folder, and has its folder outside the work tree:
the environment variable SCOREREP_RUNS, else ``~/scorerep-runs``.

Everything can be killed at any moment and started again. A run goes on from its last saved state,
at most two minutes back, to the same weights and rows as if it had not been stopped. Rows join the
table of results one stage at a time, with the same key once; weights are shipped and the mark
that a run is done is set after that.
"""

import importlib
import json
import math
import os
import platform
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout

from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.stages import KEY, STAGES, Judge, averaged, train_in_stages
from scorerep.runs.tables import merge_rows, write_table

HELD = 75  # exit status of a run that another process holds
STOPPED = 130  # and of one that was told to stop
GRACE = 60.0  # seconds that a run has to finish its step and save
BEAT = 5.0  # seconds between two signs of life


@dataclass(frozen=True)
class Run:
    """One entry of the list: an experiment or a study, and what it is for."""

    name: str
    """Of its folder; one of a kind."""
    decides: str
    """What is known when it is done, in one sentence."""
    hours: float
    """Expected core-hours."""
    experiment: Experiment | None = None
    """What to train and score."""
    study: tuple[str, ...] = ()
    """Or a module to run as a program, and its arguments; ``{runs}`` is the queue's folder."""
    start: Path | None = None
    """Weights that the experiment begins with, instead of random ones."""
    samples: int = 0
    """Samples of the finished model to score; 0 for none."""
    ships: str = ""
    """Name of the folder that gets the finished weights, in half precision; none if empty."""
    encoder_only: bool = False
    """Ship the encoder alone."""
    most_mb: float = 6.0
    """Largest size of the shipped weights."""
    needs: tuple[str, ...] = ()
    """Names of the runs that must be done before."""

    def __post_init__(self):
        if (self.experiment is None) != bool(self.study):
            raise ValueError(f"run {self.name!r} needs an experiment or a study, and not both")
        if self.hours <= 0:
            raise ValueError(f"hours of {self.name!r} must be positive, got {self.hours}")


@dataclass(frozen=True)
class Plan:
    """Runs in order of value, and where their rows and weights go."""

    runs: tuple[Run, ...]
    table: Path = Path("book/results/runs.csv")
    """Rows of experiments."""
    checkpoints: Path = Path("book/checkpoints")
    """Shipped weights."""
    classifiers: Path = Path("book/checkpoints")
    """The judges of samples: ``mnist-classifier`` and one for each other data set."""
    stages: tuple[int, ...] = STAGES
    """Steps at which experiments are scored."""
    most: int = 10_000
    """Images that codes are scored on."""
    save_every: float = 120.0
    """Seconds between two saved states."""
    scored: bool = True
    """False on a machine that only trains: the folders of the runs are scored on another one."""

    def __post_init__(self):
        names = [run.name for run in self.runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the plan has two runs of the name {', '.join(twice)}")
        for run in self.runs:
            if missing := set(run.needs) - set(names):
                raise ValueError(f"{run.name} needs {', '.join(missing)}, which the plan has not")

    def named(self, name: str) -> Run:
        """The run that has this name."""
        for run in self.runs:
            if run.name == name:
                return run
        raise ValueError(f"the plan has no run {name!r}; see scorerep queue status")


def load_plan(module: str) -> Plan:
    """The ``PLAN`` of a module, or ``module:NAME``; the current folder is looked in too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, name = module.partition(":")
    try:
        return getattr(importlib.import_module(module), name or "PLAN")
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"plan: {module!r} is no module with a {name or 'PLAN'} ({error})"
        ) from None


def default_folder() -> Path:
    """$SCOREREP_RUNS, else ~/scorerep-runs."""
    return Path(os.environ.get("SCOREREP_RUNS") or Path.home() / "scorerep-runs")


# One run, in a process of its own


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


def finished(plan: Plan, root: Path) -> set[str]:
    """Names of the experiments whose last row is in the table, wherever they ran.

    Of a plan without scores, of those that are trained.
    """
    if not plan.scored:
        return {run.name for run in plan.runs if run.experiment and share_of(run, root) == 1}
    if not plan.table.exists():
        return set()
    table = pd.read_csv(plan.table)
    rows = table[table.code == "trained"][["run", "t", "seed", "frozen", "iterations"]].fillna(-1)
    known = set(rows.itertuples(index=False, name=None))
    found = set()
    for run in plan.runs:
        if (e := run.experiment) is not None:
            t, steps = (e.single_t if e.times == "single_t" else -1), e.optimisation
            if (e.name, t, e.seed, steps.frozen_iterations, steps.total_iterations) in known:
                found.add(run.name)
    return found


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


def core_seconds(place: Path) -> float:
    """Processor seconds that a run has used, all its processes together."""
    return float(_read(place / "alive.json").get("core_seconds", 0.0))


@contextmanager
def signs_of_life(place: Path):
    """Say every few seconds that this process works here; gives what says what the run has used.

    A process whose parent is gone stops: a new worker would be one too many.
    """
    before, parent = core_seconds(place) - _used(), os.getppid()
    over = threading.Event()

    def sign():
        known = {"pid": os.getpid(), "host": platform.node(), "time": time.time()}
        _write(place / "alive.json", known | {"core_seconds": before + _used()})

    def beat():
        while not over.wait(BEAT):
            sign()
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

    sign()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda: before + _used()
    finally:
        over.set()
        thread.join()
        _write(place / "alive.json", {"core_seconds": before + _used()})


def _used() -> float:
    """Processor seconds of this process and of the ended ones that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _write(path: Path, value: dict):
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(value), "utf-8")
    temporary.replace(path)


# Workers


@dataclass(frozen=True)
class State:
    """How a run stands."""

    word: str
    """done, running, failed, waiting or started."""
    share: float
    """Of its steps, in [0, 1]; 0 for a study that is not done."""
    core_hours: float
    """Used so far."""
    message: str = ""


def state_of(run: Run, root: Path, done: Collection[str] = ()) -> State:
    """Read off the run's folder; touches no lock. ``done``: names that ``finished`` knows."""
    place = root / run.name
    used = core_seconds(place) / 3600
    if (place / "done").exists() or run.name in done:
        return State("done", 1.0, used)
    share = share_of(run, root)
    if is_alive(place):
        return State("running", share, used)
    if (place / "failed").exists():
        return State("failed", share, used, (place / "failed").read_text().strip())
    return State("started" if used else "waiting", share, used)


def share_of(run: Run, root: Path) -> float:
    """Steps that are saved of all steps, in [0, 1]; 0 for a study."""
    if run.experiment is None:
        return 0.0
    first, place = run.experiment.first_phase(), root / run.name
    parts = [(place, run.experiment)]
    if first is not run.experiment and run.start is None:
        parts.append((place / "encoder", first))
    done = sum(_read(folder / "card.json").get("iterations_done", 0) for folder, _ in parts)
    return done / sum(part.optimisation.total_iterations for _, part in parts)


def is_alive(place: Path) -> bool:
    """Whether a process works there: the last sign of life is recent, and not of a killed one."""
    sign = _read(place / "alive.json")
    if "pid" not in sign or time.time() - sign["time"] > 6 * BEAT:
        return False
    try:
        os.kill(sign["pid"], 0)
    except ProcessLookupError:
        return sign["host"] != platform.node()
    except PermissionError:
        pass
    return True


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

    ``nice``, 0 to 19, is how far it stands back behind other processes.
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


# The list


def status(plan: Plan, root: Path, only: str = "*") -> pd.DataFrame:
    """One row a run, of those whose names match ``only``: what it decides, hours, state."""
    rows, known = [], finished(plan, root)
    for run in plan.runs:
        if not fnmatch(run.name, only):
            continue
        state = state_of(run, root, known)
        left = run.hours * (1 - state.share)
        if 0.05 < state.share < 1:  # by its own pace, once it has one
            left = state.core_hours * (1 - state.share) / state.share
        words = {"running": f"running, {state.share:.0%}", "started": f"{state.share:.0%}"}
        rows.append({
            "name": run.name, "decides": run.decides, "expected": run.hours,
            "used": state.core_hours, "left": left,
            "state": words.get(state.word, state.word), "message": state.message,
        })  # fmt: skip
    return pd.DataFrame(rows)


def show(table: pd.DataFrame) -> str:
    """The list as text, as wide as the terminal, and what is left in all."""
    width = shutil.get_terminal_size((160, 50)).columns
    names = int(table.name.str.len().max())
    lines = [f"{'hours':>6} {'used':>6}  {'state':<13}  {'run':<{names}}  what it decides"]
    for row in table.itertuples():
        first = f"{row.expected:6.2f} {row.used:6.2f}  {row.state[:13]:<13}  {row.name:<{names}}"
        lines.append(f"{first}  {row.decides}"[:width])
    done = int((table.state == "done").sum())
    lines.append(
        f"{done} of {len(table)} done; {table.used.sum():.1f} core-hours used, "
        f"{table.left.sum():.1f} left"
    )
    lines += [f"{row.name} failed: {row.message}" for row in table.itertuples() if row.message]
    return "\n".join(lines)


def main(module: str, root: str, name: str, nice: str = "0") -> int:
    """The run ``name`` under ``root``, in this process made ``nice``; its exit status."""
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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
