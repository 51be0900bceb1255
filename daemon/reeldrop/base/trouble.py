"""Trouble of the machine in words: of its disks and shares, its memory and its descriptors.

Says which file it is about, what is used up, and what an operator can do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from reeldrop.base.errors import DISK_ERRORS, Mistake
from reeldrop.base.temporaries import is_temporary

_SHARE = "mount the share again, or look at its server"

_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or ask for a larger quota",
    errno.EIO: "look at the disk or the share; `dmesg` says more",
    errno.EROFS: "mount it so that it can be written; after an error, a file system becomes so",
    errno.ESTALE: _SHARE,
    errno.ENODEV: _SHARE,
    errno.ENOTCONN: _SHARE,
    errno.ETIMEDOUT: _SHARE,
    errno.EHOSTDOWN: _SHARE,
    errno.EHOSTUNREACH: _SHARE,
    errno.EMFILE: "this process may open no more files: raise LimitNOFILE= of its unit, or "
    "`ulimit -n`",
    errno.ENFILE: "the machine may open no more files: end what has them open, or raise "
    "fs.file-max (sysctl)",
    errno.ENOMEM: "the machine's memory is used up: end other programs, or raise MemoryMax= of "
    "the unit",
}


_ROOM = re.compile(r"\d+\.\d MiB")


def of(error: BaseException | None) -> OSError | None:
    """Return the error of the machine that an error is, or that a library has made it of.

    None if the machine is not to blame.
    """
    for found in _chain(error):
        if isinstance(found, OSError) and found.errno in DISK_ERRORS:
            return found
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that it was raised for; of an OSError, also those handled then."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        is_retold = isinstance(error, OSError) and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if is_retold else None)


def mistake(error: OSError) -> Mistake:
    """Return the problem, with the file, and the remedy; an error with words of its own keeps them.

    Of a temporary file, its folder is named.
    """
    place = _place(error)
    if error.errno is None or not error.strerror:
        return Mistake(f"{error}: {place}" if place else str(error))
    problem = f"{error.strerror}: {place}" if place else error.strerror
    if error.strerror != os.strerror(error.errno):
        return Mistake(problem)
    if error.errno == errno.ENOSPC and (left := _left(place)):
        problem = f"{problem} ({left})"
    return Mistake(problem, _REMEDIES.get(error.errno, ""))


def in_words(error: OSError) -> str:
    """Return the problem and the remedy on one line."""
    return str(mistake(error))


def is_same(one: str, other: str) -> bool:
    """Return whether two texts of `in_words` tell the same, but for how much room is left."""
    return _ROOM.sub("", one) == _ROOM.sub("", other)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in errors that name none, as a write to a full disk raises them.

    PyAV's errors, whose names are read-only, are replaced.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            try:
                error.filename = str(path)
            except AttributeError:
                raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def is_there(path: str | Path) -> bool:
    """Return whether anything is at a path, also a link that leads nowhere.

    Raises:
        OSError: nobody can know, as the disk fails; `os.path.lexists` would say that nothing is.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        return False
    except ValueError:  # no name of a file
        return False
    return True


def _place(error: OSError) -> str:
    if error.filename is None:
        return ""
    file = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else f"{error.filename}"
    return os.path.dirname(file) if is_temporary(os.path.basename(file)) else file


def _left(place: str) -> str:
    """Return how much room the file system of a file has left, in words; empty if unknown."""
    while place and not os.path.lexists(place):
        place = os.path.dirname(place)
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    if found.f_files and not found.f_favail:
        return "its file system can't hold more files, whatever their size"
    return f"{found.f_bavail * found.f_frsize / 2**20:.1f} MiB are left there"
