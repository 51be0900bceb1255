"""inbox: which files are settled by our own clock, in which order, and which are refused."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from harness.processes import await_that
from harness.sync_names import CASES
from reeldrop.base import roots
from reeldrop.base.errors import PromptError
from reeldrop.base.job import DefaultsFile
from reeldrop.intake import reading, share, writers
from reeldrop.intake.ignored import TOOLS, Ignored, Tool
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.line import Examined, Line
from reeldrop.intake.scan import MAX_DEPTH, Candidate
from reeldrop.intake.senses import Senses
from reeldrop.intake.settling import (
    DEFAULTS_SECONDS,
    EMPTY_SECONDS,
    TEMPORARY_SECONDS,
    TRANSFER_SECONDS,
    UNFINISHED_SECONDS,
)
from reeldrop.intake.watch import Watch
from reeldrop.schedule.turns import Turns
from structlog.testing import capture_logs

NOBODY = 65534
SETTLE = 2.0
RENAMED_SETTLE = 0.25


@pytest.fixture
def box(tmp_path: Path) -> Inbox:
    """Return an empty inbox."""
    return made(tmp_path)


def made(folder: Path, *, patient: bool = True) -> Inbox:
    """Return the inbox of a folder."""
    suffixes = frozenset({".txt", ".yaml"})
    return Inbox(
        folder,
        suffixes,
        SETTLE,
        "_defaults.yaml",
        patient=patient,
        renamed_settle_seconds=RENAMED_SETTLE,
    )


def drop(box: Inbox, name: str, content: str = "a prompt") -> Path:
    """Put a file into the inbox."""
    path = box.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def found(box: Inbox) -> list[str]:
    """Return all candidates, settled or not."""
    box.scan(0.0)
    return settled(box, 1e9)


def when(candidate: Candidate) -> tuple[float, str]:
    """Return since when a file waits, and its name."""
    return candidate.first_seen, str(candidate.path)


def settled(box: Inbox, now: float) -> list[str]:
    """Return the names of the settled files."""
    return [str(candidate.path) for candidate in sorted(box.settled(now), key=when)]


# Settling


def test_a_file_settles_by_our_own_clock(box: Inbox) -> None:
    """What counts is how long the file was seen unchanged, not its times."""
    os.utime(drop(box, "a.txt"), (1, 1))
    box.scan(100.0)
    assert [] == settled(box, 100.0 + SETTLE - 0.01)
    assert ["a.txt"] == settled(box, 100.0 + SETTLE)


def test_a_file_from_the_future_settles(box: Inbox) -> None:
    """The clock of another machine does not matter."""
    os.utime(drop(box, "a.txt"), (2**33, 2**33))
    box.scan(100.0)
    assert ["a.txt"] == settled(box, 100.0 + SETTLE)


def replaced(path: Path) -> None:
    """Replace a file by another that differs only in the inode."""
    other = path.with_name("other.tmp")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)


CHANGES = {
    "size": lambda path: path.write_text("longer than before"),
    "time": lambda path: os.utime(path, ns=(10**17, 10**17)),
    "content": lambda path: path.write_text("A PROMPT"),
    "mode": lambda path: path.chmod(0o600),
    "inode": replaced,
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_begins_the_wait_anew(box: Inbox, change: str) -> None:
    """A change of size, times or inode begins the wait anew."""
    path = drop(box, "a.txt")
    os.utime(path, ns=(10**18, 10**18))
    box.scan(100.0)
    (candidate,) = box.settled(1e9)
    CHANGES[change](path)
    assert not box.is_unchanged(candidate)
    box.scan(101.5)
    assert [] == settled(box, 101.5 + SETTLE - 0.01)
    assert ["a.txt"] == settled(box, 101.5 + SETTLE)


def test_a_renamed_file_settles_sooner(box: Inbox) -> None:
    """A renamed file is complete; the event may arrive after the file was seen."""
    for name in ("a.txt", "b.txt", "c.txt"):
        drop(box, name)
    box.scan(100.0, {"a.txt"})
    assert [] == settled(box, 100.24)
    assert ["a.txt"] == settled(box, 100.25)
    box.scan(100.5, {"a.txt", "b.txt"})
    assert ["a.txt", "b.txt"] == settled(box, 100.5)
    assert ["a.txt", "b.txt", "c.txt"] == settled(box, 102.0)


def test_a_renamed_file_that_is_written_to_settles_like_others(box: Inbox) -> None:
    """A change of time or rights begins the shorter wait anew, a write the longer one."""
    path = drop(box, "a.txt")
    box.scan(100.0, {"a.txt"})
    os.utime(path, ns=(10**17, 10**17))
    box.scan(100.2, {"a.txt"})
    assert [] == settled(box, 100.44)
    assert ["a.txt"] == settled(box, 100.45)
    drop(box, "a.txt", "longer than before")
    box.scan(101.0)
    assert [] == settled(box, 102.99)
    assert ["a.txt"] == settled(box, 103.0)


def test_a_renamed_file_in_a_new_folder_settles_like_others(box: Inbox) -> None:
    """In a new folder, the defaults may arrive after the file."""
    drop(box, "old/x.txt")
    box.scan(100.0)
    drop(box, "old/a.txt")
    drop(box, "new/a.txt")
    box.scan(200.0, {"old/a.txt", "new/a.txt"})
    assert ["old/x.txt", "old/a.txt"] == settled(box, 201.99)
    assert ["old/x.txt", "new/a.txt", "old/a.txt"] == settled(box, 202.0)
    drop(box, "new/b.txt")
    box.scan(203.0, {"new/b.txt"})
    assert "new/b.txt" in settled(box, 203.25)


def test_what_looks_unfinished_waits_however_it_came(box: Inbox) -> None:
    """A renamed file that is empty, or that rsync left in part, still waits longer."""
    drop(box, "empty.txt", "")
    os.utime(drop(box, "interrupted.txt"), ns=(0, 1))
    box.scan(100.0, {"empty.txt", "interrupted.txt"})
    assert [] == settled(box, 100.0 + EMPTY_SECONDS - 0.01)
    assert ["empty.txt"] == settled(box, 100.0 + EMPTY_SECONDS)


def test_a_renamed_file_never_settles_later_than_others(tmp_path: Path) -> None:
    """The shorter of the two times counts; without one, `settle_seconds`."""
    box = Inbox(tmp_path, frozenset({".txt"}), SETTLE, "_defaults.yaml")
    drop(box, "a.txt")
    box.scan(100.0, {"a.txt"})
    assert [] == settled(box, 101.99)
    assert ["a.txt"] == settled(box, 102.0)


def test_scans_without_a_change_do_not_begin_the_wait_anew(box: Inbox) -> None:
    """An unchanged file settles on time, and stays the same candidate."""
    drop(box, "a.txt")
    for now in (100.0, 101.0, 101.9):
        box.scan(now)
    (candidate,) = box.settled(100.0 + SETTLE)
    assert (100.0, 100.0) == (candidate.since, candidate.first_seen)
    assert box.is_unchanged(candidate)


def test_a_file_that_goes_away_is_forgotten(box: Inbox) -> None:
    """A deleted file is forgotten; if it returns, its wait begins anew."""
    path = drop(box, "a.txt")
    box.scan(100.0)
    (candidate,) = box.settled(1e9)
    path.unlink()
    assert not box.is_unchanged(candidate)
    box.scan(101.0)
    assert ([], 0) == (box.settled(1e9), len(box))
    drop(box, "a.txt")
    box.scan(103.0)
    assert [] == settled(box, 104.9)


def test_a_claimed_file_is_forgotten_until_seen_again(box: Inbox) -> None:
    """`forget` drops a claimed file, but the next scan finds it if it is still there."""
    drop(box, "a.txt")
    box.scan(0.0)
    box.forget(box.settled(1e9)[0])
    assert [] == settled(box, 1e9)
    assert ["a.txt"] == found(box)


def test_empty_files_are_given_time(box: Inbox) -> None:
    """An empty file waits longer, and says so: some programs create a file before they write it."""
    drop(box, "empty.txt", "")
    drop(box, "full.txt")
    box.scan(0.0)
    assert ["full.txt"] == settled(box, EMPTY_SECONDS - 0.01)
    assert [("empty.txt", "empty so far; waits 1 s more at most")] == [
        (str(path), why) for path, why in box.waiting(EMPTY_SECONDS - 0.01)
    ]
    assert ["empty.txt", "full.txt"] == settled(box, EMPTY_SECONDS)


def reasons(box: Inbox, now: float) -> dict[str, str]:
    """Return why each file waits, or is passed over."""
    return {str(path): why for path, why in (*box.waiting(now), *box.strays())}


def test_an_interrupted_transfer_is_given_time(box: Inbox) -> None:
    """A part that rsync left, with an mtime of 0, waits for the next attempt."""
    path = drop(box, "a.txt", "the first ha")
    os.utime(path, ns=(36303909, 36303909))
    box.scan(0.0)
    for now in (0.0, SETTLE):
        reason = "its modification time is 0: an interrupted transfer"
        left = round(UNFINISHED_SECONDS - now)
        assert {"a.txt": f"{reason}; waits {left} s more at most"} == reasons(box, now)
    assert [] == settled(box, UNFINISHED_SECONDS - 0.01)
    assert ["a.txt"] == settled(box, UNFINISHED_SECONDS)
    path.write_text("the first half, and the second")
    box.scan(10.0)
    assert ["a.txt"] == settled(box, 10.0 + SETTLE)


def test_what_is_left_of_an_interrupted_transfer_is_refused() -> None:
    """If no attempt comes, it is refused: half a prompt must not be rendered."""
    error = reading.refusal(PurePosixPath("a.txt"), stat.S_IFREG, 36303909)
    assert error is not None
    assert "only in part" in error.mistakes[0].problem
    assert "touch" in error.mistakes[0].remedy
    assert reading.refusal(PurePosixPath("a.txt"), stat.S_IFREG, 10**9) is None


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.unfinished], ids=lambda t: t.name)
def test_a_file_waits_for_the_temporary_one_beside_it(box: Inbox, tool: Tool) -> None:
    """A tool is about to replace it; but the wait has an end."""
    drop(box, "x/a.txt")
    for name in CASES[tool.name].unfinished:
        temporary = drop(box, f"x/{name}", "the new")
        box.scan(0.0)
        temporary.write_text("the new, and more")
        box.scan(100.0)
        end = 100.0 + TEMPORARY_SECONDS
        assert "still being written by" in reasons(box, end - 0.01)["x/a.txt"]
        assert [] == settled(box, end - 0.01)
        assert ["x/a.txt"] == settled(box, end)
        temporary.unlink()
        box.scan(101.0)
        assert ["x/a.txt"] == settled(box, 101.0)


def test_a_temporary_file_holds_up_its_own_file_alone(box: Inbox) -> None:
    """Files of other names or folders do not wait for it."""
    for name in ("a.txt", "b.txt", "x/a.txt", ".b.md.aB3dEf", "x/.b.txt.aB3dEf"):
        drop(box, name)
    box.scan(0.0)
    assert ["a.txt", "b.txt", "x/a.txt"] == settled(box, SETTLE)


def test_what_has_only_a_temporary_name_is_told(box: Inbox) -> None:
    """`waiting` lists a file that exists only under a temporary name, and whether it was left."""
    drop(box, "x/.a.txt.aB3dEf")
    box.scan(0.0)
    assert {"x/a.txt": "still being written by rsync"} == reasons(box, TEMPORARY_SECONDS - 0.01)
    assert {"x/a.txt": "left unfinished by rsync"} == reasons(box, TEMPORARY_SECONDS)
    assert (0, 1, []) == (len(box), box.waiting_count(), settled(box, 1e9))


@pytest.mark.parametrize("name", ["a.txt.conflict1", "a.yaml..path2"])
def test_copies_that_have_lost_their_ending_are_told(box: Inbox, name: str) -> None:
    """A conflict copy that can't be claimed under its name is listed."""
    drop(box, name)
    drop(box, "notes.conflict1")
    box.scan(0.0)
    assert "a conflict copy by rclone: taken if its name ends in .txt" in reasons(box, 0.0)[name]
    assert "not a prompt file: ends in .conflict1" in reasons(box, 0.0)["notes.conflict1"]
    assert (0, 0, 2) == (len(box), box.waiting_count(), box.strays_count())


