"""The hours of the night, in which the files of `NIGHT/` are rendered. Pure: is told the time.

What the clock on the wall shows counts, so nothing special happens when it is set for summer time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time

_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d) ?- ?([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Night:
    """The hours from `begin` until before `end`; over midnight if that is earlier."""

    begin: time
    end: time

    @classmethod
    def parsed(cls, hours: str) -> Night:
        """Return the night of a text such as `22:00-06:00`.

        Raises:
            ValueError: it is not of this form, or has no end.
        """
        found = _HOURS.fullmatch(hours)
        if found is None:
            raise ValueError("must be two times of a day, such as '22:00-06:00'")
        hour, minute, last_hour, last_minute = map(int, found.groups())
        night = cls(time(hour, minute), time(last_hour, last_minute))
        if night.begin == night.end:
            raise ValueError("must end at another time than it begins")
        return night

    def has(self, at: datetime) -> bool:
        """Return whether it is night at a local time."""
        now = at.time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def wait(self, at: datetime) -> str:
        """Return in words until when a file waits for the night; empty if it is night."""
        return "" if self.has(at) else f"waits for the night, until {self.begin:%H:%M}"
