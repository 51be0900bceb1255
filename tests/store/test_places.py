"""Places that can't take a job's files: what fails, what waits, and which jobs are affected."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from harness.arrivals import claimed
from harness.jobs import RETRY_SECONDS, Place, next_batch, open_jobs, prompts
from harness.programs import needs_root
from harness.rules import RULES
from harness.site import Site
from harness.windows_disk import windows_disk
from reeldrop.base import moves, strict_yaml
from reeldrop.base.errors import RenderError, Unrenderable
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.base.names import portable
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing as parser
from reeldrop.schedule import retries
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

FIRST = "results/_failed"


def a_place(root: Path, results: Path) -> Place:
    """Return the folders of a daemon, with its first process."""
    (root / "inbox").mkdir(parents=True)
    spool = Spool(root / "spool", root / "inbox", results / "_failed")
    spool.prepare()
    tree = Results(results)
    first = open_jobs(spool, tree)
    return Place(root, spool, tree, first, [first])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Empty folders."""
    made = a_place(tmp_path, tmp_path / "results")
    made.results.folder.mkdir()
    yield made
    for process in made.processes:
        process.opened.put_down()


def claim(place: Place, name: str) -> Job:
    """Drop a prompt file into a folder of the inbox, and claim it."""
    (place.root / "inbox" / name).parent.mkdir(parents=True, exist_ok=True)
    return place.claim(name)


def render(place: Place) -> list[str]:
    """Render and publish one batch, and return the prompt files of its prompts."""
    batch = next_batch(place.jobs)
    assert batch is not None
    sources = [place.jobs.opened[member.job_id].job.source.name for member in batch.members]
    for number in range(len(batch.members)):
        place.publish(batch, number)
    return sources


