"""How files come: what is unfinished waits and says why, however it was sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from reeldrop import prompts
from reeldrop.inbox import UNFINISHED_SECONDS, Inbox
from reeldrop.intake import SETTLE_PAUSE_SECONDS, Intake
from reeldrop.job import Capabilities, Job
from reeldrop.rules import ModelRules
from reeldrop.spool import Spool

SETTLE = 2.0
SCAN = 5.0
CAPABILITIES = Capabilities({"num_frames": int}, {"num_frames": 8}, 8, 1)
RULES = {"tiny": ModelRules("tiny", CAPABILITIES, {}, {})}


@dataclass
class Place:
    """An inbox that is looked at by a clock of the test's own."""

    folder: Path
    patient: bool = True
    now: float = 1000.0
    taken: list[Job] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True)
        self.spool = Spool(self.folder / "spool", self.inbox, self.folder / "failed")
        self.spool.prepare()
        box = Inbox(self.inbox, prompts.SUFFIXES, SETTLE, prompts.DEFAULTS_NAME, self.patient)
        self.intake = Intake(
            box, self.spool, RULES, "tiny", SCAN, 1.0, lambda: None, lambda: self.now
        )

    def drop(self, name: str, content: str | bytes = "a horse\n") -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def go_on(self, seconds: float) -> None:
        """Let so many seconds pass, and do all that a daemon does meanwhile, to the last moment."""
        end = self.now + seconds
        while True:
            self.intake.look(self.now)
            for job, error in self.intake.refused(patient=True):
                self.refused[str(job.source)] = str(error)
                self.spool.fail(job, str(error))
            while (job := self.intake.take()) is not None:
                self.taken.append(job)
            if self.now >= end:
                break
            self.now = min(end, max(self.intake.due(), self.now + 0.01))

    def names(self) -> list[str]:
        """Return what has been taken, in its order."""
        return [str(job.source) for job in self.taken]

    def waiting(self) -> dict[str, str]:
        """Return why each file waits, as the status tells it."""
        return {w.prompt_file: w.reason for w in self.intake.waiting(self.now)[0]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty inbox."""
    made = Place(tmp_path / "place")
    yield made
    made.intake.close()


def test_a_settled_file_is_taken(place: Place) -> None:
    """Once it has not changed for `settle_seconds`, and not before."""
    place.drop("a.txt")
    place.go_on(SETTLE - 0.1)
    assert {"a.txt": "settles in 1 s"} == place.waiting()
    place.go_on(0.2)
    assert ["a.txt"] == place.names()


def test_a_file_waits_for_who_writes_into_it(place: Place) -> None:
    """A slow writer may pause for longer than a file takes to settle; the end settles it again."""
    path = place.drop("a.txt", "the first ha")
    with path.open("a") as writer:
        place.go_on(60.0)
        name = Path("/proc/self/comm").read_text().strip()
        assert {"a.txt": f"still being written by {name}"} == place.waiting()
        writer.write("lf, and the second\n")
        writer.flush()
        place.go_on(60.0)
        assert ([], {}) == (place.names(), place.refused)
    place.go_on(SETTLE_PAUSE_SECONDS + 0.1)
    assert ["a.txt"] == place.names()
    assert "the first half, and the second\n" == place.taken[0].prompt_file.read_text()


def test_an_open_file_that_never_changes_is_taken_in_the_end(place: Place) -> None:
    """Some program may just not let go of it; what is in the file is what counts then."""
    with place.drop("a.txt").open("a"):
        place.go_on(UNFINISHED_SECONDS - 0.1)
        assert [] == place.names()
        place.go_on(0.2)
        assert ["a.txt"] == place.names()


def test_a_file_that_is_opened_while_it_waits_for_its_turn(place: Place) -> None:
    """It was whole when it was looked at, and may be half again: it is asked about once more."""
    path = place.drop("a.txt")
    place.go_on(SETTLE - 0.1)
    place.now += 0.2
    place.intake.look(place.now)
    assert [] == list(place.intake.refused(patient=True))
    with path.open("a"):
        assert place.intake.take() is None
        place.go_on(30.0)
        assert [] == place.names()
    place.go_on(SETTLE_PAUSE_SECONDS + 0.1)
    assert ["a.txt"] == place.names()


PREALLOCATED = {
    "zeros.txt": bytes(100),
    "half.txt": b"a horse\n" + bytes(100),
    "half.yaml": b"prompt: a ho" + bytes(100),
    "utf-16.txt": "a horse\n".encode("utf-16") + bytes(100),
    "half.mp4": b"\0\0\0\x18ftypisom" + bytes(1000),
}


@pytest.mark.parametrize("name", PREALLOCATED)
def test_a_file_with_nul_bytes_waits_for_its_content(name: str, place: Place) -> None:
    """It has its size before its bytes; what never gets them is refused, and says so."""
    path = place.drop(name, PREALLOCATED[name])
    place.drop("other.txt")
    place.go_on(UNFINISHED_SECONDS - 0.1)
    assert {name: "holds NUL bytes so far"} == place.waiting()
    assert (["other.txt"], {}) == (place.names(), place.refused)
    place.go_on(0.2)
    assert [name] == list(place.refused)
    assert "NUL byte" in place.refused[name]
    assert not path.exists()


def test_a_file_whose_bytes_come_late_is_taken_when_they_are_there(place: Place) -> None:
    """What was held up begins to settle anew as soon as it changes."""
    path = place.drop("a.txt", bytes(8))
    place.go_on(300.0)
    path.write_bytes(b"a horse\n")
    place.go_on(SCAN + SETTLE)
    assert (["a.txt"], {}) == (place.names(), place.refused)


def test_an_interrupted_transfer_is_refused_in_the_end(place: Place) -> None:
    """Half of a prompt file may be a valid one, and must not be rendered."""
    os.utime(place.drop("a.txt", "half a horse"), (0, 0))
    place.go_on(UNFINISHED_SECONDS - 0.1)
    assert {"a.txt": "its modification time is 0: an interrupted transfer"} == place.waiting()
    place.go_on(0.2)
    assert [] == place.names()
    assert "touch" in place.refused["a.txt"]


def test_where_an_inbox_is_drained_nothing_waits_for_long(tmp_path: Path) -> None:
    """Nobody comes back to finish what looks unfinished: it is refused at once, and says why."""
    place = Place(tmp_path / "place", patient=False)
    for name, content in PREALLOCATED.items():
        place.drop(name, content)
    os.utime(place.drop("part.txt"), (0, 0))
    place.go_on(SETTLE + 0.1)
    place.intake.close()
    assert sorted([*PREALLOCATED, "part.txt"]) == sorted(place.refused)


def test_utf_16_is_no_sign_of_an_unfinished_file(place: Place) -> None:
    """Half of its bytes are NUL; what else is wrong with such a file is told at once."""
    place.drop("a.txt", "a horse\n".encode("utf-16"))
    place.drop("b.yaml", "promt: a horse\n".encode("utf-16"))
    place.go_on(SETTLE + 0.1)
    assert (["a.txt"], ["b.yaml"]) == (place.names(), list(place.refused))
