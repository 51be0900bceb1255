"""STATUS.txt in the results, and the same as data for the page: written as seldom as may be."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reeldrop.base import durable
from reeldrop.base.names import STATUS_NAME
from reeldrop.base.roots import Root
from reeldrop.page import now, site, status_text
from reeldrop.page.failures import Failures
from reeldrop.page.gallery import OWNER
from reeldrop.page.status_text import MAX_LISTED
from reeldrop.store.status import Status, Waiting


class StatusFile:
    """The file, and what it said last.

    failed: the folder `_failed/`
    aside: where that is, for people who see the results
    is_prompt_file: returns whether a file in `_failed/` may be a prompt file, by its name
    failures: what is listed of it
    problem: why the file is not written, although there is no error; empty if it is
    has_preview: whether the page has a picture of what is rendered
    """

    def __init__(self, failed: Root, aside: str, is_prompt_file: Callable[[str], bool]) -> None:
        self._failed = failed
        self._aside = aside
        self.problem = ""
        self.has_preview = self._had_preview = False
        self.failures = Failures(is_prompt_file, MAX_LISTED + 1)
        self._told: Status | None = None
        self._said = ""
        self._written = -math.inf

    def write(
        self,
        results: Path,
        data: Path,
        status: Status,
        refused: tuple[Waiting, ...] = (),
        *,
        is_last: bool,
    ) -> None:
        """Write a status if that is due, or it is the last.

        data: the page's folder of data
        refused: files of the inbox that can't be taken, besides those in the status
        """
        if status is self._told:  # nobody tells any more: no sign of life
            return
        told = status
        status = dataclasses.replace(status, unrecognised=(*refused, *status.unrecognised))
        with self._set_aside() as failed:
            failures = self.failures.of(failed)
            said = status_text.text(status, failures, self._aside, _free_bytes(results))
            age = time.monotonic() - self._written
            is_news = is_last or self.has_preview != self._had_preview
            if not is_news and age < status_text.patience(self._said, said):
                return
            self._write_ours(results / STATUS_NAME, status_text.dated(status, said).encode())
            now.write(data, status, failures, failed, self._aside, has_preview=self.has_preview)
        self._told, self._said, self._written = told, said, time.monotonic()
        self._had_preview = self.has_preview

    def _write_ours(self, file: Path, data: bytes) -> None:
        """Write STATUS.txt, unless somebody keeps another file of that name."""
        try:
            site.require_ours(file, status_text.START.encode())
        except FileExistsError as error:
            self.problem = str(error)
        else:
            durable.write(file, data, OWNER)
            self.problem = ""

    @contextlib.contextmanager
    def _set_aside(self) -> Iterator[Path]:
        """Hold `_failed/` open, and yield a path to it; its own, where nothing is, if it is not."""
        with contextlib.ExitStack() as held:
            folder = self._failed.path
            with contextlib.suppress(FileNotFoundError):
                folder = held.enter_context(self._failed.opened())
            yield folder


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
