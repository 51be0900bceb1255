"""When a file of the inbox has settled, and what it waits for, in words.

Pure: no I/O, and no clock of its own. Callers pass the time: seconds of a monotonic clock.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from reeldrop.base import inbox_folders
from reeldrop.base.escaping import shown
from reeldrop.intake.scan import Awaited, Candidate, Found
from reeldrop.intake.wishes import Pictures, Wait, Wishes

EMPTY_SECONDS = 60.0
"""How long an empty file waits for content: some programs create a file before they write it."""

TEMPORARY_SECONDS = 120.0
"""How long a file waits for a temporary file of the same name that does not change."""

UNFINISHED_SECONDS = 600.0
"""How long a file waits that looks unfinished, but does not change."""

TRANSFER_SECONDS = 3600.0
"""How long a file waits for a temporary file of the same owner that keeps changing."""

RESTLESS_SECONDS = 60.0
"""After this long, the reason of a wait says that the file keeps changing."""

DEFAULTS_SECONDS = 120.0
"""How long a file waits for a `_defaults.yaml` that keeps changing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long files have to stay unchanged.

    settle_seconds: most files
    renamed_settle_seconds: a file that arrived by a rename, if it is less
    is_long: whether files that look unfinished have to stay unchanged for longer than others
    """

    settle_seconds: float
    renamed_settle_seconds: float = math.inf
    is_long: bool = True

    @property
    def temporary_seconds(self) -> float:
        """How long to wait for a temporary file that does not change."""
        return TEMPORARY_SECONDS if self.is_long else self.settle_seconds

    def of(self, candidate: Candidate, *, is_renamed: bool) -> float:
        """Return how many seconds a file has to stay unchanged."""
        if self.is_long and candidate.is_plain:
            if candidate.size == 0:
                return max(EMPTY_SECONDS, self.settle_seconds)
            if candidate.is_interrupted:
                return max(UNFINISHED_SECONDS, self.settle_seconds)
        if is_renamed:
            return min(self.renamed_settle_seconds, self.settle_seconds)
        return self.settle_seconds


@dataclass(slots=True)
class Pauses:
    """The files that wait for another reason than their name, size or times.

    wishes: the pictures that they wait for
    """

    wishes: Wishes
    _held: dict[Candidate, Wait] = field(default_factory=dict)
    _blocked: dict[Candidate, Wait] = field(default_factory=dict)

    def hold(self, candidate: Candidate, reason: str, until: float, now: float) -> float | None:
        """Let an unfinished file wait, `UNFINISHED_SECONDS` at most; return the end of the wait.

        None if it has waited for that long.
        """
        end = candidate.since + UNFINISHED_SECONDS
        if now >= end:
            return None
        self._held[candidate] = Wait(reason, min(until, end), end)
        return min(until, end)

    def block(self, candidate: Candidate, reason: str, until: float) -> None:
        """Let a file that can't be claimed wait."""
        self._blocked[candidate] = Wait(reason, until)

    def held(self, candidate: Candidate) -> str:
        """Return why a file was held last; empty if it never was."""
        return self._held[candidate].reason if candidate in self._held else ""

    def blocked(self, candidate: Candidate, now: float = -math.inf) -> str:
        """Return why a file is blocked, at a time or at all; empty if it is not."""
        found = self._blocked.get(candidate)
        return found.reason if found is not None and found.until > now else ""

    def count_blocked(self, now: float) -> int:
        """Return how many files could not be claimed, and are tried again later."""
        return sum(wait.until > now for wait in self._blocked.values())

    def of(self, candidate: Candidate) -> Iterator[Wait]:
        """Yield the waits of a file."""
        for waits in (self._held, self._blocked):
            if candidate in waits:
                yield waits[candidate]

    def keep(self, found: Found) -> None:
        """Forget files that have changed or are gone."""
        self.wishes.keep(found)
        for waits in (self._held, self._blocked):
            for candidate in list(waits):
                if found.candidates.get(str(candidate.path)) is not candidate:
                    del waits[candidate]

    def forget(self, candidate: Candidate) -> None:
        """Drop a file that has been claimed."""
        self.wishes.forget(candidate)
        self._held.pop(candidate, None)
        self._blocked.pop(candidate, None)


