"""The files in `_failed/`, read again only when one of its folders has changed.

The page's thread asks every few seconds, and a walk through a hundred thousand files takes one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from reeldrop.base.names import CLEARED_FOLDER
from reeldrop.store import history
from reeldrop.store.history import Failure

UNSURE_SECONDS = 3.0
"""How long a folder that has changed may change again without a new time: FAT keeps two seconds. By
our own clock, since the time was first seen: that of a share may be wrong."""

KEPT_SECONDS = 300.0
"""How long a list counts in which no folder has changed: somebody may write into a report."""


class Failures:
    """The newest of the failures in `_failed/`.

    is_prompt_file: returns whether a file there may be a prompt file, by its name
    limit: how many are listed at most
    """

    def __init__(self, is_prompt_file: Callable[[str], bool], limit: int) -> None:
        self._is_prompt_file = is_prompt_file
        self._limit = limit
        self._found: list[Failure] = []
        self._folders: Mapping[str, int] = {}
        self._first_seen = self._read = 0.0
        self._is_sure = False

    def use(self, is_prompt_file: Callable[[str], bool]) -> None:
        """List by another function from the next time on, also while a thread lists."""
        if is_prompt_file != self._is_prompt_file:
            self._is_prompt_file = is_prompt_file
            self._is_sure = False

    def of(self, failed: Path) -> list[Failure]:
        """Return what failed, newest first.

        failed: the folder `_failed/`, by any path
        """
        is_old = time.monotonic() - self._read >= KEPT_SECONDS
        if is_old or not self._is_sure or not self._are_same(failed):
            self._read = time.monotonic()
            if (found := _folders(failed)) != self._folders:
                self._folders, self._first_seen = found, self._read
            self._is_sure = bool(found) and self._read - self._first_seen >= UNSURE_SECONDS
            self._found = history.failures(failed, self._is_prompt_file, self._limit)
        return self._found

    def _are_same(self, failed: Path) -> bool:
        with contextlib.suppress(OSError):
            return all(_changed(failed / name) == at for name, at in self._folders.items())
        return False


def _folders(failed: Path) -> dict[str, int]:
    """Return the folders below `_failed/` with the times of their last change, in ns."""
    found: dict[str, int] = {}
    for folder, below, _files in os.walk(failed):
        name = os.path.relpath(folder, failed)
        if name == os.curdir and CLEARED_FOLDER in below:
            below.remove(CLEARED_FOLDER)
        if name.count(os.sep) >= history.MAX_DEPTH:
            below.clear()
        with contextlib.suppress(OSError):  # it was removed meanwhile
            found[name] = _changed(Path(folder))
    return found


def _changed(folder: Path) -> int:
    return folder.stat().st_mtime_ns