RIGHT = "use .txt with one prompt a line, .yaml or .yml"
OTHERS = {
    "board.json": "ends in .json; rename it to .yaml, which may hold JSON",
    "film.SRT": f"ends in .srt; {RIGHT}",
    "scene.prompt": f"ends in .prompt; {RIGHT}",
    "styles.csv": f"ends in .csv; {RIGHT}",
    "notes.md": f"ends in .md; {RIGHT}",
    "prompts": f"its name has no ending; {RIGHT}",
    f"a.{'x' * 30}": f"its name has another ending; {RIGHT}",
    "a.\u202etxt": f"ends in .\\u202etxt; {RIGHT}",
}


def test_what_is_no_prompt_file_is_told(box: Inbox) -> None:
    """Each other file is listed with the reason and the right endings."""
    for name in OTHERS:
        drop(box, f"x/{name}")
    (box.folder / "link").symlink_to("/etc")
    for quiet in ("README.md", "Readme", ".hidden", "Thumbs.db", "a.txt.part"):
        drop(box, quiet)
    os.mkfifo(box.folder / "pipe")
    box.scan(0.0)
    told = reasons(box, 1e9)
    link = {"link": "a link, which is not followed: put the file itself here"}
    unfinished = {"a.txt": "left unfinished by a browser"}
    others = {f"x/{name}": f"not a prompt file: {why}" for name, why in OTHERS.items()}
    assert {**unfinished, **link, **others} == told
    assert (0, 1, len(told) - 1) == (len(box), box.waiting_count(), box.strays_count())