@dataclass(slots=True)
class Settling:
    """What the files of one scan wait for.

    The file, its temporary file, its pictures and the defaults above it have to settle.
    """

    found: Found
    pauses: Pauses
    patience: Patience
    defaults_name: str
    _defaults_settle: dict[PurePosixPath, float] = field(default_factory=dict)
    pictures: Pictures = field(init=False)

    def __post_init__(self) -> None:
        # No bound methods: a cycle would keep the records of each scan until a garbage collection.
        own, of_picture = (
            functools.partial(seconds, self.found, self.patience)
            for seconds in (_own_seconds, _seconds_of_picture)
        )
        self.pictures = Pictures(self.found, self.pauses.wishes, own, of_picture)

    def remaining(self, candidate: Candidate, now: float) -> float:
        """Return the seconds until a file may be claimed; 0 or less if it may be now."""
        settled = candidate.since + self._own_seconds(candidate)
        temporary = self._temporary_of(candidate)
        if temporary is not None:
            until = temporary.since + self.patience.temporary_seconds
            settled = max(settled, min(until, temporary.began + TRANSFER_SECONDS))
        if self.found.defaults:
            for path in (candidate.path, inbox_folders.home(candidate.path)):
                settled = max(settled, self._defaults_settled(path.parent))
        held = (wait.until for wait in self.pauses.of(candidate))
        return max(settled, self.pictures.until(candidate), *held) - now

    def waits(self, candidate: Candidate, now: float) -> bool:
        """Return whether a file has not settled, or was held when it was about to be taken."""
        return self.remaining(candidate, now) > 0 or bool(self.pauses.held(candidate))

    def reason(self, candidate: Candidate, now: float) -> str:
        """Return what a file waits for, and for how long at most, in words."""
        if blocked := self.pauses.blocked(candidate, now):
            return blocked
        restless = self._restless(candidate, now)
        for held in self.pauses.of(candidate):
            if restless and now < held.until:
                return f"{held.reason}; {restless}"
        waits = [*self.pauses.of(candidate), *self._others(candidate)]
        end = candidate.since + self._own_seconds(candidate)
        if candidate.size == 0:
            waits.append(Wait("empty so far", end, end))
        if candidate.is_interrupted:
            waits.append(Wait("its modification time is 0: an interrupted transfer", end, end))
        waits += self.pictures.waits(candidate)
        for wait in waits:
            if now < min(wait.until, wait.end):
                if wait.end == math.inf:
                    return f"{wait.reason}; is taken in {math.ceil(wait.until - now)} s"
                return f"{wait.reason}; waits {math.ceil(wait.end - now)} s more at most"
        if restless:
            seconds = self._own_seconds(candidate)
            return f"{restless}; is taken {seconds:g} s after its last change"
        return f"settles in {math.ceil(self.remaining(candidate, now))} s"

    def _restless(self, candidate: Candidate, now: float) -> str:
        """Return for how long a file has been changing again and again; empty if it has not.

        It waits without limit, because it may be incomplete at any moment.
        """
        seconds = now - candidate.began
        if candidate.began == candidate.since or seconds < RESTLESS_SECONDS:
            return ""
        return f"has kept changing for {int(seconds // 60)} min"

    def expired_wait(self, candidate: Candidate, now: float) -> str:
        """Return the reason of a wait for another file that has expired; empty if none has."""
        waits = self._others(candidate)
        return next((wait.reason for wait in waits if wait.end <= now < wait.until), "")

    def _own_seconds(self, candidate: Candidate) -> float:
        return _own_seconds(self.found, self.patience, candidate)

    def _others(self, candidate: Candidate) -> Iterator[Wait]:
        """Yield the waits for other files. These may change for ever, so each wait has an end."""
        temporary = self._temporary_of(candidate)
        if temporary is not None:
            reason = f"still being written by {temporary.tool}: its temporary file is beside it"
            until = temporary.since + self.patience.temporary_seconds
            yield Wait(reason, until, temporary.began + TRANSFER_SECONDS)
        for folder in reversed(inbox_folders.folders_above(candidate.path)):
            defaults = self._defaults_of(folder)
            if defaults is not None:
                reason = f"{shown(folder / self.defaults_name)} has just changed"
                until = defaults.since + self.patience.settle_seconds
                yield Wait(reason, until, defaults.began + DEFAULTS_SECONDS)

    def _temporary_of(self, candidate: Candidate) -> Awaited | None:
        """Return a file's temporary file, if it has the same owner: a stranger could delay it."""
        temporary = self.found.temporaries.get(str(candidate.path))
        return temporary if temporary is not None and temporary.owner == candidate.owner else None

    def _defaults_of(self, folder: PurePosixPath) -> Awaited | None:
        return self.found.defaults.get(str(folder) if folder.name else "")

    def _defaults_settled(self, folder: PurePosixPath) -> float:
        """Return when the defaults of a folder and of those above it are settled."""
        if folder not in self._defaults_settle:
            own, settled = self._defaults_of(folder), -math.inf
            if own is not None:
                until = own.since + self.patience.settle_seconds
                settled = min(until, own.began + DEFAULTS_SECONDS)
            if folder.name:
                settled = max(settled, self._defaults_settled(folder.parent))
            self._defaults_settle[folder] = settled
        return self._defaults_settle[folder]


def _own_seconds(found: Found, patience: Patience, candidate: Candidate) -> float:
    return patience.of(candidate, is_renamed=str(candidate.path) in found.renamed)


def _seconds_of_picture(found: Found, patience: Patience, path: str) -> float:
    """Return how many seconds a picture has to stay unchanged."""
    seconds = patience.settle_seconds
    return min(patience.renamed_settle_seconds, seconds) if path in found.renamed else seconds
