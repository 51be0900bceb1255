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
        for process in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                numbers = os.listdir(f"/proc/{process}/fd")
                if any(_writes(process, number, identity) for number in numbers):
                    comm = Path(f"/proc/{process}/comm")
                    return comm.read_bytes().decode(errors="replace").strip()
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


def _writes(process: str, number: str, identity: tuple[int, int]) -> bool:
    # On a busy machine, this is called for tens of thousands of open files.
    try:
        found = os.stat(f"/proc/{process}/fd/{number}")
        if (found.st_dev, found.st_ino) != identity:
            return False
        described = Path(f"/proc/{process}/fdinfo/{number}").read_text()
    except OSError:
        return False
    return bool(int(described.partition("flags:")[2].split()[0], 8) & _WRITES)
