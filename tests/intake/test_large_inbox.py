"""An inbox with very many files: what it costs grows no faster than their number.

Counted are calls and bytes, which are the same on every machine; `benchmarks/intake.py` has the
seconds.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import watched_daemon
from harness.arrivals import claimed
from harness.large_inbox import fill_inbox, waiting_count
from harness.processes import start
from harness.rules import RULES
from harness.watched_daemon import WatchedDaemon
from harness.work import counted
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.prompts import parsing
from reeldrop.store.spool import Spool

FEW, MANY = 200, 2000
VERY_MANY = 5000
MOST_BYTES_PER_FILE = 3 * 1024
"""100,000 files then take less than 300 MB."""


def filled(folder: Path, files: int) -> Path:
    """Return an inbox with that many files, a thousand to a folder."""
    (folder / "inbox").mkdir(parents=True)
    fill_inbox(folder / "inbox", files)
    return folder / "inbox"


def an_inbox(folder: Path) -> Inbox:
    """Return the daemon's inbox of a folder, in which files settle at once."""
    return Inbox(folder, parsing.SUFFIXES, 0.0, parsing.DEFAULTS_NAME)


class CountedEntry:
    """A directory entry that counts calls of its `stat`."""

    def __init__(self, entry: os.DirEntry[str], counts: dict[str, int]) -> None:
        self._entry, self._counts = entry, counts
        self.name, self.path = entry.name, entry.path

    def stat(self, **keywords: Any) -> os.stat_result:
        self._counts["stat"] += 1
        return self._entry.stat(**keywords)

    def is_dir(self, **keywords: Any) -> bool:
        return self._entry.is_dir(**keywords)


class CountedFolder:
    """The real os.scandir, with counted entries."""

    def __init__(self, path: Path, counts: dict[str, int], scandir: Callable[..., Any]) -> None:
        counts["scandir"] += 1
        self._entries, self._counts = scandir(path), counts

    def __enter__(self) -> Iterator[CountedEntry]:
        return (CountedEntry(entry, self._counts) for entry in self._entries)

    def __exit__(self, *_: object) -> None:
        self._entries.close()


@pytest.mark.parametrize("files", [FEW, MANY])
def test_a_scan_asks_for_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Each scan lists each folder once, and stats each entry once."""
    box = an_inbox(filled(tmp_path, files))
    counts, scandir = {"scandir": 0, "stat": 0}, os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: CountedFolder(path, counts, scandir))
    folders = -(-files // 1000)
    for scans in (1, 2):
        box.scan(float(scans))
        assert {"scandir": scans * (folders + 1), "stat": scans * (folders + files)} == counts
    assert files == len(box)


def calls(function: Callable[[], object]) -> int:
    """Return how many functions, of Python or C, are called."""
    with counted() as count:
        function()
    return count()


@pytest.fixture
def look_through(tmp_path: Path) -> Iterator[Callable[[int], Intake]]:
    """Return an intake that has scanned and examined an inbox with so many files."""
    made: list[Intake] = []

    def look_through(files: int) -> Intake:
        folder = filled(tmp_path / str(files), files)
        spool = Spool(tmp_path / str(files) / "spool", folder, tmp_path / str(files) / "failed")
        spool.prepare()
        intake = Intake(
            an_inbox(folder), spool, Reader(RULES, "tiny"), Intervals(1.0, 1.0), lambda: None
        )
        made.append(intake)
        intake.look(time.monotonic())
        while intake.due() == 0.0:
            assert [] == list(intake.refused(patient=True))
        return intake

    yield look_through
    for intake in made:
        intake.close()


def test_a_scan_costs_in_proportion_to_the_files(tmp_path: Path) -> None:
    """Ten times the files need ten times the calls, also without a change."""
    few, many = (an_inbox(filled(tmp_path / str(files), files)) for files in (FEW, MANY))
    for now in (1.0, 2.0):
        calls_for_few = calls(lambda now=now: few.scan(now))
        assert calls(lambda now=now: many.scan(now)) < 1.2 * MANY / FEW * calls_for_few


def test_claiming_a_file_does_not_cost_more_where_more_wait(
    look_through: Callable[[int], Intake],
) -> None:
    """With ten times the files, the next one is found with the same number of calls."""

    def cost(intake: Intake) -> int:
        taken = claimed(intake)
        next(taken)
        return calls(lambda: next(taken))

    assert cost(look_through(MANY)) < 2 * cost(look_through(FEW))


def test_files_are_claimed_in_order_however_many_there_are(
    look_through: Callable[[int], Intake],
) -> None:
    """None is skipped and none comes twice."""
    intake = look_through(FEW)
    taken = [job.source.name for job in claimed(intake)]
    assert [f"{number:06}.txt" for number in range(FEW)] == taken


def test_memory_for_each_file(tmp_path: Path) -> None:
    """A waiting file takes little memory, and more scans take no more."""
    box = an_inbox(filled(tmp_path, VERY_MANY))
    tracemalloc.start()
    try:
        box.scan(1.0)
        box.scan(2.0)  # paths remember what they have been asked
        before, peak = tracemalloc.get_traced_memory()
        for now in range(3, 8):
            box.scan(float(now))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / VERY_MANY < MOST_BYTES_PER_FILE
    assert after < before * 1.01


def test_a_daemon_with_many_files(
    tmp_path: Path, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts them all, lists the first hundred, and takes little memory for each."""
    monkeypatch.setattr(watched_daemon, "launch", start)
    site = watched_daemon.make_site(tmp_path / "site", tiny_pipeline, settle_seconds=3600.0)
    daemon = WatchedDaemon(site)
    try:
        daemon.await_that(lambda: daemon.events("ready"), 120)
        before = watched_daemon.memory(daemon.process.pid)["VmHWM"]
        fill_inbox(site / "inbox", VERY_MANY)
        daemon.await_that(lambda: waiting_count(site) == VERY_MANY, 120)
        after = watched_daemon.memory(daemon.process.pid)["VmHWM"]
    finally:
        assert 0 == daemon.stop()
    assert (after - before) * 1024 / VERY_MANY < MOST_BYTES_PER_FILE
