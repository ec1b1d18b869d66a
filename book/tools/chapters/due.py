"""Run the book's chapters: each once, and again only when it has to.

What is still to come is told from the time that each chapter took the last time. Where one never
ran, ``seconds.json`` says what it cost on another machine, in processor seconds; ``make golden``
writes that file.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from book.tools import chapters
from book.tools.chapters import ChapterError
from book.tools.chapters.running import Interrupted

DATA_SETS = ("mnist", "cifar10-part")  # checked before the first chapter that names them runs
PROCESSOR_SECONDS = 180  # what a chapter should cost; more is reported
SECONDS = Path(__file__).with_name("seconds.json")
NEARLY = 1.5  # times as much or as little is the same, in that file
SIGNALS = {"SIGINT": 130, "SIGTERM": 143}  # exit statuses, as a shell has them


def run_all(names: Sequence[str] = (), again: bool = False) -> bool:
    """Run what is out of date, print what every chapter took, say whether all went well.

    Args:
        names: of chapters; all of them if there are none.
        again: run also those whose outputs are in date.
    """
    paths = chapters.named(names)
    due = [path for path in paths if again or chapters.executed(path) is None]
    if due and not get_data(data_sets(due)):
        return False
    last = [chapters.last_seconds(path) for path in due]
    elsewhere = usual_seconds()
    guesses = [before or elsewhere.get(path.stem) for path, before in zip(due, last)]
    if total := seconds_left(guesses, []):
        print(f"{count(due)} to run: about {words(total)}", flush=True)
    took, failures = [], []
    for number, path in enumerate(due, start=1):
        progress = f"[{number}/{len(due)}] {path.stem} …"
        print(progress, end=" " if sys.stdout.isatty() else "\n", flush=True)
        try:
            took.append(chapters.run(path)["seconds"])
        except ChapterError as error:
            took.append(None)
            print("failed", flush=True)
            print(f"{error}\n", file=sys.stderr, flush=True)
            failures.append(path.name)
            continue
        said = words(took[-1])
        notes = [f"last time {words(last[number - 1])}"] if last[number - 1] else []
        if number < len(due) and (left := seconds_left(guesses, took)):
            notes.append(f"about {words(left)} left")
        said += f" ({', '.join(notes)})" if notes else ""
        print(said if sys.stdout.isatty() else f"{progress} {said}", flush=True)
    print("\n".join(report(paths, due)))
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return not failures


def seconds_left(last: Sequence[float | None], took: Sequence[float | None]) -> float | None:
    """What the chapters that are due still take, at the pace of those that have run.

    Args:
        last: seconds of each chapter the last time it ran, here or elsewhere; None if unknown.
        took: seconds of the first of them now, None for one that failed.
    """
    done = [(before, now) for before, now in zip(last, took, strict=False) if now]
    both = [(before, now) for before, now in done if before]
    pace = sum(now for _, now in both) / sum(before for before, _ in both) if both else 1.0
    guesses = [now for _, now in done] + [pace * before for before in last[len(took) :] if before]
    if not guesses:
        return None
    usual = sum(guesses) / len(guesses)
    return sum(pace * before if before else usual for before in last[len(took) :])


def usual_seconds() -> dict[str, float]:
    """Chapter → processor seconds, as shipped; empty if there is no such file."""
    return json.loads(SECONDS.read_text("utf-8")) if SECONDS.exists() else {}


def note_seconds():
    """Write ``seconds.json`` anew from the chapters that ran here, if it differs to speak of."""
    before, now = usual_seconds(), {}
    for path in chapters.chapters():
        known, notebook = before.get(path.stem), chapters.executed(path)
        cost = notebook.metadata.run.processor_seconds if notebook else known
        if cost is not None:
            same = known is not None and cost / NEARLY <= known <= cost * NEARLY
            now[path.stem] = known if same else cost
    if now != before:
        SECONDS.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"{SECONDS.name}: {count(now)}, {words(sum(now.values()))} of a processor")


def count(found: Collection) -> str:
    """So many chapters, in words: 1 chapter, 28 chapters."""
    return f"{len(found)} chapter{'s' * (len(found) != 1)}"


def words(seconds: float) -> str:
    """A time as one says it: 41 s, 6 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def report(paths: Iterable[Path], due: Iterable[Path]) -> list[str]:
    """Lines that say what chapters cost, and which cost more than a chapter should."""
    lines, long = ["seconds  processor  chapter"], []
    for path in paths:
        if notebook := chapters.executed(path):
            ran = notebook.metadata.run
            note = "" if path in due else "  (kept)"
            lines.append(f"{ran.seconds:7.1f} {ran.processor_seconds:10.1f}  {path.stem}{note}")
            if ran.processor_seconds > PROCESSOR_SECONDS:
                long.append(f"{path.stem} ({ran.processor_seconds:.0f})")
    if long:
        lines.append(f"more than {PROCESSOR_SECONDS} processor seconds: {', '.join(long)}")
    return lines


def data_sets(paths: Iterable[Path]) -> list[str]:
    """The data sets that chapters name."""
    sources = [chapters.source_of(chapters.read(path)) for path in paths]
    return [name for name in DATA_SETS if any(f'"{name}"' in source for source in sources)]


def get_data(names: Sequence[str]) -> bool:
    """Have the package fetch and check data sets; it says itself what is wrong."""
    return all(
        subprocess.run(
            [sys.executable, "-m", "scorerep", "data", name],
            cwd=chapters.ROOT, env=chapters.environment(), start_new_session=True,
        ).returncode == 0
        for name in names
    )  # fmt: skip


# The command line


def command(main: Callable[[], bool]) -> NoReturn:
    """Run a command to its exit status; a ``ChapterError`` and a signal are one line each."""

    def stop(number: int, _frame):
        raise Interrupted(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(0 if main() else 1)
    except ChapterError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, Interrupted) as stopped:
        name = str(stopped) or "SIGINT"
        print(f"\nStopped by {name}; the chapters that have run are kept.", file=sys.stderr)
        sys.exit(SIGNALS[name])