def test_a_file_that_keeps_changing_is_said_to(box: Inbox) -> None:
    """It waits without limit, and after a minute the reason says so."""
    path = drop(box, "a.txt")
    for second in range(130):
        os.utime(path, (second + 1, second + 1))
        box.scan(float(second))
        expected = "settles in 2 s"
        if second >= 60:
            expected = (
                f"has kept changing for {second // 60} min; is taken 2 s after its last change"
            )
        assert {"a.txt": expected} == reasons(box, float(second))
    assert ["a.txt"] == settled(box, 131.0)
    os.utime(path, (1, 1))
    box.scan(200.0)
    assert {"a.txt": "settles in 2 s"} == reasons(box, 200.0)


def test_a_file_that_is_held_and_keeps_changing_is_said_to(box: Inbox) -> None:
    """Each change begins the ten minutes anew, so the reason gives no end of the wait."""
    path = drop(box, "a.txt")
    for minute in range(20):
        os.utime(path, (minute + 1, minute + 1))
        box.scan(60.0 * minute)
        [candidate] = box.settled(60.0 * minute + SETTLE)
        assert box.pauses.hold(
            candidate, "still being written by bash", 1e9, 60.0 * minute + SETTLE
        )
        told = reasons(box, 60.0 * minute + SETTLE)["a.txt"]
        if minute:
            assert f"still being written by bash; has kept changing for {minute} min" == told
        else:
            assert "still being written by bash; waits 598 s more at most" == told


def test_patterns_of_the_operator_are_passed_over(tmp_path: Path) -> None:
    """Files and folders that match the operator's globs are ignored anywhere."""
    box = Inbox(tmp_path, frozenset({".txt"}), SETTLE, "_", ignored=Ignored(["old", "*.draft.*"]))
    for name in ("a.txt", "a.draft.txt", "x/old/a.txt", "old.txt"):
        drop(box, name)
    assert ["a.txt", "old.txt"] == found(box)


def test_a_file_can_be_held_but_not_for_ever(box: Inbox) -> None:
    """A held file waits until its next check, a change, or the longest wait."""
    path = drop(box, "a.txt")
    box.scan(0.0)
    (candidate,) = box.settled(SETTLE)
    assert box.pauses.hold(candidate, "open elsewhere", 20.0, SETTLE)
    expected = {"a.txt": "open elsewhere; waits 598 s more at most"}
    assert (18.0, expected) == (box.seconds_to_settle(2.0), reasons(box, 2.0))
    assert ["a.txt"] == settled(box, 20.0)
    assert box.pauses.hold(candidate, "NUL bytes", 1e9, 20.0)
    assert ([], ["a.txt"]) == (settled(box, 599.0), settled(box, UNFINISHED_SECONDS))
    assert not box.pauses.hold(candidate, "NUL bytes", 1e9, UNFINISHED_SECONDS)
    path.write_text("changed")
    box.scan(30.0)
    assert ["a.txt"] == settled(box, 30.0 + SETTLE)


