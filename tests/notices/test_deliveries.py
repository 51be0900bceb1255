"""deliveries and record: each receiver is told everything once, in order, whatever fails."""

from __future__ import annotations

import functools
import itertools
import json
import threading
from datetime import datetime
from pathlib import Path

import pytest
from harness.processes import await_that
from reeldrop.notices import deliveries
from reeldrop.notices.deliveries import TRIES, Delivery, Manners
from reeldrop.notices.happenings import Happening
from reeldrop.notices.parcels import NotDelivered, Parcel
from reeldrop.notices.record import KEPT_SECONDS, Record
from reeldrop.schedule.night import Night
from structlog.testing import capture_logs

NOW = 1_000_000_000.0


class Friend:
    """A receiver that notes what it takes, and fails when told to."""

    name = key = "friend"

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.parcels: list[Parcel] = []
        self.failures: list[NotDelivered] = []
        self.refused = "none"
        self.tries = 0
        self.works = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def take(self, parcel: Parcel) -> None:
        self.tries += 1
        self.parcels.append(parcel)
        self.may_answer.wait()
        if not self.works:
            raise NotDelivered("not now")
        if self.failures:
            raise self.failures.pop(0)
        if self.refused in names(parcel):
            raise NotDelivered("no", is_refused=True)
        self.taken.append(names(parcel))


def names(parcel: Parcel) -> list[str]:
    """Return the ids of what is sent at once."""
    return [happening.id for happening in parcel.happenings]


def videos(*names: str, at: float = NOW) -> list[Happening]:
    """Return happenings of one kind."""
    return [Happening("video", name, at) for name in names]


def delivery(
    friend: Friend,
    file: Path,
    *,
    most: int = 5,
    quiet: str = "",
    clock: str = "12:00",
    repeats: bool = True,
) -> Delivery:
    """Return a started delivery of videos, by a clock that stands still."""
    quiet_hours = Night.parsed(quiet) if quiet else None
    manners = Manners(frozenset({"video"}), quiet_hours, most, repeats)
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
    """Until it is taken; an end does not wait for a receiver that does not work."""
    friend = Friend()
    friend.works = False
    tried = delivery(friend, tmp_path / "a")
    tried.tell(videos("a", "b"))
    await_that(lambda: friend.tries >= 3, "three tries")
    friend.works = True
    await_that(lambda: len(friend.taken) == 2, "both")
    assert [["a"], ["b"]] == sorted(friend.taken)
    friend.works = False
    tried.tell(videos("c"))
    await_that(lambda: friend.tries >= 7, "more tries")
    assert not tried.end(60)
    friend.works = True
    later = delivery(friend, tmp_path / "a")
    later.tell(videos("a", "b", "c"))
    assert later.end(10)
    assert ["c"] == friend.taken[-1]


def test_what_was_taken_is_told_once_even_if_that_cannot_be_recorded(tmp_path: Path) -> None:
    """As on a full disk."""
    file = tmp_path / "a"

    class Spoiler(Friend):
        def take(self, parcel: Parcel) -> None:
            super().take(parcel)
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
    record.begin([("a", NOW), ("b", NOW), ("e", NOW)], "k")
    record.finish([("a", NOW)])
    record.withdraw([("e", NOW)])
    with file.open("ab") as lines:
        lines.write(b'\n[1]\n{"id": 3}\n{"id": "b", "at": ')
    record.finish([("d", NOW)])
    again = Record(file, NOW + 5)
    assert [True, False, True] == [again.is_told(name, NOW) for name in "abd"]
    assert ["", "k", "", ""] == [again.key(name) for name in "abde"]
    assert again.is_told("c", NOW - 1)
    assert not again.is_told("c", NOW + 1)


def test_a_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    """What is older than two weeks leaves it, and is not told then either."""
    file = tmp_path / "a"
    Record(file, NOW).finish([(f"{number}", NOW + number) for number in range(100)])
    later = Record(file, NOW + KEPT_SECONDS + 49.5)
    assert 51 == len([json.loads(line) for line in file.read_bytes().splitlines()])
    assert all(later.is_told(f"{number}", NOW + number) for number in range(100))


def test_a_record_of_a_long_life_does_not_grow(tmp_path: Path) -> None:
    """Neither its file, while a receiver is gone, nor its memory, while time passes."""
    file = tmp_path / "a"
    passed = [0.0]
    record = Record(file, NOW, lambda: passed[0])
    many = [(f"{number}", NOW + number) for number in range(400)]
    for _ in range(5):
        record.begin(many, "k")
        record.withdraw(many)
    assert file.read_bytes().count(b"\n") < 2300
    record.finish(many)
    record.begin([("begun", NOW + 300)], "k")
    passed[0] = KEPT_SECONDS + 395
    record.move_on(NOW + 1e8)  # whatever the clock says
    record.finish([(f"{number}", NOW + KEPT_SECONDS + 395) for number in range(1000, 2500)])
    assert 1500 < file.read_bytes().count(b"id") < 1510
    assert all(record.is_told(name, at) for name, at in many)
    assert "" == record.key("begun")


def test_what_is_begun_stays_when_the_file_is_written_anew(tmp_path: Path) -> None:
    """A kill while it is sent leaves it unsure, as ever."""
    file = tmp_path / "a"
    Record(file, NOW).begin([(f"{number}", NOW) for number in range(2000)], "k")
    again = Record(file, NOW)
    assert {"k"} == {again.key(f"{number}") for number in range(2000)}


