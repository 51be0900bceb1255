"""How a process ended, and what the next process reads of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.processes import await_that
from reeldrop.base.errors import ConfigError, FileError, Mistake
from reeldrop.base.job import Cause
from reeldrop.host import ending
from reeldrop.host.ending import Ending, Kernel, StallWatch

LIMIT = 30.0

WORK = """
import ctypes, os, pathlib, signal, sys
from reeldrop.host import ending
from reeldrop.base.errors import ConfigError, Mistake
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
        ending.end_stalled(path / "gone", "stalled: no progress")
    if way == "stall":
        ending.end_stalled(path, "stalled: no progress")
"""


@pytest.mark.parametrize(
    ("way", "exit_code", "found"),
    [
        ("well", 0, ""),
        ("segfault", -signal.SIGSEGV, "Segmentation fault"),
        ("kill", -signal.SIGKILL, ending.KILLED),
        ("error", 1, "MemoryError: none left"),
        ("mistake", 1, ""),
        ("stall", ending.EXIT_STALLED, "stalled: no progress"),
        ("kill on request", -signal.SIGKILL, ""),
        ("error on request", 1, ""),
        ("well on request", 0, ""),
        ("stall on request", ending.EXIT_STALLED, "stalled: no progress"),
        ("stall on a dead disk", ending.EXIT_STALLED, ending.KILLED),
    ],
)
def test_the_next_process_can_tell_how_one_ended(
    way: str, exit_code: int, found: str, tmp_path: Path
) -> None:
    """Only ends for which a job may be to blame leave a trace."""
    path = tmp_path / "ending"
    process = subprocess.run(
        [sys.executable, "-c", WORK, str(path), way], capture_output=True, check=False
    )
    assert (exit_code, found) == (process.returncode, ending.how_it_ended(path).how)


def test_work_that_goes_on_is_not_stalled() -> None:
    """Work with progress is never stalled, however long it takes."""
    watch = StallWatch(LIMIT)
    for second in range(1000):
        assert not watch.is_stalled(float(second), busy=True)
        if second % 29 == 0:
            watch.progress()


def test_busy_work_that_does_not_go_on_is_stalled() -> None:
    """Work without progress is stalled after the limit, not before."""
    watch = StallWatch(LIMIT)
    found = [watch.is_stalled(float(second), busy=True) for second in range(100, 132)]
    assert [False] * 30 + [True] * 2 == found


def test_who_has_no_work_is_not_stalled() -> None:
    """Idle time does not count, not even later."""
    watch = StallWatch(LIMIT)
    assert not any(watch.is_stalled(float(second), busy=False) for second in range(100, 200))
    assert not watch.is_stalled(201.0, busy=True)


def test_a_process_that_was_stopped_itself_has_not_stalled() -> None:
    """A day between two looks means that the machine slept, not that the work hangs."""
    watch = StallWatch(LIMIT)
    watch.is_stalled(100.0, busy=True)
    assert not watch.is_stalled(100.0 + 86_400, busy=True)


def test_a_sign_of_life_is_progress() -> None:
    """A changed `sign` counts as progress."""
    watch = StallWatch(LIMIT)
    looks = [watch.is_stalled(float(s), busy=True, sign=s // 20) for s in range(100, 200)]
    assert not any(looks)
    assert any(watch.is_stalled(float(s), busy=True, sign=9) for s in range(200, 240))


def test_what_other_threads_read_is_a_sign_of_life(tmp_path: Path) -> None:
    """Bytes read by other threads count; those of the calling thread don't."""
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


MOVED = """
import resource
from reeldrop.host import ending
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
print(ending.mebibytes_moved())
"""


