"""Detect hangs, and leave a trace of a crash, a kill or a hang for the next process.

The trace is a file in the spool that exists while a process works. It has the kernel's counters at
the start, and below them the reason of the end, if the process can still write it. A normal end
removes it, and does not wait for threads that may hang. Knows nothing of jobs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple, NoReturn

from reeldrop.base import durable, plain_files, proc
from reeldrop.base.errors import FileError
from reeldrop.base.job import Cause

FILE_NAME = "ending"
EXIT_STALLED = 70
EXIT_LOST = 75

KILLED = "killed by somebody or something (no trace is left, as after SIGKILL)"
OUT_OF_MEMORY = "killed by the kernel because memory ran out"
RESTARTED = "the machine stopped, as after a power cut or a reboot"
_WORDS = {"": "normal", KILLED: "killed", OUT_OF_MEMORY: "memory", RESTARTED: "machine"}
_FATAL = "Fatal Python error: "
_LONGEST_LOOK_SECONDS = 10.0
_LONGEST_REASON = 500
_MAX_TRACE_BYTES = 1 << 20


def mebibytes_moved() -> int:
    """Return how many MiB the process's other threads, and their children, have read and written.

    Shows the progress of loading or downloading a model (proc(5), task/*/io), also in processes
    that render with this one. In MiB, because the thread that watches the inbox reads a few bytes
    all the time.
    """
    own, moved = str(threading.get_native_id()), 0
    with contextlib.suppress(OSError):  # too many files are open
        for thread in Path("/proc/self/task").iterdir():
            if thread.name != own:
                with contextlib.suppress(OSError):  # one has ended
                    moved += _bytes_moved(thread)
                    for child in (thread / "children").read_text().split():
                        moved += _bytes_moved(Path("/proc", child))
    return moved >> 20


def _bytes_moved(task: Path) -> int:
    counts = dict(line.split(": ") for line in proc.lines(task / "io"))
    return sum(int(counts[key]) for key in ("rchar", "wchar", "read_bytes"))


class StallWatch:
    """Measures how long work has made no progress.

    Progress is reported by `progress()`, or seen as a change of `sign`. At most ten seconds count
    between two looks: while the process was stopped, or the machine asleep, no work could be done.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._idle = 0.0
        self._last_look = 0.0
        self._sign = 0

    @property
    def idle_seconds(self) -> float:
        """How long there was no progress at the last look."""
        return self._idle

    def progress(self) -> None:
        """Report progress."""
        self._idle = 0.0

    def is_stalled(self, now: float, *, busy: bool, sign: int = 0) -> bool:
        """Return whether busy work has made no progress for too long; `now` is monotonic."""
        if sign != self._sign:
            self._sign = sign
            self.progress()
        passed = min(now - self._last_look, _LONGEST_LOOK_SECONDS) if self._last_look else 0.0
        self._last_look = now
        self._idle = self._idle + passed if busy else 0.0
        return self._idle >= self._limit


class Ending(NamedTuple):
    """How a process ended, in words (empty if it ended normally), and the possible cause."""

    how: str
    cause: Cause = Cause.WORK

    @property
    def word(self) -> str:
        """How it ended, as one of few words."""
        return _WORDS.get(self.how, "error")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel reports what it did to processes."""

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")

    def boot(self) -> str:
        """Return the id of the machine's current boot; empty if unknown."""
        try:
            return (self.proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def out_of_memory(self) -> Iterator[tuple[str, int, int]]:
        """Yield path, inode and value of the counters of OOM kills, the nearest to us first.

        A counter with another inode is a new one, such as a service's after its restart, and can't
        be compared; the one of the slice around it can, or the machine's.
        """
        for path in (*self._of_cgroups(), self.proc / "vmstat"):
            found = _counter(path)
            if found is not None:
                yield (str(path), *found)

    def _of_cgroups(self) -> Iterator[Path]:
        try:
            lines = proc.lines(self.proc / "self/cgroup")
        except OSError:
            return
        for line in lines:
            _, kinds, name = line.split(":", 2)
            own = Path(name.lstrip("/"))
            if not kinds:
                for folder in (own, *own.parents):  # each includes those below it
                    yield self.cgroups / folder / "memory.events"
            elif "memory" in kinds.split(","):
                yield self.cgroups / "memory" / own / "memory.oom_control"


def _counter(path: Path) -> tuple[int, int] | None:
    """Return a file's inode and its value of `oom_kill`; None if it has none."""
    with contextlib.suppress(OSError, ValueError, KeyError), path.open() as file:
        counts = dict(line.split() for line in file)
        return os.fstat(file.fileno()).st_ino, int(counts["oom_kill"])
    return None


@contextlib.contextmanager
def traced(path: Path, kernel: Kernel = Kernel()) -> Iterator[None]:
    """Leave a trace in the file if the process ends inside the block, or the block raises.

    A FileError leaves none: the operator has to act, and no job is to blame.
    """
    durable.make_way(path)
    with path.open("wb", buffering=0) as trace:
        _note_start(trace, kernel)
        faulthandler.enable(trace, all_threads=True)
        try:
            yield
        except FileError:
            excuse(path)
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the error
                trace.write(f"{type(error).__name__}: {error}\n".encode(errors="replace"))
            raise
        finally:
            faulthandler.disable()
    excuse(path)


def excuse(path: Path) -> None:
    """Remove the trace, so that the next process blames no job for this end.

    Safe in a signal handler; needs no room on the disk.
    """
    with contextlib.suppress(OSError):
        path.unlink()


def _note_start(trace: FileIO, kernel: Kernel) -> None:
    """Write the boot id and the counters at the start, to compare later; nothing on a full disk."""
    start = {"boot": kernel.boot(), "out_of_memory": list(kernel.out_of_memory())}
    line = json.dumps(start).encode() + b"\n"
    try:
        is_whole = trace.write(line) == len(line)
        os.fsync(trace.fileno())  # it tells a power cut from a kill, so it must survive one
    except OSError:
        is_whole = False
    if not is_whole:
        with contextlib.suppress(OSError):
            trace.seek(0)
            trace.truncate()


def how_it_ended(path: Path, kernel: Kernel = Kernel()) -> Ending:
    """Return how the process that wrote the trace ended."""
    start, end = _read(path)
    if end is None:
        return Ending("")
    if end:
        return Ending(end.partition("\n")[0].removeprefix(_FATAL)[:_LONGEST_REASON])
    boots = {start.get("boot"), kernel.boot()} - {None, ""}
    if len(boots) > 1:
        return Ending(RESTARTED, Cause.MACHINE)
    if _ran_out_of_memory(start.get("out_of_memory")):
        return Ending(OUT_OF_MEMORY)
    return Ending(KILLED, Cause.UNKNOWN)


def _ran_out_of_memory(before: object) -> bool:
    """Return whether the nearest counter with an unchanged inode has grown."""
    with contextlib.suppress(TypeError, ValueError):
        for path, inode, count in before:  # type: ignore[attr-defined]
            now = _counter(Path(path))
            if now is not None and now[0] == inode:
                return bool(now[1] > count)
    return False


def stacks(path: Path) -> str:
    """Return the stacks of that process's threads; empty if it could not write them."""
    _, end = _read(path)
    return (end or "").partition("\n")[2].strip()


def _read(path: Path) -> tuple[dict[str, object], str | None]:
    """Return what a process wrote at its start, and at its end; None for the end without a file."""
    try:
        text = plain_files.content(path, _MAX_TRACE_BYTES).decode(errors="replace")
    except OSError:  # it is missing, or not one of ours
        return {}, None
    first, _, rest = text.partition("\n")
    with contextlib.suppress(ValueError, RecursionError):
        start = json.loads(first)
        if isinstance(start, dict):
            return start, rest.strip()
    return {}, text.strip()


def leave_threads(end: SystemExit) -> None:
    """End the process at once if a daemon thread is running.

    Python would stop that thread anywhere; inside torch this aborts the process.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))


def leave_at_once() -> NoReturn:
    """End the process like a kill, without touching files that another process owns by now."""
    sys.stdout.flush()
    os._exit(EXIT_LOST)


def end_stalled(path: Path | None, reason: str) -> NoReturn:
    """End the process at once, with the stacks of all its threads on stderr.

    Waits for nothing: a thread that hangs in a driver never returns.
    """
    with contextlib.suppress(OSError):  # if the disk is in trouble, it counts as killed
        if path is not None:
            with path.open("a") as trace:
                trace.write(f"{reason}\n")
    print(f"reeldrop: {reason}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    os._exit(EXIT_STALLED)
