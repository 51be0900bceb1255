"""Deliveries: an unfinished file waits and says why, however it was sent."""

from __future__ import annotations

import errno
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import deliveries as benchmark
import pytest
from deliveries import A_WHILE, LATER, SOON, WAYS, Delivery
from harness.arrivals import SCAN, SETTLE, Place, claimed
from harness.processes import await_that
from harness.site import Daemon, Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reeldrop.base.errors import PromptError
from reeldrop.base.job import Job
from reeldrop.intake import share
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.pace import SETTLE_PAUSE_SECONDS
from reeldrop.intake.settling import DEFAULTS_SECONDS, UNFINISHED_SECONDS
from reeldrop.prompts import parsing
from reeldrop.store.spool import Spool
from structlog.testing import capture_logs


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty inbox."""
    made = Place(tmp_path / "place")
    yield made
    made.intake.close()


def test_a_settled_file_is_taken(place: Place) -> None:
    """A file is claimed after `settle_seconds` without a change, not before."""
    place.drop("a.txt")
    place.go_on(SETTLE - 0.1)
    assert {"a.txt": "settles in 1 s"} == place.waiting()
    place.go_on(0.2)
    assert ["a.txt"] == place.names()


def test_a_renamed_file_is_not_kept_waiting(site: Site, daemon: Callable[..., Daemon]) -> None:
    """A renamed file is complete, and settles sooner; a copied one may have more to come."""
    site.configure("settle_seconds: 3600", "renamed_settle_seconds: 0.2")
    running = daemon()
    running.wait_for("ready")
    copied = site.drop("copied.txt", "a horse\n")
    for name, elsewhere in {"into.txt": site.folder, "within.txt": site.inbox}.items():
        unfinished = elsewhere / f".{name}.tmp"
        unfinished.write_text("a horse\n")
        unfinished.rename(site.inbox / name)
    await_that(lambda: len(list(site.results.glob("*/*.mp4"))) == 2, "the renamed ones")
    assert copied.exists()
    assert "copied.txt" not in [e["prompt_file"] for e in running.events("job_started")]


def test_a_file_waits_for_who_writes_into_it(place: Place) -> None:
    """A file that a program has open waits; when it is closed, it settles anew."""
    path = place.drop("a.txt", "the first ha")
    with path.open("a") as writer:
        place.go_on(60.0)
        name = Path("/proc/self/comm").read_text().strip()
        reason = f"still being written by {name}; waits 540 s more at most"
        assert {"a.txt": reason} == place.waiting()
        writer.write("lf, and the second\n")
        writer.flush()
        place.go_on(60.0)
        assert ([], {}) == (place.names(), place.refused)
    place.go_on(SETTLE_PAUSE_SECONDS + 0.1)
    assert ["a.txt"] == place.names()
    assert "the first half, and the second\n" == place.taken[0].prompt_file.read_text()


def test_an_open_file_that_never_changes_is_taken_in_the_end(place: Place) -> None:
    """After ten minutes without a change, an open file is claimed with what it has."""
    with place.drop("a.txt").open("a"):
        place.go_on(UNFINISHED_SECONDS - 0.1)
        assert [] == place.names()
        place.go_on(0.2)
        assert ["a.txt"] == place.names()


def test_a_file_that_is_opened_while_it_waits_for_its_turn(place: Place) -> None:
    """A file that is opened for writing after it was examined is not claimed."""
    path = place.drop("a.txt")
    place.go_on(SETTLE - 0.1)
    place.now += 0.2
    place.intake.look(place.now)
    assert [] == list(place.intake.refused(patient=True))
    with path.open("a"):
        assert [] == [*claimed(place.intake)]
        place.go_on(30.0)
        assert [] == place.names()
    place.go_on(SETTLE_PAUSE_SECONDS + 0.1)
    assert ["a.txt"] == place.names()


def test_a_file_that_is_edited_while_it_waits_for_its_turn_is_read_again(place: Place) -> None:
    """After an edit, only the new content counts."""
    place.drop("a.yaml", "prompt: a horse\npriority: 10\n")
    place.drop("b.txt")
    place.settle()
    assert ["a.yaml", "b.txt"] == [file.id for file in place.intake.first()]
    place.drop("a.yaml", "prompt: a hen\npriority: -10\n")
    place.now += SCAN
    place.settle()
    assert ["b.txt", "a.yaml"] == [file.id for file in place.intake.first()]
    place.go_on(0.1)
    assert ["b.txt", "a.yaml"] == place.names()


def test_only_where_several_groups_wait_they_have_to_take_turns(place: Place) -> None:
    """They are told apart, in folders that say when, too."""
    for name in ("ann/a.txt", "ann/b.txt", "NIGHT/ann/c.txt"):
        place.drop(name)
    place.settle()
    assert {""} == {file.group for file in place.intake.first()}
    place.drop("NIGHT/bob/d.txt")
    place.now += SCAN
    place.settle()
    assert ["ann", "ann", "ann", "bob"] == [file.group for file in place.intake.first()]


def test_of_files_that_are_taken_together_one_may_have_changed(place: Place) -> None:
    """The others are claimed, each under its own name; that one is read again."""
    for name in "abc":
        place.drop(f"{name}.txt", f"a {name}\n")
    place.settle()
    place.drop("b.txt", "another horse\n")
    first, changed, last = place.intake.take_all(place.intake.first())
    assert changed is None
    assert first is not None
    assert last is not None
    assert ["a.txt", "c.txt"] == [str(job.source) for job in (first, last)]
    assert ["a a\n", "a c\n"] == [job.prompt_file.read_text() for job in (first, last)]
    place.go_on(SCAN + SETTLE)
    assert ["b.txt"] == place.names()


def test_ids_of_files_that_are_taken_together_follow_their_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the first is claimed after the second."""
    claim, ended = Spool.claim, threading.Event()

    def backwards(spool: Spool, source: PurePosixPath, *rest: Any, **more: Any) -> Job | None:
        if source.name == "a.txt":
            assert ended.wait(30.0)
        job = claim(spool, source, *rest, **more)
        ended.set()
        return job

    monkeypatch.setattr(Spool, "claim", backwards)
    place.drop("a.txt")
    place.drop("b.txt")
    place.settle()
    place.intake.take_all(place.intake.first())
    assert ["a.txt", "b.txt"] == [job.source.name for job in place.spool.unfinished()]


