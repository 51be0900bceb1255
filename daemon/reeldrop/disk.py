"""Is there room for more? Looks at file systems, and knows nothing of what is written to them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import structlog

_log = structlog.get_logger()


class Room:
    """Watches whether folders have enough room; `shortage` is the last answer, in words."""

    def __init__(self, folders: Iterable[Path], min_free_gib: float) -> None:
        self._folders = tuple(folders)
        self.min_free_gib = min_free_gib
        self.shortage = ""

    def look(self) -> str:
        """Look again, and say when the answer is another one than before."""
        found = shortage(self._folders, self.min_free_gib)
        if found and not self.shortage:
            _log.error("paused", reason=found, remedy="work goes on when there is room")
        elif self.shortage and not found:
            _log.info("resumed")
        self.shortage = found
        return found


def shortage(folders: Iterable[Path], min_free_gib: float) -> str:
    """Return which folder has too little room on its file system, in words; empty if none has.

    A folder that can't be asked is left to whoever writes there.
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
