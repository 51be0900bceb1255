"""Keep STATUS.txt in the results true, on a thread of its own.

Takes the daemon's status as it is reported, and decides what is written and when.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from reeldrop.base import durable, plain_files
from reeldrop.base.names import STATUS_NAME
from reeldrop.base.roots import Root
from reeldrop.page import status_text
from reeldrop.page.status_text import LOOK_SECONDS, MAX_LISTED
from reeldrop.store import history
from reeldrop.store.status import Status

END_SECONDS = 5.0
"""How long the end of the process waits for the last writing, if the disk does not answer."""

_OWNER = "page"
_MAX_BYTES = 1 << 20

_log = structlog.get_logger()


class Page:
    """Writes what people see who have only the results.

    results: the folder; nothing is written while another one is in its place, or none
    failed: the folder `_failed/`
    is_prompt_file: returns whether a file in `_failed/` may be a prompt file, by its name
    """

    def __init__(
        self,
        results: Root,
        failed: Path,
        is_prompt_file: Callable[[str], bool],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._results = results
        self._failed = failed
        self._is_prompt_file = is_prompt_file
        self._look_seconds = look_seconds
        self._status: Status | None = None
        self._said = ""
        self._written = -math.inf
        self._problem = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="page", daemon=True)

    def tell(self, status: Status) -> None:
        """Take the latest status. Never waits."""
        self._status = status
        if not self._thread.ident:
            self._thread.start()

    def close(self) -> None:
        """Write the latest status, and end."""
        self._ending.set()
        if self._thread.ident:
            self._thread.join(END_SECONDS)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ending.is_set()  # before the look: it has the last status then
            self._look(is_last=is_last)
            self._ending.wait(self._look_seconds)

    def _look(self, *, is_last: bool) -> None:
        """Write the status if it is due."""
        assert self._status is not None
        try:
            with self._results.opened() as folder:
                self._write_status(folder, self._status, is_last=is_last)
        except OSError as error:
            self._note(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        else:
            self._note("")

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warning("page_not_written", reason=problem, remedy="it is tried again")
        self._problem = problem

    def _write_status(self, folder: Path, status: Status, *, is_last: bool) -> None:
        failures = history.failures(self._failed, self._is_prompt_file, MAX_LISTED + 1)
        said = status_text.text(status, failures, self._aside(), _free_bytes(folder))
        age = time.monotonic() - self._written
        if not is_last and age < status_text.patience(self._said, said):
            return
        path = folder / STATUS_NAME
        _require_ours(path)
        durable.write(path, status_text.dated(status, said).encode(), _OWNER)
        self._said, self._written = said, time.monotonic()

    def _aside(self) -> str:
        """Return where `_failed/` is, for people who see the results."""
        with contextlib.suppress(ValueError):
            return f"{self._failed.relative_to(self._results.path)}/"
        return f"{self._failed}/"


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _require_ours(path: Path) -> None:
    """Raise FileExistsError if somebody else's file has the name: nothing of theirs is lost."""
    with contextlib.suppress(FileNotFoundError):
        if not status_text.is_ours(plain_files.content(path, _MAX_BYTES)):
            raise FileExistsError(f"{path.name} in the results is not reeldrop's: move it away")