def test_a_clock_that_is_put_back_ends_nothing(tmp_path: Path) -> None:
    """What is there by then counts as told; what comes is told. Put forward, it changes nothing."""
    file = tmp_path / "a"
    future = Record(file, NOW + 1e8)
    future.finish([("a", NOW + 1e8)])
    for record in (Record(file, NOW), future):
        record.move_on(NOW)
        assert record.is_reset
        record.begin_anew([("b", NOW + 5)])
        assert [True, False] == [record.is_told(name, NOW + 5) for name in "bc"]
    again = Record(file, NOW + 10)
    assert not again.is_reset
    again.move_on(NOW + 1e8)
    assert [True, False] == [again.is_told(name, NOW + 5) for name in "bc"]


def test_a_kill_in_the_middle_of_sending(tmp_path: Path) -> None:
    """What may have arrived is sent again with its key, together as it was; or named as unsure."""
    told = dict[bool, list[Parcel]]()
    for repeats in (True, False):
        file = tmp_path / str(repeats)
        record = Record(file, NOW - 1)
        record.begin([("a", NOW), ("b", NOW), ("gone", NOW)], "k")
        record.begin([("c", NOW)], "l")
        friend = Friend()
        killed = delivery(friend, file, repeats=repeats)
        killed.tell(videos("a", "b", "c", "d"))
        assert killed.end(10)
        told[repeats] = friend.parcels
    assert [["a", "b"], ["c"], ["d"]] == [names(parcel) for parcel in told[True]]
    assert ["k", "l"] == [parcel.key for parcel in told[True]][:2]
    assert [["a", "b", "c"], ["d"]] == [names(parcel) for parcel in told[False]]
    assert [True, False] == [parcel.is_unsure for parcel in told[False]]


def test_an_answer_that_is_lost_is_as_unsure_as_a_kill(tmp_path: Path) -> None:
    """Also if the next try surely fails; what surely fails first is not unsure."""
    friend = Friend()
    sure, lost = NotDelivered("sure"), NotDelivered("lost", may_have_arrived=True)
    friend.failures = [sure, lost, sure]
    tried = delivery(friend, tmp_path / "a", repeats=False)
    tried.tell(videos("a"))
    await_that(lambda: friend.taken == [["a"]], "the message")
    assert tried.end(10)
    assert [False, False, True, True] == [parcel.is_unsure for parcel in friend.parcels]


@pytest.mark.parametrize("repeats", [True, False])
def test_what_a_library_cannot_handle_lets_others_pass(repeats: bool, tmp_path: Path) -> None:
    """It is tried again, then given up, and said without the text of the error, a secret."""

    class Broken(Friend):
        def take(self, parcel: Parcel) -> None:
            if "bad" in names(parcel):
                self.tries += 1
                raise KeyError("token=secret")
            super().take(parcel)

    friend = Broken()
    told = delivery(friend, tmp_path / "a", repeats=repeats)
    with capture_logs() as logs:
        told.tell(videos("bad"))
        await_that(lambda: friend.tries >= TRIES, "some tries")
        for number in range(2 * TRIES):
            told.tell(videos(f"v{number}"))
            await_that(lambda n=number: len(friend.taken) == n + 1, "another one")
        await_that(lambda: any(log["event"] == "given_up" for log in logs), "the end of it")
        assert told.end(10)
    assert not told.is_dead()
    assert [["bad"]] == [log["ids"] for log in logs if log["event"] == "given_up"]
    reasons = {log["reason"] for log in logs if log["event"] == "not_told"}
    assert reasons
    assert all("unexpected KeyError in " in one and "secret" not in one for one in reasons)


@pytest.mark.parametrize("most", [5, 1])
def test_what_is_refused_for_ever_lets_others_pass(most: int, tmp_path: Path) -> None:
    """Alone or in a digest; it is tried plainly, and given up when others were taken."""
    friend = Friend()
    friend.refused = "bad"
    refused = delivery(friend, tmp_path / "a", most=most)
    is_given_up = functools.partial(refused.record.is_told, "bad", NOW)
    refused.tell(videos("bad", "a", "b"))
    await_that(lambda: len(friend.taken) == 2, "the others")
    for number in range(TRIES):
        after = friend.tries + 2
        refused.tell(videos(f"{number}"))
        await_that(lambda n=after: friend.tries >= n or is_given_up(), "it, and the bad one")
    await_that(is_given_up, "the end of it")
    assert refused.end(10)
    assert [*"012ab"] == sorted(itertools.chain(*friend.taken))
    assert any(parcel.is_plain for parcel in friend.parcels)


def test_what_waits_for_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two weeks, or if it is too much; so a receiver that is gone costs no memory."""
    monkeypatch.setattr(deliveries, "MAX_WAITING", 100)
    friend = Friend()
    friend.failures = [NotDelivered("not now")]
    friend.may_answer.clear()
    passed = [0.0]
    record = Record(tmp_path / "a", NOW - 1, lambda: passed[0])
    gone = Delivery(friend, Manners(frozenset({"video"})), record, first_pause=0.01)
    gone.start()
    gone.tell(videos("old"))
    await_that(lambda: friend.tries > 0, "a try")
    passed[0] = KEPT_SECONDS + 99
    record.move_on(NOW + 1e8)
    gone.tell(videos(*map(str, range(110)), at=NOW + 100))
    friend.may_answer.set()
    await_that(lambda: sum(map(len, friend.taken)) == 100, "all that it keeps")
    assert gone.end(10)
    assert "old" not in itertools.chain(*friend.taken)
