"""Files in the inbox that steer: what they do, and what only looks like one of them."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from harness.arrivals import SCAN, Place
from harness.processes import await_that
from reeldrop.base import durable, inbox_folders
from reeldrop.base.job import Job
from reeldrop.intake import controls, heeded
from reeldrop.intake.control_names import MAX_BYTES
from reeldrop.intake.controls import CANCEL_SECONDS
from reeldrop.intake.heeded import Heeded
from reeldrop.intake.inbox import Inbox
from reeldrop.store import job_files
from structlog.testing import capture_logs

PAUSES = ("PAUSE", "Pause", "pause.txt", "PAUSE.TXT")
NO_PAUSES = (
    "sub/PAUSE",
    "PAUSE.sync-conflict-20261124-101112-ABCDEFG",
    "PAUSE (conflicted copy 2026-11-24 101112)",
    ".syncthing.PAUSE.tmp",
    "~syncthing~PAUSE.tmp",
    "PAUSE.part",
    ".PAUSE.~1a2b3c",
    "PAUSED",
    "PAUSE.yaml",
)
NO_CANCELS = (
    "a.cancel",
    "sub/a.txt.cancel",
    ".a.txt.cancel",
    "a.txt.sync-conflict-20261124-101112-ABCDEFG.cancel",
    "a.txt (Ann's conflicted copy 2026-11-24).cancel",
    "~syncthing~a.txt.cancel.tmp",
    "a.txt.cancel.part",
    "a.txt.cancelled",
    "b.txt.cancel",
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return an empty inbox."""
    made = Place(tmp_path / "place")
    yield made
    made.intake.close()


def settled(place: Place, *names: str) -> None:
    """Drop files that wait for their turn."""
    for name in names:
        place.drop(name)
    place.settle()


def heed(place: Place, seconds: float = SCAN) -> list[str]:
    """Let time pass, heed the control files, and return what they have cancelled now."""
    before = len(place.cancelled)
    place.intake.look(place.now)
    end = place.now + seconds
    while place.now < end:
        place.now = min(end, max(place.intake.due(), place.now + 0.5))
        place.intake.look(place.now)
        for job in place.intake.cancelled():
            assert job_files.is_cancelled(job)
            place.cancelled.append(str(job.source))
    return place.cancelled[before:]


@pytest.mark.parametrize("name", PAUSES)
def test_a_pause_is_asked_for(place: Place, name: str) -> None:
    """From the first scan on, until the file is gone; it is neither rendered nor a stray."""
    path = place.drop(name, b"")
    place.go_on(100.0)
    assert (name, [], {}, {}) == (
        place.intake.controls.pause,
        place.names(),
        place.refused,
        place.waiting(),
    )
    path.unlink()
    place.now += SCAN
    place.intake.look(place.now)
    assert "" == place.intake.controls.pause


def test_what_asks_for_no_pause(place: Place) -> None:
    """Copies, unfinished files, other places, folders, links, large ones, and prompts."""
    for name in NO_PAUSES:
        place.drop(name, b"")
    for folder in ("PAUSE", "pause.txt"):
        (place.inbox / folder).mkdir()
    (place.inbox / "pausE").symlink_to(place.folder)
    place.drop("Pause", b"x" * (MAX_BYTES + 1))
    place.drop("pause.TXT", "a horse that has a pause\n")
    place.intake.look(place.now)
    assert "" == place.intake.controls.pause
    waiting = place.waiting()
    assert "put it at the top of the inbox" in waiting["sub/PAUSE"]
    assert "more than 256 bytes" in waiting["Pause"]
    place.go_on(3.0)
    assert "pause.TXT" in place.names()


def test_a_waiting_file_is_cancelled(place: Place) -> None:
    """It is set aside, without its picture; the control file is removed, and others wait on."""
    settled(place, "a.txt", "b.txt", "sub/a.txt")
    place.drop("a.png", b"x")
    place.drop("a.txt.cancel", b"")
    place.drop("sub/a.txt.CANCEL.txt", b"")
    assert {"a.txt", "sub/a.txt"} == {*heed(place)}
    assert {"a.png", "b.txt", "sub"} == {path.name for path in place.inbox.iterdir()}
    place.go_on(60.0)
    assert ["b.txt"] == place.names()


def test_a_file_in_hand_is_cancelled(place: Place) -> None:
    """Its job is marked, as the command does; accents may be written in two ways."""
    settled(place, "hête.txt", "b.txt")
    place.go_on(1.0)
    assert {"hête.txt", "b.txt"} == {*place.names()}
    place.drop("he\u0302te.txt.cancel", "\n")
    assert ["hête.txt"] == heed(place)
    marked = {str(job.source): job_files.is_cancelled(job) for job in place.taken}
    assert {"hête.txt": True, "b.txt": False} == marked
    assert [] == list(place.inbox.iterdir())


