"""spool: jobs in hand are read from the files, and every way to end a job can be repeated."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from harness.jobs import says
from harness.kills import noted
from reeldrop.base import durable, temporaries
from reeldrop.base.errors import ConfigError, Mistake, PromptError, SpoolLocked
from reeldrop.base.job import Cause, DefaultsFile, Job
from reeldrop.base.names import folded
from reeldrop.store import job_files, reports
from reeldrop.store.lock import Holder
from reeldrop.store.spool import Spool


@dataclass(frozen=True)
class Folders:
    """An inbox, a spool and a place for what fails."""

    inbox: Path
    spool: Path
    failed: Path

    def open(self) -> Spool:
        """Return the spool as a new process sees it."""
        return Spool(self.spool, self.inbox, self.failed)

    def claimed(self, name: str, content: str = "a prompt", defaults: str = "") -> Job:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        given = [DefaultsFile("_defaults.yaml", defaults.encode())] if defaults else []
        job = self.open().claim(PurePosixPath(name), given)
        assert job is not None
        return job

    def jobs(self) -> list[str]:
        return sorted(os.listdir(self.spool / "active"))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Return the empty folders of a daemon."""
    made = Folders(tmp_path / "inbox", tmp_path / "spool", tmp_path / "results" / "_failed")
    made.inbox.mkdir()
    made.open().prepare()
    return made


def files(folder: Path) -> dict[str, str]:
    """Return every file below a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Claim, attempts


def test_claim_is_read_back_from_the_files(folders: Folders) -> None:
    """A new process reads the same job that another one claimed."""
    job = folders.claimed("poems/li_bai.yaml", "prompt: a", "seed: 1")
    assert [job] == list(folders.open().unfinished())
    assert PurePosixPath("poems/li_bai.yaml") == job.source
    assert folders.spool / "active" / job.id == job.folder
    assert "prompt: a" == job.prompt_file.read_text()
    assert () == job.attempts
    assert [] == list((folders.inbox / "poems").iterdir())


@pytest.mark.usefixtures("root")
def test_whose_file_it_is_stays_known(folders: Folders) -> None:
    """The owner of a prompt file is known after a restart, for the turns of users."""
    file = folders.inbox / "a.txt"
    file.write_text("a horse")
    os.chown(file, 65534, -1)
    job = folders.open().claim(PurePosixPath("a.txt"), ())
    assert job is not None
    assert [65534, 65534] == [job.owner, *(j.owner for j in folders.open().unfinished())]


def test_claim_keeps_the_defaults_as_bytes(folders: Folders) -> None:
    """A job keeps the defaults of the moment of its claim, as bytes."""
    (folders.inbox / "a.txt").touch()
    defaults = (
        DefaultsFile("_defaults.yaml", bytes(range(256))),
        DefaultsFile("x/_defaults.yaml", b"\xff\xfe"),
    )
    job = folders.open().claim(PurePosixPath("a.txt"), iter(defaults))
    assert job is not None
    assert defaults == job.defaults
    assert [defaults] == [found.defaults for found in folders.open().unfinished()]


def test_claim_is_one_rename(folders: Folders) -> None:
    """The job has the file of the inbox itself, not a copy."""
    path = folders.inbox / "a.txt"
    path.touch()
    inode = path.stat().st_ino
    assert inode == folders.claimed("a.txt").prompt_file.stat().st_ino


def test_a_claim_is_on_the_disk_step_by_step(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the file in the inbox, or in a folder that is there with its record."""
    (folders.inbox / "a.txt").touch()
    spool = folders.open()
    steps = noted(monkeypatch)
    job = spool.claim(PurePosixPath("a.txt"), (), job_id="job", is_cancelled=True)
    assert job is not None
    record = ["flush ~", "name job.json", "flush job", "flush ~", "name cancel", "flush job"]
    taken = ["flush a.txt", "name a.txt", "flush job", "flush inbox"]
    assert [*record, "flush active", *taken] == steps


def test_claim_of_a_file_that_is_gone(folders: Folders) -> None:
    """There is no job, and nothing is left in the spool."""
    assert folders.open().claim(PurePosixPath("a.txt"), []) is None
    assert folders.open().claim(PurePosixPath("gone/a.txt"), []) is None
    assert [] == folders.jobs()


def test_claim_of_a_name_that_is_no_utf_8(folders: Folders) -> None:
    """Such a name can be claimed; in `_failed/` it gets a name that is text."""
    name = os.fsdecode(b"\xff\xfe.txt")
    (folders.inbox / name).touch()
    job = folders.open().claim(PurePosixPath(name), [])
    assert job is not None
    assert [job] == list(folders.open().unfinished())
    folders.open().fail(job, says("no"))
    assert {"video.txt": "", "video.txt.error.txt": "no"} == files(folders.failed)


def test_unfinished_is_oldest_first(folders: Folders) -> None:
    """Jobs are read in the order of their claims."""
    claimed = [folders.claimed(f"{name}.txt") for name in "cab"]
    assert claimed == list(folders.open().unfinished())


def test_unfinished_without_a_spool(tmp_path: Path) -> None:
    """Without a spool, there are no jobs."""
    assert [] == list(Spool(tmp_path / "spool", tmp_path, tmp_path / "failed").unfinished())


def test_an_attempt_counts_once_the_process_has_ended(folders: Folders) -> None:
    """An attempt is on the disk before the render, and gets its ending later."""
    job = folders.claimed("a.txt")
    folders.open().attempts.begin(job, [1, 2])
    folders.open().attempts.begin(job, [2, 3])
    assert [()] == [found.attempts for found in folders.open().unfinished()]
    folders.open().note_ending("Bus error")
    (job,) = folders.open().unfinished()
    assert [((2, 3), "Bus error")] == [(a.numbers, a.ending) for a in job.attempts]
    folders.open().attempts.begin(job, [3])
    folders.open().note_ending("Killed")
    (job,) = folders.open().unfinished()
    assert ["Bus error", "Killed"] == [attempt.ending for attempt in job.attempts]


