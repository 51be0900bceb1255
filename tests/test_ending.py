"""How processes end, and what the next one reads of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from reeldrop import ending
from reeldrop.ending import StallWatch

LIMIT = 30.0

WORK = """
import ctypes, os, pathlib, signal, sys
from reeldrop import ending
from reeldrop.errors import ConfigError, Mistake
path, way = pathlib.Path(sys.argv[1]), sys.argv[2]
with ending.traced(path):
    if way.endswith(" on request"):
        ending.excuse(path)
        way = way.removesuffix(" on request")
    if way == "segfault":
        ctypes.string_at(0)
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "error":
        raise MemoryError("none left")
    if way == "mistake":
        raise ConfigError(Mistake("a wrong key"))
    if way == "stall on a dead disk":
        ending.end_stalled(path / "gone", "stalled: nothing went on")
    if way == "stall":
        ending.end_stalled(path, "stalled: nothing went on")
"""


@pytest.mark.parametrize(
    ("way", "exit_code", "found"),
    [
        ("well", 0, ""),
        ("segfault", -signal.SIGSEGV, "Segmentation fault"),
        ("kill", -signal.SIGKILL, ending.KILLED),
        ("error", 1, "MemoryError: none left"),
        ("mistake", 1, ""),
        ("stall", ending.EXIT_STALLED, "stalled: nothing went on"),
        ("kill on request", -signal.SIGKILL, ""),
        ("error on request", 1, ""),
        ("well on request", 0, ""),
        ("stall on request", ending.EXIT_STALLED, "stalled: nothing went on"),
        ("stall on a dead disk", ending.EXIT_STALLED, ending.KILLED),
    ],
)
def test_the_next_process_can_tell_how_one_ended(
    way: str, exit_code: int, found: str, tmp_path: Path
) -> None:
    """Only what a job may be to blame for leaves a trace."""
    path = tmp_path / "ending"
    process = subprocess.run(
        [sys.executable, "-c", WORK, str(path), way], capture_output=True, check=False
    )
    assert (exit_code, found) == (process.returncode, ending.how_it_ended(path))


def test_work_that_goes_on_is_not_stalled() -> None:
    """However long it takes in all."""
    watch = StallWatch(LIMIT)
    for second in range(1000):
        assert not watch.is_stalled(float(second), busy=True)
        if second % 29 == 0:
            watch.progress()


def test_busy_work_that_does_not_go_on_is_stalled() -> None:
    """After the limit, not before it."""
    watch = StallWatch(LIMIT)
    found = [watch.is_stalled(float(second), busy=True) for second in range(100, 132)]
    assert [False] * 30 + [True] * 2 == found


def test_who_has_no_work_is_not_stalled() -> None:
    """Time without work does not count, and none of it is counted later."""
    watch = StallWatch(LIMIT)
    assert not any(watch.is_stalled(float(second), busy=False) for second in range(100, 200))
    assert not watch.is_stalled(201.0, busy=True)


def test_a_process_that_was_stopped_itself_has_not_stalled() -> None:
    """A day between two looks is the machine's sleep, not the work's."""
    watch = StallWatch(LIMIT)
    watch.is_stalled(100.0, busy=True)
    assert not watch.is_stalled(100.0 + 86_400, busy=True)


def test_a_sign_of_life_is_progress() -> None:
    """Where nobody tells of progress, a count that changes does."""
    watch = StallWatch(LIMIT)
    looks = [watch.is_stalled(float(s), busy=True, sign=s // 20) for s in range(100, 200)]
    assert not any(looks)
    assert any(watch.is_stalled(float(s), busy=True, sign=9) for s in range(200, 240))


def test_what_other_threads_read_is_a_sign_of_life(tmp_path: Path) -> None:
    """A model that is loaded is read; what this thread does says nothing of the loading."""
    large = tmp_path / "weights"
    large.write_bytes(bytes(3 << 20))
    before = ending.mebibytes_moved()
    large.read_bytes()
    assert before == ending.mebibytes_moved()
    reader = threading.Thread(target=lambda: (large.read_bytes(), read.set(), done.wait()))
    read, done = threading.Event(), threading.Event()
    reader.start()
    read.wait()
    assert before + 2 <= ending.mebibytes_moved() <= before + 6
    done.set()
    reader.join()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_trace_blames_nobody(make: Callable[[Path], object], tmp_path: Path) -> None:
    """It is moved out of the way, and the process works."""
    path = tmp_path / "ending"
    make(path)
    assert ("", "") == (ending.how_it_ended(path), ending.stacks(path))
    with ending.traced(path):
        assert path.is_file()
    assert not path.exists()


def test_a_reason_is_a_short_line(tmp_path: Path) -> None:
    """It is recorded with each job that was in hand."""
    path = tmp_path / "ending"
    path.write_text("x" * 100_000)
    assert 500 == len(ending.how_it_ended(path))


def test_the_stacks_are_below_the_reason(tmp_path: Path) -> None:
    """Who had time to tell where its threads were is read in full; others have left none."""
    path = tmp_path / "ending"
    assert "" == ending.stacks(path)
    path.write_text("")
    assert "" == ending.stacks(path)
    path.write_text('Fatal Python error: Aborted\n\nThread 0x1:\n  File "a.py", line 1 in b\n')
    assert 'Thread 0x1:\n  File "a.py", line 1 in b' == ending.stacks(path)