def test_capitals_in_the_name_of_a_cancelled_file_do_not_matter(place: Place) -> None:
    """Waiting or in hand, unless a file has exactly that name, or several have it but for them."""
    settled(place, "A.TXT", "b.txt", "B.txt", "c.txt", "C.txt", "Sub/D.txt", "NOW/E.txt")
    for name in ("a.txt", "b.TXT", "c.txt", "sub/d.txt"):
        place.drop(f"{name}.cancel", b"")
    assert {"A.TXT", "c.txt"} == {*heed(place)}
    place.go_on(1.0)
    for name in ("b.TXT", "Sub/d.Txt", "e.txt"):
        place.drop(f"{name}.cancel", b"")
    assert ["Sub/D.txt"] == heed(place)
    assert ["NOW/E.txt"] == heed(place, CANCEL_SECONDS + SCAN)
    cancelled = {str(job.source) for job in place.taken if job_files.is_cancelled(job)}
    assert ({"Sub/D.txt", "NOW/E.txt"}, 5) == (cancelled, len(place.taken))


def test_a_file_that_was_taken_for_the_same_order_is_cancelled_by_its_name(place: Place) -> None:
    """Not while a file waits that has this name, nor under other folders' names."""
    settled(place, "x.txt", "NOW/poems/y.txt")
    place.go_on(1.0)
    assert {"x.txt", "NOW/poems/y.txt"} == {*place.names()}
    place.drop("NOW/x.txt", "another horse\n")
    place.settle()
    for name in ("AGAIN/x", "poems/x", "NOW/y", "NOW/x"):
        place.drop(f"{name}.txt.cancel", b"")
    assert ["NOW/x.txt"] == heed(place)
    for name in ("NIGHT/poems/y", "NIGHT/x"):
        place.drop(f"{name}.txt.cancel", b"")
    assert [] == heed(place, CANCEL_SECONDS - 2 * SCAN)
    assert not any(map(job_files.is_cancelled, place.taken))
    assert {"x.txt", "NOW/x.txt", "NOW/poems/y.txt"} == {*heed(place, 4 * SCAN)}
    assert all(map(job_files.is_cancelled, place.taken))


def test_a_cancel_that_comes_before_its_prompt_file_cancels_no_other(place: Place) -> None:
    """The one in hand that has this name in another folder was there before."""
    settled(place, "NOW/x.txt")
    place.go_on(1.0)
    place.drop("x.txt.cancel", b"")
    assert [] == heed(place)
    place.drop("x.txt", "another horse\n")
    assert ["x.txt"] == heed(place)
    assert not any(map(job_files.is_cancelled, place.taken))


@pytest.mark.parametrize("change", ["a backup", "another priority"])
def test_what_is_in_hand_is_as_old_as_its_claim(change: str, place: Place) -> None:
    """A backup's link gives its prompt file a new ctime; another priority its record a new time."""
    settled(place, "NOW/x.txt")
    place.go_on(1.0)
    control = place.drop("x.txt.cancel", b"").lstat().st_ctime_ns
    [job] = place.taken
    await_that(lambda: place.drop("other.txt").lstat().st_ctime_ns > control, "another time")
    if change == "a backup":
        job.prompt_file.chmod(0o640)
    else:
        job_files.write_record(job, is_cancelled=False)
    assert "NOW/x.txt" in heed(place, CANCEL_SECONDS + 2 * SCAN)


def test_a_cancel_cancels_nothing_of_another_name_that_came_after_it(place: Place) -> None:
    """It is a new order."""
    path = place.drop("x.txt.cancel", b"")
    await_that(
        lambda: place.drop("NOW/x.txt").lstat().st_ctime > path.lstat().st_ctime, "another time"
    )
    place.settle()
    place.go_on(2 * CANCEL_SECONDS)
    assert (["NOW/x.txt"], []) == (place.names(), place.cancelled)
    assert not path.exists()


def test_what_cancels_nothing_is_said_and_then_removed(place: Place) -> None:
    """It may have come before its prompt file, and so it waits for a while."""
    place.drop("a.txt.cancel", b"")
    place.drop("b.txt.cancel", b"")
    assert [] == heed(place)
    assert "no prompt file of this name" in place.waiting()["a.txt.cancel"]
    place.drop("a.txt")
    assert ["a.txt"] == heed(place)
    with capture_logs() as logs:
        assert [] == heed(place, CANCEL_SECONDS)
    assert [("nothing_to_cancel", "b.txt.cancel")] == [
        (log["event"], log["control_file"]) for log in logs
    ]
    assert ([], {}) == (list(place.inbox.iterdir()), place.waiting())


