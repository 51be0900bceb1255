"""A daemon does not grow over time: `benchmarks/soak.py` at small size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soak
from harness import watched_daemon
from harness.processes import start
from soak import Growth, Sample, WatchedDaemon

JOBS = 150
LEAKING_JOBS = 60
EVERY = 0.02
MAX_MEMORY_GROWTH = 0.10
"""More than the benchmark allows: after so few jobs the allocator has not come to rest."""

LEAK = """\
import os, threading
from reeldrop.base import durable
from reeldrop.commands import cli

kept, rename = [], durable.rename_exclusively

def leaking(source, target):
    kept.append((os.open(source, os.O_RDONLY), bytearray(b"x" * (1 << 20))))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return rename(source, target)

durable.rename_exclusively = leaking
cli.main()
"""
"""`reeldrop`, with a leak at each move to a free name: of the moved file, too."""


@pytest.fixture(scope="module", autouse=True)
def _quick_start() -> Iterator[None]:
    """Start daemons as forks: what counts is how they go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watched_daemon, "launch", start)
        yield


@pytest.fixture
def site(tmp_path: Path, least_pipeline: Path) -> Path:
    """An empty inbox, and a config.yaml with the least pipeline."""
    return soak.make_site(tmp_path / "site", least_pipeline)


@pytest.fixture
def daemon(site: Path) -> Iterator[WatchedDaemon]:
    """An ordinary daemon."""
    daemon = WatchedDaemon(site)
    yield daemon
    assert 0 == daemon.stop()


@pytest.fixture
def leaking_daemon(site: Path, tmp_path: Path) -> Iterator[WatchedDaemon]:
    """A daemon in which each move to a free name leaks a megabyte, the open file and a thread."""
    script = tmp_path / "leaking.py"
    script.write_text(LEAK)
    daemon = WatchedDaemon(site, program=(sys.executable, str(script)))
    yield daemon
    assert 0 == daemon.stop()


def test_a_busy_daemon_does_not_grow(daemon: WatchedDaemon, site: Path) -> None:
    """Open files and threads stay the same over many jobs; memory hardly grows."""
    samples = soak.soak(daemon, site / "inbox", JOBS, EVERY)
    assert len(samples) >= 40
    assert [] == Growth.of(samples).leaks(MAX_MEMORY_GROWTH)
    assert JOBS == len(list((site / "results").glob("*/*.mp4")))


def test_a_leak_in_the_daemon_is_found(leaking_daemon: WatchedDaemon, site: Path) -> None:
    """A leak for each job is detected by all three measures."""
    samples = soak.soak(leaking_daemon, site / "inbox", LEAKING_JOBS, EVERY)
    assert ["memory", "fds", "threads"] == Growth.of(samples).leaks(MAX_MEMORY_GROWTH)


STEADY = [Sample(jobs, 400_000 + jobs % 7 * 1000, 9 + jobs % 3, 9) for jobs in range(1000)]


def grown(memory: int = 0, fds: int = 0, threads: int = 0) -> list[Sample]:
    """Return a steady series that grows by so much in all."""
    return [
        Sample(
            s.jobs,
            s.rss + memory * s.jobs // 1000,
            s.fds + fds * s.jobs // 1000,
            s.threads + threads * s.jobs // 1000,
        )
        for s in STEADY
    ]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (STEADY, []),
        (grown(memory=15_000), []),
        (grown(memory=30_000), ["memory"]),
        (grown(fds=2), ["fds"]),
        (grown(threads=2), ["threads"]),
        (grown(memory=-90_000, fds=-2, threads=-2), []),
        (list(reversed(grown(memory=-90_000, fds=-2, threads=-2))), ["memory", "fds", "threads"]),
    ],
)
def test_growth_is_told_from_what_comes_and_goes(
    samples: list[Sample], expected: list[str]
) -> None:
    """Memory may grow by 5 %, open files and threads not; temporary growth is allowed."""
    assert expected == Growth.of(samples).leaks()
