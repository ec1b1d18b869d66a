"""One chapter in a kernel of its own: of this interpreter, watched, and never hurried.

A slow chapter is finished, however busy the machine is. One that hangs is told by its silence:
for ``SILENCE`` seconds its kernel printed nothing, ended no cell and hardly computed. What a
chapter costs is measured in processor seconds of the kernel and its children, which other work
on the machine changes little; the seconds of the clock stand beside them.
"""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

SILENCE = 30 * 60  # seconds after which a kernel that does nothing is taken to hang
WORK = 1.0  # processor seconds; an idle kernel needs longer than SILENCE for them
LOOK = 1.0  # seconds between two looks at the kernel
PART = 72  # signs of a cell that an error shows
NOTE_FILES = """
def _note_files(folders, out):
    import os, sys
    def note(event, arguments, seen=set()):
        if event == "open" and isinstance(arguments[0], str) and arguments[0] not in seen:
            seen.add(arguments[0])
            path = os.path.abspath(arguments[0])
            if path.startswith(folders):
                out.write(path + "\\n")
    sys.addaudithook(note)
_note_files({folders!r}, open({out!r}, "w", buffering=1, encoding="utf-8"))
del _note_files
"""  # run in the kernel before the first cell


class CellFailed(Exception):
    """A cell that raised, or a kernel that died or hung; the message says where and why."""


class Interrupted(Exception):
    """The run was stopped by a signal; the message is the signal's name."""


@dataclass
class Watch:
    """When a kernel last did something, from what it has computed and sent so far."""

    now: float
    worked: float = 0.0
    sent: int = 0
    since: float = field(init=False)

    def __post_init__(self):
        self.since = self.now

    def silence(self, now: float, processor_seconds: float, sent: int) -> float:
        """Seconds without an answer and without ``WORK`` processor seconds, as of ``now``."""
        if sent != self.sent or processor_seconds >= self.worked + WORK:
            self.worked, self.sent, self.since = processor_seconds, sent, now
        return now - self.since


def processor_seconds(pid: int) -> float | None:
    """What a process and its children have computed, those that ended too; None if it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            try:
                of_child = child.cpu_times()
            except psutil.Error:
                continue
            total += of_child.user + of_child.system
        return total
    except psutil.Error:
        return None


class Client(NotebookClient):
    """Runs a notebook in this interpreter's kernel, whatever kernels the reader has installed."""

    sent = 0  # messages that came from the kernel
    processor_seconds = 0.0
    before = ""  # code that runs ahead of the first cell

    def create_kernel_manager(self):
        self.km = self.kernel_manager_class(
            kernel_name=NATIVE_KERNEL_NAME,  # with no folder to look in: ipykernel's own
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        )
        return self.km

    @asynccontextmanager
    async def async_setup_kernel(self, **options) -> AsyncIterator[None]:
        """As nbclient's, but leaves signals to ``execute_watched``."""
        self.create_kernel_manager()
        try:
            await self.async_start_new_kernel(**options)
            await self.async_start_new_kernel_client()
            if self.before:
                message = self.kc.execute(self.before, silent=True, store_history=False)
                await self.async_wait_for_reply(message)
            yield
        finally:
            self.look()
            if self.km is not None:
                await self._async_cleanup_kernel()

    def look(self) -> bool:
        """Measure the kernel; False if there is none."""
        pid = getattr(getattr(self.km, "provisioner", None), "pid", None)
        seconds = processor_seconds(pid) if pid else None
        self.processor_seconds = max(self.processor_seconds, seconds or 0.0)
        return seconds is not None

    def process_message(self, msg, cell, cell_index):
        self.sent += 1
        return super().process_message(msg, cell, cell_index)


def execute(
    notebook: NotebookNode,
    folder: Path,
    environment: dict[str, str],
    noted: Sequence[Path] = (),
) -> tuple[dict[str, float], list[Path]]:
    """Run a notebook in a folder; what it printed and drew is then in it.

    Returns ``seconds`` of the clock and ``processor_seconds``, and the files below the folders
    ``noted`` that Python opened in the kernel. ``CellFailed`` if a cell raises, or
    the kernel dies or hangs: then the notebook holds the outputs so far. ``Interrupted`` by SIGINT
    and SIGTERM, once the kernel has been shut down.
    """
    client = Client(
        notebook,
        timeout=None,
        startup_timeout=SILENCE,
        iopub_timeout=SILENCE,
        record_timing=False,
        store_widget_state=False,  # no widgets: pictures that move carry their data (moving.show)
        extra_arguments=["--log-level=ERROR"],  # no word about its local sockets
        resources={"metadata": {"path": str(folder)}},
        shutdown_kernel="immediate",
    )
    with tempfile.TemporaryDirectory() as work:
        out = Path(work, "files")
        folders = tuple(f"{place.resolve()}{os.sep}" for place in noted)
        client.before = NOTE_FILES.format(folders=folders, out=str(out)) if folders else ""
        start = time.perf_counter()
        asyncio.run(execute_watched(client, environment))
        seconds = time.perf_counter() - start
        lines = out.read_text("utf-8").splitlines() if out.exists() else []
    cost = {"seconds": seconds, "processor_seconds": client.processor_seconds}
    return {name: round(value, 1) for name, value in cost.items()}, sorted({*map(Path, lines)})


async def execute_watched(client: Client, environment: dict[str, str]):
    """Run the client's notebook, end it when it hangs, and turn signals into ``Interrupted``."""
    loop, signals, hung = asyncio.get_running_loop(), [], False
    task = asyncio.create_task(client.async_execute(env=environment))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int):
        signals.append(number)
        task.cancel()

    for number in before:
        try:
            loop.add_signal_handler(number, stop, number)
        except (NotImplementedError, RuntimeError, ValueError):
            pass  # Windows, or a thread that is not the first: the interpreter's own way
    try:
        watch = Watch(time.monotonic())
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK)
            client.look()
            quiet = watch.silence(time.monotonic(), client.processor_seconds, client.sent)
            if quiet > SILENCE and not task.done():
                hung = True
                task.cancel()
                await asyncio.wait({task})
        await task
    except (asyncio.CancelledError, CellExecutionError, RuntimeError) as error:
        # A task that was cancelled says so in several ways: why it was comes first.
        if signals:
            raise Interrupted(signal.Signals(signals[0]).name) from None
        if hung:
            raise CellFailed(
                f"the kernel computed and said nothing for {SILENCE / 60:.3g} minutes"
                f"{_where(client)}, so it was stopped"
            ) from None
        if isinstance(error, CellExecutionError):
            raise CellFailed(str(error)) from None
        if isinstance(error, RuntimeError):  # nbclient's DeadKernelError among them
            reason = str(error) or "no reason given"
            raise CellFailed(f"the kernel died{_where(client)}: {reason}") from None
        raise
    finally:
        for number, handler in before.items():
            try:
                loop.remove_signal_handler(number)
            except (NotImplementedError, RuntimeError, ValueError):
                continue
            signal.signal(number, handler)


def _where(client: Client) -> str:
    """The cell that was running, by its first line of code."""
    cells = [cell for cell in client.nb.cells if cell.cell_type == "code"]
    number = client.code_cells_executed
    if not 0 < number <= len(cells):
        return " before its first cell"
    line = next(iter(cells[number - 1].source.strip().splitlines()), "")
    return f" in the cell that begins {line[:PART]!r}"