def test_a_scan_tells_whether_anything_has_changed(box: Inbox) -> None:
    """New, changed and deleted files are changes; nothing else is."""
    assert not box.scan(0.0)
    path = drop(box, "a.txt")
    assert (True, False) == (box.scan(1.0), box.scan(2.0))
    path.write_text("changed")
    assert (True, False) == (box.scan(3.0), box.scan(4.0))
    temporary = drop(box, ".a.txt.aB3dEf")
    assert (True, False) == (box.scan(5.0), box.scan(6.0))
    temporary.unlink()
    path.unlink()
    assert (True, False) == (box.scan(7.0), box.scan(8.0))


def test_since_when_the_oldest_waits(box: Inbox) -> None:
    """`oldest` returns when the first of the waiting files was first seen."""
    assert box.oldest() is None
    path = drop(box, "a.txt")
    box.scan(5.0)
    drop(box, "b.txt")
    path.write_text("changed")
    box.scan(6.0)
    assert 5.0 == box.oldest()


def test_an_impatient_inbox_takes_empty_files_at_once(tmp_path: Path) -> None:
    """In a drain, an empty file is claimed without the longer wait."""
    box = made(tmp_path, patient=False)
    drop(box, "empty.txt", "")
    os.utime(drop(box, "part.txt"), (0, 0))
    drop(box, "whole.txt")
    drop(box, ".whole.txt.aB3dEf")
    box.scan(0.0)
    assert ["empty.txt", "part.txt", "whole.txt"] == settled(box, SETTLE)


def test_why_files_wait_and_for_how_long(box: Inbox) -> None:
    """Each waiting file has a reason, and the loop gets the time of its next look."""
    assert box.seconds_to_settle(0.0) is None
    drop(box, "a.txt")
    box.scan(0.0)
    drop(box, "b.txt")
    box.scan(1.0)
    assert [("a.txt", "settles in 1 s"), ("b.txt", "settles in 2 s")] == [
        (str(path), why) for path, why in box.waiting(1.0)
    ]
    assert 1.0 == box.seconds_to_settle(1.0)
    assert 0.5 == box.seconds_to_settle(2.5)
    assert box.seconds_to_settle(3.0) is None


def test_a_blocked_file_waits_for_its_time_or_a_change(box: Inbox) -> None:
    """A file that can't be claimed waits, with the reason, for its time or a change."""
    path = drop(box, "a.txt")
    box.scan(0.0)
    (candidate,) = box.settled(1e9)
    box.pauses.block(candidate, "Permission denied", 30.0)
    box.scan(10.0)
    assert [] == settled(box, 29.0)
    assert ["Permission denied"] == [why for _, why in box.waiting(29.0)]
    assert 1 == box.pauses.count_blocked(29.0)
    assert ["a.txt"] == settled(box, 30.0)
    path.write_text("changed")
    box.scan(20.0)
    assert ["a.txt"] == settled(box, 20.0 + SETTLE)
    assert 0 == box.pauses.count_blocked(20.0)


def test_files_wait_for_the_defaults_above_them(box: Inbox) -> None:
    """Files wait for a changing `_defaults.yaml` above them; others do not."""
    drop(box, "poems/a.txt")
    drop(box, "b.txt")
    box.scan(0.0)
    defaults = drop(box, "poems/_defaults.yaml")
    box.scan(5.0)
    assert ["b.txt"] == settled(box, 5.0 + SETTLE / 2)
    defaults.write_text("fps: 4\nnum_frames: 4\n")
    box.scan(6.0)
    assert ["b.txt"] == settled(box, 6.0 + SETTLE / 2)
    assert ["b.txt", "poems/a.txt"] == settled(box, 6.0 + SETTLE)


def test_defaults_that_never_come_to_rest_are_waited_for_once(box: Inbox) -> None:
    """The wait is two minutes in all, not for each file; after a pause it begins anew."""
    drop(box, "poems/a.txt")
    defaults = drop(box, "poems/_defaults.yaml")
    for now in range(int(DEFAULTS_SECONDS) + 20):
        os.utime(defaults, (now, now))
        box.scan(float(now))
        if now < DEFAULTS_SECONDS:
            left = round(DEFAULTS_SECONDS) - now
            reason = f"poems/_defaults.yaml has just changed; waits {left} s more at most"
            assert {"poems/a.txt": reason} == reasons(box, float(now))
        if now == DEFAULTS_SECONDS:
            (candidate,) = box.settled(now)
            assert "has just changed" in box.expired_wait(candidate, now)
            drop(box, "poems/b.txt")
    assert ["poems/a.txt", "poems/b.txt"] == settled(box, float(now))
    rested = now + SETTLE
    assert "" == box.expired_wait(candidate, rested)
    os.utime(defaults, (10**9, 10**9))
    box.scan(rested)
    assert [] == settled(box, rested + SETTLE - 0.1)