def test_a_disk_in_trouble_is_told_of_though_another_file_was_claimed_at_the_same_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is claimed during the pause, so the reason must not be lost."""
    claim = Spool.claim

    def fail_first(spool: Spool, source: PurePosixPath, *rest: Any, **more: Any) -> Job | None:
        if source.name == "a.txt":
            raise OSError(errno.ENOSPC, "No space left on device", str(spool.folder))
        return claim(spool, source, *rest, **more)

    monkeypatch.setattr(Spool, "claim", fail_first)
    place.drop("a.txt")
    place.drop("b.txt")
    place.settle()
    failed, claimed = place.intake.take_all(place.intake.first())
    assert (None, True) == (failed, claimed is not None)
    told = place.intake.claims.trouble()
    assert told.startswith(f"can't be taken: No space left on device: {place.spool.folder} (")
    assert told.endswith(" MiB are left there) (make room there)")
    place.now += 1.1
    assert "" == place.intake.claims.trouble()


def test_a_disk_in_trouble_keeps_all_files_where_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the pause nothing is claimed; then the file that failed is tried last."""
    place.drop("a.txt")
    place.drop("b.txt")
    place.settle()
    with monkeypatch.context() as broken:
        failure = OSError(errno.EIO, "Input/output error")
        broken.setattr(Spool, "claim", lambda *_, **__: (_ for _ in ()).throw(failure))
        assert [] == [*claimed(place.intake)]
    place.now += 0.9
    told = place.intake.claims.trouble()
    assert told.startswith("can't be taken: Input/output error (look at the disk or the share")
    assert () == place.intake.first()
    place.now += 0.2
    assert ("", ["b.txt"]) == (place.intake.claims.trouble(), [f.id for f in place.intake.first()])
    place.go_on(SCAN)
    assert ["b.txt", "a.txt"] == place.names()


