"""What is tried again later: jobs that are in trouble, each after a pause of its own that grows.

Keeps in memory how a job has ended that could not be filed away, so that only that is tried again.
Trouble of one job holds up nobody else; that of the disk does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.job import Job

MAX_PAUSE_SECONDS = 600.0
"""No pause grows longer, so that who mends a place does not wait for an hour to see it."""


@dataclass(frozen=True, slots=True)
class End:
    """A job that has nothing left to do but to be filed away, and whether it `failed`."""

    job: Job
    file: Callable[[], None]
    failed: bool


@dataclass(slots=True)
class _Trouble:
    """Why something could not be done, and when it is due again; then it `is_due`.

    `tries` counts what can't be the fault of the disk: others `went_on` meanwhile.
    """

    reason: str
    tries: int
    due: float
    is_of_disk: bool
    end: End | None
    is_due: bool = False
    went_on: bool = False


class Later:
    """What is in trouble, by its name, until it is forgotten."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._troubles

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._troubles))

    def put(
        self, name: str, error: OSError, now: float, pause: float, end: End | None = None
    ) -> bool:
        """Note a trouble, and return whether it is news. The pause grows with the tries."""
        before = self._troubles.get(name)
        is_of_disk = error.errno in DISK_ERRORS
        is_its_own = not is_of_disk or (before is not None and before.went_on)
        tries = self.tries(name) + is_its_own
        growing = pause * 2 ** min(max(tries - 1, 0), 30)
        due = now + min(growing, max(pause, MAX_PAUSE_SECONDS))
        self._troubles[name] = _Trouble(str(error), tries, due, is_of_disk, end)
        return before is None or before.reason != str(error)

    def forget(self, name: str) -> None:
        """Note that something is out of trouble, or gone."""
        self._troubles.pop(name, None)

    def note_success(self, name: str) -> None:
        """Note that the disk works, at least for what has this name."""
        for other, trouble in self._troubles.items():
            trouble.is_of_disk = False
            trouble.went_on |= other != name

    def tries(self, name: str) -> int:
        """Return how often something was in trouble that was not the disk's."""
        return self._troubles[name].tries if name in self._troubles else 0

    def reason(self, name: str) -> str:
        """Return what keeps something from going on, empty if nothing does."""
        found = self._troubles.get(name)
        if found is None:
            return ""
        return f"can't be filed away: {found.reason}" if found.end else found.reason

    def due(self, name: str) -> float:
        """Return since when something in trouble waits for its turn; else before all others."""
        return self._troubles[name].due if name in self._troubles else -math.inf

    def look(self, now: float) -> None:
        """See what is due by now."""
        for trouble in self._troubles.values():
            trouble.is_due |= trouble.due <= now

    def resting(self) -> dict[str, float]:
        """Return when those are due that are not, or that are only to be filed away."""
        return {n: t.due for n, t in self._troubles.items() if t.end or not t.is_due}

    def due_end(self) -> End | None:
        """Return the job that has been due to be filed away for longest, if any is."""
        ends = [(t.due, t.end) for t in self._troubles.values() if t.end and t.is_due]
        return min(ends, key=lambda found: found[0])[1] if ends else None

    def trouble(self) -> str:
        """Return what is wrong with the disk, empty if nothing is known to be."""
        found = (t.reason for t in self._troubles.values() if t.is_of_disk and not t.is_due)
        return next(found, "")
