"""A queue of runs: a list in order of value, workers that take the next, a table of what is done.

    scorerep queue status                     # the list
    scorerep queue work --workers 2           # one process a core, one thread each, niced
    python -m scorerep.runs.queue MODULE FOLDER NAME    # one run, as a worker starts it

plan         the list, in a module of its own;   states    how its runs stand
workers      take the next that is free;         one_run   what one of them does
life         whether a process works at a run
"""

from scorerep.runs.queue.one_run import execute, main
from scorerep.runs.queue.plan import Plan, Run, default_folder, load_plan
from scorerep.runs.queue.states import finished, show, status
from scorerep.runs.queue.workers import next_run, work

__all__ = [
    "Plan",
    "Run",
    "default_folder",
    "execute",
    "finished",
    "load_plan",
    "main",
    "next_run",
    "show",
    "status",
    "work",
]