def test_a_temporary_file_that_never_comes_to_rest_is_waited_for_an_hour(box: Inbox) -> None:
    """Anybody may make such a name, so even a growing one delays for an hour at most."""
    drop(box, "a.txt")
    temporary = drop(box, ".a.txt.aB3dEf")
    for now in range(0, int(TRANSFER_SECONDS) + 60, 60):
        os.utime(temporary, (now, now))
        box.scan(float(now))
        expected = ["a.txt"] if now >= TRANSFER_SECONDS else []
        assert expected == settled(box, now + 59.0 if expected else now + 30.0)
    (candidate,) = box.settled(TRANSFER_SECONDS)
    assert "written by rsync" in box.expired_wait(candidate, TRANSFER_SECONDS)


@pytest.mark.usefixtures("root")
def test_a_temporary_file_of_another_owner_delays_nobody(box: Inbox) -> None:
    """Tools write as the owner of the file; a stranger's temporary file is ignored."""
    drop(box, "a.txt")
    temporary = drop(box, ".a.txt.aB3dEf")
    os.chown(temporary, 65534, 65534)
    box.scan(0.0)
    assert ["a.txt"] == settled(box, SETTLE)


# Order


def test_order(box: Inbox) -> None:
    """Higher priority first, then first seen, then name."""
    for now, name in ((0.0, "d.txt"), (1.0, "c.txt"), (1.0, "a.txt"), (2.0, "b.txt")):
        drop(box, name)
        if name != "c.txt":
            box.scan(now)
    line = Line(Turns())
    unread = line.fill(box.settled(10.0), box)
    assert ["d.txt", "a.txt", "c.txt", "b.txt"] == [c.path.name for c in unread]
    for candidate in unread:
        priority = {"b.txt": 5, "d.txt": -1}.get(candidate.path.name, 0)
        line.add(Examined(candidate, priority, 0, 1, "tiny"))
    assert ["b.txt", "a.txt", "c.txt", "d.txt"] == [c.path.name for c in line.candidates(9)]


def test_what_is_kept_of_the_first_files_is_what_a_new_look_finds(box: Inbox) -> None:
    """After each change of the queue, of the turns, and of what a batch has passed over."""
    names = [f"{group}/{number}.txt" for group in "ab" for number in range(3)]
    for name in names:
        drop(box, name)
    box.scan(0.0)
    order, dice, seen = Turns(), random.Random(1), set[object]()
    line = Line(order)
    known = {str(c.path): Examined(c, 0, 0, 1, "m") for c in line.fill(box.settled(9.0), box)}
    assert {*names} == known.keys()
    for _ in range(300):
        name = dice.choice(names)
        match dice.choice(("add", "remove", "pass over", "fill", "lead")):
            case "add" if name not in {file.id for file in line.first()}:
                line.add(known[name])
            case "remove":
                line.remove(name)
            case "pass over":
                line.pass_over([name])
            case "fill":
                line.fill(box.settled(9.0), box)
            case "lead":
                order.lead(name[0])
        assert line._views() == line.first() == line.first()
        seen.add(tuple((file.id, file.was_passed_over) for file in line.first()))
    assert len(seen) > 50


def test_an_edit_does_not_lose_the_place_in_the_queue(box: Inbox) -> None:
    """The order follows the time when a file was first seen, not its last edit."""
    first = drop(box, "b.txt")
    box.scan(0.0)
    drop(box, "a.txt")
    box.scan(1.0)
    first.write_text("corrected, and longer")
    box.scan(2.0)
    assert ["b.txt", "a.txt"] == settled(box, 10.0)


# Names and kinds


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.txt",
        ".syncthing.a.txt.tmp",
        "~$letter.txt",
        "a.txt~",
        "#a.txt#",
        "a.txt.tmp",
        "a.txt.part",
        "a.txt.partial",
        "a.txt.filepart",
        "a.txt.crdownload",
        "a.txt.download",
        "a.!sync",
        "a.txt.SeafTmp",
        "Desktop.ini",
        "Thumbs.db",
        ".stversions/a.txt",
        "@eaDir/a.txt",
        "__MACOSX/a.txt",
        "x/.git/a.txt",
        "_defaults.yaml",
        "x/_defaults.yaml",
        "README.md",
        "a",
        "txt",
        "a.txt.bak",
    ],
)
def test_names_that_are_no_prompt_files(box: Inbox, name: str) -> None:
    """Hidden, unfinished and foreign files are ignored, in every folder."""
    drop(box, name)
    assert [] == found(box)


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "x/y/b.Yaml", "a b.txt", "a~b/c.txt"])
def test_names_that_are_prompt_files(box: Inbox, name: str) -> None:
    """The suffix decides, in any case and in any folder."""
    drop(box, name)
    assert [name] == found(box)


def test_names_that_are_no_utf_8(box: Inbox) -> None:
    """A name that is not UTF-8 is accepted."""
    (box.folder / os.fsdecode(b"\xff.txt")).touch()
    assert ["\udcff.txt"] == found(box)


def test_linked_folders_are_not_followed(
    box: Inbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Links to folders are not followed, so a loop ends."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.txt").touch()
    (box.folder / "link").symlink_to(elsewhere)
    (box.folder / "loop").symlink_to(box.folder)
    drop(box, "a.txt")
    assert ["a.txt"] == found(box)


def test_very_deep_folders_end_somewhere(box: Inbox) -> None:
    """The depth of a scan is bounded, and the first folder beyond it is listed."""
    drop(box, "/".join(["d"] * (MAX_DEPTH - 1)) + "/in.txt")
    too_deep = drop(box, "/".join(["d"] * MAX_DEPTH) + "/out.txt").parent
    assert ["in.txt"] == [Path(name).name for name in found(box)]
    path = PurePosixPath(too_deep.relative_to(box.folder))
    assert [(path, "not scanned: it is 32 folders deep")] == list(box.strays())
    assert (1, 1) == (box.waiting_count(), box.strays_count())


