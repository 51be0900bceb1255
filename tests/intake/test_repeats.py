"""repeats: files that came back and needless copies are not rendered; every edit is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import pytest
from harness.jobs import says
from harness.site import Daemon, Site
from harness.sync_names import COPIES
from reeldrop.base import durable, plain_files, temporaries
from reeldrop.base.errors import RenderCancelled
from reeldrop.base.job import DefaultsFile, Job
from reeldrop.base.roots import Root
from reeldrop.intake.repeats import Repeats
from reeldrop.store import job_files, reports
from reeldrop.store.filing import Filing
from reeldrop.store.folded import Names
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from structlog.testing import capture_logs

OLD = 1_600_000_000 * 10**9 + 123_456_789
COPY = "a.sync-conflict-20261122-160257-I6L4PPB.txt"


@dataclass
class Place:
    """An inbox and the results of its prompt files, without a renderer."""

    folder: Path
    results: Path

    def __post_init__(self) -> None:
        (self.folder / "inbox").mkdir(parents=True)
        self.spool = Spool(self.folder / "spool", self.folder / "inbox", self.results / "_failed")
        self.spool.prepare()
        self.tree = Results(self.results)
        self.repeats = Repeats(self.spool, self.tree)
        self.filing = Filing(self.spool, self.tree)

    def drop(self, name: str = "a.txt", content: str = "a horse\n", mtime: int = OLD) -> Path:
        path = self.folder / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(mtime, mtime))
        return path

    def deliver(self, name: str = "a.txt", content: str = "a horse\n", mtime: int = OLD) -> Job:
        """Put a prompt file into the inbox, and claim it."""
        self.drop(name, content, mtime)
        job = self.spool.claim(PurePosixPath(name), ())
        assert job is not None
        return job

    def finish(self, job: Job) -> Path:
        return self.spool.finish(job, self.tree.folder_for(job.source))

    def fail(self, job: Job, error: Exception | None = None) -> Path:
        report = reports.text(job.source, job.id, error or ValueError("no"), "Then.")
        return self.spool.fail(job, says(report))

    def is_order(self, job: Job) -> bool:
        """Return the answer for a job; assert that a needless one has ended and nothing is lost."""
        data = job.prompt_file.read_bytes()
        is_order = self.repeats.is_order(job)
        assert is_order == job.folder.exists()
        kept = [p.read_bytes() for p in self.folder.rglob("*") if p.is_file()]
        kept += [p.read_bytes() for p in self.results.rglob("*") if p.is_file()]
        assert data in kept
        return is_order

    def files(self) -> list[str]:
        """Return the files in the results."""
        found = (p for p in self.results.rglob("*") if p.is_file())
        return sorted(str(path.relative_to(self.results)) for path in found)


@pytest.fixture(params=["one file system", "two file systems"])
def place(request: pytest.FixtureRequest, tmp_path: Path, elsewhere: Path) -> Place:
    """Return an empty inbox, with the results beside it or on another file system."""
    near = request.param == "one file system"
    return Place(tmp_path / "place", (tmp_path if near else elsewhere) / "results")


ENDS: dict[str, Callable[[Place, Job], Path]] = {"finished": Place.finish, "failed": Place.fail}


@pytest.mark.parametrize("end", ENDS)
def test_a_file_that_comes_back_orders_nothing(end: str, place: Place) -> None:
    """It replaces its twin each time, and a note beside it says why."""
    at = ENDS[end](place, place.deliver())
    before = place.files()
    for _ in range(3):
        assert not place.is_order(place.deliver())
    note = f"{at.relative_to(place.results)}.not-rendered.txt"
    assert sorted([*before, note]) == place.files()
    assert ("a horse\n", OLD) == (at.read_text(), at.stat().st_mtime_ns)
    text = (place.results / note).read_text()
    assert "a.txt was delivered again" in text
    assert "touch" in text


@pytest.mark.parametrize("is_of_older_version", [False, True])
def test_a_dropped_video_is_kept_apart_from_the_videos(
    is_of_older_version: bool, place: Place
) -> None:
    """An mp4 that was dropped is kept in `_order/`, and is also recognised when it comes back."""
    job = place.deliver("cat.MP4")
    kept = "cat/cat.MP4"
    if is_of_older_version:
        place.finish(job)
    else:
        place.filing.file_away(job, 1, [], is_resumed=False)
        kept = "cat/_order/cat.MP4"
    assert [kept] == [name for name in place.files() if name.endswith(".MP4")]
    assert not place.is_order(place.deliver("cat.MP4"))
    assert [kept] == [name for name in place.files() if name.endswith(".MP4")]
    assert f"{kept}.not-rendered.txt" in place.files()
    assert place.is_order(place.deliver("cat.MP4", "another"))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("name", "content", "mtime"),
    [
        ("a.txt", "a horse\n", OLD + 1),
        ("a.txt", "a horse\n", OLD - 10**9),
        ("a.txt", "a house\n", OLD),
        ("a.txt", "a horse", OLD),
        ("b.txt", "a horse\n", OLD),
        ("x/a.txt", "a horse\n", OLD),
        ("A.txt", "a horse\n", OLD),
        ("a.yaml", "a horse\n", OLD),
    ],
)
def test_everything_else_is_an_order(
    end: str, name: str, content: str, mtime: int, place: Place
) -> None:
    """Other bytes, another time or another path ask for a render."""
    ENDS[end](place, place.deliver())
    assert place.is_order(place.deliver(name, content, mtime))


def test_times_in_seconds_are_the_same_times(place: Place) -> None:
    """A time that was truncated to seconds is the same time."""
    place.finish(place.deliver())
    seconds = OLD // 10**9 * 10**9
    assert not place.is_order(place.deliver(mtime=seconds))
    place.finish(place.deliver("b.txt", mtime=seconds))
    assert not place.is_order(place.deliver("b.txt", mtime=seconds + 1))
    assert place.is_order(place.deliver("b.txt", mtime=seconds + 10**9))
    assert place.is_order(place.deliver("b.txt", mtime=seconds - 1))


def test_each_of_several_versions_may_come_back(place: Place) -> None:
    """Versions that lie beside each other under numbered names are all recognised."""
    ats = [place.finish(place.deliver(content=str(n), mtime=OLD + n)) for n in range(3)]
    assert ["a.txt", "a-2.txt", "a-3.txt"] == [at.name for at in ats]
    for number in range(3):
        assert not place.is_order(place.deliver(content=str(number), mtime=OLD + number))
    assert place.is_order(place.deliver(content="2", mtime=OLD + 1))


def test_a_name_that_was_delivered_often_is_not_compared_with_each_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may always write the same name, and the same bytes: its files differ in time."""
    folder = place.finish(place.deliver()).parent
    for number in range(2, 60):
        path = folder / f"a-{number}.txt"
        path.write_text("a horse\n")
        os.utime(path, ns=(OLD - number * 10**9, OLD - number * 10**9))
    read: list[Path] = []
    folders: list[object] = []
    have_same_bytes, opened = plain_files.have_same_bytes, Root.opened

    def noted(one: Path, other: Path) -> bool:
        read.append(other)
        return have_same_bytes(one, other)

    def counted(root: Root, *below: PurePath, make: bool = False) -> AbstractContextManager[Path]:
        folders.append(below)
        return opened(root, *below, make=make)

    monkeypatch.setattr(plain_files, "have_same_bytes", noted)
    monkeypatch.setattr(Root, "opened", counted)
    assert place.repeats.is_order(place.deliver(mtime=OLD + 10**9))
    assert (0, True) == (len(read), len(folders) < 20)
    assert not place.repeats.is_order(place.deliver(mtime=OLD - 59 * 10**9))
    assert [folder / "a-59.txt"] == [
        path for path in folder.iterdir() if path.stat().st_mtime_ns == OLD - 59 * 10**9
    ]


