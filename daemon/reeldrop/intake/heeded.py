"""Which control files have acted: a file in the spool.

A sync tool that missed a deletion restores a file, with the modification time that it had. Without
the record, it would cancel the next prompt file of its name.
"""

from __future__ import annotations

import json
import unicodedata

from reeldrop.base import durable
from reeldrop.base.roots import Root
from reeldrop.store import job_files

FILE_NAME = "cancelled.json"
KEPT = 1000
"""How many control files are remembered: the last ones."""


class Heeded:
    """The control files that have acted, each by its path in the inbox and its modification time.

    spool: the folder of the record; a record that can't be read counts as none
    """

    def __init__(self, spool: Root) -> None:
        self._spool = spool
        self._times: dict[str, int] = {}
        try:
            found = job_files.read(spool.path / FILE_NAME)
            self._times = {str(path): int(mtime_ns) for path, mtime_ns in found.items()}
        except (OSError, *job_files.DAMAGE):
            pass

    def has(self, path: str, mtime_ns: int) -> bool:
        """Return whether a control file has acted."""
        heeded = self._times.get(_key(path))
        return heeded is not None and durable.is_same_time(heeded, mtime_ns)

    def add(self, path: str, mtime_ns: int) -> None:
        """Record that a control file has acted, in place of an earlier one of its path.

        Raises:
            OSError: it can't be recorded for a later process.
        """
        if self.has(path, mtime_ns):
            return
        self._times.pop(_key(path), None)
        self._times[_key(path)] = mtime_ns
        self._times = dict(list(self._times.items())[-KEPT:])
        with self._spool.opened() as folder:
            durable.make_way(folder / FILE_NAME)
            durable.write(folder / FILE_NAME, json.dumps(self._times).encode(), "cancelled")


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path)
