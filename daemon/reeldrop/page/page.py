"""Keep STATUS.txt and the gallery in the results true, on a thread of their own.

Takes the daemon's status and its videos as they are reported, and decides what is written and when.
"""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import structlog

from reeldrop.base import durable
from reeldrop.base.names import PAGE_FOLDER, PREVIEW_NAME
from reeldrop.base.roots import Root
from reeldrop.page import gallery, ratings, site
from reeldrop.page.gallery import Gallery
from reeldrop.page.ratings import Ratings
from reeldrop.page.status_file import StatusFile
from reeldrop.page.status_text import LOOK_SECONDS
from reeldrop.store.status import Status

REFRESH_SECONDS = 3600.0
"""How often the gallery is compared with the sidecars: people move and delete videos."""

RETRY_SECONDS = 60.0
"""When it is compared again after an error: of what was taken to be shown, some may be missing."""

END_SECONDS = 5.0
"""How long the end of the process waits for the last writing, if the disk does not answer."""

_DATA = PurePath(PAGE_FOLDER, "data")

_log = structlog.get_logger()


class Page:
    """Writes what people see who have only the results.

    results: the folder; nothing is written while another one is in its place, or none
    failed: the folder `_failed/`; nothing is written while another one is in its place, either
    inbox: the folder from which ratings are taken
    is_prompt_file: returns whether a file in `_failed/` may be a prompt file, by its name
    """

    def __init__(
        self,
        results: Root,
        failed: Root,
        inbox: Root,
        is_prompt_file: Callable[[str], bool],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._results = results
        self._failed = _place(failed.path, results.path)
        self._look_seconds = look_seconds
        self._status_file = StatusFile(failed, f"{self._failed}/", is_prompt_file)
        self._gallery = Gallery()
        self._ratings = Ratings(inbox)
        self._status: Status | None = None
        self._preview = b""
        self._previewed: bytes | None = None
        self._published: queue.SimpleQueue[PurePath] = queue.SimpleQueue()
        self._refreshed = -math.inf
        self._looked = -math.inf
        self._problem = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="page", daemon=True)

    def tell(self, status: Status, preview: bytes = b"") -> None:
        """Take the latest status, and what is rendered as JPEG. Never waits."""
        self._preview = preview
        self._status = status
        if not self._thread.ident:
            self._thread.start()

    def use(self, is_prompt_file: Callable[[str], bool]) -> None:
        """Tell the files in `_failed/` by another function from now on. Never waits."""
        self._status_file.failures.use(is_prompt_file)

    def turn_off(self) -> None:
        """Write nothing more until a status is told again, not even the last one."""
        self._status = None

    def show(self, sidecar: Path) -> None:
        """Take a video that was published. Never waits."""
        self._published.put(sidecar.relative_to(self._results.path))

    def close(self) -> None:
        """Write what was told last, and end."""
        self._ending.set()
        if self._thread.ident:
            self._thread.join(END_SECONDS)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ending.is_set()  # before the look: it has the last status then
            self._look()
            self._ending.wait(self._look_seconds)

    def _look(self) -> None:
        """Write what is due."""
        if self._status is None:
            self._refreshed = -math.inf  # videos of the time when it is off are not told
            return
        try:
            with (
                self._results.opened() as results,
                self._results.opened(_DATA.parent, make=True) as page,
                self._results.opened(_DATA, make=True) as data,
            ):
                if self._ratings.take(self._results):
                    ratings.write(data, self._results)
                self._show_preview(page / PREVIEW_NAME)
                self._write_status(results, data)
                self._write_gallery(results, page, data)
        except Exception as error:  # it reads what strangers may have put there
            self._refreshed = time.monotonic() - REFRESH_SECONDS + RETRY_SECONDS
            self._note(error)
        else:
            self._tell_problem(self._status_file.problem)

    def _note(self, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):  # until the first video
            self._problem = _in_words(error)
        elif isinstance(error, OSError):
            self._tell_problem(_in_words(error))
        else:
            self._tell_problem(repr(error), error)

    def _tell_problem(self, problem: str, unforeseen: Exception | None = None) -> None:
        if problem and problem != self._problem:
            remedy = "it is tried again"
            _log.warning("page_not_written", reason=problem, remedy=remedy, exc_info=unforeseen)
        self._problem = problem

    def _write_status(self, results: Path, data: Path) -> None:
        self._looked = time.monotonic()
        if self._status is not None:
            is_last = self._ending.is_set()
            refused = self._ratings.refused
            self._status_file.write(results, data, self._status, refused, is_last=is_last)

    def _rest(self, results: Path, data: Path) -> None:
        """Write the status between two chunks of a gallery if it is time for a look, or the end."""
        is_time = time.monotonic() - self._looked >= self._look_seconds
        if is_time or self._ending.is_set():
            self._write_status(results, data)

    def _show_preview(self, file: Path) -> None:
        """Write the last preview, or remove it once there is none; nobody else has to."""
        preview = self._preview
        if preview == self._previewed:
            return
        if preview:
            gallery.write(file, preview)
        else:
            durable.make_way(file)
            file.unlink(missing_ok=True)
        self._previewed, self._status_file.has_preview = preview, bool(preview)

    def _write_gallery(self, results: Path, page: Path, data: Path) -> None:
        """Add what was published; compare all with the sidecars if that is due, or it is gone."""
        published = list(_taken(self._published))
        is_due = time.monotonic() - self._refreshed >= REFRESH_SECONDS
        if is_due or not site.is_there(results, data):
            rest = functools.partial(self._rest, results, data)
            self._gallery.refresh(data, results, results / self._failed, rest)
            ratings.write(data, self._results)
            self._write_page(results, page)
            self._refreshed = time.monotonic()
        elif published:
            self._gallery.add(data, results, [results / sidecar for sidecar in published])

    def _write_page(self, results: Path, page: Path) -> None:
        """Write the page itself; that somebody keeps another `index.html` is no reason to retry."""
        try:
            site.write(results, page)
        except FileExistsError as error:
            self._tell_problem(str(error))


def _taken(found: queue.SimpleQueue[PurePath]) -> Iterator[PurePath]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield found.get_nowait()


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _place(folder: Path, results: Path) -> Path:
    """Return the path of a folder for people who see the results: relative if it is in there."""
    return folder.relative_to(results) if folder.is_relative_to(results) else folder
