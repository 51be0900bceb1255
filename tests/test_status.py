"""What the daemon reports: the one line for systemctl, and the file that other commands read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reeldrop import status
from reeldrop.status import Rendering, Status, Waiting

UPDATED = "2026-03-01T13:00:00+00:00"


def rendering(eta_seconds: float | None) -> Rendering:
    """Return a render in the middle."""
    return Rendering("job", "poems/li_bai.yaml", "a bird", 3, 5, 12, 25, eta_seconds)


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine nine hours ahead of UTC, all year."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Status(1, "idle", "m", UPDATED), "idle"),
        (Status(1, "idle", "m", UPDATED, waiting_count=2), "idle, 2 waiting"),
        (
            Status(1, "rendering", "m", UPDATED, rendering(5520.0), waiting_count=41),
            "rendering poems/li_bai.yaml 3/5, step 12/25, 41 waiting, next free about 23:32",
        ),
        (
            Status(1, "rendering", "m", UPDATED, rendering(None)),
            "rendering poems/li_bai.yaml 3/5, step 12/25",
        ),
    ],
)
def test_the_line_is_for_people(found: Status, expected: str) -> None:
    """What is done, how far it is, what waits, and when, by the clock on the wall, it ends."""
    assert expected == found.line()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """By another process, at any time."""
    waiting = (Waiting("a.txt", "settles in 2 s"),)
    found = Status(1, "rendering", "m", UPDATED, rendering(1.5), waiting, 1, 60, 2, "a mistake")
    assert status.read(tmp_path / "status.json") is None
    status.write(tmp_path / "status.json", found)
    assert found == status.read(tmp_path / "status.json")