def below(folder: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


# Names that not every file system takes, and paths that are too long


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The folders of a daemon whose results have the limits of Windows."""
    needs_root()
    root = tmp_path_factory.mktemp("windows")
    with windows_disk(root / "behind", root / "results") as results:
        yield a_place(root / "site", results)


DEEP = "/".join([f"{n:02}" + "d" * 98 for n in range(30)])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("what?.txt", "what_"),
        ("poems. /a: b. .txt", "poems/a_ b"),
        ("nul.txt", "nul_"),
        ("\udcff.txt", "video"),
        ("s" * 240 + ".txt", "s" * 85 + "-*"),
        (f"{DEEP}/deep.txt", f"00{'d' * 69}-*/deep"),
    ],
)
def test_what_the_inbox_takes_finds_a_place_in_results_of_windows(
    name: str, folder: str, on_windows: Place
) -> None:
    """A prompt file of any name ends there with its videos or a report."""
    place, source = on_windows, PurePosixPath(name)
    place.jobs.opened.open(claim(place, name), prompts(1))
    render(place)
    (found,) = place.results.folder.glob(folder)
    assert sorted(["job.log", "p1.jpg", "p1.mp4", "p1.yaml", f"{found.name}.txt"]) == below(found)
    sidecar = strict_yaml.plain(strict_yaml.load_all((found / "p1.yaml").read_text())[0])
    assert shown(source) == sidecar["rendered"]["prompt_file"]

    place.jobs.ends.fail(claim(place, name), RenderError("a hiccup"))
    again = portable(source)
    report = place.results.folder / "_failed" / f"{again}.error.txt"
    assert f"could not render {shown(source)}\n" in report.read_text()
    assert report.with_name(again.name).exists()
    assert found == place.results.folder_for(again), "a retry has its videos in the same folder"
    assert (0, []) == (place.spooled.postponed(), list(place.spool.active.iterdir()))


# What can be known before a render


def a_file(place: Path) -> None:
    """Put a file where a folder should be."""
    place.write_text("somebody's\n")


def a_dangling_link(place: Path) -> None:
    """Put a link to nowhere where a folder should be."""
    place.symlink_to("nowhere")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount an empty file system."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("make", "what"), [(a_file, "file"), (a_dangling_link, "link")])
@pytest.mark.parametrize("at", ["poems", "poems/a"])
def test_what_is_in_the_way_fails_a_file_before_it_is_rendered(
    make: Callable[[Path], None], what: str, at: str, place: Place
) -> None:
    """The report names the obstacle, which is left alone."""
    in_the_way = place.results.folder / at
    in_the_way.parent.mkdir(exist_ok=True)
    make(in_the_way)
    place.jobs.opened.open(claim(place, "poems/a.txt"), prompts(2))
    assert next_batch(place.jobs) is None
    report = (place.root / FIRST / "poems/a.txt.error.txt").read_text()
    assert f"What is wrong:  its videos can't be put into {place.results.folder}/poems/a" in report
    assert f"{in_the_way} is a {what}, not a folder" in report
    assert os.path.lexists(in_the_way)
    assert (0, 1) == (place.spooled.postponed(), place.jobs.outcome.failed_jobs)


@pytest.mark.usefixtures("root")
def test_a_folder_that_cannot_be_written_fails_its_files_before_they_are_rendered(
    place: Place,
) -> None:
    """Files of other folders are rendered."""
    with mounted(place.results.folder / "poems", "ro"):
        place.jobs.opened.open(claim(place, "poems/a.txt"), prompts(1))
        assert next_batch(place.jobs) is None
        report = (place.root / FIRST / "poems/a.txt.error.txt").read_text()
        assert f"{place.results.folder}/poems can't be written to" in report
        place.jobs.opened.open(claim(place, "b.txt"), prompts(1))
        assert ["b.txt"] == render(place)


@pytest.mark.usefixtures("root")
def test_results_that_cannot_be_written_are_waited_for(place: Place) -> None:
    """This affects every job: none is rendered or fails, and none is begun."""
    with mounted(place.results.folder, "ro"):
        place.jobs.opened.open(claim(place, "a.txt"), prompts(1))
        assert (1, True) == (place.spooled.postponed(), bool(place.jobs.trouble()))
        assert f"Read-only file system: {place.results.folder} (mount it so" in place.jobs.trouble()
        again = ["mount", "-o", "remount,rw", str(place.results.folder)]
        subprocess.run(again, check=True)
        go_on(place)


def go_on(place: Place) -> None:
    """Render a.txt when its pause is over."""
    (due,) = place.jobs.due(opens=True)
    job = place.spooled.unfinished(due)
    assert job is not None
    place.jobs.opened.open(job, prompts(1))
    assert ["a.txt"] == render(place)


def test_results_that_are_not_mounted_any_more_are_waited_for(place: Place) -> None:
    """Nothing is rendered, or written under the mount point."""
    place.results.root.check()
    away = place.results.folder.rename(place.root / "away")
    place.results.folder.mkdir()
    place.jobs.opened.open(claim(place, "a.txt"), prompts(1))
    assert (1, True, []) == (
        place.spooled.postponed(),
        bool(place.jobs.trouble()),
        place.next(),
    )
    place.results.folder.rmdir()
    away.rename(place.results.folder)
    go_on(place)


def test_a_path_that_no_call_takes_fails_before_it_is_rendered(place: Place) -> None:
    """A results folder whose own path is too long for anything below it."""
    results = Results(place.root.joinpath(*["r" * 200] * 20))
    process = open_jobs(place.spool, results)
    process.opened.open(claim(place, "a.txt"), prompts(1))
    assert next_batch(process) is None
    assert "the path is too long" in (place.root / FIRST / "a.txt.error.txt").read_text()


# What can't be filed away


def in_the_way_of_failed(place: Place) -> Path:
    """Put a file in the place of `_failed/`."""
    failed = place.root / FIRST
    failed.parent.mkdir(exist_ok=True)
    a_file(failed)
    return failed


def test_a_failure_that_cannot_be_filed_away_is_kept_and_holds_nobody_up(place: Place) -> None:
    """It is not rendered again, the pauses grow, and `status` has the reason."""
    failed = in_the_way_of_failed(place)
    job = claim(place, "a.txt")
    place.jobs.opened.open(job, prompts(1))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.jobs.batches.failed(job.id, batch.prompts[0], OSError(errno.EACCES, "denied"))
    pauses, due = [], [0.0]
    for _ in range(8):
        (at,) = place.jobs.due(opens=True)
        pauses.append(at - due[-1])
        due.append(at)
        assert place.spooled.unfinished(at) is None
    assert "" == place.jobs.trouble()
    (waiting,) = place.jobs.waiting()
    assert "a.txt" == waiting.prompt_file
    assert "begun; can't be filed away: " in waiting.reason
    assert str(failed) in waiting.reason
    place.jobs.opened.open(claim(place, "b.txt"), prompts(1))
    assert ["b.txt"] == render(place)
    failed.unlink()
    (at,) = place.jobs.due(opens=True)
    assert place.spooled.unfinished(at) is None
    assert ["a.txt", "a.txt.error.txt", "a.txt.job.log"] == below(failed)
    assert "denied" in (failed / "a.txt.error.txt").read_text()
    assert (0, 1, []) == (
        place.spooled.postponed(),
        place.jobs.outcome.failed_jobs,
        list(place.spool.active.iterdir()),
    )


def test_pauses_grow_up_to_a_bound() -> None:
    """The pauses of one job's trouble grow; those of the disk stay."""
    found = retries.Retries()
    own, disk = OSError(errno.EACCES, "denied"), OSError(errno.EIO, "broken")
    pauses = []
    for _ in range(9):
        found.put("own", own, 100.0, RETRY_SECONDS)
        found.put("disk", disk, 100.0, RETRY_SECONDS)
        pauses.append(tuple(found.resting()[name] - 100.0 for name in ("own", "disk")))
    expected = [20.0, 40.0, 80.0, 160.0, 320.0, *[retries.MAX_PAUSE_SECONDS] * 4]
    assert [(pause, RETRY_SECONDS) for pause in expected] == pauses
    found.put("slow", own, 0.0, 3600.0)
    assert 3600.0 == found.resting()["slow"]


def test_a_disk_in_trouble_holds_all_up_until_its_pause_is_over() -> None:
    """Then it holds up nothing, or nobody would try it."""
    found = retries.Retries()
    found.put("a", OSError(errno.EIO, "broken"), 100.0, RETRY_SECONDS)
    told = []
    for now in (100.0 + RETRY_SECONDS - 1, 100.0 + RETRY_SECONDS):
        found.look(now)
        told.append(found.trouble())
    assert ["[Errno 5] broken", ""] == told


def test_what_has_been_due_for_the_longest_is_filed_away_first() -> None:
    """Otherwise one that fails each time would be tried for ever, and no other."""
    found, denied = retries.Retries(), OSError(errno.EACCES, "denied")
    for number, name in enumerate("bac"):
        job = Job(name, PurePosixPath(name), Path("/nowhere"), ())
        end = retries.End(job, lambda: None, failed=False)
        found.put(name, denied, float(number), RETRY_SECONDS, end)
    found.look(RETRY_SECONDS + 1)
    due = found.due_end()
    assert due is not None
    assert "b" == due.job.id


def test_a_disk_that_works_for_others_is_not_to_blame() -> None:
    """Another job's video makes a disk error a job's own; its own video does not."""
    found, broken = retries.Retries(), OSError(errno.EIO, "broken")
    for name in ("a", "b"):
        found.put(name, broken, 100.0, RETRY_SECONDS)
    found.note_success("a")
    assert "" == found.trouble()
    for name in ("a", "b"):
        found.put(name, broken, 100.0, RETRY_SECONDS)
    assert [0, 1] == [found.tries(name) for name in ("a", "b")]


@pytest.mark.parametrize("end", ["finished", "failed", "partly failed"])
def test_filing_away_again_leaves_no_more_logs(
    end: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After several attempts there is one log, beside its prompt file."""
    job = claim(place, "a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    move = moves.move

    def closed(source: Path, target: Path, owner: str) -> None:
        if source == job.prompt_file:
            raise OSError(errno.EBUSY, "Device or resource busy", str(source))
        move(source, target, owner)

    monkeypatch.setattr(moves, "move", closed)
    fails = {"finished": 0, "partly failed": 1, "failed": 2}[end]
    for number, prompt in enumerate(batch.prompts):
        if number < fails:
            place.jobs.batches.failed(job.id, prompt, Unrenderable("no"))
        else:
            place.publish(batch, number)
    for _ in range(3):
        (at,) = place.jobs.due(opens=True)
        assert place.spooled.unfinished(at) is None
    rest = place.root / FIRST / "a.yaml"
    rest_is_there = rest.exists()
    rest.unlink(missing_ok=True)  # as `reeldrop retry` does
    monkeypatch.undo()
    (at,) = place.jobs.due(opens=True)
    assert place.spooled.unfinished(at) is None
    left = below(place.results.folder)
    logs = {"failed": "_failed/a.txt.job.log"}
    assert [logs.get(end, "a/job.log")] == [name for name in left if "job" in name]
    assert min(1, fails) == len([name for name in left if name.endswith(".error.txt")])
    assert 1 == len([name for name in left if name.endswith("a.txt")])
    assert (end == "partly failed", False) == (rest_is_there, rest.exists())
    assert (0, []) == (place.spooled.postponed(), list(place.spool.active.iterdir()))


def test_a_file_whose_move_went_well_and_said_otherwise_is_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the move succeeded but reported an error, nothing is tried again."""
    finish = place.spool.finish

    def failing(job: Job, *folders: Path) -> Path:
        finish(job, *folders)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(place.spool, "finish", failing)
    place.jobs.opened.open(claim(place, "a.txt"), prompts(1))
    render(place)
    (at,) = place.jobs.due(opens=True)
    assert place.spooled.unfinished(at) is None
    assert ([], 0) == (place.jobs.due(opens=True), place.spooled.postponed())


def test_a_daemon_says_once_what_it_cannot_file_away_and_renders_the_rest(site: Site) -> None:
    """A job that can't be filed stays in the spool; a later start files it."""
    site.failed.mkdir(parents=True)
    in_the_way = [site.failed / "x", site.results / "x"]
    for path in in_the_way:
        a_file(path)
    for name in ("x/a.txt", "x/b.yaml", "c.txt", f"{DEEP}/d.txt"):
        site.drop(name, "a horse\n")
    run = site.drain()
    events = [json.loads(line) for line in run.stdout.splitlines()]
    postponed = [e["prompt_file"] for e in events if e["event"] == "job_postponed"]
    assert (1, ["x/a.txt", "x/b.yaml"]) == (run.returncode, sorted(postponed)), run.stderr
    assert 2 == len([event for event in events if event["event"] == "video_published"])
    assert (site.results / "c/a_horse.mp4").exists()
    assert 1 == len([*site.results.glob("00ddd*/d/a_horse.mp4")])
    assert 2 == len([*(site.spool / "active").iterdir()])
    in_the_way[0].unlink()
    assert 1 == site.drain().returncode
    aside = ["a.txt", "a.txt.error.txt", "a.txt.job.log", "b.yaml", "b.yaml.error.txt"]
    assert aside == below(in_the_way[0])
    assert [] == [*(site.spool / "active").iterdir()]


# Trouble that looks like the disk's, of one job


def fail_of_disk(place: Place, names: set[str]) -> list[str]:
    """Render a batch: the named prompts meet a disk error, the others are published."""
    batch = next_batch(place.jobs)
    assert batch is not None
    sources = []
    for number, member in enumerate(batch.members):
        source = place.jobs.opened[member.job_id].job.source.name
        sources.append(source)
        if source in names:
            error = OSError(errno.EIO, "Input/output error")
            place.jobs.batches.failed(member.job_id, member.prompt, error)
        else:
            place.publish(batch, number)
    return sources


def test_a_disk_that_fails_one_job_only_fails_that_job_in_the_end(place: Place) -> None:
    """If others are published meanwhile, the disk is not to blame; two such files delay nobody."""
    for name in ("bad.txt", "worse.txt"):
        place.jobs.opened.open(claim(place, name), prompts(1, 4 if name == "bad.txt" else 8))
    rendered: list[str] = []
    for number in range(20):
        place.jobs.opened.open(claim(place, f"{number}.txt"), prompts(1, 16))
        while f"{number}.txt" not in rendered:
            rendered += fail_of_disk(place, {"bad.txt", "worse.txt"})
        now = max([*place.jobs.due(opens=True), 0.0])
        while (job := place.spooled.unfinished(now)) is not None:
            place.jobs.opened.open(job, prompts(1, 4 if job.source.name == "bad.txt" else 8))
    assert 20 == len([name for name in rendered if name[0].isdigit()])
    assert rendered.count("bad.txt") == rendered.count("worse.txt") <= 5
    report = (place.root / FIRST / "bad.txt.error.txt").read_text()
    assert "Input/output error" in report
    assert [] == list(place.spool.active.iterdir())


def test_what_was_in_trouble_is_tried_after_all_others(place: Place) -> None:
    """This also holds for the oldest job of the spool."""
    bad, good = claim(place, "a.txt"), claim(place, "b.txt")
    place.jobs.ends.postpone(bad, OSError(errno.EACCES, "denied"))
    (at,) = place.jobs.due(opens=True)
    found = place.spooled.unfinished(at)
    assert found == good
    place.jobs.ends.fail(good, RenderError("no"))
    assert bad == place.spooled.unfinished(at)


def test_a_file_that_can_never_be_claimed_keeps_nobody_waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it looks like the disk's trouble, other files are tried before it after the pause."""
    claim_it, now = place.spool.claim, [100.0]

    def claim(source: PurePosixPath, *others: Any, **named: Any) -> Job | None:
        if source.name == "a.txt":
            raise OSError(errno.EIO, "Input/output error")
        return claim_it(source, *others, **named)

    monkeypatch.setattr(place.spool, "claim", claim)
    for name in ("a.txt", "b.txt", "c.txt"):
        (place.root / "inbox" / name).write_text("a horse\n")
        os.utime(place.root / "inbox" / name, (ord(name[0]), ord(name[0])))
    box = Inbox(place.root / "inbox", parser.SUFFIXES, 0.0, parser.DEFAULTS_NAME, patient=False)
    intake = Intake(
        box,
        place.spool,
        Reader(RULES, "tiny"),
        Intervals(1.0, 5.0),
        lambda: None,
        clock=lambda: now[0],
    )
    taken = []
    while now[0] < 140.0:
        intake.look(now[0])
        assert [] == list(intake.refused(patient=True))
        taken += [job.source.name for job in claimed(intake)]
        now[0] = max(now[0] + 0.5, intake.due())
    intake.close()
    assert ["b.txt", "c.txt"] == taken


# What the sidecars know


def test_without_a_record_of_attempts_no_video_is_rendered_again(place: Place) -> None:
    """A restore may have lost the record; the sidecars beside the videos are read."""
    job = claim(place, "a.txt")
    place.jobs.opened.open(job, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    place.publish(batch, 0)
    (job.folder / "attempts.json").unlink()
    half = place.results.folder / "a/p2.yaml"
    first = (half.parent / "p1.yaml").read_text()
    half.write_text(first.replace("prompt: p1", "prompt: p2").replace("number: 1", "number: 2"))

    place.jobs = place.again()
    (unfinished,) = place.spool.unfinished()
    place.jobs.opened.open(unfinished, prompts(2))
    batch = next_batch(place.jobs)
    assert batch is not None
    assert [2] == [member.prompt.number for member in batch.members]
    assert {1, 2} == set(place.jobs.opened[job.id].reserved)


def test_a_new_job_reads_no_sidecars(place: Place) -> None:
    """There may be thousands; only a job claimed by another process reads them."""
    job = claim(place, "a.txt")
    assert place.spool.attempts.is_new(job)
    place.jobs.opened.open(job, prompts(2))
    assert next_batch(place.jobs) is not None
    assert not place.spool.attempts.is_new(job)
    other = claim(place, "b.txt")
    restarted = Spool(place.spool.folder, place.spool.inbox.path, place.root / FIRST)
    assert not restarted.attempts.is_new(other)
