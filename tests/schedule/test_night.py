"""The night: which hours it has."""

from __future__ import annotations

from datetime import datetime, time

import pytest
from reeldrop.schedule.night import Night


@pytest.mark.parametrize(
    ("hours", "at", "is_night"),
    [
        ("22:00-06:00", "21:59:59", False),
        ("22:00-06:00", "22:00:00", True),
        ("22:00-06:00", "00:00:00", True),
        ("22:00-06:00", "05:59:59", True),
        ("22:00-06:00", "06:00:00", False),
        ("1:30 - 05:00", "01:29:59", False),
        ("1:30 - 05:00", "01:30:00", True),
        ("1:30 - 05:00", "05:00:00", False),
        ("00:00-23:59", "12:00:00", True),
        ("00:00-23:59", "23:59:30", False),
        ("06:00-00:00", "23:59:59", True),
        ("06:00-00:00", "00:00:00", False),
    ],
)
def test_hours(hours: str, at: str, is_night: bool) -> None:
    """The begin belongs to the night, the end does not; it may go over midnight."""
    moment = datetime.combine(datetime(2026, 10, 25), time.fromisoformat(at))
    night = Night.parsed(hours)
    assert (is_night, is_night) == (night.has(moment), not night.wait(moment))


def test_what_is_said_by_day() -> None:
    """Until when files wait."""
    noon = datetime(2026, 3, 29, 12)
    assert "waits for the night, until 22:05" == Night.parsed("22:05-6:00").wait(noon)


@pytest.mark.parametrize(
    "hours", ["", "22-6", "22:00", "24:00-06:00", "22:60-06:00", "22:00-22:00", "22:00-06:00 "]
)
def test_what_is_no_night(hours: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="must"):
        Night.parsed(hours)
