"""What one receiver was told: a file of JSON lines, so that a restart tells nothing twice.

An id is written before it is sent (begun) and after (done). What is only begun was cut off by a
kill, or was not taken: nobody knows whether it arrived, so it is sent again. A line begins with a
line break, because the one before may be cut off, as on a full disk.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from reeldrop.base import durable

KEPT_SECONDS = 14 * 86400.0
"""What is older than this was told long ago, or is told no more."""

_OWNER = "notify"


class Record:
    """The ids that one receiver was told, in a file."""

    def __init__(self, file: Path, now: float) -> None:
        """Read the file; where there is none, what happened before `now` counts as told."""
        self._file = file
        self._done: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self.since = now
        lines = []
        with contextlib.suppress(FileNotFoundError):
            lines = file.read_bytes().splitlines()
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the last may be cut off
                self._take(json.loads(line))
        self._cut_off = set(self._begun)
        self._compact(now)

    def _take(self, entry: dict[str, object]) -> None:
        if "since" in entry:
            self.since = float(str(entry["since"]))
            return
        name, at = str(entry["id"]), float(str(entry["at"]))
        self._begun.pop(name, None)
        (self._done if entry["is_done"] else self._begun)[name] = at

    def is_told(self, id: str, at: float) -> bool:
        """Return whether something was told, or is too old to be."""
        return at < self.since or id in self._done

    def may_have_arrived(self, id: str) -> bool:
        """Return whether an earlier process began to send it, and this one has not."""
        return id in self._cut_off

    def begin(self, ids: Sequence[tuple[str, float]]) -> None:
        """Record durably what is about to be sent, unless it was about to be before."""
        new = [(name, at) for name, at in ids if name not in self._begun]
        self._append(new, is_done=False)
        self._begun.update(new)
        self._cut_off.difference_update(name for name, _ in ids)

    def finish(self, ids: Sequence[tuple[str, float]]) -> None:
        """Record durably what was sent; this process knows it even if that raises OSError."""
        for name, at in ids:
            self._begun.pop(name, None)
            self._done[name] = at
        self._append(ids, is_done=True)

    def _append(self, ids: Sequence[tuple[str, float]], *, is_done: bool) -> None:
        entries = ({"id": name, "at": at, "is_done": is_done} for name, at in ids)
        with self._file.open("ab") as file:
            file.write(b"".join(b"\n" + json.dumps(entry).encode() for entry in entries))
            file.flush()
            os.fsync(file.fileno())

    def _compact(self, now: float) -> None:
        """Write the file anew, without what is old."""
        self.since = max(self.since, now - KEPT_SECONDS)
        entries: list[dict[str, object]] = [{"since": self.since}]
        for known, is_done in ((self._done, True), (self._begun, False)):
            for name, at in known.items():
                if at >= self.since:
                    entries.append({"id": name, "at": at, "is_done": is_done})
        data = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        durable.make_folder(self._file.parent)
        durable.write(self._file, data, _OWNER)
