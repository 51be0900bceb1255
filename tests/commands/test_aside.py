"""What commands move between the inbox and `_failed/`, killed or delayed at every call in turn."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from harness.files import by_links
from harness.jobs import says
from harness.kills import interposed, is_killed
from harness.zygote import use_huge_pages
from reeldrop.base import durable, moves, temporaries
from reeldrop.base.errors import NoSuchPromptFile, RenderError, Unavailable
from reeldrop.base.inbox_folders import AGAIN, NIGHT, NOW
from reeldrop.base.names import ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX, RETRIED_FOLDER, portable
from reeldrop.commands import cli, folders, moved, submit
from reeldrop.commands.cancel import cancel_files
from reeldrop.commands.retry import put_back
from reeldrop.config import config
from reeldrop.intake.repeats import Repeats
from reeldrop.store import job_files, reports, retried
from reeldrop.store.filing import Filing
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Status

NAME = PurePosixPath("poems/a.txt")
LONG = PurePosixPath("a" * 251 + ".txt")
CONFIG = """\
results: {results}
model: tiny
models: {{tiny: {{path: tiny}}}}
"""
OURS = (ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX)


@dataclass
class World:
    """The folders, with a daemon that opens what it claims, or fails it at once if `fails`."""

    folder: Path
    failed: Path
    fails: bool = False

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.spool = Spool(self.folder / "spool", self.inbox, self.failed)
        self.repeats = Repeats(self.spool, Results(self.folder / "results"))
        (self.inbox / NAME.parent).mkdir(parents=True)
        (self.failed / NAME.parent).mkdir(parents=True)
        self.spool.prepare()
        (self.spool.folder / "lock").touch()
        file = self.folder / "config.yaml"
        file.write_text(CONFIG.format(results=self.failed.parent))
        self.config = config.load(file)
        self.opened = set[str]()

    def work(self) -> None:
        """Do what a daemon does with its jobs and with the inbox."""
        for path in [p for p in self.inbox.rglob("*.txt") if not temporaries.is_temporary(p.name)]:
            self.spool.claim(PurePosixPath(path.relative_to(self.inbox)), ())
        for job in self.spool.unfinished(self.opened):
            if job_files.is_cancelled(job):
                self.spool.fail(job, says(f"cancelled\n\nJob {job.id}, now\n"))
            elif self.repeats.is_order(job):
                self.opened.add(job.id)
                if self.fails:
                    self.spool.fail(job, says(f"anew\n\nJob {job.id}, now\n"))

    def put_back(self) -> None:
        """Retry the file that `history --failed` shows."""
        list(put_back(self.config, None))

    def cancel(self) -> None:
        """Cancel the file that waits, if it still does."""
        with contextlib.suppress(NoSuchPromptFile):
            list(cancel_files(self.config, [str(NAME)]))

    def places(self) -> list[str]:
        """Return the paths of prompt files, without reports, records and temporary files."""
        files = (p for top in (self.folder, self.failed) for p in top.rglob("*") if p.is_file())
        found = {p for p in files if not p.name.endswith(OURS)}
        known = {"config.yaml", "job.json", "attempts.json", "cancel", "lock"}
        return sorted(
            str(p.relative_to(self.folder if p.is_relative_to(self.folder) else self.failed.parent))
            for p in found
            if p.name not in known and not temporaries.is_temporary(p.name)
        )

    def reports(self) -> list[str]:
        """Return the reports, logs and notes beside files of `_failed/`."""
        return sorted(p.name for p in self.failed.rglob("*") if p.name.endswith(OURS))


@pytest.fixture(params=["at once", "by links", "across"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], World]]:
    """Folders on which files move atomically, by links, or only by copies."""
    number = itertools.count()
    if request.param == "by links":
        by_links(monkeypatch)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # where an fsync costs nothing
        results = tmp_path if request.param == "across" else Path(memory)

        def make() -> World:
            n = next(number)
            failed = results / f"results{n}" / "_failed"
            return World(Path(memory) / f"site{n}", failed)

        yield make


def failed_before(made: World) -> World:
    """Put a prompt file into `_failed/`, with report, log and note."""
    place = made.failed / NAME
    place.write_text("a horse")
    for suffix in OURS:
        place.with_name(place.name + suffix).write_text("old")
    return made


def waiting(made: World) -> World:
    """Put a prompt file into the inbox."""
    (made.inbox / NAME).write_text("a horse")
    return made


@pytest.mark.parametrize("fails", [False, True])
def test_a_retry_that_is_held_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits, the daemon renders the file once, or fails it with a new report, which the
    retry leaves alone."""
    for at in itertools.count(1):
        place = failed_before(world())
        place.fails = fails
        with monkeypatch.context() as patch:
            calls = interposed(at, place.work, patch)
            place.put_back()
        place.work()
        place.work()
        assert len(place.opened) == 1
        if fails:
            assert ["_failed/poems/a.txt"] == [p.replace("-2", "") for p in place.places()]
            assert ["anew"] == [
                p.read_text().split("\n")[0] for p in place.failed.rglob("*.error.txt")
            ]
        else:
            (job,) = place.spool.unfinished()
            assert [f"spool/active/{job.id}/a.txt"] == place.places()
            assert [] == place.reports()
        if next(calls) <= at:
            return