@pytest.mark.usefixtures("root")
def test_a_folder_that_is_closed_to_us_is_said() -> None:
    """A folder that can't be read is listed."""
    set_user = ctypes.CDLL(None).setfsuid  # as which user this thread opens files
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        box = made(Path(folder))
        drop(box, "b.txt")
        drop(box, "closed/a.txt").parent.chmod(0o700)
        set_user(NOBODY)
        try:
            assert ["b.txt"] == found(box)
        finally:
            set_user(0)
        reason = "can't be read: Permission denied"
        assert [(PurePosixPath("closed"), reason)] == list(box.strays())


def test_an_inbox_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """An unreadable inbox is an error; its files are not forgotten."""
    box = made(tmp_path / "inbox")
    drop(box, "a.txt")
    box.scan(0.0)
    (tmp_path / "inbox").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        box.scan(1.0)
    assert 1 == len(box)


def test_another_folder_in_place_of_the_inbox_is_an_error(tmp_path: Path) -> None:
    """An empty mount point is not an empty inbox; when the old folder is back, work continues."""
    box = made(tmp_path / "inbox")
    drop(box, "a.txt")
    box.scan(0.0)
    (tmp_path / "inbox").rename(tmp_path / "away")
    (tmp_path / "inbox").mkdir()
    with pytest.raises(OSError, match="another folder is in its place"):
        box.scan(1.0)
    assert 1 == len(box)
    (tmp_path / "inbox").rmdir()
    (tmp_path / "away").rename(tmp_path / "inbox")
    box.scan(2.0)
    assert ["a.txt"] == settled(box, SETTLE)


@pytest.mark.parametrize(
    ("has_beside", "device", "inode", "number", "is_same"),
    [
        (True, 1, 0, 1, True),
        (True, 0, 1, 1, False),
        (True, 1, 1, 1, False),
        (False, 1, 0, 1, False),
        (False, 1, 0, 0, True),
        (False, 1, 1, 0, False),
    ],
)
def test_a_share_may_have_another_device_number_when_it_is_back(
    has_beside: bool, device: int, inode: int, number: int, is_same: bool, tmp_path: Path
) -> None:
    """The inode must be the same, and the spool must have moved along, or `f_fsid` be the same."""
    status, own = tmp_path.stat(), os.statvfs(tmp_path).f_fsid
    before = (status.st_dev + device, status.st_ino + inode, own + number)
    beside = tmp_path if has_beside else None
    box = Inbox(tmp_path, frozenset(), SETTLE, "_", beside=beside)
    box.root.check()
    box.root._identity = roots._Identity(*before)
    if is_same:
        box.scan(0.0)
        box.scan(1.0)
    else:
        with pytest.raises(OSError, match="another folder"):
            box.scan(0.0)


def pipe(path: Path) -> None:
    """Make a pipe, which would block a reader."""
    os.mkfifo(path)


def link(path: Path) -> None:
    """Make a link to a file."""
    path.with_name("target").write_text("secret")
    path.symlink_to("target")


def unix_socket(path: Path) -> None:
    """Make a socket."""
    folder = os.open(path.parent, os.O_RDONLY)  # the path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(pipe, "a pipe"), (link, "a link"), (Path.mkdir, "a directory"), (unix_socket, "a socket")],
)
def test_kinds_that_are_refused(box: Inbox, make: Callable[[Path], None], kind: str) -> None:
    """Anything but a plain file is refused by its kind, without being opened."""
    make(box.folder / "a.txt")
    box.scan(0.0)
    (candidate,) = box.settled(SETTLE)
    error = reading.refusal(candidate.path, candidate.mode)
    assert error is not None
    (found,) = error.mistakes
    assert f"this is {kind}, not a file" in found.problem
    assert "put the file itself into the inbox" == found.remedy


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK])
def test_devices_are_refused(mode: int) -> None:
    """A device is refused by its kind."""
    error = reading.refusal(PurePosixPath("a.txt"), mode | 0o644)
    assert "a device" in str(error)


@pytest.mark.parametrize(
    ("path", "part"), [("_a.txt", "_a.txt"), ("_x/a.txt", "_x"), ("x/_failed/y/a.txt", "_failed")]
)
def test_underscore_names_are_refused(path: str, part: str) -> None:
    """Names of files or folders that begin with an underscore are reserved."""
    error = reading.refusal(PurePosixPath(path), stat.S_IFREG)
    assert error is not None
    assert f"'{part}'" in error.mistakes[0].problem
    assert "another name" in error.mistakes[0].remedy


@pytest.mark.parametrize("name", ["_defaults.yml", "_Defaults.YAML", "_defaults.yaml.txt"])
def test_defaults_of_another_name_are_told_theirs(name: str) -> None:
    """Programs and people write other endings and capitals, and nothing else would say so."""
    error = reading.refusal(PurePosixPath("ann", name), stat.S_IFREG)
    assert error is not None
    assert error.mistakes[0].remedy.endswith("_defaults.yaml")


def test_plain_files_are_not_refused() -> None:
    """Underscores elsewhere in a name are allowed."""
    assert reading.refusal(PurePosixPath("a_b/c_.txt"), stat.S_IFREG | 0o600) is None


# Reading


def test_read_plain(tmp_path: Path) -> None:
    """A file up to the limit is read completely."""
    (tmp_path / "a").write_bytes(b"12345")
    assert b"12345" == reading.read_plain(tmp_path / "a", 5)
    with pytest.raises(PromptError, match=r"has 5 bytes, more than 4.*split it"):
        reading.read_plain(tmp_path / "a", 4)


