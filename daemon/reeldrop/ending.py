"""Ends that nobody asked for: notice a hang, leave a trace, tell the next process what happened.
And those that somebody did: leave what can't be waited for.

The trace is a file in the spool. It is there while a process works, empty until something ends
it, and goes when the process ends as it should. Knows nothing of jobs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from reeldrop import beneath, durable
from reeldrop.errors import FileError

FILE_NAME = "ending"
EXIT_STALLED = 70
EXIT_LOST = 75

KILLED = "without a trace, as by SIGKILL, which the kernel sends when memory runs out"
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
        """Tell whether busy work has made no progress for too long. `now` is monotonic."""
        if sign != self._sign:
            self._sign = sign
            self.progress()
        passed = min(now - self._last_look, _LONGEST_LOOK_SECONDS) if self._last_look else 0.0
        self._last_look = now
        self._idle = self._idle + passed if busy else 0.0
        return self._idle >= self._limit


@contextlib.contextmanager
def traced(path: Path) -> Iterator[None]:
    """Leave a trace in the file if the process ends in the middle of the block, or by an error.

    A FileError leaves none: an operator has to act, and no job is to blame.
    """
    durable.make_way(path)
    with path.open("wb", buffering=0) as trace:
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


def how_it_ended(path: Path) -> str:
    """Return how the process ended that left the file; empty where it ended as it should."""
    trace = _trace(path)
    if trace is None:
        return ""
    return trace.partition("\n")[0].removeprefix(_FATAL)[:_LONGEST_REASON] or KILLED


def stacks(path: Path) -> str:
    """Return where the threads of that process were, if it could still tell; else nothing."""
    return (_trace(path) or "").partition("\n")[2].strip()


def _trace(path: Path) -> str | None:
    """Return what the file says; None where there is none, or it is not one of ours."""
    with contextlib.suppress(OSError):
        return beneath.content(path, _MAX_TRACE_BYTES).decode(errors="replace")
    return None


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
            path.write_text(f"{reason}\n")
    print(f"reeldrop: {reason}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    os._exit(EXIT_STALLED)
