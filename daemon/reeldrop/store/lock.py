"""Which process works on a spool: at most one, whatever becomes of the lock's file.

The lock is of the open file (fcntl(2), F_OFD_SETLK), and takes the right to write: who may only
read can't keep a daemon from its start. Who asks takes no lock. It counts as long as the file has
its name: the holder looks for that, and makes a file anew that somebody has removed; who finds
none, though there were jobs, gives a holder the time for it.
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

from reeldrop.base import durable
from reeldrop.base.errors import SpoolLocked

LOOK_SECONDS = 2.0
"""How often a holder at work looks at least whether its file has its name."""

GRACE_SECONDS = 4 * LOOK_SECONDS

_PAUSE_SECONDS = 1.0
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_FLOCK = struct.Struct("hhqqi0q")
"""What fcntl(2) takes: type, whence, start, length and, zero here, the process."""

_log = structlog.get_logger()

DAEMON = "daemon"
TUNER = "tuner"
COMMAND = "command"


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a spool; `is_here` if its number means the same process to us."""

    pid: int
    role: str
    is_here: bool


class Lock:
    """The lock on the spool `folder`. Where the folder `sign` is there, it has been held before."""

    def __init__(self, folder: Path, sign: Path) -> None:
        self._folder = folder
        self._sign = sign
        self._file = folder / "lock"
        self._fd = -1
        self._role = ""

    @contextlib.contextmanager
    def held(self, is_patient: Callable[[str], bool], role: str) -> Iterator[None]:
        """Hold the spool for this process alone.

        The lock's file says who that is, in which `role`. While another process holds it,
        `is_patient` is asked every second whether to wait on.

        Raises:
            SpoolLocked: another process holds it.
        """
        self._role = role
        durable.make_folder(self._folder)
        self._await_who_makes_it_anew()
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

    def _await_who_makes_it_anew(self) -> None:
        if self._file.exists() or not self._sign.exists():
            return
        _log.warning("lock_missing", reason=f"{self._file} is gone", seconds=GRACE_SECONDS)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not self._file.exists():
            time.sleep(0.05)

    def _taken(self) -> int | None:
        """Lock the file that has the name, and say in it who did; None if another has locked it."""
        while True:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with contextlib.suppress(PermissionError):  # an older version let others read it
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
                with contextlib.suppress(OSError):  # a full disk: this only helps a person
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
        """Return whether the spool is still this process's; make a file anew that is missing.

        What can't be made, or looked at, is left for the next time: its share may not be mounted.
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
        _log.warning("lock_made_anew", reason=f"{self._file} was removed", remedy="leave it there")
        return True

    def holder(self) -> Holder | None:
        """Return which process holds the spool, None if there is none or it is unknown."""
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
        """Return the same for who may not open the file, from what the kernel tells everybody."""
        with contextlib.suppress(OSError):
            number = str(self._file.stat().st_ino)
            for line in Path("/proc/locks").read_text().splitlines():
                kind, place = line.split()[1], line.split()[5]
                if kind == "OFDLCK" and place.rpartition(":")[2] == number:
                    return True
        return False

    def _read(self) -> Holder | None:
        """Return what the file says; where an older version has written it, only a number."""
        with contextlib.suppress(OSError, *_DAMAGED):
            found = json.loads(self._file.read_text(errors="replace"))
            if isinstance(found, int):
                return Holder(found, DAEMON, is_here=True)
            pid = operator.index(found["pid"])
            return Holder(pid, str(found["role"]), found.get("where") == _where())
        return None


def _where() -> str:
    """Return what is the same for two processes that mean the same by a process's number."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
