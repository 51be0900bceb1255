"""deliveries and record: each receiver is told everything once, in order, whatever fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harness.processes import await_that
from reeldrop.notices.deliveries import Delivery, Manners, NotDelivered
from reeldrop.notices.happenings import Happening
from reeldrop.notices.record import KEPT_SECONDS, Record
from reeldrop.schedule.night import Night

NOW = 1_000_000_000.0


class Friend:
    """A receiver that notes what it takes, and fails when told to."""

    name = key = "friend"

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.tries = 0
        self.works = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def take(self, happenings: Sequence[Happening]) -> None:
        self.tries += 1
        self.may_answer.wait()
        if not self.works:
            raise NotDelivered("not now")
        self.taken.append([happening.id for happening in happenings])


def videos(*names: str, at: float = NOW) -> list[Happening]:
    """Return happenings of one kind."""
    return [Happening("video", name, at) for name in names]


def delivery(
    friend: Friend, file: Path, *, most: int = 5, quiet: str = "", clock: str = "12:00"
) -> Delivery:
    """Return a started delivery of videos, by a clock that stands still."""
    manners = Manners(frozenset({"video"}), Night.parsed(quiet) if quiet else None, most)
    at = datetime.fromisoformat(f"2026-01-01 {clock}")
    made = Delivery(friend, manners, Record(file, NOW - 1), lambda: at, first_pause=0.01)
    made.start()
    return made


def test_each_is_told_once_also_after_a_restart(tmp_path: Path) -> None:
    """One by one in order; other kinds, and what was before the first start, are not told."""
    friend = Friend()
    first = delivery(friend, tmp_path / "a")
    first.tell([*videos("a", "b"), Happening("idle", "i", NOW), *videos("old", at=NOW - 2)])
    first.tell(videos("b", "c"))
    assert first.end(10)
    assert [["a"], ["b"], ["c"]] == friend.taken
    second = delivery(friend, tmp_path / "a")
    second.tell(videos("a", "b", "c", "d"))
    assert second.end(10)
    assert ["d"] == friend.taken[-1]
    assert 4 == len(friend.taken)


def test_many_become_one_message(tmp_path: Path) -> None:
    """More than `most` that wait are told together, once."""
    friend = Friend()
    friend.may_answer.clear()
    many = delivery(friend, tmp_path / "a", most=2)
    many.tell(videos("a"))
    await_that(lambda: friend.tries == 1, "the first try")
    many.tell(videos("b", "c", "d"))
    friend.may_answer.set()
    assert many.end(10)
    assert [["a"], ["b", "c", "d"]] == friend.taken


def test_what_fails_is_tried_again(tmp_path: Path) -> None:
    """In order, until it is taken; an end does not wait for a receiver that does not work."""
    friend = Friend()
    friend.works = False
    tried = delivery(friend, tmp_path / "a")
    tried.tell(videos("a", "b"))
    await_that(lambda: friend.tries >= 3, "three tries")
    friend.works = True
    await_that(lambda: len(friend.taken) == 2, "both")
    assert [["a"], ["b"]] == friend.taken
    friend.works = False
    tried.tell(videos("c"))
    await_that(lambda: friend.tries >= 7, "more tries")
    assert not tried.end(60)
    assert 1 == (tmp_path / "a").read_text().count('"c"')
    friend.works = True
    later = delivery(friend, tmp_path / "a")
    later.tell(videos("a", "b", "c"))
    assert later.end(10)
    assert ["c"] == friend.taken[-1]


def test_what_was_taken_is_told_once_even_if_that_cannot_be_recorded(tmp_path: Path) -> None:
    """As on a full disk."""
    file = tmp_path / "a"

    class Spoiler(Friend):
        def take(self, happenings: Sequence[Happening]) -> None:
            super().take(happenings)
            file.unlink()
            file.mkdir()

    friend = Spoiler()
    spoiled = delivery(friend, file)
    spoiled.tell(videos("a"))
    assert spoiled.end(10)
    spoiled.tell(videos("a"))
    assert [["a"]] == friend.taken


def test_in_quiet_hours_nothing_is_told(tmp_path: Path) -> None:
    """What waits then is told afterwards."""
    friend = Friend()
    night = delivery(friend, tmp_path / "a", quiet="22:00-07:00", clock="23:00")
    night.tell(videos("a", "b"))
    assert not night.end(60)
    assert 0 == friend.tries
    morning = delivery(friend, tmp_path / "a", quiet="22:00-07:00", clock="07:00")
    morning.tell(videos("a", "b"))
    assert morning.end(10)
    assert [["a"], ["b"]] == friend.taken


def test_a_record_survives_what_cuts_it_off(tmp_path: Path) -> None:
    """Half a line, foreign lines; what was begun only may have arrived, and is told again."""
    file = tmp_path / "a"
    record = Record(file, NOW)
    record.begin([("a", NOW), ("b", NOW)])
    record.finish([("a", NOW)])
    with file.open("ab") as lines:
        lines.write(b'\n[1]\n{"id": 3}\n{"id": "b", "at": ')
    record.finish([("d", NOW)])
    again = Record(file, NOW + 5)
    assert [True, False, True] == [again.is_told(name, NOW) for name in "abd"]
    assert [False, True, False] == [again.may_have_arrived(name) for name in "abd"]
    assert again.is_told("c", NOW - 1)
    assert not again.is_told("c", NOW + 1)


def test_a_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    """What is older than two weeks leaves it, and is not told then either."""
    file = tmp_path / "a"
    Record(file, NOW).finish([(f"{number}", NOW + number) for number in range(100)])
    later = Record(file, NOW + KEPT_SECONDS + 50)
    assert 51 == len([json.loads(line) for line in file.read_bytes().splitlines()])
    assert all(later.is_told(f"{number}", NOW + number) for number in range(100))
