"""What this machine's kernel reports of the inbox: changes, and who has a file open for writing.

On a share it may report less; then the inbox is scanned by the clock, and no writer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

import structlog

from reeldrop.intake import share
from reeldrop.intake.watch import Watch

_log = structlog.get_logger()


class Senses:
    """A watch over a folder, and what follows from its file system.

    wake: called from another thread when something may have happened
    hears_all: whether events report every change
    knows_writers: whether a refused lease means that a program on this machine is writing
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._open()

    def _open(self) -> None:
        self.knows_writers = share.knows_writers(self._folder)
        self._watch: Watch | None = None
        try:
            self._watch = Watch(self._folder, self._wake)
        except OSError as error:
            _log.warning("no_events", reason=str(error), remedy="the inbox is scanned by the clock")
        self.hears_all = self._watch is not None and share.reports_all(self._folder)

    def renew(self) -> None:
        """Watch the folder that has the path now: the old watch gets no events of it."""
        self.close()
        self._open()

    def check(self) -> None:
        """Log that no more events arrive, if the watch has ended."""
        if self._watch is not None and not self._watch.is_alive():
            _log.warning("events_ended", remedy="the inbox is scanned by the clock")
            self._watch, self.hears_all = None, False

    def renamed(self) -> Container[str]:
        """Return the paths of the files that are known to have arrived by a rename."""
        return self._watch.renamed if self._watch is not None else ()

    def close(self) -> None:
        """Close the watch."""
        if self._watch is not None:
            self._watch.close()
