"""Disks that fail at each call in turn, and real full disks: `benchmarks/io_faults.py`, small."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import io_faults
import pytest
from harness.programs import needs, needs_root
from harness.zygote import Zygote
from io_faults import Bench, Plan, Row
from reeldrop.store.spool import Spool

CALLS = 120
"""About how many calls can fail."""

STRIDE = 30
"""Of them, every so-manieth; the benchmark lets each fail."""

ERRORS = {errno.EIO: 8, errno.ENOSPC: 11, errno.EROFS: 21}
"""Errors, and the first call that fails with each, so that together they meet more calls."""

REWRITES = """\
import errno, json, os, sys
from harness.zygote import Fault, _FaultyDisk

folder, marker = sys.argv[1:3]
_FaultyDisk(Fault(errno.EIO, 3, (folder,), marker, f"{marker}.journal")).install()
file = open(f"{folder}/a", "wb", buffering=0)
file.write(b"x")
try:
    os.fsync(file.fileno())
except OSError:
    if sys.argv[3:]:
        file = open(f"{folder}/a", "wb", buffering=0)
        file.write(b"x")
    os.fsync(file.fileno())
os.rename(f"{folder}/a", f"{folder}/b")
"""
"""A program that syncs again after a failed fsync: as it should with a third argument, or not."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, least_pipeline: Path, zygote: Zygote) -> Bench:
    """A folder for sites, and a process that starts daemons quickly."""
    return Bench(tmp_path_factory.mktemp("faults"), least_pipeline, zygote, retry_seconds=0.5)


def harmless(row: Row) -> Row:
    """Return the expected row: so many points, so long, and no harm."""
    measured = (row.plan, row.points, row.most_errors_per_second, row.longest_seconds)
    names = ("plan", "points", "most_errors_per_second", "longest_seconds")
    return Row(**dict(zip(names, measured, strict=True)))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_one_call_that_fails_costs_nothing_but_time(bench: Bench, number: int) -> None:
    """If any single call fails, all jobs complete, and none is blamed."""
    plan = Plan(number)
    calls = range(ERRORS[number], CALLS, STRIDE)
    row = io_faults.summary(plan, bench.sweep(plan, calls))
    assert row.points >= 2
    assert harmless(row) == row


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_a_disk_that_fails_for_good_is_waited_for(bench: Bench, number: int) -> None:
    """If all calls fail from one on, it is logged once, and work continues afterwards."""
    plan = Plan(number, for_good=True)
    calls = range(ERRORS[number], CALLS, STRIDE)
    row = io_faults.summary(plan, bench.sweep(plan, calls))
    assert row.points >= 2
    assert harmless(row) == row


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_what_cannot_be_read_is_read_later(bench: Bench, for_good: bool) -> None:
    """Failing reads end no daemon and no job."""
    plan = Plan(errno.EIO, for_good, reads=True)
    row = io_faults.summary(plan, bench.sweep(plan, range(22, CALLS, STRIDE)))
    assert row.points >= 2
    assert harmless(row) == row


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("what", "left", "spool"),
    [("pages", 2, False), ("inodes", 5, False), ("pages", 0, True)],
    ids=["results: in a video", "results: no inodes", "spool"],
)
def test_a_disk_that_is_really_full_is_waited_for(
    bench: Bench, what: str, left: int, spool: bool
) -> None:
    """With any amount of free space left, work continues when there is more."""
    point = bench.full(what, left, spool=spool)
    assert "No space left on device" in point.met
    assert point.is_clean, point


