"""Whether a process works at a run, and how many processor seconds the run has used."""

import json
import os
import platform
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

BEAT = 5.0  # seconds between two signs of life


def core_seconds(place: Path) -> float:
    """Processor seconds that a run has used, all its processes together."""
    return float(read_json(place / "alive.json").get("core_seconds", 0.0))


@contextmanager
def signs_of_life(place: Path):
    """Say every few seconds that this process works here; gives a function of the seconds used.

    A process whose parent is gone stops: a new worker would be one too many.
    """
    before, parent = core_seconds(place) - _used(), os.getppid()
    over = threading.Event()

    def sign():
        known = {"pid": os.getpid(), "host": platform.node(), "time": time.time()}
        write_json(place / "alive.json", known | {"core_seconds": before + _used()})

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
        write_json(place / "alive.json", {"core_seconds": before + _used()})


def _used() -> float:
    """Processor seconds of this process and of the ended ones that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_json(path: Path) -> dict:
    """What a file says; empty if there is none, or it is half written."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def write_json(path: Path, value: dict):
    """``value`` as JSON, whole or not at all; not forced to the disk: a sign is soon renewed."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(value), "utf-8")
    temporary.replace(path)


def is_alive(place: Path) -> bool:
    """Whether a process works there: the last sign of life is recent, and not of a killed one."""
    sign = read_json(place / "alive.json")
    if "pid" not in sign or time.time() - sign["time"] > 6 * BEAT:
        return False
    try:
        os.kill(sign["pid"], 0)
    except ProcessLookupError:
        return sign["host"] != platform.node()
    except PermissionError:
        pass
    return True
