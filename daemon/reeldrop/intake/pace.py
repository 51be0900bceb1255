"""When to look at the inbox: to scan it, or only to find what has settled since the last scan.

Pure: no I/O, and no clock of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SCAN_PAUSE_SECONDS = 0.02
SETTLE_PAUSE_SECONDS = 2.0
SCAN_SHARE = 40
"""After a scan, pause for this many times its CPU time, so that scanning costs at most 2.5 % of a
core; and at least for its wall time, on a slow share. Meanwhile, settled files are looked for
without a scan, after shorter pauses.
"""

QUIET_SECONDS = 60.0
"""After this long without a change, the inbox is scanned less often."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """The pauses that config.yaml sets.

    scan_seconds: between two scans
    idle_scan_seconds: between two scans of a quiet inbox whose events all arrive
    retry_seconds: before a file is tried again that could not be claimed
    """

    scan_seconds: float
    retry_seconds: float
    idle_scan_seconds: float = 0.0


@dataclass(slots=True)
class Pace:
    """When to look next.

    is_woken: whether something may have changed since the last scan began
    """

    intervals: Intervals
    is_woken: bool = True
    _next_scan: float = field(default=0.0, init=False)
    _earliest_scan: float = field(default=0.0, init=False)
    _settles: float = field(default=math.inf, init=False)
    _quiet_since: float = field(default=-math.inf, init=False)

    def due(self) -> float:
        """Return when to look again at the latest."""
        return min(self._settles, self._scan_due())

    def is_due(self, now: float) -> bool:
        """Return whether to look."""
        return self.is_scan_due(now) or now >= self._settles

    def is_scan_due(self, now: float) -> bool:
        """Return whether to scan, too."""
        return now >= self._scan_due()

    def _scan_due(self) -> float:
        return self._earliest_scan if self.is_woken else self._next_scan

    def look_by(self, at: float) -> None:
        """Look again at this time at the latest."""
        self._settles = min(self._settles, at)

    def scanned(self, now: float, *, has_changed: bool, hears_all: bool) -> None:
        """Note a scan: the next is due later if the inbox is quiet and events report every change.

        Without such events, a file would be found late.
        """
        if has_changed:
            self._quiet_since = now
        pause = self.intervals.scan_seconds
        if hears_all and now - self._quiet_since >= QUIET_SECONDS:
            pause = max(pause, self.intervals.idle_scan_seconds)
        self._next_scan = now + pause

    def looked(
        self, now: float, end: float, work: float, settles: float | None, *, has_scanned: bool
    ) -> None:
        """Note a look from `now` to `end` that took `work` seconds of CPU time.

        settles: in how many seconds the next file settles; None if nothing waits
        """
        pause = max(SCAN_PAUSE_SECONDS, work * SCAN_SHARE, end - now)
        self._settles = math.inf
        if settles is not None:
            self._settles = now + max(settles, min(pause, SETTLE_PAUSE_SECONDS))
        if has_scanned:
            self._earliest_scan = end + pause
            self._next_scan = max(self._next_scan, self._earliest_scan)
