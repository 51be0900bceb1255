"""Read plain files that strangers may have made or exchanged: no links, no pipes, a bounded size.

Does not know what is in them, or where they are.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from reeldrop.base.trouble import naming

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Follows no link, and waits for no writer of a pipe."""

_PIECE = 1 << 18


def open_plain(path: Path) -> int:
    """Open a plain file for reading, without following a link or blocking on a pipe.

    Raises:
        OSError: it can't be read; EINVAL if it is a link or no plain file.
    """
    _require_plain(path, os.lstat(path))  # opening a pipe would unblock its writer
    fd = os.open(path, OPEN_FLAGS)
    try:
        _require_plain(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_plain(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "this is not a plain file", str(path))


def have_same_bytes(one: Path, other: Path) -> bool:
    """Return whether two plain files have the same content.

    Raises:
        OSError: one of them can't be read, or is no plain file.
    """
    with open(open_plain(one), "rb") as ours, open(open_plain(other), "rb") as theirs:
        if os.fstat(ours.fileno()).st_size != os.fstat(theirs.fileno()).st_size:
            return False
        while piece := ours.read(_PIECE):
            if piece != theirs.read(_PIECE):
                return False
        return not theirs.read(1)


def pour(path: Path, into: BinaryIO) -> None:
    """Write the content of a plain file, opened by `open_plain`, into an open file.

    Raises:
        OSError: it can't be read, and is named; or the other can't be written.
    """
    with open(open_plain(path), "rb") as file:
        while True:
            with naming(path):
                piece = file.read(_PIECE)
            if not piece:
                return
            into.write(piece)


def content(path: Path, most: int) -> bytes:
    """Return the content of a plain file, opened by `open_plain`.

    Raises:
        OSError: it can't be read; EFBIG if it has more than `most` bytes.
    """
    with naming(path), open(open_plain(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"this file has more than {most:,} bytes", str(path))
    return data