def test_other_settings_forget_nothing_of_the_inbox(place: Place) -> None:
    """After a reload, files keep what is known of them: settled, examined, passed over, waiting."""
    path = place.drop("held.txt")
    place.drop("read.txt")
    place.drop("late.txt", bytes(8))
    with path.open("a"):
        place.settle()
        place.intake.line.pass_over(["read.txt"])
        before = place.waiting()
        assert "still being written by" in before["held.txt"]
        assert "NUL bytes" in before["late.txt"]
        old = place.intake
        place.intake = place.make_intake().after(old)
        old.close()
        place.intake.look(place.now)
        assert [("read.txt", True)] == [(f.id, f.was_passed_over) for f in place.intake.first()]
        assert before == place.waiting()
        place.now += 1
        assert [] == list(place.intake.refused(patient=True))


PREALLOCATED = {
    "zeros.txt": bytes(100),
    "half.txt": b"a horse\n" + bytes(100),
    "half.yaml": b"prompt: a ho" + bytes(100),
    "utf-16.txt": "a horse\n".encode("utf-16") + bytes(100),
    "half.mp4": b"\0\0\0\x18ftypisom" + bytes(1000),
}


@pytest.mark.parametrize("name", PREALLOCATED)
def test_a_file_with_nul_bytes_waits_for_its_content(name: str, place: Place) -> None:
    """A file whose size was allocated first waits; if its bytes never come, it is refused."""
    path = place.drop(name, PREALLOCATED[name])
    place.drop("other.txt")
    place.go_on(UNFINISHED_SECONDS - 0.1)
    assert {name: "holds NUL bytes so far; waits 1 s more at most"} == place.waiting()
    assert (["other.txt"], {}) == (place.names(), place.refused)
    place.go_on(0.2)
    assert [name] == list(place.refused)
    assert "NUL byte" in place.refused[name]
    assert not path.exists()


def test_what_is_taken_at_last_is_told(tmp_path: Path) -> None:
    """If a wait for other files expired, the log says so, once."""
    place = Place(tmp_path / "place", idle=0.0, scan=0.5)
    place.drop("x/a.txt")
    defaults = place.drop(f"x/{parsing.DEFAULTS_NAME}", "fps: 4\n")
    with capture_logs() as events:
        for second in range(int(DEFAULTS_SECONDS)):
            assert [] == place.names()
            os.utime(defaults, (second, second))
            place.go_on(1.0)
        place.go_on(SETTLE - 1.0)
    place.intake.close()
    assert ["x/a.txt"] == place.names()
    assert [("taken_unfinished", "x/a.txt")] == [(e["event"], e["prompt_file"]) for e in events]
    assert "_defaults.yaml has just changed" in events[0]["reason"]


def test_a_file_whose_bytes_come_late_is_taken_when_they_are_there(place: Place) -> None:
    """A file that was held settles anew when it changes."""
    path = place.drop("a.txt", bytes(8))
    place.go_on(300.0)
    path.write_bytes(b"a horse\n")
    place.go_on(SCAN + SETTLE)
    assert (["a.txt"], {}) == (place.names(), place.refused)


def test_an_interrupted_transfer_is_refused_in_the_end(place: Place) -> None:
    """A part of a prompt file may be valid, but must not be rendered."""
    os.utime(place.drop("a.txt", "half a horse"), (0, 0))
    place.go_on(UNFINISHED_SECONDS - 0.1)
    reason = "its modification time is 0: an interrupted transfer"
    assert {"a.txt": f"{reason}; waits 1 s more at most"} == place.waiting()
    place.go_on(0.2)
    assert [] == place.names()
    assert "touch" in place.refused["a.txt"]


def test_where_an_inbox_is_drained_nothing_waits_for_long(tmp_path: Path) -> None:
    """In a drain, a file that looks unfinished is refused at once, with the reason."""
    place = Place(tmp_path / "place", patient=False)
    for name, content in PREALLOCATED.items():
        place.drop(name, content)
    os.utime(place.drop("part.txt"), (0, 0))
    place.go_on(SETTLE + 0.1)
    place.intake.close()
    assert sorted([*PREALLOCATED, "part.txt"]) == sorted(place.refused)


