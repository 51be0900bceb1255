"""Check that file systems have free space, and that the operator's folders are still the same.

Does not know what is written to them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from reeldrop.base.errors import Mistake
from reeldrop.base.roots import Root

_log = structlog.get_logger()


class DiskWatch:
    """Watches whether folders have enough space, and whether `roots` are still the same folders.

    shortage: the problem found by the last look, in words; empty if there was none
    is_lost: whether that problem is a root that is not the same folder any more
    """

    def __init__(
        self, folders: Iterable[Path], min_free_gib: float, roots: Iterable[Root] = ()
    ) -> None:
        self._folders = tuple(folders)
        self._roots = tuple(roots)
        self.min_free_gib = min_free_gib
        self.shortage = ""
        self.is_lost = False

    @property
    def problem(self) -> Mistake:
        """The shortage and its remedy."""
        if self.is_lost:
            return Mistake(self.shortage, "mount it, and restart")
        return Mistake(self.shortage, "make room, or lower it", key="min_free_gib")

    def look(self) -> str:
        """Look again, log when a shortage begins or ends, and return `shortage`."""
        lost = _lost(self._roots)
        found = lost or shortage(self._folders, self.min_free_gib)
        self.is_lost = bool(lost)
        if found and not self.shortage:
            end = "the old folder is back" if lost else "there is room"
            _log.error("paused", reason=found, remedy=f"work goes on when {end}")
        elif self.shortage and not found:
            _log.info("resumed")
        self.shortage = found
        return found


def _lost(roots: Iterable[Root]) -> str:
    """Return which root is not the same folder any more, in words; empty if all are."""
    for root in roots:
        try:
            root.check()
        except OSError as error:
            if error.errno == errno.ESTALE:  # the next write there reports other errors
                return f"{root.path}: {error.strerror}"
    return ""


def shortage(folders: Iterable[Path], min_free_gib: float) -> str:
    """Return which folder has too little space on its file system, in words; empty if none has.

    A folder that can't be checked is skipped: the next write there reports the error.
    """
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        gib = found.f_bavail * found.f_frsize / 2**30
        if gib < min_free_gib:
            return f"{gib:.2f} GiB free in {folder}, less than min_free_gib: {min_free_gib:g}"
    return ""
