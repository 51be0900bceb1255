"""When jobs in trouble are tried again: each after a pause of its own, which grows with the tries.

For a job that has ended and could not be filed away, remembers how it ended: only the filing is
tried again. Trouble with one job holds up no other; trouble with the disk holds up all. Does no I/O
and has no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reeldrop.base import trouble
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.job import Job

MAX_PAUSE_SECONDS = 600.0
"""Upper bound on the growth of a pause, so that a repair shows within minutes, not hours."""


@dataclass(frozen=True, slots=True)
class End:
    """A job that only has to be filed away.

    file: files it away; may raise OSError
    failed: whether the job failed
    """

    job: Job
    file: Callable[[], None]
    failed: bool


@dataclass(slots=True)
class _Trouble:
    """Why something could not be done, and when to try it again.

    tries: failures so far that the disk is not to blame for
    due: when to try again
    is_of_disk: whether the disk is in trouble
    end: how the job ended, if only its filing failed
    is_due: whether `due` had passed at the last `look`
    went_on: whether other jobs have succeeded since, so that the disk works
    """

    reason: str
    tries: int
    due: float
    is_of_disk: bool
    end: End | None
    is_due: bool = False
    went_on: bool = False


class Retries:
    """Everything in trouble, by name, until it is forgotten."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._troubles

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._troubles))

    def put(
        self,
        name: str,
        error: OSError,
        now: float,
        pause: float,
        end: End | None = None,
        *,
        reason: str = "",
    ) -> bool:
        """Record a trouble, and return whether it is news. The pause doubles with the `tries`.

        reason: what to tell of it; empty for the error's own words
        """
        reason = reason or str(error)
        before = self._troubles.get(name)
        is_of_disk = error.errno in DISK_ERRORS
        is_its_own = not is_of_disk or (before is not None and before.went_on)
        tries = self.tries(name) + is_its_own
        growing = pause * 2 ** min(max(tries - 1, 0), 30)
        due = now + min(growing, max(pause, MAX_PAUSE_SECONDS))
        self._troubles[name] = _Trouble(reason, tries, due, is_of_disk, end)
        return before is None or not trouble.is_same(before.reason, reason)

    def forget(self, name: str) -> None:
        """Drop a trouble: it is over, or the job is gone."""
        self._troubles.pop(name, None)

    def note_success(self, name: str) -> None:
        """Record that the disk works, at least for the job of this name."""
        for other, found in self._troubles.items():
            found.is_of_disk = False
            found.went_on |= other != name

    def tries(self, name: str) -> int:
        """Return how often something failed that the disk is not to blame for."""
        return self._troubles[name].tries if name in self._troubles else 0

    def reason(self, name: str) -> str:
        """Return why something can't go on; empty if it can."""
        found = self._troubles.get(name)
        if found is None:
            return ""
        return f"can't be filed away: {found.reason}" if found.end else found.reason

    def due(self, name: str) -> float:
        """Return when something is due again, as its time in the line; -inf without trouble."""
        return self._troubles[name].due if name in self._troubles else -math.inf

    def look(self, now: float) -> None:
        """Mark what is due by now."""
        for found in self._troubles.values():
            found.is_due |= found.due <= now

    def resting(self) -> dict[str, float]:
        """Return the due times of what can't be opened: not due yet, or only to be filed away."""
        return {n: t.due for n, t in self._troubles.items() if t.end or not t.is_due}

    def due_end(self) -> End | None:
        """Return the job that has been due for filing the longest; None if there is none."""
        ends = [(t.due, t.end) for t in self._troubles.values() if t.end and t.is_due]
        return min(ends, key=lambda found: found[0])[1] if ends else None

    def trouble(self) -> str:
        """Return what is wrong with the disk; empty if nothing is known to be."""
        found = (t.reason for t in self._troubles.values() if t.is_of_disk and not t.is_due)
        return next(found, "")
