"""How the runs of a queue stand: done, running, failed, waiting or started."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from scorerep.runs.queue.life import core_seconds, is_alive, read_json
from scorerep.runs.queue.plan import Plan, Run


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
    done = sum(read_json(folder / "card.json").get("iterations_done", 0) for folder, _ in parts)
    return done / sum(part.optimisation.total_iterations for _, part in parts)


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