def test_a_prompt_file_that_came_much_later_is_not_cancelled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor once it is in hand: the control file, left while nothing ran, is removed at once."""
    monkeypatch.setattr(controls, "_changed", lambda found: found.fingerprint[0] * CANCEL_SECONDS)
    place.drop("a.txt.cancel", b"")
    place.drop("a.txt")
    place.go_on(2 * CANCEL_SECONDS)
    assert (["a.txt"], []) == (place.names(), place.cancelled)
    assert not any(map(job_files.is_cancelled, place.taken))


def test_a_prompt_file_that_was_seen_before_is_cancelled_whatever_its_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the inbox was set back between the two."""
    monkeypatch.setattr(controls, "_changed", lambda found: found.fingerprint[0] * CANCEL_SECONDS)
    settled(place, "a.txt")
    place.drop("a.txt.cancel", b"")
    assert ["a.txt"] == heed(place)


def test_what_does_not_cancel(place: Place) -> None:
    """Copies, unfinished files, other names, folders, links and large ones; none is removed."""
    settled(place, "a.txt")
    for name in NO_CANCELS:
        place.drop(name, b"")
    (place.inbox / "a.yaml.cancel").mkdir()
    (place.inbox / "a.txt.cancel").symlink_to(place.folder / "nowhere")
    place.drop("a.txt.Cancel", b"x" * (MAX_BYTES + 1))
    before = {path.name for path in place.inbox.iterdir()}
    assert [] == heed(place)
    waiting = place.waiting()
    assert before == {path.name for path in place.inbox.iterdir()}
    assert "such as a.txt.cancel" in waiting["a.cancel"]
    assert "a link" in waiting["a.txt.cancel"]
    assert "256 bytes" in waiting["a.txt.Cancel"]
    heed(place, 2 * CANCEL_SECONDS)
    assert before - {path.name for path in place.inbox.iterdir()} == {"b.txt.cancel"}


