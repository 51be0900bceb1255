"""Temporary folders of processes that may be killed: a later process removes abandoned ones.

A folder is locked while its process runs, which also keeps systemd-tmpfiles out of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_YOUNG_SECONDS = 60.0
"""A folder of this age may be one that is about to be locked."""


def make(prefix: str) -> Path:
    """Return a new folder of this process, which nobody else can read.

    Folders with this prefix are removed whose processes have ended.

    Raises:
        OSError: it can't be made.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(old)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _lock(folder)  # until the process ends
    return folder


def _lock(folder: Path) -> int:
    """Lock a folder, and return the descriptor that holds the lock.

    Raises:
        OSError: another process has it, or it can't be opened.
    """
    opened = os.open(folder, _FLAGS)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):  # its process lives, or somebody else removes it
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and found.st_mtime < time.time() - _YOUNG_SECONDS:
            opened = _lock(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(opened)
