"""Ends that nobody asked for: notice a hang, leave a trace, tell the next process what happened.
And those that somebody did: leave what can't be waited for.

The trace is a file in the spool. It is there while a process works, with what the kernel counted
at its start, and below that what ends it, if it can still tell. It goes when the process ends as it
should. Knows nothing of jobs.
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

from reeldrop.base import beneath, durable
from reeldrop.base.errors import FileError
from reeldrop.base.job import Cause

FILE_NAME = "ending"
EXIT_STALLED = 70
EXIT_LOST = 75

KILLED = "killed by somebody or something (no trace is left, as after SIGKILL)"
OUT_OF_MEMORY = "killed by the kernel because memory ran out"
RESTARTED = "the machine stopped, as after a power cut or a reboot"
_FATAL = "Fatal Python error: "
_LONGEST_LOOK_SECONDS = 10.0
_LONGEST_REASON = 500
_MAX_TRACE_BYTES = 1 << 20


def mebibytes_moved() -> int:
    """Return how much the process's threads but this one have read and written so far.

    A model that is being loaded or downloaded shows by it that it goes on (proc(5), task/*/io).
    Single bytes would not: the thread that hears of the inbox's events reads some all the time.
    """
    own, moved = str(threading.get_native_id()), 0
    for thread in Path("/proc/self/task").iterdir():
        if thread.name != own:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                lines = (thread / "io").read_text().splitlines()
                counts = dict(line.split(": ") for line in lines)
                moved += sum(int(counts[key]) for key in ("rchar", "wchar", "read_bytes"))
    return moved >> 20


class StallWatch:
    """Measures for how long work that should go on has not gone on.

    That it goes on, it is told, or it sees that `sign` has changed since the last look. A process
    that was itself stopped, or a machine that slept, has lost time that its work never had:
    between two looks at most ten seconds count.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._idle = 0.0
        self._last_look = 0.0
        self._sign = 0

    def progress(self) -> None:
        """Work has gone on."""
        self._idle = 0.0

    def is_stalled(self, now: float, *, busy: bool, sign: int = 0) -> bool:
        """Return whether busy work has made no progress for too long. `now` is monotonic."""
        if sign != self._sign:
            self._sign = sign
            self.progress()
        passed = min(now - self._last_look, _LONGEST_LOOK_SECONDS) if self._last_look else 0.0
        self._last_look = now
        self._idle = self._idle + passed if busy else 0.0
        return self._idle >= self._limit


class Ending(NamedTuple):
    """How a process ended, in words (none if it ended well), and what may have been the cause."""

    how: str
    cause: Cause = Cause.WORK


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel tells what it did to the processes of a machine."""

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")

    def boot(self) -> str:
        """Return what is another text after each start of the machine; empty if unknown."""
        try:
            return (self.proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def out_of_memory(self) -> Iterator[tuple[str, int, int]]:
        """Yield counters of processes killed because memory ran out, the nearest to us first.

        Each with its inode: a counter that was made anew, as that of a service is at its restart,
        can't be compared; then that of the slice around it can, and at last the machine's.
        """
        for path in (*self._of_cgroups(), self.proc / "vmstat"):
            found = _counter(path)
            if found is not None:
                yield (str(path), *found)

    def _of_cgroups(self) -> Iterator[Path]:
        try:
            lines = (self.proc / "self/cgroup").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            _, kinds, name = line.split(":", 2)
            own = Path(name.lstrip("/"))
            if not kinds:
                for folder in (own, *own.parents):  # each counts those below it, too
                    yield self.cgroups / folder / "memory.events"
            elif "memory" in kinds.split(","):
                yield self.cgroups / "memory" / own / "memory.oom_control"


def _counter(path: Path) -> tuple[int, int] | None:
    """Return a file's inode and what it says of `oom_kill`; None where it says nothing."""
    with contextlib.suppress(OSError, ValueError, KeyError), path.open() as file:
        counts = dict(line.split() for line in file)
        return os.fstat(file.fileno()).st_ino, int(counts["oom_kill"])
    return None


@contextlib.contextmanager
def traced(path: Path, kernel: Kernel = Kernel()) -> Iterator[None]:
    """Leave a trace in the file if the process ends in the middle of the block, or by an error.

    A FileError leaves none: an operator has to act, and no job is to blame.
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
            with contextlib.suppress(OSError):  # a full disk must not hide what the error was
                trace.write(f"{type(error).__name__}: {error}\n".encode(errors="replace"))
            raise
        finally:
            faulthandler.disable()
    excuse(path)


def excuse(path: Path) -> None:
    """Let whatever ends the process from now on count for nothing: somebody asked for an end.

    Safe in a signal handler, and needs no room on the disk.
    """
    with contextlib.suppress(OSError):
        path.unlink()


def _note_start(trace: FileIO, kernel: Kernel) -> None:
    """Write what the kernel says at the start, if there is room for it, to be compared later."""
    start = {"boot": kernel.boot(), "out_of_memory": list(kernel.out_of_memory())}
    line = json.dumps(start).encode() + b"\n"
    try:
        is_whole = trace.write(line) == len(line)
        os.fsync(trace.fileno())  # else a power cut takes it, which it is to tell from a kill
    except OSError:
        is_whole = False
    if not is_whole:
        with contextlib.suppress(OSError):
            trace.seek(0)
            trace.truncate()


def how_it_ended(path: Path, kernel: Kernel = Kernel()) -> Ending:
    """Return how the process ended that left the file."""
    start, told = _read(path)
    if told is None:
        return Ending("")
    if told:
        return Ending(told.partition("\n")[0].removeprefix(_FATAL)[:_LONGEST_REASON])
    boots = {start.get("boot"), kernel.boot()} - {None, ""}
    if len(boots) > 1:
        return Ending(RESTARTED, Cause.MACHINE)
    if _ran_out_of_memory(start.get("out_of_memory")):
        return Ending(OUT_OF_MEMORY)
    return Ending(KILLED, Cause.UNKNOWN)


def _ran_out_of_memory(before: object) -> bool:
    """Return whether the nearest counter that is still the same one has grown."""
    with contextlib.suppress(TypeError, ValueError):
        for path, inode, count in before:  # type: ignore[attr-defined]
            now = _counter(Path(path))
            if now is not None and now[0] == inode:
                return bool(now[1] > count)
    return False


def stacks(path: Path) -> str:
    """Return where the threads of that process were, if it could still tell; else nothing."""
    _, told = _read(path)
    return (told or "").partition("\n")[2].strip()


def _read(path: Path) -> tuple[dict[str, object], str | None]:
    """Return what a process noted at its start, and what it told at its end; None if no file."""
    try:
        text = beneath.content(path, _MAX_TRACE_BYTES).decode(errors="replace")
    except OSError:  # there is none, or it is not one of ours
        return {}, None
    first, _, rest = text.partition("\n")
    with contextlib.suppress(ValueError, RecursionError):
        start = json.loads(first)
        if isinstance(start, dict):
            return start, rest.strip()
    return {}, text.strip()


def leave_threads(end: SystemExit) -> None:
    """End the process at once if a thread is at work that nobody waits for.

    Python would end that thread wherever it is, and in the middle of torch this aborts the process.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))


def leave_at_once() -> NoReturn:
    """End the process as by a kill: not a file is touched that is another process's by now."""
    sys.stdout.flush()
    os._exit(EXIT_LOST)


def end_stalled(path: Path | None, reason: str) -> NoReturn:
    """End the process at once, with the stacks of all its threads on stderr.

    Nothing is waited for: a thread that hangs in a driver never comes back.
    """
    with contextlib.suppress(OSError):  # the disk may be what hangs; then it counts as killed
        if path is not None:
            with path.open("a") as trace:
                trace.write(f"{reason}\n")
    print(f"reeldrop: {reason}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    os._exit(EXIT_STALLED)
