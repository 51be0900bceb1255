"""Finds the program on this machine that still has a file open for writing.

A tool that writes in place gives no other sign while it pauses. The kernel refuses a read lease on
a file that is open for writing. Only the file's owner, or a process with CAP_LEASE, may ask for
one. Writers on other machines are not seen, and on NFS and SMB a refusal may mean anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

from reeldrop.base import plain_files

SOMEBODY = "another program"

_WRITES = os.O_WRONLY | os.O_RDWR


def is_written(path: Path) -> bool:
    """Return whether a program is known to have a plain file open for writing."""
    with contextlib.suppress(OSError):
        fd = plain_files.open_plain(path)
        try:
            return _is_written(fd)
        finally:
            os.close(fd)
    return False


def name_of_writer(path: Path) -> str:
    """Return the name of the program that writes into a file; `SOMEBODY` if it can't be seen."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        identity = status.st_dev, status.st_ino
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(_writes(process, number, identity) for number in os.listdir(process / "fd")):
                    return (process / "comm").read_bytes().decode(errors="replace").strip()
    return SOMEBODY


def _is_written(fd: int) -> bool:
    # A writer that opens the file now blocks until the unlock; we get SIGURG, ignored by default.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _writes(process: Path, number: str, identity: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError):
        found = os.stat(process / "fd" / number)
        if (found.st_dev, found.st_ino) == identity:
            described = (process / "fdinfo" / number).read_text()
            flags = int(described.partition("flags:")[2].split()[0], 8)
            return bool(flags & _WRITES)
    return False