def test_without_a_free_descriptor_nothing_is_seen() -> None:
    """The thread that looks is the main one: an error would end the process."""
    command = [sys.executable, "-c", MOVED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ("0\n", "") == (done.stdout, done.stderr)


def test_what_their_children_read_is_a_sign_of_life(tmp_path: Path) -> None:
    """Such as processes that render with this one, which load the model, too."""
    large = tmp_path / "weights"
    large.write_bytes(bytes(3 << 20))
    before = ending.mebibytes_moved()
    ours, theirs = os.pipe()
    command = ["cat", str(large), "-"]
    given: dict[str, Any] = {"stdin": ours, "stdout": subprocess.DEVNULL}
    parent = threading.Thread(target=lambda: subprocess.run(command, **given, check=True))
    parent.start()
    await_that(lambda: before + 6 <= ending.mebibytes_moved(), "what was read and written")
    os.close(theirs)
    parent.join()
    os.close(ours)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_trace_blames_nobody(make: Callable[[Path], object], tmp_path: Path) -> None:
    """Anything else in the trace's place is renamed, and the process works."""
    path = tmp_path / "ending"
    make(path)
    assert ("", "") == (ending.how_it_ended(path).how, ending.stacks(path))
    with ending.traced(path):
        assert path.is_file()
    assert not path.exists()


def test_a_reason_is_a_short_line(tmp_path: Path) -> None:
    """The reason is one short line, because each job in hand records it."""
    path = tmp_path / "ending"
    path.write_text("x" * 100_000)
    assert 500 == len(ending.how_it_ended(path).how)


def test_the_stacks_are_below_the_reason(tmp_path: Path) -> None:
    """Stacks are read if the process could write them; else there are none."""
    path = tmp_path / "ending"
    assert "" == ending.stacks(path)
    path.write_text("")
    assert "" == ending.stacks(path)
    path.write_text('Fatal Python error: Aborted\n\nThread 0x1:\n  File "a.py", line 1 in b\n')
    assert 'Thread 0x1:\n  File "a.py", line 1 in b' == ending.stacks(path)
    path.write_text('{"boot": "b"}\nFatal Python error: Aborted\n\nThread 0x1:\n  File "a.py"\n')
    assert ("Aborted", 'Thread 0x1:\n  File "a.py"') == (
        ending.how_it_ended(path).how,
        ending.stacks(path),
    )


@dataclass
class Machine:
    """The files in which a kernel reports, with a service in a slice."""

    root: Path
    group: str = "0::/system.slice/reeldrop.service"

    @property
    def kernel(self) -> Kernel:
        return Kernel(self.root / "proc", self.root / "cgroup")

    def set(self, *, boot: str = "b1", service: int = 0, slice_: int = 0, all_: int = 0) -> None:
        """Set the boot id, and the numbers of OOM kills: of the service and around it."""
        for name, text in (
            ("proc/sys/kernel/random/boot_id", f"{boot}\n"),
            ("proc/self/cgroup", f"{self.group}\n"),
            ("proc/vmstat", f"nr_free_pages 17\noom_kill {all_}\n"),
            ("cgroup/system.slice/memory.events", f"max 3\noom_kill {slice_}\n"),
            ("cgroup/system.slice/reeldrop.service/memory.events", f"oom_kill {service}\n"),
            ("cgroup/memory/reeldrop/memory.oom_control", f"under_oom 0\noom_kill {service}\n"),
        ):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def renew(self) -> None:
        """Make the service's cgroup anew, as systemd does at a restart."""
        path = self.root / "cgroup/system.slice/reeldrop.service/memory.events"
        path.rename(path.with_name("gone"))
        path.write_text("oom_kill 0\n")

    def killed(self, path: Path) -> None:
        """Leave the trace of a process that was killed."""
        with contextlib.suppress(FileError), ending.traced(path, self.kernel):
            left = path.read_bytes()
            raise ConfigError(Mistake("ended"))
        path.write_bytes(left)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without OOM kills."""
    made = Machine(tmp_path)
    made.set(service=2, slice_=5, all_=9)
    return made


def test_a_kill_is_nobodys_while_the_kernel_has_killed_nobody(
    machine: Machine, tmp_path: Path
) -> None:
    """If the own cgroup's counter can be compared, OOM kills elsewhere do not count."""
    machine.killed(tmp_path / "ending")
    machine.set(service=2, slice_=6, all_=10)
    assert Ending(ending.KILLED, Cause.UNKNOWN) == _told(machine, tmp_path)


@pytest.mark.parametrize("group", ["0::/system.slice/reeldrop.service", "4:cpu,memory:/reeldrop"])
def test_a_kill_for_memory_is_a_sign(group: str, machine: Machine, tmp_path: Path) -> None:
    """The cgroup's counter shows an OOM kill, in both versions of cgroups."""
    machine.group = group
    machine.set(service=2, all_=9)
    machine.killed(tmp_path / "ending")
    machine.set(service=3, all_=10)
    assert Ending(ending.OUT_OF_MEMORY, Cause.WORK) == _told(machine, tmp_path)


@pytest.mark.parametrize(("slice_", "cause"), [(5, Cause.UNKNOWN), (6, Cause.WORK)])
def test_where_the_group_was_made_anew_the_one_around_it_tells(
    slice_: int, cause: Cause, machine: Machine, tmp_path: Path
) -> None:
    """If the service's counter is new, that of the slice is compared."""
    machine.killed(tmp_path / "ending")
    machine.renew()
    (machine.root / "cgroup/system.slice/memory.events").write_text(f"oom_kill {slice_}\n")
    assert cause == _told(machine, tmp_path).cause


def test_without_groups_the_whole_machines_counter_tells(machine: Machine, tmp_path: Path) -> None:
    """Without cgroups, the machine's counter is compared, also in a container."""
    machine.group = "1:cpu:/"
    machine.set(all_=9)
    machine.killed(tmp_path / "ending")
    assert Cause.UNKNOWN == _told(machine, tmp_path).cause
    machine.set(all_=10)
    assert Cause.WORK == _told(machine, tmp_path).cause


def test_another_boot_is_nobodys_doing(machine: Machine, tmp_path: Path) -> None:
    """After another boot the machine is the cause, unless the trace has a reason."""
    machine.killed(tmp_path / "ending")
    machine.set(boot="b2", service=3, slice_=6, all_=10)
    assert Ending(ending.RESTARTED, Cause.MACHINE) == _told(machine, tmp_path)
    with (tmp_path / "ending").open("a") as trace:
        trace.write("Fatal Python error: Segmentation fault\n")
    assert Ending("Segmentation fault", Cause.WORK) == _told(machine, tmp_path)


def test_what_the_kernel_does_not_tell_is_unknown(tmp_path: Path) -> None:
    """Without /proc, or with an old or truncated trace, the cause is unknown."""
    nothing = Kernel(tmp_path / "none", tmp_path / "none")
    with contextlib.suppress(FileError), ending.traced(tmp_path / "ending", nothing):
        left = (tmp_path / "ending").read_bytes()
        raise ConfigError(Mistake("ended"))
    for text in (left, b"", b'{"boot": 1, "out_of_memory": [[1]]}\n', b'{"out_of_memory": 3}\n'):
        (tmp_path / "ending").write_bytes(text)
        assert Cause.WORK != ending.how_it_ended(tmp_path / "ending", nothing).cause


def _told(machine: Machine, folder: Path) -> Ending:
    return ending.how_it_ended(folder / "ending", machine.kernel)


def test_the_kernel_that_is_here_tells_its_boot_and_its_counters() -> None:
    """The real kernel has a boot id and at least the machine's counter."""
    kernel = Kernel()
    assert 36 == len(kernel.boot())
    assert "/proc/vmstat" == list(kernel.out_of_memory())[-1][0]


GROWS = """
import pathlib, sys
from reeldrop.host import ending
if sys.argv[2]:
    pathlib.Path(sys.argv[2], "cgroup.procs").write_text("0")
with ending.traced(pathlib.Path(sys.argv[1])):
    kept = []
    while True:
        kept.append(b"x" * (1 << 22))
"""
LIMITS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@pytest.fixture
def small_group() -> Iterator[Path | None]:
    """A cgroup with 64 MiB of memory; None if none can be made."""
    made = None
    for root, limit in LIMITS.items():
        group = root / f"reeldrop-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            made = group
            (group / limit).write_text(str(64 << 20))
            break
    yield made
    if made is not None:
        made.rmdir()


def test_the_kernel_that_is_here_tells_what_it_killed_for_memory(
    small_group: Path | None, machine: Machine, tmp_path: Path
) -> None:
    """A real OOM kill is recognised; without cgroups, a simulated one."""
    path = tmp_path / "trace"
    if small_group is not None:
        command = [sys.executable, "-c", GROWS, str(path), str(small_group)]
        assert -signal.SIGKILL == subprocess.run(command, check=False).returncode
        assert Ending(ending.OUT_OF_MEMORY, Cause.WORK) == ending.how_it_ended(path)
    else:
        machine.killed(path)
        machine.set(service=3)
        assert Cause.WORK == ending.how_it_ended(path, machine.kernel).cause