@pytest.mark.parametrize("make", [pipe, link, Path.mkdir, unix_socket, lambda _: None])
def test_read_plain_opens_nothing_else(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Pipes do not block, links are not followed, and a missing file is a mistake."""
    make(tmp_path / "a.txt")
    with pytest.raises(PromptError, match=r"put a plain"):
        reading.read_plain(tmp_path / "a.txt", 100)


def test_defaults_have_one_bound_together(box: Inbox) -> None:
    """All defaults above a file share one size limit, however many folders there are."""
    for folder in ("", "x", "x/y"):
        drop(box, f"{folder}/_defaults.yaml".lstrip("/"), "# " + "x" * 38)
    assert 2 == len(box.defaults_for(PurePosixPath("x/a.txt"), 100))
    with pytest.raises(PromptError, match="more than 100 bytes together") as caught:
        box.defaults_for(PurePosixPath("x/y/a.txt"), 100)
    assert "x/y/_defaults.yaml" == caught.value.mistakes[0].file


def test_defaults_on_a_disk_that_fails_are_not_left_out(
    box: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a prompt would be rendered with other settings than its folder has."""
    drop(box, "_defaults.yaml", "seed: 5")
    lstat = os.lstat

    def failing(path: Path, *, dir_fd: int | None = None) -> os.stat_result:
        if os.fspath(path).endswith("_defaults.yaml"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return lstat(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", failing)
        with pytest.raises(OSError, match="Input/output"):
            box.defaults_for(PurePosixPath("a.txt"), 100)
    assert 1 == len(box.defaults_for(PurePosixPath("a.txt"), 100))


def test_defaults_for_the_farthest_first(box: Inbox) -> None:
    """Only folders above a prompt file count, the outermost first."""
    for folder in ("", "x/", "x/y/", "z/"):
        drop(box, f"{folder}_defaults.yaml", f"seed: {len(folder)}")
    path = PurePosixPath("x/w/a.txt")
    assert (
        DefaultsFile("_defaults.yaml", b"seed: 0"),
        DefaultsFile("x/_defaults.yaml", b"seed: 2"),
    ) == box.defaults_for(path, 100)
    assert () == made(box.folder / "z" / "nothing").defaults_for(PurePosixPath("a.txt"), 100)


@pytest.mark.parametrize("make", [pipe, link, Path.mkdir, unix_socket])
def test_defaults_that_are_no_plain_file(box: Inbox, make: Callable[[Path], None]) -> None:
    """Defaults that are not a plain file are refused, not ignored."""
    make(box.folder / "_defaults.yaml")
    with pytest.raises(PromptError, match="plain"):
        box.defaults_for(PurePosixPath("x/a.txt"), 100)


def test_defaults_that_are_too_large(box: Inbox) -> None:
    """The size limit also holds for a single defaults file."""
    drop(box, "_defaults.yaml", "x" * 101)
    with pytest.raises(PromptError, match="more than 100"):
        box.defaults_for(PurePosixPath("a.txt"), 100)


# Watch


@pytest.mark.parametrize("happens", ["create", "move in", "write", "delete", "deep"])
def test_watch_wakes(tmp_path: Path, happens: str) -> None:
    """Each event that may change the next scan wakes, also from a deep folder."""
    folder = tmp_path / "inbox"
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "there.txt").write_text("a")
    (tmp_path / "outside.txt").write_text("a")
    woken = threading.Event()
    watch = Watch(folder, woken.set)
    try:
        assert watch.is_alive()
        match happens:
            case "create":
                (folder / "a.txt").touch()
            case "move in":
                (tmp_path / "outside.txt").rename(folder / "a.txt")
            case "write":
                with (folder / "there.txt").open("a") as file:
                    file.write("more")
            case "delete":
                (folder / "there.txt").unlink()
            case _:
                (folder / "x" / "y" / "a.txt").touch()
        assert woken.wait(20)
    finally:
        watch.close()
    assert not watch.is_alive()


def test_watch_does_not_wake_itself(tmp_path: Path) -> None:
    """Our own reads cause no wake: otherwise scans would never end."""
    (tmp_path / "a.txt").write_text("a")
    woken = threading.Event()
    seen = []

    def wake() -> None:
        seen.append((tmp_path / "b.txt").exists())
        woken.set()

    watch = Watch(tmp_path, wake)
    try:
        reading.read_plain(tmp_path / "a.txt", 10)
        made(tmp_path).scan(0.0)
        (tmp_path / "b.txt").touch()
        assert woken.wait(20)
    finally:
        watch.close()
    assert seen[0]


def renamed_into(place: Path) -> None:
    """Move a complete file in from outside."""
    (place / "outside.txt").rename(place / "inbox" / "a.txt")


def renamed_within(place: Path) -> None:
    """Write under a temporary name and rename, as sync tools do."""
    (place / "inbox" / ".a.txt.tmp").write_text("a")
    (place / "inbox" / ".a.txt.tmp").rename(place / "inbox" / "a.txt")


def renamed_and_dated(place: Path) -> None:
    """Rename, then set time and rights, as Syncthing does."""
    renamed_within(place)
    os.utime(place / "inbox" / "a.txt", (1, 1))
    (place / "inbox" / "a.txt").chmod(0o600)


def renamed_and_written(place: Path) -> None:
    """Rename, then append."""
    renamed_into(place)
    with (place / "inbox" / "a.txt").open("a") as file:
        file.write("more")


def renamed_while_open(place: Path) -> None:
    """Rename, and write on through the open file."""
    with (place / "inbox" / ".a.txt.tmp").open("w") as file:
        (place / "inbox" / ".a.txt.tmp").rename(place / "inbox" / "a.txt")
        file.write("more")


def renamed_and_made_anew(place: Path) -> None:
    """Rename, then create another file of the same name."""
    renamed_into(place)
    (place / "inbox" / "a.txt").unlink()
    (place / "inbox" / "a.txt").touch()


def renamed_and_away(place: Path) -> None:
    """Rename into the folder, then out of it."""
    renamed_into(place)
    (place / "inbox" / "a.txt").rename(place / "elsewhere.txt")


def copied(place: Path) -> None:
    """Write in place."""
    shutil.copy(place / "outside.txt", place / "inbox" / "a.txt")


def in_a_folder(place: Path) -> None:
    """Move a whole folder in; its files may be unfinished."""
    (place / "folder").mkdir()
    (place / "outside.txt").rename(place / "folder" / "a.txt")
    (place / "folder").rename(place / "inbox" / "folder")


def in_a_renamed_folder(place: Path) -> None:
    """Rename a folder; its files may still be written."""
    (place / "inbox" / "x").mkdir()
    (place / "inbox" / "x" / "a.txt").write_text("a")
    (place / "inbox" / "x").rename(place / "inbox" / "y")


@pytest.mark.parametrize(
    ("happens", "renamed"),
    [
        (renamed_into, {"a.txt"}),
        (renamed_within, {"a.txt"}),
        (renamed_and_dated, {"a.txt"}),
        (renamed_and_written, set()),
        (renamed_while_open, set()),
        (renamed_and_made_anew, set()),
        (renamed_and_away, set()),
        (copied, set()),
        (in_a_folder, set()),
        (in_a_renamed_folder, set()),
    ],
)
def test_watch_knows_what_was_renamed(
    happens: Callable[[Path], None], renamed: set[str], tmp_path: Path
) -> None:
    """`renamed` has only complete files, until something writes to the name."""
    folder = tmp_path / "inbox"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("a")
    (tmp_path / "last.txt").write_text("a")
    watch = Watch(folder, lambda: None)
    try:
        happens(tmp_path)
        (tmp_path / "last.txt").rename(folder / "deep" / "last.txt")
        await_that(lambda: "deep/last.txt" in watch.renamed, "what happened last")
        assert renamed | {"deep/last.txt"} == watch.renamed
    finally:
        watch.close()


def test_watch_of_what_is_not_there(tmp_path: Path) -> None:
    """A folder that can't be watched raises an error at once."""
    with pytest.raises(FileNotFoundError):
        Watch(tmp_path / "nowhere", lambda: None)


def test_a_watch_that_ends_is_noticed(tmp_path: Path) -> None:
    """It is logged once; then events are not relied on until the folder is back."""
    senses = Senses(tmp_path, lambda: None)
    assert senses.hears_all == share.reports_all(tmp_path)
    assert senses._watch is not None
    senses._watch.close()
    with capture_logs() as events:
        senses.check()
        senses.check()
    assert ["events_ended"] == [event["event"] for event in events]
    assert (False, ()) == (senses.hears_all, senses.renamed())
    senses.renew()
    assert senses.hears_all == share.reports_all(tmp_path)
    senses.close()


def test_a_folder_that_cannot_be_watched_is_said(tmp_path: Path) -> None:
    """It is logged, and the inbox is scanned by the clock."""
    with capture_logs() as events:
        senses = Senses(tmp_path / "nowhere", lambda: None)
    assert (["no_events"], False) == ([e["event"] for e in events], senses.hears_all)
    senses.close()


# Who writes


def test_who_has_a_file_open_to_write(tmp_path: Path) -> None:
    """The writing program is named while it has the file open."""
    path = tmp_path / "a.txt"
    path.write_text("half")
    assert not writers.is_written(path)
    with path.open():
        assert not writers.is_written(path)
    with path.open("a"):
        assert writers.is_written(path)
        assert Path("/proc/self/comm").read_text().strip() == writers.name_of_writer(path)
    assert not writers.is_written(path)
    assert "another program" == writers.name_of_writer(path)


def test_a_writer_whose_name_is_cut_in_a_character_is_named(tmp_path: Path) -> None:
    """The kernel cuts a program's name to 15 bytes, even within a character."""
    path, comm = tmp_path / "a.txt", Path("/proc/self/comm")
    before = comm.read_bytes()
    try:
        comm.write_bytes("синхрон".encode() + b"\xd0")
        with path.open("w"):
            assert "синхрон\ufffd" == writers.name_of_writer(path)
    finally:
        comm.write_bytes(before)


@pytest.mark.parametrize("make", [pipe, link, Path.mkdir, unix_socket, lambda _: None])
def test_nobody_writes_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Only plain files are checked for writers; a pipe does not block."""
    make(tmp_path / "a.txt")
    assert not writers.is_written(tmp_path / "a.txt")


def test_to_ask_does_not_disturb_who_writes(tmp_path: Path) -> None:
    """A program that opens the file during the check gets it; no signal ends a process."""
    path = tmp_path / "a.txt"
    path.write_text("half")
    script = f"import os\nfor _ in range(20000): os.close(os.open({str(path)!r}, os.O_WRONLY))"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        seen = set()
        while process.poll() is None:
            seen.add(writers.is_written(path))
    assert (0, {True, False}) == (process.returncode, seen)