def test_a_name_that_has_failed_often_is_not_compared_with_each_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when it is delivered, nor when it fails again; each that came back is found."""
    for number in range(40):
        at = place.fail(place.deliver(mtime=OLD - number * 10**9))
    assert "a-40.txt" == at.name
    looks = Counter[str]()
    clashes, is_on = Names.clashes, reports.is_on

    def noted_clashes(names: Names, where: PurePath) -> bool:
        looks["clashes"] += 1
        return clashes(names, where)

    def noted_is_on(report: Path, job_id: str) -> bool:
        looks["read"] += 1
        return is_on(report, job_id)

    monkeypatch.setattr(Names, "clashes", noted_clashes)
    monkeypatch.setattr(reports, "is_on", noted_is_on)
    job = place.deliver(mtime=OLD + 10**9)
    assert place.repeats.is_order(job)
    assert looks["read"] < 5
    place.fail(job)
    assert looks["clashes"] < 30
    assert not place.repeats.is_order(place.deliver(mtime=OLD - 39 * 10**9))


def test_a_file_that_comes_back_while_it_is_in_hand(place: Place) -> None:
    """A file that comes back while its job is in hand is rendered once."""
    first = place.deliver()
    place.spool.attempts.begin(first, [1])
    assert not place.is_order(place.deliver())
    assert place.is_order(place.deliver(content="a house\n"))
    place.finish(first)
    assert ["a/a.txt"] == place.files()


def test_a_twin_that_is_being_cancelled_swallows_no_order(place: Place) -> None:
    """Its last batch is still rendered. The same file under the same name has only come back."""
    first = place.deliver()
    place.spool.attempts.begin(first, [1])
    assert job_files.ask_to_cancel(first)
    assert place.is_order(place.deliver("NOW/a.txt"))
    assert not place.is_order(place.deliver())


@pytest.mark.parametrize("name", ["a.txt", "a-2.txt", "b.txt"])
@pytest.mark.parametrize("record", ["none", "another's", "its own"])
def test_a_retry_is_ended_for_its_own_copy_only(name: str, record: str, place: Place) -> None:
    """Another file may have the bytes, the time and the name; its inode was recorded."""
    job = place.deliver(name)
    inode = job.prompt_file.lstat().st_ino + (record == "another's")
    recorded = "" if record == "none" else f"{inode:x}"
    taken = place.results / "_failed" / "_retried" / f"0123abcd{recorded}-a.txt"
    taken.parent.mkdir(parents=True)
    taken.write_text("a horse\n")
    os.utime(taken, ns=(OLD, OLD))
    assert place.is_order(job)
    assert taken.exists() == (record != "its own")


@pytest.mark.parametrize("change", ["a house\n", "a horse\n"])
def test_a_file_that_got_the_inode_of_a_copy_ends_no_retry(change: str, place: Place) -> None:
    """The author has removed the copy, and its inode is another file's now."""
    job = place.deliver("a.txt", change, OLD + (change == "a horse\n"))
    taken = place.results / "_failed" / "_retried"
    taken.mkdir(parents=True)
    taken /= f"0123abcd{job.prompt_file.lstat().st_ino:x}-a.txt"
    taken.write_text("a horse\n")
    os.utime(taken, ns=(OLD, OLD))
    assert place.is_order(job)
    assert taken.exists()