@pytest.mark.parametrize("who_is_next", ["the daemon", "a person"])
def test_a_retry_that_is_killed_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], who_is_next: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in the inbox, or can be retried; never both."""
    for at in itertools.count(1):
        place = failed_before(world())
        killed = is_killed(at, place.put_back, monkeypatch)
        if who_is_next == "the daemon":
            place.work()
        place.put_back()
        place.work()
        (job,) = place.spool.unfinished()
        assert [f"spool/active/{job.id}/a.txt"] == place.places()
        assert [] == place.reports()
        if not killed:
            return


def test_a_retry_waits_for_another_one(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one takes nothing that is on its way for left by a kill."""
    use_huge_pages()
    for at in itertools.count(1):
        place = failed_before(world())
        others = list[int]()
        with monkeypatch.context() as patch:
            calls = interposed(at, functools.partial(begin_another, place, others), patch)
            place.put_back()
        for pid in others:
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        place.work()
        (job,) = place.spool.unfinished()
        assert [f"spool/active/{job.id}/a.txt"] == place.places()
        if next(calls) <= at:
            return


def begin_another(place: World, pids: list[int]) -> None:
    """Begin a retry in a process, until it has ended or waits for the first one; add its id."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            for fd in {*range(3, 256)} - {writing}:  # the first one's lock, too
                with contextlib.suppress(OSError):
                    os.close(fd)
            flock = fcntl.flock

            def waits(fd: int, how: int) -> None:
                try:
                    flock(fd, how)
                except BlockingIOError:
                    with contextlib.suppress(BrokenPipeError):  # it is known already
                        os.write(writing, b"waits")
                    raise

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(fcntl, "flock", waits)
                place.put_back()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    pids.append(pid)


def test_no_retry_waits_for_ever(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have been stopped, and anybody can lock a folder that he can read."""
    place = failed_before(world())
    monkeypatch.setattr(retried, "LOCK_SECONDS", 0.2)
    folder = os.open(place.failed / NAME.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    before = place.places()
    with pytest.raises(Unavailable, match=f"another retry is at work in {place.failed}/poems,"):
        place.put_back()
    assert before == place.places()
    os.close(folder)
    place.put_back()
    assert ["inbox/poems/a.txt"] == place.places()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_folder_that_is_held_keeps_no_other_from_a_retry(
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is waited for once; what was moved is said, then what was not, and by whose fault."""
    place = failed_before(World(tmp_path / "site", tmp_path / "results" / "_failed"))
    (place.failed / "poems/b.txt").write_text("a cow")
    for name in ("a.txt", "songs/c.txt", "z.txt"):
        (place.failed / name).parent.mkdir(exist_ok=True)
        (place.failed / name).write_text("a boat")
    waits: list[Path] = []
    lock = retried._lock

    def locked(fd: int, known_as: Path) -> None:
        waits.append(known_as)
        lock(fd, known_as)

    monkeypatch.setattr(retried, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(retried, "_lock", locked)
    folder = os.open(place.failed / NAME.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    names = ["poems/a.txt", "poems/b.txt", "a.txt", "songs/c.txt", "z.txt"]
    with pytest.raises(Unavailable, match=f"at work in {place.failed}/poems, or .*try again"):
        moved.report(put_back(place.config, names), as_json=as_json)
    os.close(folder)
    assert 1 == waits.count(place.failed / "poems")
    back = ["a.txt", "songs/c.txt", "z.txt"]
    assert [f"inbox/{name}" for name in back] == [p for p in place.places() if "inbox" in p]
    said = capsys.readouterr().out
    if as_json:
        found = json.loads(said)
        assert [*back, *names[:2]] == [one["name"] for one in found]
        assert [False] * 3 + [True] * 2 == [one["is_failure"] for one in found]
    else:
        assert [*back, *names[:2]] == [line.partition(":")[0] for line in said.splitlines()]
        assert f"b.txt: can't be put back now: another retry is at work in {place.failed}" in said


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_what_was_moved_is_said_when_the_disk_fails_then(
    command: str,
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that come next were not tried, as its trouble is that of all."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    top = place.failed if command == "retry" else place.inbox
    for name in ("a.txt", "b.txt", "c.txt"):
        (top / name).write_text("a boat")
    rename, done = durable.rename_new, list[Path]()

    def broken(source: Path, target: Path) -> None:
        if target.name == "b.txt":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        done.append(target)
        rename(source, target)

    monkeypatch.setattr(durable, "rename_new", broken)
    act = put_back if command == "retry" else cancel_files
    with pytest.raises(OSError, match=r"b\.txt"):
        moved.report(act(place.config, ["a.txt", "b.txt", "c.txt"]), as_json=as_json)
    said = capsys.readouterr().out
    names = [one["name"] for one in json.loads(said)] if as_json else [said.partition(":")[0]]
    assert ["a.txt"] == names
    assert "c.txt" not in [path.name for path in done]


@pytest.mark.parametrize("length", [230, 231, 246])
def test_a_long_name_is_put_back(
    length: int, world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a kill, and across file systems, where a record is added to the name."""
    name = "x" * (length - 4) + ".txt"
    for at in itertools.count(1):
        place = world()
        (place.failed / NAME.with_name(name)).write_text("a horse")
        killed = is_killed(at, place.put_back, monkeypatch)
        place.put_back()
        found = [p for p in (place.inbox / "poems").iterdir() if not p.name.startswith("~")]
        assert name in [path.name for path in found]
        assert ["a horse"] * len(found) == [path.read_text() for path in found]
        assert [] == [path for path in place.failed.rglob("*") if path.is_file()]
        if not killed:
            assert 1 == len(found)
            return


@pytest.mark.parametrize("who_is_next", ["the daemon", "a person"])
@pytest.mark.parametrize("is_taken", [False, True])
def test_a_retry_of_all_that_is_killed_at_any_call_takes_no_file_for_another(
    world: Callable[[], World], is_taken: bool, who_is_next: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if all have the same bytes and a time that counts as the same, and one a new name."""
    monkeypatch.setattr(moves, "is_same_time", lambda _one, _other: True)
    for at in itertools.count(1):
        place = failed_before(world())
        for name in ("a-2.txt", "a-3.txt"):
            (place.failed / NAME.with_name(name)).write_text("a horse")
        if is_taken:
            (place.inbox / NAME).write_text("a cow")
        killed = is_killed(at, place.put_back, monkeypatch)
        if who_is_next == "the daemon":
            place.work()
        place.put_back()
        place.work()
        texts = [job.prompt_file.read_text() for job in place.spool.unfinished()]
        assert ["a cow"] * is_taken + ["a horse"] * 3 == sorted(texts)
        assert len(texts) == len(place.places())
        if not killed:
            return


def test_a_cancellation_that_is_held_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon has claimed the file, or it is in `_failed/` with a report; never both."""
    for at in itertools.count(1):
        place = waiting(world())
        with monkeypatch.context() as patch, place.spool.lock.held():
            calls = interposed(at, place.work, patch)
            place.cancel()
        place.work()
        (found,) = place.places()
        in_failed = ["_failed/poems/a.txt"] == [found]
        assert in_failed or found.startswith("spool/active/")
        assert ["a.txt.error.txt"] * in_failed == [
            name for name in place.reports() if name.endswith(ERROR_SUFFIX)
        ]
        if next(calls) <= at:
            return


@pytest.mark.parametrize("who_is_next", ["the daemon", "a person"])
def test_a_cancellation_that_is_killed_at_any_call_loses_and_doubles_nothing(
    world: Callable[[], World], who_is_next: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file still waits, or is listed as a failure."""
    for at in itertools.count(1):
        place = waiting(world())
        killed = is_killed(at, place.cancel, monkeypatch)
        if who_is_next == "the daemon":
            place.work()
        else:
            place.cancel()
        (found,) = place.places()
        if found.startswith("_failed/"):
            seen = folders.failures(place.config.failed, place.config)
            assert ["poems/a.txt"] == [failure.name for failure in seen]
        else:
            assert found.startswith("spool/active/")
            assert [] == place.reports()
        if not killed:
            return


def test_a_submission_that_is_killed_at_any_call_is_there_whole_or_not(
    world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inbox ignores what it leaves, and an hour later a command removes it."""
    for at in itertools.count(1):
        place = world()
        order = functools.partial(submit.write_order, place.config, "a horse", {})
        killed = is_killed(at, order, monkeypatch)
        names = os.listdir(place.inbox)
        ours = [name for name in names if temporaries.is_temporary(name)]
        assert set(names) - set(ours) <= {"poems", "a_horse.yaml"}
        if "a_horse.yaml" in names:
            assert "prompt: a horse\n" == (place.inbox / "a_horse.yaml").read_text()
        submit.write_order(place.config, "a cow", {})
        assert set(ours) <= set(os.listdir(place.inbox))
        with monkeypatch.context() as patch:
            patch.setattr(temporaries, "LEFT_SECONDS", 0.0)
            submit.write_order(place.config, "a cow", {})
        assert not [n for n in os.listdir(place.inbox) if temporaries.is_temporary(n)]
        if not killed:
            return


def test_two_that_submit_at_once_write_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with equal process ids, as on two hosts or in containers."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    fsync = os.fsync

    def interrupted(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        submit.write_order(place.config, "the other's", {})
        fsync(fd)

    monkeypatch.setattr(os, "fsync", interrupted)
    submit.write_order(place.config, "ours", {})
    found = {p.stem: p.read_text() for p in place.inbox.glob("*.yaml")}
    assert {"ours": "prompt: ours\n", "the_other's": "prompt: the other's\n"} == found


def test_a_submission_does_not_take_an_old_report_for_its_own(tmp_path: Path) -> None:
    """Its name differs from those of old reports, and later failures of others are ignored."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    old = place.failed / "a_horse.yaml.error.txt"
    old.write_text("What is wrong:  long ago\n")
    order = submit.write_order(place.config, "a horse", {})
    assert PurePosixPath("a_horse-2.yaml") == order.source
    place.fails = True

    def act(_status: Status) -> None:
        if order.prompt_file.exists():
            theirs = place.failed / order.source
            theirs.write_text("theirs")
            theirs.with_name(f"{theirs.name}.error.txt").write_text("theirs\n\nJob 1, now\n")
            place.spool.claim(order.source, ())
        else:
            place.work()

    end = submit.wait(place.config, order, act)
    assert end.error.startswith("anew")


def test_a_submission_does_not_wait_at_a_pipe_that_a_stranger_made(tmp_path: Path) -> None:
    """A pipe with the name of a report is not read."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    order = submit.write_order(place.config, "a horse", {})
    os.mkfifo(place.failed / f"{order.source}.error.txt")
    place.fails = True

    def act(_status: Status) -> None:
        if order.prompt_file.exists():
            place.spool.claim(order.source, ())
        else:
            place.work()

    end = submit.wait(place.config, order, act)
    assert end.error.startswith("anew")


def test_a_report_names_the_file_as_it_lies(tmp_path: Path) -> None:
    """The report has the name that `retry` takes, also after a rename."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    failed_before(place)
    waiting(place).cancel()
    report = (place.failed / "poems" / "a-2.txt.error.txt").read_text()
    assert "`reeldrop retry poems/a-2.txt`" in report
    (place.inbox / "poems" / "a.txt").write_text("another")
    job = place.spool.claim(NAME, ())
    assert job is not None
    Filing(place.spool, Results(tmp_path / "results")).set_aside(job, RenderError("no"))
    report = (place.failed / "poems" / "a-3.txt.error.txt").read_text()
    assert "`reeldrop retry poems/a-3.txt`" in report


@pytest.mark.parametrize(
    ("told", "at", "name"),
    [
        ("poems/nul.txt", "nul_.txt", "nul.txt"),
        ("poems/a:b.txt", "nul_.txt", "nul_.txt"),
        ("poems/nul.yaml", "nul_.txt", "nul_.txt"),
        ("..", "nul_.txt", "nul_.txt"),
        (f"poems/{LONG}", portable(LONG).name, portable(LONG).name),
    ],
)
def test_a_file_is_put_back_under_the_name_that_its_report_tells(
    told: str, at: str, name: str, tmp_path: Path
) -> None:
    """It got a portable name in `_failed/`; a report on another file tells nothing."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    file = place.failed / "poems" / at
    file.write_text("a horse")
    reports.beside(file).write_text(f"reeldrop could not render {told}\n")
    (back,) = put_back(place.config, [str(file)])
    assert place.inbox / "poems" / name == back.file
    assert "a horse" == (place.inbox / "poems" / name).read_text()


def test_full_paths_name_files_too(tmp_path: Path) -> None:
    """As `submit` and `cancel` print them."""
    place = World(tmp_path / "site", tmp_path / "results" / "_failed")
    file = place.inbox / NAME
    file.write_text("a horse")
    (cancelled,) = cancel_files(place.config, [str(file)])
    assert (str(NAME), place.failed / NAME) == (cancelled.name, cancelled.file)
    (back,) = put_back(place.config, [str(file)])
    assert (str(NAME), file) == (back.name, back.file)


def test_an_init_that_is_killed_at_any_call_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If config.yaml exists, it is complete, and so are the folders."""
    for at in itertools.count(1):
        folder = tmp_path / f"{at}"
        killed = is_killed(at, functools.partial(cli.init, folder), monkeypatch)
        if not (folder / "config.yaml").exists():
            cli.init(folder)
        made = config.load(folder / "config.yaml")
        assert [True] * 3 == [f.is_dir() for f in (made.inbox, made.results, made.spool)]
        if not killed:
            return


def test_a_stranger_who_imitates_a_retry_sends_no_file_elsewhere(tmp_path: Path) -> None:
    """Only names of the form that a retry makes stand for other names."""
    made = World(tmp_path / "site", tmp_path / "results" / "_failed")
    (made.failed / RETRIED_FOLDER).mkdir()
    for name in ("foo.yaml", "my-cat.yaml"):
        (made.failed / RETRIED_FOLDER / name).write_text("prompt: a horse")
    made.put_back()
    assert [f"{RETRIED_FOLDER}/foo.yaml", f"{RETRIED_FOLDER}/my-cat.yaml"] == sorted(
        str(path.relative_to(made.inbox)) for path in made.inbox.rglob("*.yaml")
    )


def test_a_file_that_has_no_way_back_keeps_no_other_from_it(tmp_path: Path) -> None:
    """If its folder became a link, the others move back; the command ends with 1."""
    made = failed_before(World(tmp_path / "site", tmp_path / "results" / "_failed"))
    (made.failed / "b.txt").write_text("a cow")
    (made.inbox / NAME.parent).rmdir()
    (made.inbox / NAME.parent).symlink_to(tmp_path)
    found = {one.name: one for one in put_back(made.config, None)}
    assert {"b.txt": False, str(NAME): True} == {n: one.is_failure for n, one in found.items()}
    assert "can't be put back" in found[str(NAME)].what
    assert ["results/_failed/poems/a.txt", "site/inbox/b.txt"] == [
        str(path.relative_to(tmp_path))
        for path in (made.failed / NAME, made.inbox / "b.txt")
        if path.exists()
    ]


def test_a_retry_copies_nothing_that_a_link_points_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the move fails, files beside it are restored; a link there is left alone."""
    made = failed_before(World(tmp_path / "site", tmp_path / "results" / "_failed"))
    (tmp_path / "secret").write_text("a secret")
    report = made.failed / f"{NAME}.error.txt"
    report.unlink()
    report.symlink_to(tmp_path / "secret")

    def full(_name: str) -> Iterator[str]:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(durable, "free_names", full)
    with pytest.raises(OSError, match="no space"):
        made.put_back()
    assert (made.failed / NAME).exists()
    assert report.is_symlink()


def test_a_file_that_cannot_be_cancelled_keeps_no_other_from_it(tmp_path: Path) -> None:
    """If its folder in `_failed/` is a link, the others are still cancelled."""
    made = World(tmp_path / "site", tmp_path / "results" / "_failed")
    for name in (NAME, "b.txt"):
        (made.inbox / name).write_text("a cow")
    (made.failed / NAME.parent).rmdir()
    (made.failed / NAME.parent).symlink_to(tmp_path)
    found = {one.name: one for one in cancel_files(made.config, [str(NAME), "b.txt"])}
    assert {str(NAME): True, "b.txt": False} == {n: one.is_failure for n, one in found.items()}
    assert "can't be cancelled: this is a link" in found[str(NAME)].what
    assert (made.inbox / NAME).exists()
    assert (made.failed / "b.txt").exists()


def test_a_file_that_was_taken_for_one_in_hand_is_cancelled_by_its_name(tmp_path: Path) -> None:
    """Also if that has the name of another folder since; a bare file name might mean others."""
    made = World(tmp_path / "site", tmp_path / "results" / "_failed")
    now = NOW / NAME
    (made.inbox / now).parent.mkdir(parents=True)
    (made.inbox / now).write_text("a cow")
    job = made.spool.claim(now, ())
    assert job is not None
    for wrong in (f"x/{NAME}", str(AGAIN / NAME)):
        with pytest.raises(NoSuchPromptFile):
            cancel_files(made.config, [wrong])
    assert not job_files.is_cancelled(job)
    (told,) = cancel_files(made.config, [f"./{NIGHT / NAME}"])
    assert (str(now), "is cancelled at the next start") == (told.name, told.what)
    assert job_files.is_cancelled(job)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_cancelled_before_the_first_daemon(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    """The command makes the spool's folders, and the daemon finds the cancelled job."""
    (tmp_path / "inbox").mkdir()
    make(tmp_path / "inbox" / "a.txt")
    (tmp_path / "config.yaml").write_text(CONFIG.format(results=tmp_path / "results"))
    (told,) = cancel_files(config.load(tmp_path / "config.yaml"), ["a.txt"])
    assert ("is cancelled at the next start", False) == (told.what, told.is_failure)
    spool = Spool(tmp_path / "spool", tmp_path / "inbox", tmp_path / "results" / "_failed")
    spool.prepare()
    assert [True] == [job_files.is_cancelled(job) for job in spool.unfinished()]