@pytest.mark.parametrize(
    ("killed_in", "found"), [((Heeded, "add"), ["a.txt"]), ((Inbox, "remove_control"), [])]
)
def test_a_kill_before_the_control_file_is_removed(
    killed_in: tuple[type, str], found: list[str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process finds the same job again; a prompt file that came later is not touched, and
    it is said if the control file has acted."""
    settled(place, "a.txt")
    path = place.drop("a.txt.cancel", b"")
    with monkeypatch.context() as killed:
        killed.setattr(*killed_in, lambda *_arguments: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            heed(place)
    assert path.exists()
    monkeypatch.setattr(controls, "CANCEL_SECONDS", 0.0)
    await_that(lambda: place.drop("a.txt").lstat().st_ctime > path.lstat().st_ctime, "another time")
    place.intake.close()
    place.intake = place.make_intake()
    assert found == heed(place)
    stays = {"a.txt.cancel"} if not found else set()
    assert {"a.txt", *stays} == {path.name for path in place.inbox.iterdir()}
    assert stays == {name for name, why in place.waiting().items() if "was here before" in why}
    [job] = place.spool.unfinished()
    assert job_files.is_cancelled(job)


def test_a_control_file_that_comes_back_does_nothing(place: Place) -> None:
    """Also in the next process; it stays and is answered while such a file waits or is in hand,
    and for a while, then it is removed. A new one acts."""
    settled(place, "hête.txt")
    path = place.drop("hête.txt.cancel", b"")
    mtime = path.stat().st_mtime_ns
    assert ["hête.txt"] == heed(place, 2 * CANCEL_SECONDS)
    assert not path.exists()
    place.drop("hête.txt", "another horse\n")
    for _ in range(2):
        path.unlink(missing_ok=True)
        place.intake.close()
        place.intake = place.make_intake()
        place.settle()
        path = place.drop(unicodedata.normalize("NFD", "hête.txt.cancel"), b"")
        os.utime(path, ns=(mtime, mtime // 10**9 * 10**9))
        with capture_logs() as logs:
            assert [] == heed(place)
            assert "a copy keeps the time" in place.waiting()[path.name]
            assert [] == heed(place, 10 * CANCEL_SECONDS)
        assert ["cancel_came_back"] == [log["event"] for log in logs]
        assert "a copy keeps the time" in place.waiting()[path.name]
    waiting = (place.inbox / "hête.txt").rename(place.folder / "kept.txt")
    heed(place, 2 * CANCEL_SECONDS)
    assert [] == list(place.inbox.iterdir())
    waiting.rename(place.inbox / "hête.txt")
    place.settle()
    place.drop("hête.txt.cancel", b"")
    assert {"hête.txt"} == {*heed(place)}
    assert [] == list(place.inbox.iterdir())


def test_a_copy_of_a_control_file_that_cancelled_nothing_acts(place: Place) -> None:
    """It came too early, and the second try has the same modification time."""
    path = place.drop("a.txt.cancel", b"")
    mtime = path.stat().st_mtime_ns
    assert [] == heed(place, 2 * CANCEL_SECONDS)
    assert not path.exists()
    settled(place, "a.txt")
    os.utime(place.drop("a.txt.cancel", b""), ns=(mtime, mtime))
    assert ["a.txt"] == heed(place)


def test_a_record_that_cannot_be_read_for_a_moment_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Till then nothing is cancelled; then the control file that came back does nothing."""
    settled(place, "a.txt")
    path = place.drop("a.txt.cancel", b"")
    mtime = path.stat().st_mtime_ns
    assert ["a.txt"] == heed(place)
    settled(place, "a.txt")
    read = job_files.read

    def refuse(file: Path) -> Any:
        if file.name == heeded.FILE_NAME:
            raise OSError(errno.EIO, "Input/output error")
        return read(file)

    with monkeypatch.context() as broken:
        broken.setattr(job_files, "read", refuse)
        place.intake.close()
        place.intake = place.make_intake()
        place.settle()
        os.utime(place.drop("a.txt.cancel", b""), ns=(mtime, mtime))
        with capture_logs() as logs:
            assert [] == heed(place, 2 * CANCEL_SECONDS)
        assert ["cancel_failed"] == [log["event"] for log in logs]
    assert [] == heed(place, 2 * CANCEL_SECONDS)
    assert {"a.txt", "a.txt.cancel"} == {found.name for found in place.inbox.iterdir()}
    assert "a copy keeps the time" in place.waiting()["a.txt.cancel"]


def test_what_a_full_disk_could_not_record_is_recorded_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same process knows it meanwhile."""
    noted = Heeded(place.spool.root)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(durable, "write", full)
        with pytest.raises(OSError, match="No space"):
            noted.add("a.txt.cancel", 5)
    assert noted.has("a.txt.cancel", 5)
    noted.add("a.txt.cancel", 5)
    assert Heeded(place.spool.root).has("a.txt.cancel", 5)


@pytest.mark.parametrize("record", [b"{", b"[1]", b'{"a.txt.cancel": null}', b""])
def test_a_damaged_record_of_control_files_counts_as_none(place: Place, record: bytes) -> None:
    """It is renamed, and written anew; it has a bounded size, and loses the oldest first."""
    file = place.folder / "spool" / heeded.FILE_NAME
    if record:
        file.write_bytes(record)
    else:
        file.mkdir()
    noted = Heeded(place.spool.root)
    assert not noted.has("a.txt.cancel", 5)
    [kept] = file.parent.glob(f"{file.name}.damaged-*")
    assert kept.is_dir() if not record else kept.read_bytes() == record
    noted._read().update({str(number): number for number in range(heeded.KEPT + 2)})
    noted.add("a.txt.cancel", 5)
    again = Heeded(place.spool.root)
    assert [False, False, False, True] == [again.has(str(n), n) for n in range(4)]
    assert (True, False) == (again.has("a.txt.cancel", 5), again.has("a.txt.cancel", 10**10))


def test_many_are_heeded_little_by_little(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renderer is served between them; the spool is read once each time, however slowly."""
    for number in range(300):
        place.drop(f"{number}.txt.cancel", b"")
    settled(place, "a.txt")
    reads = []
    unfinished = place.spool.unfinished

    def slow() -> Iterator[Job]:
        reads.append([next(ticks) for _ in range(1000)])
        return unfinished()

    monkeypatch.setattr(place.spool, "unfinished", slow)
    cancels = controls.Controls(
        place.intake._inbox, place.spool, place.intake.claims, place.intake._clock, lambda _at: None
    )
    ticks = iter(range(10**6))
    cancels._clock = lambda: next(ticks) / 1000
    cancels.look(0.0)
    rounds = 0
    while cancels.are_due and rounds < 31:
        assert [] == list(cancels.cancelled())
        rounds += 1
    assert 3 <= rounds == len(reads) <= 30


def test_a_control_file_that_stays_acts_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said, and a later prompt file of its name is rendered."""
    settled(place, "a.txt")
    path = place.drop("a.txt.cancel", b"")

    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Inbox, "remove_control", refuse)
    assert ["a.txt"] == heed(place)
    assert "can't be removed: Operation not permitted" in place.waiting()["a.txt.cancel"]
    place.drop("a.txt", "another horse\n")
    place.go_on(30.0)
    assert (["a.txt"], []) == (place.names(), place.cancelled[1:])
    monkeypatch.undo()
    assert [] == heed(place)
    assert not path.exists()


def test_controls_can_be_turned_off(place: Place) -> None:
    """Then they are named as files that do nothing, and nothing is removed."""
    place.intake.turn_controls(is_on=False)
    settled(place, "a.txt")
    place.drop("PAUSE", b"")
    place.drop("a.txt.cancel", b"")
    assert [] == heed(place, 2 * CANCEL_SECONDS)
    assert "" == place.intake.controls.pause
    off = "does nothing: control files are turned off here"
    assert {"PAUSE": off, "a.txt.cancel": off} == {
        name: why for name, why in place.waiting().items() if name != "a.txt"
    }
    place.intake.turn_controls(is_on=True)
    assert ["a.txt"] == heed(place)
    assert "PAUSE" == place.intake.controls.pause


def test_a_file_that_is_deleted_or_moved_away_while_it_waits(place: Place) -> None:
    """It is not rendered, and its picture waits on without it."""
    settled(place, "a.txt", "b.txt")
    place.drop("a.png", b"x")
    (place.inbox / "a.txt").unlink()
    (place.inbox / "b.txt").rename(place.folder / "b.txt")
    place.go_on(60.0)
    assert ([], {}) == (place.names(), place.refused)
    assert ["a.png"] == list(place.waiting())


@pytest.mark.parametrize(
    "name", ["README.txt", "readme.TXT", "sub/Readme.txt",
             "README.sync-conflict-20261124-101112-ABCDEFG.txt"]
)  # fmt: skip
def test_a_readme_is_not_rendered(place: Place, name: str) -> None:
    """Nor named as a stray; a prompt file that only begins like that is rendered."""
    place.drop(name)
    place.drop("readme to me.txt")
    place.go_on(10.0)
    assert (["readme to me.txt"], {}) == (place.names(), place.waiting())


@pytest.mark.parametrize(
    ("path", "wish", "home"),
    [
        ("NOW/a/b.txt", "NOW", "a/b.txt"),
        ("NIGHT/b.txt", "NIGHT", "b.txt"),
        ("AGAIN/NOW/b.mp4", "AGAIN", "NOW/b.mp4"),
        ("now/b.txt", "", "now/b.txt"),
        ("a/NOW/b.txt", "", "a/NOW/b.txt"),
        ("NOW", "", "NOW"),
    ],
)
def test_folders_that_say_when(path: str, wish: str, home: str) -> None:
    """Only in capitals, and only at the top."""
    source = PurePosixPath(path)
    assert (wish, PurePosixPath(home)) == (inbox_folders.wish(source), inbox_folders.home(source))


def test_a_file_of_such_a_folder_has_the_defaults_of_its_home(place: Place) -> None:
    """They count less than those of the folder that it is in, and their changes are waited for."""
    place.drop("poems/_defaults.yaml", "num_frames: 9\npriority: -5\n")
    place.drop("NOW/_defaults.yaml", "num_frames: 17\n")
    place.drop("NOW/poems/a.yaml", "prompt: a\npriority: 1\n")
    place.drop("NIGHT/poems/b.yaml", "prompt: a\n")
    place.drop("NIGHT/nowhere/c.yaml", "prompt: a\n")
    place.drop("plain", "this is no folder")
    place.drop("NOW/plain/d.yaml", "prompt: a\n")
    place.settle()
    ranks = {view.id: (-view.rank[0], view.is_of_night) for view in place.intake.first()}
    assert {
        "NOW/poems/a.yaml": (10, False),
        "NOW/plain/d.yaml": (10, False),
        "NIGHT/poems/b.yaml": (-5, True),
        "NIGHT/nowhere/c.yaml": (0, True),
    } == ranks
    frames = {}
    for view in place.intake.first():
        [job] = place.intake.take_all([view])
        assert job is not None
        [prompt] = place.intake.reader.read_job(job).prompts
        frames[job.source.name] = prompt.argument("num_frames")
    assert {"a.yaml": 17, "b.yaml": 9, "c.yaml": 8, "d.yaml": 17} == frames
    place.drop("poems/_defaults.yaml", "num_frames: 25\n")
    place.drop("NOW/poems/f.txt")
    place.intake.look(place.now + SCAN)
    assert "poems/_defaults.yaml has just changed" in place.waiting()["NOW/poems/f.txt"]