def test_a_job_that_was_begun_is_gone_on_with(place: Place) -> None:
    """A job with attempts continues, whatever is in the results."""
    place.finish(place.deliver())
    job = place.deliver()
    place.spool.attempts.begin(job, [1])
    assert place.is_order(job)


def test_paths_that_share_a_folder_of_the_results(place: Place) -> None:
    """A file whose path was changed for the results is rendered: the twin may be another's."""
    place.finish(place.deliver("what?.txt"))
    assert place.is_order(place.deliver("what_.txt", mtime=OLD + 1))
    assert place.is_order(place.deliver("what?.txt"))
    long = "x" * 240 + ".txt"
    place.finish(place.deliver(long))
    assert place.is_order(place.deliver(long))


@pytest.mark.parametrize("name", ["é.txt", "e\u0301.txt", "诗/李白.txt"])
def test_names_in_either_form_of_unicode_come_back(name: str, place: Place) -> None:
    """A Mac may bring a name back in decomposed form."""
    place.finish(place.deliver(name))
    assert not place.is_order(place.deliver(name))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("a"), Path.touch])
def test_what_is_no_twin(make: Callable[[Path], None], place: Place) -> None:
    """Only a plain file with the same bytes is a twin; nothing else is opened."""
    folder = place.results / "a"
    folder.mkdir(parents=True)
    make(folder / "a.txt")
    assert place.is_order(place.deliver())


