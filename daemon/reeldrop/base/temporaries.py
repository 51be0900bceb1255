"""The names of temporary files, and the removal of those that a kill left.

A name contains its owner: a job's id, so that the next process can remove the file, or a random
number of a command. Does not know what is written into the files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_PREFIX, _SUFFIX = "~syncthing~reeldrop-", ".~.tmp"
"""Chosen so that sync tools skip such names: Syncthing skips those that begin with `~syncthing~`,
Nextcloud those that contain `.~`, others `*.tmp`."""

_COMMAND = "command-"
LEFT_SECONDS = 3600.0
"""Seconds without a change after which a temporary file of a command counts as left by a kill."""


def beside(path: Path, owner: str) -> Path:
    """Return a temporary name beside `path`, always the same one for the same owner."""
    return path.with_name(f"{_PREFIX}{owner}{_SUFFIX}")


def fresh(path: Path, owner: str) -> Path:
    """Return a temporary name beside `path`; remove a file left under it by an earlier call.

    Writing into that could change a file under its final name: a kill between link and unlink
    leaves one file with both names.
    """
    unfinished = beside(path, owner)
    unfinished.unlink(missing_ok=True)
    return unfinished


def command_owner() -> str:
    """Return a random owner, unique across processes, hosts and containers."""
    return f"{_COMMAND}{secrets.token_hex(8)}"


def remove(folder: Path, owner: str) -> None:
    """Remove the temporary files in a folder whose owner begins with `owner`."""
    for entry in _found(folder, owner):
        os.unlink(entry.path)


def remove_left(folder: Path, changed: Path) -> None:
    """Remove temporary files of commands that changed over LEFT_SECONDS before `changed` did.

    `changed` is a file in the folder that just changed, so the age is measured by the clock of the
    folder's file system. Files of a running command stay: they changed a moment ago.
    """
    with contextlib.suppress(OSError):  # `changed` was claimed, or the folder is gone
        limit = changed.lstat().st_ctime - LEFT_SECONDS
        for entry in _found(folder, _COMMAND):
            with contextlib.suppress(OSError):  # it is a folder
                if entry.stat(follow_symlinks=False).st_ctime < limit:
                    os.unlink(entry.path)


def _found(folder: Path, owner: str) -> Iterator[os.DirEntry[str]]:
    missing = (FileNotFoundError, NotADirectoryError)
    with contextlib.suppress(*missing), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.name.startswith(_PREFIX + owner):
                yield entry


def is_temporary(name: str) -> bool:
    """Return whether a name has the form of a temporary one."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)