def test_an_attempt_that_was_taken_back_never_counts(folders: Folders) -> None:
    """An attempt whose end was requested does not count."""
    job = folders.claimed("a.txt")
    folders.open().attempts.begin(job, [1])
    folders.open().attempts.take_back(job)
    folders.open().note_ending("Killed")
    assert [()] == [found.attempts for found in folders.open().unfinished()]


def test_what_ended_as_it_should_leaves_nothing_to_blame(folders: Folders) -> None:
    """After a normal end, an open attempt is removed."""
    job = folders.claimed("a.txt")
    folders.open().attempts.begin(job, [1])
    folders.open().note_ending("")
    folders.open().note_ending("Killed")
    assert [()] == [found.attempts for found in folders.open().unfinished()]


BROKEN = [
    b"[{",
    b"\xff\x00",
    b"null",
    b"7",
    b"[7]",
    b'[{"began": "", "numbers": 1, "ending": ""}]',
    b'[{"began": "", "numbers": [[1]], "ending": ""}]',
    b'[{"began": "", "numbers": [1e999], "ending": ""}]',
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_attempts_that_cannot_be_read_do_not_count(
    content: bytes, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job with a damaged record continues; that is logged once, and other jobs are recorded."""
    job, other = folders.claimed("a.txt"), folders.claimed("b.txt")
    folders.open().attempts.begin(other, [2])
    (job.folder / "attempts.json").write_bytes(content)
    assert [job, other] == list(folders.open().unfinished())
    for _ in range(2):
        folders.open().note_ending("Killed")
    assert 1 == capsys.readouterr().out.count("attempts_damaged")
    again, blamed = folders.open().unfinished()
    assert job == again
    assert ["Killed"] == [attempt.ending for attempt in blamed.attempts]
    assert folders.open().attempts.was_in_hand(job), "its videos have to be looked for"


def test_an_attempt_that_a_power_cut_has_emptied_is_none(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    """An open attempt is not flushed, as nobody is blamed for a power cut; nor is that an error."""
    job = folders.claimed("a.txt")
    folders.open().attempts.begin(job, [1])
    os.truncate(job.folder / "attempts.json", 0)
    folders.open().note_ending("")
    assert "attempts_damaged" not in capsys.readouterr().out
    assert [()] == [found.attempts for found in folders.open().unfinished()]
    assert folders.open().attempts.was_in_hand(job), "its videos have to be looked for"


def test_a_power_cut_does_not_lose_that_a_job_was_in_hand(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its videos may be on another disk already: the record is flushed before, by each process."""
    job, flushed, fsync = folders.claimed("a.txt"), list[str](), os.fsync

    def noted(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    for _ in range(2):
        attempts = folders.open().attempts
        attempts.begin(job, [1])
        assert [] == flushed
        attempts.flush(job)
        assert [str(job.folder)] == flushed
        flushed.clear()
        attempts.begin(job, [2])
        attempts.flush(job)
        attempts.take_back(job)
        assert [] == flushed
    (job.folder / "attempts.json").unlink()
    assert not any("attempts" in name for name in os.listdir(job.folder))


def fifo(path: Path) -> None:
    """Make a pipe, which would block a reader."""
    os.mkfifo(path)


def sparse(path: Path) -> None:
    """Make a sparse file of 100 MB."""
    path.touch()
    os.truncate(path, 100_000_000)


def full_folder(path: Path) -> None:
    """Make a folder with a file in it."""
    path.mkdir()
    (path / "a.txt").touch()


SPOILT: list[Callable[[Path], object]] = [
    Path.mkdir,
    full_folder,
    fifo,
    sparse,
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
]
"""What may stand where a record should, and is none."""


@pytest.mark.parametrize("spoil", SPOILT, ids=range(len(SPOILT)))
def test_attempts_that_are_no_file_do_not_count(
    spoil: Callable[[Path], object], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands in the record's place is renamed, and the job continues."""
    job, other = folders.claimed("a.txt"), folders.claimed("b.txt")
    folders.open().attempts.begin(other, [2])
    spoil(job.folder / "attempts.json")
    assert [job, other] == list(folders.open().unfinished())
    for _ in range(2):
        folders.open().note_ending("Killed")
    assert 1 == capsys.readouterr().out.count("attempts_damaged")
    again, blamed = folders.open().unfinished()
    assert (job, 1) == (again, len(blamed.attempts))
    folders.open().attempts.begin(job, [1])
    assert not folders.open().fail(job, says("why")).is_relative_to(folders.spool)
    assert [other.id] == folders.jobs()


@pytest.mark.parametrize("spoil", SPOILT, ids=range(len(SPOILT)))
def test_a_record_that_is_no_file_is_damaged(
    spoil: Callable[[Path], object], folders: Folders
) -> None:
    """Its prompt file can be set aside, and other jobs are read."""
    claimed, other = folders.claimed("x/a.txt", "text"), folders.claimed("b.txt")
    (claimed.folder / "job.json").unlink()
    spoil(claimed.folder / "job.json")
    folders.open().prepare()
    job, untouched = folders.open().unfinished()
    assert (claimed.id, "a.txt", True) == (job.id, str(job.source), job.is_damaged)
    assert other == untouched
    folders.open().fail(job, says("why"))
    assert [other.id] == folders.jobs()


@pytest.mark.parametrize("spoil", [Path.mkdir, full_folder, fifo])
def test_a_log_that_is_no_file_is_moved_out_of_the_way(
    spoil: Callable[[Path], object], folders: Folders
) -> None:
    """The job can be logged, and can end."""
    job = folders.claimed("a.txt")
    spoil(job.folder / "job.log")
    job_files.log_of(job).write_text("an event")
    folders.open().fail(job, says("why"))
    assert "an event" == (folders.failed / "a.txt.job.log").read_text()


def test_a_record_is_about_as_large_as_the_defaults(folders: Folders) -> None:
    """Defaults of any bytes make a bounded record, and are read back equal."""
    job = folders.claimed("a.txt")
    files = tuple(DefaultsFile(f"{n}", bytes([n]) * 30_000) for n in (0, 34, 92, 255))
    (folders.inbox / "b.txt").touch()
    other = folders.open().claim(PurePosixPath("b.txt"), files)
    assert other is not None
    assert (other.folder / "job.json").stat().st_size < 1.4 * 120_000
    assert [job, other] == list(folders.open().unfinished())


def test_a_record_of_an_older_version_is_read(folders: Folders) -> None:
    """Jobs that were in hand at an upgrade continue."""
    job = folders.claimed("a.txt")
    record = {"source": "a.txt", "defaults": [["_defaults.yaml", "fps: 5 # \xe9"]]}
    (job.folder / "job.json").write_text(json.dumps(record))
    (again,) = folders.open().unfinished()
    assert (DefaultsFile("_defaults.yaml", b"fps: 5 # \xe9"),) == again.defaults


RECORDS = [
    b'{"source": "%s.txt", "defaults": []}' % (b"x" * 300),
    b'{"source": "x/a.txt", "defaults": [["d", "a", "base64"]]}',
    b'{"source": "x/a.txt", "defaults": [[7, "", "base64"]]}',
    b'{"source": NaN, "defaults": []}',
    b'{"source": 1' + b"0" * 10_000 + b"}",
    b"",
    b'{"source": "x/a.t',
    b"\xff",
    b"null",
    b"[]",
    b"{}",
    b'{"source": 7, "defaults": []}',
    b'{"source": "", "defaults": []}',
    b'{"source": "../a.txt", "defaults": []}',
    b'{"source": "x/../../a.txt", "defaults": []}',
    b'{"source": "/etc/a.txt", "defaults": []}',
    b'{"source": "job.json", "defaults": []}',
    b'{"source": "other.txt", "defaults": []}',
    b'{"source": "a\\u0000.txt", "defaults": []}',
    b'{"source": "x/a.txt"}',
    b'{"source": "x/a.txt", "defaults": 7}',
    b'{"source": "x/a.txt", "defaults": [7]}',
    b'{"source": "x/a.txt", "defaults": [["d", 7]]}',
    b'{"source": "x/a.txt", "defaults": [["d", "\\u4e00"]]}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", [None, *RECORDS], ids=range(len(RECORDS) + 1))
def test_a_prompt_file_whose_record_is_damaged_is_a_job(
    content: bytes | None, folders: Folders
) -> None:
    """It is not lost, and can fail, under its own name."""
    claimed, other = folders.claimed("x/a.txt", "text"), folders.claimed("b.txt")
    if content is None:
        (claimed.folder / "job.json").unlink()
    else:
        (claimed.folder / "job.json").write_bytes(content)
    folders.open().prepare()
    folders.open().note_ending("Killed")
    job, untouched = folders.open().unfinished()
    assert (claimed.id, "a.txt", True) == (job.id, str(job.source), job.is_damaged)
    assert other == untouched
    folders.open().fail(job, says("why"))
    assert {"a.txt": "text", "a.txt.error.txt": "why"} == files(folders.failed)
    assert [other.id] == folders.jobs()


def test_what_a_power_cut_leaves_of_a_record_is_no_prompt_file(folders: Folders) -> None:
    """A claim without its rename is not a job, and is removed without a log line."""
    spool = folders.open()
    folder = spool.active / "20260101-000000-000000-abcdef"
    folder.mkdir(parents=True)
    temporaries.beside(folder / "job.json", f"{folder.name}-write").write_text('{"sour')
    assert [] == list(spool.unfinished())
    spool.prepare()
    assert [] == list(spool.active.iterdir())


@pytest.mark.parametrize("name", ["attempts", "another-record.json", "folder"])
def test_a_record_of_another_version_is_no_prompt_file(name: str, folders: Folders) -> None:
    """It goes with the job, and is not set aside when that has ended, or is damaged."""
    claimed, damaged = folders.claimed("a.txt"), folders.claimed("b.txt")
    (damaged.folder / "job.json").unlink()
    for job in (claimed, damaged):
        if name == "folder":
            (job.folder / name).mkdir()
        else:
            (job.folder / name).write_text("what this version does not know")
    spool = folders.open()
    assert ["a.txt", "b.txt"] == [job.source.name for job in spool.unfinished()]
    for job in list(spool.unfinished()):
        spool.fail(job, says("why"))
    assert {"a.txt", "a.txt.error.txt", "b.txt", "b.txt.error.txt"} == files(folders.failed).keys()
    assert [] == folders.jobs()


def test_a_prompt_file_that_cannot_be_looked_at_is_not_damaged(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error is raised, because it says nothing about the record."""
    job, stat = folders.claimed("a.txt"), os.stat

    def failing(path: Path, **options: bool) -> os.stat_result:
        if path == job.prompt_file:
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(OSError, match="Input/output"):
        list(folders.open().unfinished())
    monkeypatch.setattr(os, "stat", stat)
    assert [job] == list(folders.open().unfinished())


def test_a_move_that_succeeds_and_says_that_it_failed(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a share moved the file but lost its answer, it is a job."""
    rename = os.rename

    def forgetful(source: Path, target: Path) -> None:
        rename(source, target)
        raise OSError(errno.EIO, "Input/output error")

    (folders.inbox / "a.txt").write_text("text")
    monkeypatch.setattr(os, "rename", forgetful)
    job = folders.open().claim(PurePosixPath("a.txt"), ())
    assert job is not None
    assert "text" == job.prompt_file.read_text()


@pytest.mark.parametrize("call", range(1, 8))
def test_a_claim_that_fails_has_not_happened(
    call: int, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever fsync fails: the file is in the inbox, or the caller has its job."""
    (folders.inbox / "a.txt").write_text("text")
    calls, fsync = itertools.count(1), os.fsync

    def failing(fd: int) -> None:
        if next(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    try:
        job = folders.open().claim(PurePosixPath("a.txt"), ())
    except OSError:
        assert ({"a.txt": "text"}, []) == (files(folders.inbox), folders.jobs())
    else:
        assert [job] == list(folders.open().unfinished())
        assert {} == files(folders.inbox)


def test_a_moved_file_that_cannot_be_looked_at_is_kept(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was moved, but can't be read afterwards, stays."""
    rename, lstat = os.rename, os.lstat

    def forgetful(source: Path, target: Path) -> None:
        rename(source, target)
        monkeypatch.setattr(os, "lstat", blind)
        raise OSError(errno.EIO, "Input/output error")

    def blind(*_: object, **__: object) -> None:
        monkeypatch.setattr(os, "lstat", lstat)
        raise OSError(errno.EIO, "Input/output error")

    (folders.inbox / "a.txt").write_text("text")
    monkeypatch.setattr(os, "rename", forgetful)
    with contextlib.suppress(OSError):
        folders.open().claim(PurePosixPath("a.txt"), ())
    (job,) = folders.open().unfinished()
    assert "text" == job.prompt_file.read_text()


def test_cancelling_does_not_disturb_an_attempt_that_is_being_recorded(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes write at the same time, to different files."""
    job, fsync, calls = folders.claimed("a.txt"), os.fsync, itertools.count(1)

    def interrupted(fd: int) -> None:
        fsync(fd)
        if next(calls) == 1:
            job_files.ask_to_cancel(job)

    monkeypatch.setattr(os, "fsync", interrupted)
    folders.open().attempts.begin(job, [7])
    folders.open().note_ending("Killed")
    assert [(7,)] == [a.numbers for found in folders.open().unfinished() for a in found.attempts]
    assert job_files.is_cancelled(job)


def test_cancelling_is_a_file(folders: Folders) -> None:
    """Another process can mark one job as cancelled."""
    job, other = folders.claimed("a.txt"), folders.claimed("b.txt")
    job_files.ask_to_cancel(job)
    assert job_files.is_cancelled(job)
    assert not job_files.is_cancelled(other)


# Finish


def test_finish(folders: Folders, tmp_path: Path) -> None:
    """Log and prompt file move beside the videos, and the job's folder is removed."""
    job = folders.claimed("x/a.txt", "text")
    job_files.log_of(job).write_text("log")
    folders.open().attempts.begin(job, [1])
    at = folders.open().finish(job, tmp_path / "results" / "x" / "a")
    assert tmp_path / "results" / "x" / "a" / "a.txt" == at
    assert {"a.txt": "text", "job.log": "log"} == files(at.parent)
    assert [] == folders.jobs()


def test_finish_beside_earlier_ones(folders: Folders, tmp_path: Path) -> None:
    """A prompt file that is dropped again gets a number, and a log of its own."""
    for text in ("one", "two", "three"):
        job = folders.claimed("a.txt", text)
        job_files.log_of(job).write_text(f"log of {text}")
        folders.open().finish(job, tmp_path / "done")
    assert {
        "a.txt": "one",
        "a-2.txt": "two",
        "a-3.txt": "three",
        "job.log": "log of one",
        "job-2.log": "log of two",
        "job-3.log": "log of three",
    } == files(tmp_path / "done")


def test_finish_after_a_kill_in_the_middle(folders: Folders, tmp_path: Path) -> None:
    """A repeated `finish` after a kill completes the job, once."""
    done = tmp_path / "done"
    done.mkdir()
    job = folders.claimed("a.txt", "text")
    job_files.log_of(job).write_text("log")
    os.rename(job_files.log_of(job), done / "job.log")
    os.link(job.prompt_file, done / "a.txt")
    (again,) = folders.open().unfinished()
    folders.open().finish(again, done)
    assert {"a.txt": "text", "job.log": "log"} == files(done)
    assert [] == folders.jobs()


def test_a_job_whose_prompt_file_has_left_is_no_job(folders: Folders) -> None:
    """After the last step only a directory is left, which the next start removes."""
    job = folders.claimed("a.txt")
    os.rename(job.prompt_file, folders.inbox / "elsewhere.txt")
    assert [] == list(folders.open().unfinished())
    folders.open().prepare()
    assert [] == folders.jobs()


def test_finish_on_another_file_system(folders: Folders, elsewhere: Path) -> None:
    """The results may be on another file system."""
    job = folders.claimed("a.txt", "text")
    job_files.log_of(job).write_text("log")
    folders.open().finish(job, elsewhere / "a")
    assert {"a.txt": "text", "job.log": "log"} == files(elsewhere / "a")
    assert [] == folders.jobs()


def test_finish_on_a_share_whose_files_belong_to_another_user(
    folders: Folders, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the owner may set the times of a file, and a mount may name one for all files."""

    def denied(path: Path, **_times: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    folders.claimed("a.txt", "text")
    (job,) = folders.open().unfinished()
    monkeypatch.setattr(os, "utime", denied)
    folders.open().finish(job, elsewhere / "a")
    assert {"a.txt": "text"} == files(elsewhere / "a")
    assert [] == folders.jobs()


# Fail


def test_fail(folders: Folders) -> None:
    """The file has the same place in `_failed` as in the inbox, with report and log."""
    job = folders.claimed("poems/li_bai.yaml", "text")
    job_files.log_of(job).write_text("log")
    at = folders.open().fail(job, says("why \udcff"))
    assert folders.failed / "poems" / "li_bai.yaml" == at
    assert {
        "poems/li_bai.yaml": "text",
        "poems/li_bai.yaml.error.txt": "why \\udcff",
        "poems/li_bai.yaml.job.log": "log",
    } == files(folders.failed)
    assert [] == folders.jobs()


def test_fail_beside_earlier_ones(folders: Folders) -> None:
    """Each failure has its own file and report; a report alone also takes the name."""
    for text in ("one", "two"):
        folders.open().fail(folders.claimed("a.txt", text), says(f"why {text}"))
    os.unlink(folders.failed / "a-2.txt")
    folders.open().fail(folders.claimed("a.txt", "three"), says("why three"))
    assert {
        "a.txt": "one",
        "a.txt.error.txt": "why one",
        "a-2.txt.error.txt": "why two",
        "a-3.txt": "three",
        "a-3.txt.error.txt": "why three",
    } == files(folders.failed)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ball.txt", "ball.txt"),
        ("ball.TXT", "ball.txt"),
        ("Poems/a.txt", "poems/a.txt"),
        ("Poems/a.txt", "poems/b.txt"),
        ("\u00c9t\u00e9.txt", "\u00e9t\u00e9.txt"),
        ("a.txt", "A.TXT.error.txt"),
    ],
)
def test_names_that_differ_only_in_case_are_apart(
    first: str, second: str, folders: Folders
) -> None:
    """Clients that fold case would keep one of them; and what comes back is recognised."""
    for name in (first, second):
        job = folders.claimed(name, name)
        spool = folders.open()
        at = spool.fail(job, says(f"reeldrop could not render {name}\n\nJob {job.id}, now\n"))
        again = folders.claimed(name, name)
        earlier = list(spool.failed.earlier(PurePosixPath(name), again, lambda _status: True))
        assert PurePosixPath(at.relative_to(folders.failed)) in earlier
        folders.open().fail(again, says("again"))
    found = [str(path.relative_to(folders.failed)) for path in folders.failed.rglob("*")]
    assert len(found) == len({folded(name) for name in found})
    texts = [path.read_text() for path in folders.failed.rglob("*") if path.is_file()]
    assert [2, 2] == [texts.count(first), texts.count(second)]


def test_a_report_that_is_no_text_is_somebody_elses(folders: Folders) -> None:
    """If other bytes have the report's name, the next name is used."""
    folders.failed.mkdir(parents=True)
    (folders.failed / "a.txt.error.txt").write_bytes(b"\xff\xfe\x00")
    at = folders.open().fail(folders.claimed("a.txt"), says("why"))
    assert folders.failed / "a-2.txt" == at


@pytest.mark.parametrize("moved", [False, True])
def test_fail_after_a_kill_in_the_middle(folders: Folders, moved: bool) -> None:
    """A repeated `fail` uses the same place, and leaves nothing twice."""
    folders.open().fail(folders.claimed("a.txt", "one"), says("Job other\n"))
    job = folders.claimed("a.txt", "two")
    report = f"first\nJob {job.id}, now\n"
    (folders.failed / "a-2.txt.error.txt").write_text(report)
    if moved:
        os.link(job.prompt_file, folders.failed / "a-2.txt")
    (again,) = folders.open().unfinished()
    at = folders.open().fail(again, says(report.replace("first", "second")))
    assert folders.failed / "a-2.txt" == at
    assert {
        "a.txt": "one",
        "a.txt.error.txt": "Job other\n",
        "a-2.txt": "two",
        "a-2.txt.error.txt": report.replace("first", "second"),
    } == files(folders.failed)
    assert [] == folders.jobs()


def test_fail_on_another_file_system(folders: Folders, elsewhere: Path) -> None:
    """`_failed` may be on another file system, also after a kill."""
    apart = Folders(folders.inbox, folders.spool, elsewhere / "failed")
    job = apart.claimed("x/a.txt", "text")
    job_files.log_of(job).write_text("log")
    apart.open().fail(job, says("why"))
    expected = {"x/a.txt": "text", "x/a.txt.error.txt": "why", "x/a.txt.job.log": "log"}
    assert expected == files(apart.failed)

    job = apart.claimed("x/b.txt", "other")
    report = f"Job {job.id}"
    (apart.failed / "x" / "b.txt.error.txt").write_text(report)
    (apart.failed / "x" / "b.txt").write_text("other")
    status = job.prompt_file.stat()
    os.utime(apart.failed / "x" / "b.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    apart.open().fail(job, says(report))
    assert {**expected, "x/b.txt": "other", "x/b.txt.error.txt": report} == files(apart.failed)
    assert [] == apart.jobs()


def test_set_aside_what_is_left(folders: Folders) -> None:
    """The failed prompts of a job are in `_failed`, while the job continues."""
    job = folders.claimed("x/a.txt", "text")
    report = f"why\nJob {job.id}, now\n"
    at = folders.open().failed.write(job, "a.yaml", b"prompt: rest", says(report))
    assert folders.failed / "x" / "a.yaml" == at
    assert {"x/a.yaml": "prompt: rest", "x/a.yaml.error.txt": report} == files(folders.failed)
    assert [job] == list(folders.open().unfinished())


def test_what_a_person_has_mended_since_it_was_set_aside_stays(
    folders: Folders, elsewhere: Path
) -> None:
    """After a kill between the copy and the end of the job, somebody may have seen the report."""
    apart = Folders(folders.inbox, folders.spool, elsewhere / "failed")
    for is_whole in (True, False):
        job = apart.claimed("a.txt", "a mistake")
        (apart.failed).mkdir(exist_ok=True)
        (apart.failed / "a.txt").write_text("mended")
        (apart.failed / "a.txt.error.txt").write_text(f"Job {job.id}")
        if is_whole:
            apart.open().fail(job, says(f"again\nJob {job.id}"))
            assert "a mistake" == (apart.failed / "a.txt").read_text()
            (apart.failed / "a.txt").unlink()
        else:
            apart.open().failed.take_back(job, "a.txt")
    cleared = apart.failed / "_cleared"
    assert ["mended"] * 2 == [(cleared / name).read_text() for name in ("a.txt", "a-2.txt")]


def test_what_a_person_has_mended_stays_where_nothing_can_be_cleared(folders: Folders) -> None:
    """The job ends all the same: what is left of it gets another place."""
    job = folders.claimed("a.txt", "text")
    report = f"Job {job.id}"
    folders.open().failed.write(job, "a.yaml", b"rest", says(report))
    (folders.failed / "a.yaml").write_text("mended")
    (folders.failed / "_cleared").write_text("no folder")
    expected = {"_cleared": "no folder", "a.yaml": "mended", "a.yaml.error.txt": report}
    folders.open().failed.take_back(job, "a.yaml")
    assert expected == files(folders.failed)
    folders.open().failed.write(job, "a.yaml", b"rest", says(report))
    expected |= {"a-2.yaml": "rest", "a-2.yaml.error.txt": report}
    assert expected == files(folders.failed)


def test_set_aside_again_replaces_its_own(folders: Folders) -> None:
    """A repeated call for one job replaces its file; another job gets another file."""
    first, second = folders.claimed("a.txt"), folders.claimed("a.txt")
    for job, data in ((first, b"old"), (first, b"new"), (second, b"other")):
        folders.open().failed.write(job, "a.yaml", data, says(f"Job {job.id}"))
    assert {
        "a.yaml": "new",
        "a.yaml.error.txt": f"Job {first.id}",
        "a-2.yaml": "other",
        "a-2.yaml.error.txt": f"Job {second.id}",
    } == files(folders.failed)


def test_set_aside_again_finds_its_own_where_a_name_got_free(folders: Folders) -> None:
    """A repeated call finds its file, even if an earlier name is free by now."""
    other, job = folders.claimed("a.txt"), folders.claimed("a.txt")
    folders.open().failed.write(other, "a.yaml", b"", says(f"Job {other.id}"))
    folders.open().failed.write(job, "a.yaml", b"old", says(f"Job {job.id}"))
    for name in ("a.yaml", "a.yaml.error.txt"):
        (folders.failed / name).unlink()
    folders.open().failed.write(job, "a.yaml", b"new", says(f"Job {job.id}"))
    expected = {"a-2.yaml": "new", "a-2.yaml.error.txt": f"Job {job.id}"}
    assert expected == files(folders.failed)
    folders.open().failed.take_back(job, "a.yaml")
    assert [] == os.listdir(folders.failed)


def test_what_was_set_aside_makes_room_where_the_whole_file_fails(folders: Folders) -> None:
    """The whole file replaces its remainder, under the same name."""
    job = folders.claimed("a.yaml", "text")
    folders.open().failed.write(job, "a.yaml", b"rest", says(f"Job {job.id}"))
    folders.open().fail(job, says(f"why\nJob {job.id}"))
    assert {"a.yaml": "text", "a.yaml.error.txt": f"why\nJob {job.id}"} == files(folders.failed)


@pytest.mark.parametrize("quicker", ["a.txt", "a.txt.error.txt"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_place_that_somebody_takes_meanwhile_is_theirs(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, quicker: str, whole: bool
) -> None:
    """Files of others are not replaced; ours gets the next place."""
    job, theirs = folders.claimed("a.txt", "text"), folders.failed / quicker
    rename = durable.rename_exclusively

    def late(source: Path, target: Path) -> None:
        if os.path.realpath(target) == str(theirs) and not theirs.exists():
            theirs.write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(durable, "rename_exclusively", late)
    report = f"Job {job.id}"
    if whole:
        folders.open().fail(job, says(report))
    else:
        folders.open().failed.write(job, "a.txt", b"text", says(report))
    ours = {"a-2.txt": "text", "a-2.txt.error.txt": report}
    assert {quicker: "theirs", **ours} == files(folders.failed)


def special(path: Path, kind: str) -> None:
    """Make something that is not a plain file."""
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/etc/hostname")
        case "dangling":
            path.symlink_to("nowhere")
        case "directory":
            (path / "inside").mkdir(parents=True)
        case "socket":
            folder = os.open(path.parent, os.O_RDONLY)  # the path may be too long for a socket
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(f"/proc/self/fd/{folder}/{path.name}")
            os.close(folder)


KINDS = ("pipe", "link", "dangling", "directory", "socket")


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_a_link_fails_unopened(folders: Folders, kind: str) -> None:
    """A link is moved as a link."""
    special(folders.inbox / "a.txt", kind)
    before = (folders.inbox / "a.txt").lstat()
    job = folders.open().claim(PurePosixPath("a.txt"), [])
    assert job is not None
    at = folders.open().fail(job, says("why"))
    assert (before.st_ino, before.st_mode) == (at.lstat().st_ino, at.lstat().st_mode)
    assert "why" == (folders.failed / "a.txt.error.txt").read_text()
    assert [] == folders.jobs()


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket"])
def test_what_is_no_file_is_kept_where_its_author_does_not_come(
    folders: Folders, kind: str
) -> None:
    """It is kept in the spool, because its owner could still write into it."""
    special(folders.inbox / "a.txt", kind)
    before = (folders.inbox / "a.txt").lstat()
    job = folders.open().claim(PurePosixPath("a.txt"), [])
    assert job is not None
    folders.open().fail(job, says("why"))
    where = folders.spool / "refused" / job.id
    kept = (where / "a.txt").lstat()
    assert (before.st_ino, before.st_mode) == (kept.st_ino, kept.st_mode)
    assert 0o700 == stat.S_IMODE(where.parent.stat().st_mode)
    assert {"a.txt.error.txt": f"whyIt is in {where}.\n"} == files(folders.failed)
    assert ["a.txt.error.txt"] == os.listdir(folders.failed)
    assert [] == folders.jobs()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_with_failed_on_another_file_system(
    folders: Folders, elsewhere: Path, kind: str
) -> None:
    """It can't be copied without being opened, so it stays in the spool, with a report."""
    apart = Folders(folders.inbox, folders.spool, elsewhere / "failed")
    special(folders.inbox / "a.txt", kind)
    before = (folders.inbox / "a.txt").lstat()
    job = apart.open().claim(PurePosixPath("a.txt"), [])
    assert job is not None
    apart.open().fail(job, says("why"))
    where = folders.spool / "refused" / job.id
    assert {"a.txt.error.txt": f"whyIt is in {where}.\n"} == files(apart.failed)
    kept = folders.spool / "refused" / job.id / "a.txt"
    assert (before.st_ino, before.st_mode) == (kept.lstat().st_ino, kept.lstat().st_mode)
    assert [] == folders.jobs()


# Prepare, lock


def test_prepare_clears_what_never_became_a_job(folders: Folders) -> None:
    """Folders with only our own files are removed; a stranger's file is a job."""
    job = folders.claimed("a.txt")
    active = folders.spool / "active"
    (active / "empty").mkdir()
    (active / "claiming").mkdir()
    temporaries.beside(active / "claiming" / "x", "y").touch()
    for name in ("job.json", "attempts.json", "job.log", "cancel"):
        (active / "claiming" / name).write_text('{"source": "b.txt", "defaults": []}')
    (active / "unknown").mkdir()
    (active / "unknown" / "somebody's.txt").write_text("kept")
    folders.open().prepare()
    assert sorted([job.id, "unknown"]) == folders.jobs()
    assert [job.id, "unknown"] == [found.id for found in folders.open().unfinished()]
    assert "kept" == (active / "unknown" / "somebody's.txt").read_text()


@pytest.mark.parametrize("call", range(1, 12))
def test_what_an_error_left_is_tidied_by_the_same_process(
    call: int, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever fsync of a job's end fails: the job can be ended again, or has ended."""
    spool = folders.open()
    job = folders.claimed("a.txt", "text")
    job_files.log_of(job).write_text("log")
    calls, fsync = itertools.count(1), os.fsync

    def failing(fd: int) -> None:
        if next(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    with contextlib.suppress(OSError):
        spool.finish(job, tmp_path / "results")
    for left in spool.unfinished():
        spool.finish(left, tmp_path / "results")
    spool.tidy()
    assert [] == folders.jobs()
    assert "text" == (tmp_path / "results/a.txt").read_text()


def test_a_job_has_ended_even_if_its_folder_cannot_be_cleared_away(
    folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its end counts, the log names the rest once, and it is removed later."""
    spool, rmdir = folders.open(), os.rmdir
    stuck, other = folders.claimed("a.txt", "text"), folders.claimed("b.txt")

    def failing(path: str | Path, **options: int) -> None:
        if os.path.basename(path) == stuck.id:
            raise OSError(errno.EIO, "Input/output error", str(path))
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", failing)
    at = spool.finish(stuck, tmp_path / "results")
    assert "text" == at.read_text()
    spool.fail(other, says("why"))
    assert [stuck.id] == folders.jobs()
    assert [] == list(spool.unfinished())
    spool.tidy()
    assert 1 == capsys.readouterr().out.count("spool_untidy")
    monkeypatch.setattr(os, "rmdir", rmdir)
    spool.tidy()
    assert [] == folders.jobs()


def test_what_somebody_put_beside_a_prompt_file_is_set_aside(folders: Folders) -> None:
    """The end of a job does not remove a stranger's file: that becomes a job."""
    job = folders.claimed("a.txt", "text")
    (job.folder / "b.txt").write_text("kept")
    folders.open().fail(job, says("why"))
    (left,) = folders.open().unfinished()
    folders.open().fail(left, says("why"))
    assert ["kept", "text"] == sorted(files(folders.failed)[name] for name in ("a.txt", "b.txt"))
    assert [] == folders.jobs()


def test_prepare_refuses_different_file_systems(folders: Folders, elsewhere: Path) -> None:
    """A claim must be one rename, so this is a ConfigError at the start."""
    with pytest.raises(ConfigError) as caught:
        Spool(elsewhere / "spool", folders.inbox, folders.failed).prepare()
    (found,) = caught.value.mistakes
    assert "spool" == found.key
    assert "not on the same file system" in found.problem
    assert "move the spool" in found.remedy


@pytest.mark.usefixtures("root")
def test_prepare_refuses_two_mounts_of_one_file_system(folders: Folders) -> None:
    """As two volumes of a container are: no file could be taken, though the device is the same."""
    subprocess.run(["mount", "--bind", folders.inbox, folders.inbox], check=True)
    try:
        with pytest.raises(ConfigError, match="not in the same mount"):
            Spool(folders.spool, folders.inbox, folders.failed).prepare()
    finally:
        subprocess.run(["umount", "--lazy", folders.inbox], check=True)
    Spool(folders.spool, folders.inbox, folders.failed).prepare()


HOLD = """
import sys
from pathlib import Path
from reeldrop.store.spool import Spool
spool = Spool(*map(Path, sys.argv[1:]))
with spool.lock.held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_holds_against_another_process(folders: Folders) -> None:
    """A second daemon is refused with the first one's pid; a killed one holds nothing."""
    (folders.spool / "lock").touch()  # as it is where jobs have been
    arguments = [str(folders.spool), str(folders.inbox), str(folders.failed)]
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert "held\n" == other.stdout.readline()
        assert folders.open().lock.is_held()
        with pytest.raises(SpoolLocked, match=f"process {other.pid} "), folders.open().lock.held():
            pass
        other.send_signal(signal.SIGKILL)
    assert not folders.open().lock.is_held()
    with folders.open().lock.held():
        assert folders.open().lock.is_held()
        assert Holder(os.getpid(), "daemon", is_here=True) == folders.open().lock.holder()
    assert not folders.open().lock.is_held()


def test_attempts_of_an_older_version_are_read(folders: Folders) -> None:
    """It recorded no causes; they follow from its words."""
    job = folders.claimed("a.txt")
    killed = "without a trace, as by SIGKILL, which the kernel sends when memory runs out"
    old = [
        {"began": "2026-01-01T00:00:00+00:00", "numbers": [1], "ending": how}
        for how in (killed, "Segmentation fault")
    ]
    (job.folder / "attempts.json").write_text(json.dumps(old))
    (found,) = folders.open().unfinished()
    assert [Cause.UNKNOWN, Cause.WORK] == [attempt.cause for attempt in found.attempts]
    folders.open().attempts.begin(found, [2])
    folders.open().note_ending("killed", Cause.UNKNOWN)
    (found,) = folders.open().unfinished()
    causes = [attempt.cause for attempt in found.attempts]
    assert [Cause.UNKNOWN, Cause.WORK, Cause.UNKNOWN] == causes


def test_is_locked_without_a_spool(tmp_path: Path) -> None:
    """Without a spool, no daemon runs, and the query makes no file."""
    assert not Spool(tmp_path / "spool", tmp_path, tmp_path / "failed").lock.is_held()
    assert [] == os.listdir(tmp_path)


# The report


def test_report_says_what_where_and_what_is_right() -> None:
    """Each mistake has problem, place and remedy; then come the next steps and the job."""
    error = PromptError(
        Mistake("unknown key 'sed'", "did you mean 'seed'?", 3, 1, "sed"),
        Mistake("and this"),
        Mistake("for A", "write YAML:", example="prompt: a\u202eb\nseed: 3\n"),
    )
    text = reports.text(PurePosixPath("x/a.yaml"), "20261124-1", error, "Drop it again.")
    *lines, last, end = text.split("\n")
    assert [
        "reeldrop could not render x/a.yaml",
        "",
        "What is wrong:  unknown key 'sed'",
        "Where:          line 3, column 1, key 'sed'",
        "How to fix it:  did you mean 'seed'?",
        "",
        "What is wrong:  and this",
        "",
        "What is wrong:  for A",
        "How to fix it:  write YAML:",
        "",
        r"    prompt: a\u202eb",
        "    seed: 3",
        "",
        "Drop it again.",
        "",
    ] == lines
    assert last.startswith("Job 20261124-1, ")
    assert "" == end


def test_report_of_any_error() -> None:
    """An error without mistakes is reported in its own words."""
    text = reports.text(PurePosixPath("a.txt"), "1", ValueError("out of memory"), "next")
    assert "What is wrong:  out of memory\n" in text
    assert "Where:" not in text


def test_report_of_very_many_mistakes() -> None:
    """A report lists a bounded number of mistakes."""
    error = PromptError(*(Mistake(f"mistake {n}") for n in range(25)))
    text = reports.text(PurePosixPath("a.txt"), "1", error, "next")
    assert 20 == text.count("What is wrong:")
    assert "and 5 more mistakes" in text


def test_job_ids_are_unique_and_sort_by_time(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ids of one moment differ by their random part."""
    drawn = iter(["aaaaaa", "bbbbbb"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))
    first, second = folders.claimed("a.txt"), folders.claimed("b.txt")
    assert first.id < second.id
    assert ("aaaaaa", "bbbbbb") == (first.id[-6:], second.id[-6:])


def test_a_prompt_file_that_comes_while_a_folder_is_cleared_away_stays(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late rename, or a command's claim, loses no file."""
    spool = folders.open()
    folder = spool.active / "a-claim"
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    look = Spool._job

    def late(spool: Spool, folder: Path) -> Job | None:
        found = look(spool, folder)
        (folder / "a.txt").write_text("a prompt")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_job", late)
        spool.prepare()
    assert ["a.txt"] == [job.source.name for job in folders.open().unfinished()]


@pytest.mark.usefixtures("root")
def test_folders_of_retries_that_are_closed_hold_nothing_up() -> None:
    """A `_retried` folder that the daemon can't read counts as empty."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        failed = Path(top) / "failed"
        for name in ("_retried", "closed"):
            (failed / name).mkdir(parents=True, mode=0o700)
        made = Spool(Path(top) / "spool", Path(top) / "inbox", failed)
        pid = os.fork()
        if not pid:
            code = 99
            try:
                os.setuid(65534)
                job = Job("1", PurePosixPath("closed/a.txt"), Path(top), ())
                is_ended = made.failed.ends_retry(Job("2", PurePosixPath("a.txt"), Path(top), ()))
                code = is_ended + len([*made.failed.earlier(job.source, job, lambda _status: True)])
            finally:
                os._exit(code)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