def test_what_is_no_file_is_an_order(place: Place) -> None:
    """It stays a job, and is refused by its kind later."""
    place.finish(place.deliver())
    (place.folder / "inbox" / "a.txt").symlink_to(place.results / "a" / "a.txt")
    job = place.spool.claim(PurePosixPath("a.txt"), ())
    assert job is not None
    assert place.repeats.is_order(job)


def test_what_is_laid_upon_a_twin_elsewhere_is_gone_for_good(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is flushed after the prompt file was removed: no power cut brings it back."""
    place = Place(tmp_path / "place", elsewhere / "results")
    twin = place.finish(place.deliver())
    job = place.deliver()
    flush, flushed = durable.fsync_folder, []

    def record(folder: Path) -> None:
        flushed.append((folder, job.prompt_file.exists()))
        flush(folder)

    monkeypatch.setattr(durable, "fsync_folder", record)
    place.spool.lay_upon(job, twin)
    assert (job.folder, False) in flushed
    assert not job.folder.exists()


def test_a_twin_elsewhere_that_is_changed_at_the_last_moment_leaves_a_job(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that came back differs from it by now, and is not removed."""
    place = Place(tmp_path / "place", elsewhere / "results")
    twin = place.finish(place.deliver())
    job = place.deliver()
    monkeypatch.setattr(temporaries, "remove", lambda *_: twin.write_text("a person's"))
    with pytest.raises(OSError, match="changed meanwhile"):
        place.spool.lay_upon(job, twin)
    assert [job] == list(place.spool.unfinished())


def test_a_report_of_the_same_job_is_no_twin(tmp_path: Path, elsewhere: Path) -> None:
    """A job that was killed while it was set aside is set aside again."""
    place = Place(tmp_path / "place", elsewhere / "results")
    job = place.deliver()
    at = place.fail(job)
    shutil.copytree(place.spool.active, place.spool.active, dirs_exist_ok=True)
    job.folder.mkdir()
    shutil.copy2(at, job.prompt_file)
    assert place.is_order(job)


# Copies of conflicts


def originals(place: Place) -> dict[str, Callable[[], object]]:
    """Return the places in which an original may be."""
    return {
        "in the inbox": lambda: place.drop(),
        "in hand": lambda: place.deliver(),
        "finished": lambda: place.finish(place.deliver()),
        "failed": lambda: place.fail(place.deliver()),
    }


@pytest.mark.parametrize("where", ["in the inbox", "in hand", "finished", "failed"])
def test_a_conflict_copy_with_the_same_bytes_is_laid_aside(where: str, place: Place) -> None:
    """Wherever its original is, the copy is moved beside it or its videos, with a note."""
    originals(place)[where]()
    assert not place.is_order(place.deliver(COPY, mtime=OLD + 5))
    folder = place.results / ("_failed" if where == "failed" else "a")
    assert "a horse\n" == (folder / COPY).read_text()
    note = (folder / f"{COPY}.not-rendered.txt").read_text()
    assert "is the copy that a sync tool made of a.txt" in note
    assert not place.is_order(place.deliver(COPY, mtime=OLD + 5))
    assert 2 == sum(COPY in name for name in place.files())


@pytest.mark.parametrize("where", ["in the inbox", "in hand", "finished", "failed"])
def test_a_conflict_copy_with_other_bytes_is_an_order(where: str, place: Place) -> None:
    """Two people wrote two prompts, and get two videos."""
    originals(place)[where]()
    assert place.is_order(place.deliver(COPY, "another horse\n"))


def test_copies_by_every_tool(tmp_path: Path) -> None:
    """A copy is rendered only if its bytes differ, and then the log names the tool."""
    place = Place(tmp_path / "place", tmp_path / "results")
    place.finish(place.deliver())
    for tool, names in COPIES.items():
        for name in names:
            if name.endswith(".txt"):
                assert not place.is_order(place.deliver(name)), name
                with capture_logs() as events:
                    assert place.is_order(place.deliver(name, "another horse\n")), name
                assert [tool] == [e["made_by"] for e in events if e["event"] == "conflict_copy"]


@pytest.mark.parametrize("where", ["in the inbox", "in hand", "finished", "failed"])
def test_files_of_a_folder_that_is_a_conflict_copy(where: str, place: Place) -> None:
    """They are moved to a place of their own, so that the original is still rendered."""
    name, copy = "poems/a.txt", "poems (Case Conflict)/a.txt"
    ends = {"in hand": Place.deliver, "in the inbox": Place.drop}
    original = ends.get(where, Place.deliver)(place, name)
    if where in ("finished", "failed"):
        ENDS[where](place, original)
    for mtime in (OLD, OLD + 5):
        assert not place.is_order(place.deliver(copy, mtime=mtime))
    note = (place.results / "poems (Case Conflict)/a/a.txt.not-rendered.txt").read_text()
    assert "is the copy that a sync tool made of poems/a.txt" in note
    assert place.is_order(place.deliver(copy, "another horse\n"))
    assert place.is_order(place.deliver("poems (Case Conflict)/b.txt"))
    if where == "in the inbox":
        job = place.spool.claim(PurePosixPath(name), ())
        assert job is not None
        assert place.is_order(job)


def test_a_copy_of_a_folder_with_other_defaults_is_an_order(place: Place) -> None:
    """With other defaults, the same prompts ask for other videos."""
    copy = "poems (Case Conflict)"
    place.drop("poems/a.txt")
    place.drop("poems/_defaults.yaml", "seed: 1\n")
    for seed in (2, 1):
        place.drop(f"{copy}/a.txt")
        defaults = DefaultsFile(f"{copy}/_defaults.yaml", f"seed: {seed}\n".encode())
        job = place.spool.claim(PurePosixPath(f"{copy}/a.txt"), (defaults,))
        assert job is not None
        assert place.is_order(job) == (seed == 2), seed


def test_a_file_whose_name_in_failed_is_another_ones_is_an_order(place: Place) -> None:
    """The report tells the inbox path of the file beside it."""
    place.fail(place.deliver("a?.txt"))
    place.fail(place.deliver("b?.txt"), RenderCancelled("it was cancelled on request"))
    assert (place.results / "_failed/a_.txt").exists()
    assert place.is_order(place.deliver("a:.txt"))
    assert not place.is_order(place.deliver("a?.txt"))
    assert not place.is_order(place.deliver("b?.txt"))


def test_a_conflict_copy_without_its_original_is_an_order(place: Place) -> None:
    """Without its original, a copy is rendered: it may be the last one."""
    place.finish(place.deliver("x/a.txt"))
    assert place.is_order(place.deliver(COPY))
    assert place.is_order(place.deliver(f"y/{COPY}"))


def test_a_conflict_copy_comes_back(place: Place) -> None:
    """A copy that was rendered is recognised when it comes back."""
    place.finish(place.deliver(COPY))
    assert not place.is_order(place.deliver(COPY))


# A daemon


def videos(site: Site) -> list[str]:
    """Return the videos in the results."""
    return sorted(str(path.relative_to(site.results)) for path in site.results.rglob("*.mp4"))


def test_a_daemon_does_not_render_what_comes_back(
    site: Site, daemon: Callable[..., Daemon]
) -> None:
    """A real daemon notes files that come back, and renders edited and retried ones."""
    site.drop("a.txt", "a horse\n")
    site.drop("bad.txt", "# nothing\n")
    site.drop(COPY, "a horse\n")
    site.drop("b.sync-conflict-20261122-160257-I6L4PPB.txt", "a cow\n")
    outside = site.folder / "outside"
    shutil.copytree(site.inbox, outside)
    running = daemon()
    running.wait_for("job_ended", 2)
    running.wait_for("job_failed")
    running.wait_for("needless_copy")
    assert "Syncthing" == running.wait_for("conflict_copy")["made_by"]
    shutil.copytree(outside, site.inbox, dirs_exist_ok=True)
    running.wait_for("came_back", 3)
    running.wait_for("needless_copy", 2)
    expected = ["a/a_horse.mp4", "b.sync-conflict-20261122-160257-I6L4PPB/a_cow.mp4"]
    assert expected == videos(site)
    assert 1 == len(running.events("job_failed"))
    site.command("retry", "bad.txt")
    running.wait_for("job_failed", 2)
    site.drop("a.txt", "a horse\n")
    running.wait_for("job_ended", 3)
    assert ["a/a_horse-2.mp4"] == sorted(set(videos(site)) - set(expected))
    assert [] == list(site.inbox.iterdir())
    assert 0 == running.stop()


def test_what_was_cancelled_stays_cancelled(site: Site) -> None:
    """A cancelled file that a tool brings back is not rendered, but after a retry it is."""
    path = site.drop("a.txt", "a horse\n")
    outside = shutil.copy2(path, site.folder / "outside.txt")
    site.command("cancel", "a.txt")
    shutil.copy2(outside, path)
    assert 0 == site.drain().returncode
    assert ([], True) == (videos(site), (site.failed / "a.txt").exists())
    site.command("retry", "a.txt")
    assert 0 == site.drain().returncode
    assert ["a/a_horse.mp4"] == videos(site)
    assert [] == list(site.failed.iterdir())


WORK = """
import os, sys
from pathlib import Path, PurePosixPath
from reeldrop.intake.repeats import Repeats
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from harness.zygote import _kill_before

def work(folder, results, kill_at):
    spool = Spool(folder / "spool", folder / "inbox", results / "_failed")
    if kill_at:
        _kill_before(kill_at, 0.0)
    spool.prepare()
    for path in sorted((folder / "inbox").iterdir()):
        spool.claim(PurePosixPath(path.name), ())
    for job in spool.unfinished():
        assert not Repeats(spool, Results(results)).is_order(job)

for number, line in enumerate(sys.stdin, start=1):
    for kill_at in (number, 0):
        pid = os.fork()
        if not pid:
            work(*map(Path, line.strip().split("|")), kill_at)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""Lays aside what came back at the places of stdin, each twice: killed, and to the end."""


def came_back(place: Place) -> list[str]:
    """Let files and a copy come back, and return what the results must have then."""
    place.finish(place.deliver("a.txt"))
    place.fail(place.deliver("b.txt", "# nothing\n"))
    place.drop("a.txt")
    place.drop("b.txt", "# nothing\n")
    place.drop(COPY)
    notes = [f"{name}.not-rendered.txt" for name in ("_failed/b.txt", "a/a.txt", f"a/{COPY}")]
    return sorted([*place.files(), f"a/{COPY}", *notes])


@pytest.mark.parametrize("apart", [False, True], ids=["one file system", "two file systems"])
def test_a_kill_loses_and_doubles_nothing_that_came_back(
    apart: bool, tmp_path: Path, elsewhere: Path
) -> None:
    """A kill before any call of this is repaired by the next start."""
    ats = [(tmp_path / str(n), (elsewhere if apart else tmp_path) / f"{n}-results")
           for n in range(50)]  # fmt: skip
    places = [Place(*at) for at in ats]
    expected = [came_back(place) for place in places]
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        input="".join(f"{place.folder}|{place.results}\n" for place in places),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    kills = codes[::2].count(-signal.SIGKILL)
    assert kills > 30
    assert [-signal.SIGKILL] * kills + [0] * (50 - kills) == codes[::2]
    assert [0] * 50 == codes[1::2]
    for place, files in zip(places, expected, strict=True):
        assert files == place.files()
        assert [] == [*(place.folder / "inbox").iterdir(), *place.spool.active.iterdir()]
