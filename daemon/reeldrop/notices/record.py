"""Which events one receiver was told: a file of JSON lines, so that a restart tells nothing twice.

An id is recorded before it is sent (begun) and after (done), or when the receiver has certainly not
taken it (withdrawn). An id that is only begun is unsure: the process was killed while it was sent,
or the answer was lost. A line begins with a line break, because the one before may be incomplete,
as on a full disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from reeldrop.base import durable

KEPT_SECONDS = 14 * 86400.0
"""Events older than this count as told."""

_OWNER = "notify"
_SLACK_SECONDS = 60.0
_FEW_LINES = 1000
"""The file is not rewritten for fewer new lines than this."""

_log = structlog.get_logger()

Ids = Sequence[tuple[str, float]]
"""Ids, each with the time at which it happened."""


class Record:
    """The ids that one receiver was told, in a file.

    since: events before it, in seconds since 1970, count as told
    is_reset: whether all in the results has to count as told, because the clock was set back
    """

    def __init__(
        self, file: Path, now: float, passed: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file; if there is none, events before `now` count as told."""
        self._file = file
        self._passed = passed
        self._done: dict[str, float] = {}
        self._begun: dict[str, tuple[float, str]] = {}
        self._lines, self._most_lines = 0, _FEW_LINES
        self._lock = threading.Lock()
        self.since, self.is_reset = now, False
        lines = []
        with contextlib.suppress(FileNotFoundError):
            lines = file.read_bytes().splitlines()
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line may be incomplete
                self._take(json.loads(line))
        self._horizon = now - KEPT_SECONDS - self._passed()
        self.move_on(now)
        if not self.is_reset:
            self._compact()

    def _take(self, entry: dict[str, object]) -> None:
        if "since" in entry:
            self.since = float(str(entry["since"]))
            return
        name, at, is_done = str(entry["id"]), float(str(entry["at"])), entry["is_done"]
        self._begun.pop(name, None)
        if is_done:
            self._done[name] = at
        elif is_done is not None:
            self._begun[name] = at, str(entry["key"])

    def is_told(self, id: str, at: float) -> bool:
        """Return whether an event was told, or is too old to be told."""
        return at < self.since or id in self._done

    def key(self, id: str) -> str:
        """Return the key with which an event was sent that may have arrived; empty if none."""
        return self._begun.get(id, (0.0, ""))[1]

    @property
    def has_begun(self) -> bool:
        """Whether any event is unsure."""
        return bool(self._begun)

    def begin(self, ids: Ids, key: str) -> None:
        """Record durably that these are about to be sent with a key, unless that is recorded."""
        new = [(name, at) for name, at in ids if self.key(name) != key]
        with self._lock:
            self._append(new, is_done=False, key=key)
            self._begun.update((name, (at, key)) for name, at in new)
            self._shorten()

    def finish(self, ids: Ids) -> None:
        """Record durably that these were sent; this process knows it even after an OSError."""
        with self._lock:
            for name, at in ids:
                self._begun.pop(name, None)
                self._done[name] = at
            self._append(ids, is_done=True)
            self._shorten()

    def withdraw(self, ids: Ids) -> None:
        """Record durably that these were begun, but certainly not taken."""
        with self._lock:
            for name, _ in ids:
                self._begun.pop(name, None)
            self._append(ids, is_done=None)
            self._shorten()

    def _append(self, ids: Ids, *, is_done: bool | None, key: str = "") -> None:
        if not ids:
            return
        more = {"key": key} if key else {}
        entries = ({"id": name, "at": at, "is_done": is_done, **more} for name, at in ids)
        with self._file.open("ab") as file:
            file.write(b"".join(b"\n" + json.dumps(entry).encode() for entry in entries))
            file.flush()
            os.fsync(file.fileno())
        self._lines += len(ids)

    def _shorten(self) -> None:
        """Rewrite the file if it is long. Call it after the dicts have all that was appended."""
        if self._lines > self._most_lines:
            self._compact()

    def begin_anew(self, ids: Ids) -> None:
        """Count these as told, which are all in the results, as at the first start."""
        self.finish(ids)
        with self._lock:
            self._compact()
        self.is_reset = False

    def move_on(self, now: float) -> None:
        """Move `since` on by the time that has passed; the clock itself may be set forward.

        If the clock was set back before `since`, nothing would be told any more: begin anew.
        """
        self.since = max(self.since, self._horizon + self._passed())
        if now < self.since:
            _log.warning("clock_was_put_back", reason="what is in the results counts as told")
            self.since, self.is_reset = now - _SLACK_SECONDS, True
            self._horizon = now - KEPT_SECONDS - self._passed()

    def _compact(self) -> None:
        """Rewrite the file without old entries."""
        self._done = {name: at for name, at in self._done.items() if at >= self.since}
        self._begun = {name: one for name, one in self._begun.items() if one[0] >= self.since}
        entries: list[dict[str, object]] = [{"since": self.since}]
        for name, at in self._done.items():
            entries.append({"id": name, "at": at, "is_done": True})
        for name, (at, key) in self._begun.items():
            entries.append({"id": name, "at": at, "is_done": False, "key": key})
        data = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        durable.make_folder(self._file.parent)
        durable.write(self._file, data, _OWNER)
        self._lines, self._most_lines = len(entries), 2 * len(entries) + _FEW_LINES