def test_what_is_refused_for_its_defaults_is_never_rendered_without_them(place: Place) -> None:
    """This also holds if it can't be filed away now, and the job is read again later."""
    (place.inbox / parsing.DEFAULTS_NAME).symlink_to("nowhere")
    place.drop("a.txt")
    place.intake.look(place.now)
    place.now += SETTLE + 0.1
    place.intake.look(place.now)
    [(_, error)] = place.intake.refused(patient=True)
    assert parsing.DEFAULTS_NAME in str(error)
    (job,) = place.spool.unfinished()
    with pytest.raises(PromptError, match=parsing.DEFAULTS_NAME):
        place.intake.reader.read_job(job)


def test_utf_16_is_no_sign_of_an_unfinished_file(place: Place) -> None:
    """UTF-16 has NUL bytes, but mistakes in such a file are reported at once."""
    place.drop("a.txt", "a horse\n".encode("utf-16"))
    place.drop("b.yaml", "promt: a horse\n".encode("utf-16"))
    place.go_on(SETTLE + 0.1)
    assert (["a.txt"], ["b.yaml"]) == (place.names(), list(place.refused))


# Every way of delivery, byte by byte


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_each_way_of_delivery_at_any_speed(seed: int) -> None:
    """Files that arrive together, one in each way, are claimed once, and complete."""
    with tempfile.TemporaryDirectory() as folder:
        found = benchmark.deliver(len(WAYS), random.Random(seed), Path(folder) / "world")
        assert found.is_clean, found
        assert dict.fromkeys(WAYS, 1) == found.ways


def test_half_and_doubled_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: a delivery with too long a pause is claimed too early, and counted."""

    def pausing(delivery: Delivery) -> Iterator[str]:
        delivery.path.write_bytes(delivery.data[:9])
        yield LATER
        delivery.path.write_bytes(delivery.data)

    monkeypatch.setitem(WAYS, "pausing", pausing)
    monkeypatch.setattr(benchmark, "seconds", lambda _pause, _dice: 60.0)
    found = benchmark.deliver(5, random.Random(1), tmp_path / "world", ways=["pausing"])
    assert (5, 5) == (len(found.doubled) + len(found.refused), found.ways["pausing"])
    assert found.doubled


SHORT = {SOON: 0.3, A_WHILE: 1.0, LATER: 2.5}
"""Pauses for a daemon whose files settle in a second."""


def test_each_way_of_delivery_to_a_daemon(site: Site, daemon: Callable[..., Daemon]) -> None:
    """A real daemon renders each of them once and complete, by the real clock."""
    site.configure("settle_seconds: 1", "scan_seconds: 0.2")
    running = daemon()
    running.wait_for("ready")
    sent = []
    for number, way in enumerate(WAYS):
        dice = random.Random(number)
        delivery = Delivery(
            site.inbox / f"{number:02}.txt", f"the end of {number}\n".encode(), dice
        )
        sent.append(threading.Thread(target=send, args=(WAYS[way](delivery), dice)))
    for thread in sent:
        thread.start()
    for thread in sent:
        thread.join()
    await_that(lambda: len(running.events("job_ended")) >= len(WAYS), "every video")
    await_that(lambda: not any(site.spool.joinpath("active").iterdir()), "the end")
    videos = {str(path.relative_to(site.results)) for path in site.results.rglob("*.mp4")}
    assert {f"{n:02}/the_end_of_{n}.mp4" for n in range(len(WAYS))} == videos
    assert (len(WAYS), []) == (len(running.events("job_started")), running.events("job_failed"))


def send(steps: Iterator[str], dice: random.Random) -> None:
    """Do what a way of delivery does, in real time, within a few seconds."""
    end = time.monotonic() + 4.0
    for pause in steps:
        left = max(0.0, end - time.monotonic())
        threading.Event().wait(dice.uniform(0, min(SHORT[pause], left)))


# How often it is looked


@pytest.mark.parametrize(("reports_all", "fewest", "most"), [(True, 9, 24), (False, 120, 121)])
def test_a_quiet_inbox_is_looked_at_less_often(
    reports_all: bool, fewest: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But only if events report every change: on a share, a file must not wait a minute."""
    monkeypatch.setattr(share, "reports_all", lambda _folder: reports_all)
    place = Place(tmp_path / "place", idle=60.0)
    place.go_on(0.1)
    looks = []
    monkeypatch.setattr(Inbox, "scan", lambda _, now, _renamed: bool(looks.append(now)))
    place.go_on(600.0)
    place.intake.close()
    assert fewest <= len(looks) <= most
