"""Lock a spool for at most one process, even if somebody removes the lock file.

The lock is an open file description lock (fcntl(2), F_OFD_SETLK). It needs permission to write, so
a process that may only read can't keep a daemon from starting. Queries take no lock. The lock is
valid while the locked file has its name: the holder checks this, and recreates a removed file. If
there is no file, though the spool was used before, a new process first waits for a holder to do so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import operator
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from reeldrop.base import durable, proc
from reeldrop.base.errors import SpoolLocked
from reeldrop.store.job_files import DAMAGE

LOOK_SECONDS = 2.0
"""Longest interval in which a working holder checks that its file has its name."""

GRACE_SECONDS = 4 * LOOK_SECONDS

_PAUSE_SECONDS = 1.0

_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` of fcntl(2): type, whence, start, length, and pid, which is zero here."""

_log = structlog.get_logger()

DAEMON = "daemon"
TUNER = "tuner"
COMMAND = "command"


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a spool; `is_here` if its pid is valid in our pid namespace."""

    pid: int
    role: str
    is_here: bool


class Lock:
    """The lock on the spool `folder`; if the folder `sign` exists, the spool was used before."""

    def __init__(self, folder: Path, sign: Path) -> None:
        self._folder = folder
        self._sign = sign
        self._file = folder / "lock"
        self._fd = -1
        self._role = ""

    @contextlib.contextmanager
    def held(
        self, is_patient: Callable[[str], bool] = lambda _problem: False, role: str = DAEMON
    ) -> Iterator[None]:
        """Hold the spool for this process alone, and record its pid and `role` in the lock file.

        While another process holds the spool, `is_patient` is called every second with the problem
        in words, and returns whether to keep waiting.

        Raises:
            SpoolLocked: another process holds it, and `is_patient` returned False.
        """
        self._role = role
        durable.make_folder(self._folder)
        self._await_a_holder_that_recreates_it()
        while (fd := self._taken()) is None:
            holder = self._read()
            who = f"{holder.pid}" if holder is not None else "unknown"
            problem = f"process {who} works on {self._folder} already"
            if not is_patient(problem):
                raise SpoolLocked(problem)
            time.sleep(_PAUSE_SECONDS)
        self._fd = fd
        try:
            yield
        finally:
            os.close(self._fd)
            self._fd = -1

    def _await_a_holder_that_recreates_it(self) -> None:
        if self._file.exists() or not self._sign.exists():
            return
        _log.warning("lock_missing", reason=f"{self._file} is gone", seconds=GRACE_SECONDS)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not self._file.exists():
            time.sleep(0.05)

    def _taken(self) -> int | None:
        """Lock the file and record the holder in it; return None if another process has the lock.

        The locked file is the one that has the name.
        """
        while True:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with contextlib.suppress(PermissionError):  # older versions let others read it
                    os.fchmod(fd, 0o600)
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
                is_named = self._has_name(fd)
            except (BlockingIOError, PermissionError):
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            if is_named:
                with contextlib.suppress(OSError):  # a full disk: the record only informs people
                    os.ftruncate(fd, 0)
                    record = {"pid": os.getpid(), "role": self._role, "where": _where()}
                    os.write(fd, f"{json.dumps(record)}\n".encode())
                return fd
            os.close(fd)  # it was removed before it was locked

    def _has_name(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._file))
        except FileNotFoundError:
            return False

    def keep(self) -> bool:
        """Return whether this process still holds the spool; recreate a missing lock file.

        If the file can't be checked or made, the next call tries again: its share may be unmounted.
        """
        try:
            if self._has_name(self._fd):
                return True
            fd = self._taken()
        except OSError:
            return True
        if fd is None:
            return False
        os.close(self._fd)
        self._fd = fd
        _log.warning("lock_recreated", reason=f"{self._file} was removed", remedy="leave it there")
        return True

    def holder(self) -> Holder | None:
        """Return the process that holds the spool; None if there is none, or it is unknown."""
        return self._read() if self.is_held() else None

    def is_held(self) -> bool:
        """Return whether a process holds the spool."""
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError:
            return self._is_listed()
        except OSError:
            return False
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)
            found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        except OSError:
            return False
        finally:
            os.close(fd)
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def _is_listed(self) -> bool:
        """Return whether /proc/locks lists the lock; for users who may not open the file."""
        with contextlib.suppress(OSError):
            number = str(self._file.stat().st_ino)
            for line in proc.lines(Path("/proc/locks")):
                kind, place = line.split()[1], line.split()[5]
                if kind == "OFDLCK" and place.rpartition(":")[2] == number:
                    return True
        return False

    def _read(self) -> Holder | None:
        """Return the holder by the lock file's record; older versions wrote only a pid."""
        with contextlib.suppress(OSError, *DAMAGE):
            found = json.loads(self._file.read_text(errors="replace"))
            if isinstance(found, int):
                return Holder(found, DAEMON, is_here=True)
            pid = operator.index(found["pid"])
            return Holder(pid, str(found["role"]), found.get("where") == _where())
        return None


def _where() -> str:
    """Return boot id and pid namespace, in which a pid is unique; empty if unknown."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
