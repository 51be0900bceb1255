"""status: the daemon's status line, and the report that commands read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reeldrop.base.escaping import shown
from reeldrop.intake import scan
from reeldrop.store import status
from reeldrop.store.status import Rendering, State, Status, Waiting

UPDATED = "2026-03-01T13:00:00+00:00"


def rendering(eta_seconds: float | None) -> Rendering:
    """Return a render in progress."""
    return Rendering("job", "poems/li_bai.yaml", "a bird", 3, 5, 12, 25, eta_seconds)


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Status(1, State.IDLE, "m", UPDATED), "idle"),
        (Status(1, State.IDLE, "m", UPDATED, waiting_count=2), "idle, 2 waiting"),
        (
            Status(1, State.RENDERING, "m", UPDATED, rendering(5520.0), waiting_count=41),
            "rendering poems/li_bai.yaml 3/5, step 12/25, 41 waiting, done about 23:32",
        ),
        (Status(1, State.LOADING, "m", UPDATED, reason="n"), "loading n"),
        (Status(1, State.PAUSED, "m", UPDATED, reason="no room"), "paused: no room"),
        (
            Status(1, State.RENDERING, "m", UPDATED, rendering(None)),
            "rendering poems/li_bai.yaml 3/5, step 12/25",
        ),
    ],
)
def test_the_line_is_for_people(found: Status, expected: str) -> None:
    """It has the progress, what waits, and the local time of the end."""
    assert expected == found.line()


GOOD = b'{"pid": 1, "state": "idle", "model": "m", "updated": "2026-03-01T13:00:00+00:00"%s}'
RENDERING = (
    b', "rendering": {"job_id": "j", "prompt_file": "a", "prompt": "b", "number": 1,'
    b' "count": 1, "step": 1, "steps": 2, "eta_seconds": %s}'
)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, GOOD.replace(b"1,", b"-1,", 1) % b"",
        GOOD.replace(b"1,", b"1" + b"0" * 5000 + b",", 1) % b"",
        GOOD.replace(b"2026-03-01T13:00:00+00:00", b"now") % b"",
        GOOD.replace(b"+00:00", b"") % b"",
        GOOD.replace(b"2026-03-01T13:00:00+00:00", b"0001-01-01T00:00:00+14:00") % b"",
        GOOD % b', "readings": "many"', GOOD % b', "waiting": [7]', GOOD % (RENDERING % b"NaN"),
        GOOD % (RENDERING % b"1e300"), GOOD % (RENDERING % b"-5"),
    ],
)  # fmt: skip
def test_a_report_that_makes_no_sense_is_none(content: bytes, tmp_path: Path) -> None:
    """An invalid report is ignored."""
    (tmp_path / "status.json").write_bytes(content)
    assert status.read(tmp_path / "status.json") is None
    (tmp_path / "status.json").write_bytes(GOOD % b"")
    assert status.read(tmp_path / "status.json") is not None


def test_a_state_of_another_version_is_shown_as_it_is(tmp_path: Path) -> None:
    """Earlier versions wrote the reason into the state; it is shown."""
    for said in ("paused: 0.50 GiB free", "loading tiny", "dreaming", ""):
        text = GOOD.replace(b"idle", said.encode()) % b""
        (tmp_path / "status.json").write_bytes(text)
        found = status.read(tmp_path / "status.json")
        assert found is not None
        assert (State.UNKNOWN, said, said) == (found.state, found.reason, found.line())


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("x.tmp")])
def test_what_is_no_report_is_moved_out_of_the_way(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    """What stands in the report's place is renamed."""
    path = tmp_path / "status.json"
    for place in (path, tmp_path / "status.tmp"):
        make(place)
    assert status.read(path) is None
    found = Status(1, State.IDLE, "m", UPDATED)
    status.write(path, found)
    assert found == status.read(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Another process reads the report back equal."""
    waiting = (Waiting("a.txt", "settles in 2 s"),)
    found = Status(
        1, State.RENDERING, "m", UPDATED, rendering(1.5), waiting, 1, 60, 2, "a mistake", "a reason"
    )
    assert status.read(tmp_path / "status.json") is None
    status.write(tmp_path / "status.json", found)
    assert found == status.read(tmp_path / "status.json")


def test_the_longest_report_is_read(tmp_path: Path) -> None:
    """A report with the longest names of prompt files is still read."""
    longest = shown("/".join(["\x1b" * 255] * scan.MAX_DEPTH))
    waiting = (Waiting(longest, "settles in 2 s"),) * status.MAX_WAITING
    found = Status(1, State.IDLE, "m", UPDATED, waiting=waiting)
    status.write(tmp_path / "status.json", found)
    assert found == status.read(tmp_path / "status.json")
