"""Stopping a run from outside: a signal is noted, the step is finished, everything is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator


class Stopped(KeyboardInterrupt):
    """A run was stopped by the signal ``number`` after ``step`` steps; ``kept`` if it can go on."""

    def __init__(self, step: int, number: int, kept: bool = True):
        self.step, self.signal, self.kept = step, number, kept
        goes_on = "; the same command goes on" if kept else ""
        super().__init__(f"stopped at step {step}{goes_on}")


class WorkerError(RuntimeError):
    """A worker of a sweep failed or was killed; the message says which and why."""


@contextmanager
def stop_noted() -> Iterator[list[int]]:
    """SIGINT and SIGTERM go into the list, for the caller to look at; a second Ctrl-C interrupts.

    Outside the main thread, where signals do not arrive, the list stays empty.
    """
    noted: list[int] = []

    def note(number, frame):
        if number == signal.SIGINT and number in noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def any_process(accelerator: Accelerator, over: bool) -> bool:
    """Whether ``over`` holds on any process: none may wait for one that has stopped."""
    if accelerator.num_processes == 1:
        return over
    return bool(accelerator.reduce(torch.tensor(float(over), device=accelerator.device)))
