"""Which control files have acted: a file in the spool.

A sync tool that missed a deletion restores a file, with the modification time that it had. Without
the record, it would cancel the next prompt file of its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import unicodedata
from pathlib import Path

import structlog

from reeldrop.base import durable, moves
from reeldrop.base.roots import Root
from reeldrop.store import job_files

FILE_NAME = "cancelled.json"
KEPT = 1000
"""How many control files are remembered: the last ones."""

_log = structlog.get_logger()


class Heeded:
    """The control files that have acted, each by its path in the inbox and its modification time.

    spool: the folder of the record; it is read at the first use
    """

    def __init__(self, spool: Root) -> None:
        self._spool = spool
        self._times: dict[str, int] | None = None
        self._is_written = True

    def has(self, path: str, mtime_ns: int) -> bool:
        """Return whether a control file has acted.

        Raises:
            OSError: the record can't be read now; never again once it was.
        """
        heeded = self._read().get(_key(path))
        return heeded is not None and moves.is_same_time(heeded, mtime_ns)

    def add(self, path: str, mtime_ns: int) -> None:
        """Record that a control file has acted, in place of an earlier one of its path.

        Raises:
            OSError: it can't be recorded for a later process; the next call tries again.
        """
        if not self.has(path, mtime_ns):
            times = self._read()
            times.pop(_key(path), None)
            times[_key(path)] = mtime_ns
            self._times = dict(list(times.items())[-KEPT:])
            self._is_written = False
        if not self._is_written:
            with self._spool.opened() as folder:
                durable.write(folder / FILE_NAME, json.dumps(self._times).encode(), "cancelled")
            self._is_written = True

    def _read(self) -> dict[str, int]:
        """Return the record; a damaged one counts as none, and is renamed."""
        if self._times is None:
            with self._spool.opened() as folder:
                self._times = _times_in(folder)
        return self._times


def _times_in(folder: Path) -> dict[str, int]:
    file = folder / FILE_NAME
    with contextlib.suppress(FileNotFoundError):
        try:
            found = job_files.read(file)
            return {str(path): int(mtime_ns) for path, mtime_ns in found.items()}
        except job_files.DAMAGE as error:
            kept = file.with_name(f"{FILE_NAME}.damaged-{secrets.token_hex(4)}")
            os.rename(file, kept)
            _log.warning("cancels_forgotten", reason=str(error), renamed_to=kept.name)
    return {}


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path)