@pytest.fixture
def crashed(bench: Bench) -> Iterator[tuple[io_faults.Site, io_faults.Filler]]:
    """A site with a job that was in hand when its process died; then its disk became full."""
    needs_root()
    disk = bench.base / "crashed"
    with io_faults.mounted(disk, "tmpfs", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100"):
        site, filler = bench.site("crashed"), io_faults.Filler(disk, pages=0)
        inbox, spool = site.folder / "inbox", site.folder / "spool"
        place = Spool(spool, inbox, site.results / "_failed")
        place.prepare()
        (inbox / "two.txt").write_text("a\nb\n")
        job = place.claim(PurePosixPath("two.txt"), [])
        assert job is not None
        place.attempts.begin(job, [1])
        (spool / "ending").touch()
        config = site.folder / "config.yaml"
        config.write_text(config.read_text().replace("max_attempts: 1", "max_attempts: 2"))
        filler.begin()
        yield site, filler
    bench.clear("crashed")


def test_a_daemon_that_starts_on_a_full_disk_waits_for_room(
    crashed: tuple[io_faults.Site, io_faults.Filler],
) -> None:
    """It says why it waits, remembers how the last process ended, and continues later."""
    site, filler = crashed
    pid = site.start()
    assert io_faults.wait_until(lambda: site.errors()[1:] or not io_faults.is_alive(pid))
    assert io_faults.is_alive(pid), site.log.read_text()
    filler.end()
    assert io_faults.wait_until(lambda: io_faults.is_spool_empty(site)), site.log.read_text()
    assert 0 == io_faults.stop(site, pid)
    assert {2} == {event["attempt"] for event in site.events() if event["event"] == "job_started"}
    assert ["a.mp4", "b.mp4"] == sorted(path.name for path in site.results.rglob("*.mp4"))


def test_a_drain_that_starts_on_a_full_disk_says_not_now(
    crashed: tuple[io_faults.Site, io_faults.Filler],
) -> None:
    """Exit code 75; nothing is lost or blamed, and a later drain completes all."""
    site, filler = crashed
    assert 75 == site.drain()
    assert "No space left on device" in site.log.read_text()
    filler.end()
    assert 0 == site.drain()
    assert ["a.mp4", "b.mp4"] == sorted(path.name for path in site.results.rglob("*.mp4"))


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("inodes", range(3))
def test_a_start_without_room_for_an_empty_file_is_tried_again(bench: Bench, inodes: int) -> None:
    """Exit code 75 and a plain message, whichever of the first files fails."""
    disk = bench.base / f"inodes-{inodes}"
    with io_faults.mounted(disk, "tmpfs", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100"):
        site = bench.site(f"inodes-{inodes}")
        (site.folder / "spool").mkdir()
        (site.results / "_failed").mkdir(parents=True)
        io_faults.Filler(disk, inodes=inodes).begin()
        assert 75 == site.zygote.wait(site.start())
        assert "No space left on device" in site.log.read_text()
        assert "Traceback" not in site.log.read_text()
    bench.clear(f"inodes-{inodes}")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("broken", [False, True], ids=["remounted", "broken"])
def test_a_disk_that_turns_read_only_is_waited_for(bench: Bench, broken: bool) -> None:
    """A real read-only mount: no job is blamed, and the videos come afterwards."""
    (point,) = bench.read_only(broken=broken)
    assert "Read-only file system" in point.met
    assert point.is_clean, point


def test_system_calls_that_fail_are_waited_for(bench: Bench) -> None:
    """The same holds if the kernel fails every fsync of the process."""
    needs("strace")
    (point,) = bench.traced("fsync", "EIO")
    assert "Input/output error" in point.met
    assert point.is_clean, point


@pytest.mark.usefixtures("root")
def test_a_disk_that_never_comes_back_would_be_noticed(bench: Bench) -> None:
    """The check can fail: if the fault does not end, both prompt files count as lost."""
    with io_faults.mounted(bench.base / "gone", "tmpfs", "-t", "tmpfs") as disk:
        site = dataclasses.replace(bench.site("never", disk / "results"), patience=2.0)
        fault = io_faults.ReadOnly(disk)
        point = io_faults.endure_real(site, lambda _pid: fault.begin(), lambda: None)
    assert (4, 2) == (point.count.lost, point.count.leftover)
    assert not point.is_clean


@pytest.mark.parametrize(("arguments", "breaches"), [([], ["fsync", "rename"]), (["new"], [])])
def test_a_second_fsync_after_a_failed_one_would_be_noticed(
    tmp_path: Path, arguments: list[str], breaches: list[str]
) -> None:
    """The rule is checked: after a failed fsync, a file must be written again."""
    folder, marker = tmp_path / "disk", tmp_path / "marker"
    folder.mkdir()
    marker.touch()
    command = [sys.executable, "-c", REWRITES, str(folder), str(marker), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, env=environment)
    lines = Path(f"{marker}.journal").read_text().splitlines()
    found = [call["violation"] for call in map(json.loads, lines) if "violation" in call]
    assert breaches == found
