"""Make the disk fail at every call in turn, and count what is lost, doubled, half done or blamed.

A real daemon process with a tiny pipeline of a real class works through a good and a bad prompt
file while one of its calls fails, or that call and all later ones until the fault ends. Then both
prompt files have to end as usual, without intervention.

    python benchmarks/io_faults.py
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import crash
from harness.fakes import save_tiny_pipeline
from harness.zygote import Fault, Zygote

CONFIG = """\
results: {results}
failed: {results}/_failed
settle_seconds: 0.02
scan_seconds: 0.1
max_attempts: 1
min_free_gib: 0
page: false
{retry}
model: tiny
models:
  tiny:
    path: {pipeline}
    max_batch_size: 2
    defaults: {{num_inference_steps: 2, num_frames: 2, height: 32, width: 32}}
    limits: {{num_frames: 8, height: 64, width: 64, num_inference_steps: 10}}
"""

ORDERS = [
    crash.Order("poems/two.yaml", "prompts: [a, {prompt: b, format: [mp4, gif]}]\n", 2),
    crash.Order("bad.txt", "# nothing\n", 0),
]

HOLD_SECONDS = 1.5
"""How long a fault of more than one call lasts."""

PATIENCE_SECONDS = 30.0
"""How long all jobs may take to end before missing files count as lost."""

LEFTOVER_SECONDS = 2.0
"""How long the spool may take to become empty after the prompt files have left it."""

MAX_ERRORS_PER_SECOND = 4.0
"""Above this rate, the log counts as flooded."""


EXT4_OPTIONS = "loop,errors=remount-ro"


@dataclass(frozen=True)
class Plan:
    """Which error calls get, and for how long."""

    number: int
    for_good: bool = False
    reads: bool = False

    def __str__(self) -> str:
        duration = "for good" if self.for_good else "once"
        return f"{errno.errorcode[self.number]} {duration}{', reading' if self.reads else ''}"


@dataclass(frozen=True)
class Site(crash.Site):
    """A daemon's folders; its log is beside them, since they may be on a faulty disk.

    patience: how many seconds all jobs may take to end.
    """

    patience: float = PATIENCE_SECONDS

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def journal(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.journal")

    @property
    def marker(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.marker")

    def configure(self, pipeline: Path, retry_seconds: float | None) -> None:
        """Write config.yaml; if `retry_seconds` is None, reeldrop's default holds."""
        retry = "" if retry_seconds is None else f"retry_seconds: {retry_seconds}"
        config = CONFIG.format(pipeline=pipeline, results=self.results, retry=retry)
        (self.folder / "config.yaml").write_text(config)

    def start_faulty(self, plan: Plan, at: int) -> int:
        """Start a daemon whose disk fails at the `at`-th call after the marker appears."""
        self.log.write_bytes(b"")
        self.journal.write_bytes(b"")
        places = (self.folder / "inbox", self.folder / "spool", self.results)
        fault = Fault(
            plan.number,
            at,
            tuple(map(str, places)),
            str(self.marker),
            str(self.journal),
            plan.for_good,
            plan.reads,
        )
        command = ["run", "--config", str(self.folder / "config.yaml")]
        return self.zygote.start(command, self.log, fault=fault)

    def calls(self) -> list[dict[str, Any]]:
        """Return the recorded calls, and the violations of the fsync rule."""
        return _records(self.journal)

    def failed_calls(self) -> list[dict[str, Any]]:
        """Return the calls that were made to fail."""
        return [call for call in self.calls() if call.get("fails")]

    def events(self) -> list[dict[str, Any]]:
        """Return the events that the daemon has logged."""
        return _records(self.log)

    def errors(self) -> list[dict[str, Any]]:
        """Return the errors that the daemon has logged, except that of the bad prompt file."""
        errors = [event for event in self.events() if event["level"] in ("error", "critical")]
        return [event for event in errors if event["event"] != "job_failed"]


def _records(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass
class Point:
    """The effects of one fault. `seconds` is from its end to the end of all work."""

    at: int
    met: str = ""
    count: crash.Count = field(default_factory=crash.Count)
    counted_attempts: int = 0
    synced_again: int = 0
    died: int = 0
    untold: int = 0
    floods: int = 0
    errors_per_second: float = 0.0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        bad = (self.counted_attempts, self.synced_again, self.died, self.untold, self.floods)
        return self.count.is_clean and not any(bad)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def stop(site: crash.Site, pid: int) -> int:
    """End a daemon with SIGTERM, and return its exit code; kill it if it hangs."""
    if is_alive(pid):
        os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: not is_alive(pid)):
        os.kill(pid, signal.SIGKILL)
    return site.zygote.wait(pid)


def is_through(site: crash.Site) -> bool:
    """Return whether every prompt file has left the inbox and the spool."""
    left = [path for path in (site.folder / "inbox").rglob("*") if path.is_file()]
    active = site.folder / "spool" / "active"
    try:
        return not left and not any(own for own in active.glob("*/*") if _is_prompt_file(own))
    except FileNotFoundError:  # a job ends meanwhile
        return False


def _is_prompt_file(path: Path) -> bool:
    return path.name in [Path(order.name).name for order in ORDERS]


def is_spool_empty(site: crash.Site) -> bool:
    """Return whether no job has left anything in the spool."""
    return not any((site.folder / "spool" / "active").glob("*"))


def endure(site: Site, plan: Plan, at: int) -> Point | None:
    """Make the `at`-th call of a daemon fail, and count; None if it makes fewer calls."""
    pid = site.start_faulty(plan, at)
    site.await_ready()
    site.marker.touch()
    for order in ORDERS:
        crash.drop(order, site.folder / "inbox")
    wait_until(lambda: site.failed_calls() or is_through(site) or not is_alive(pid))
    wait_until(lambda: site.failed_calls() or is_spool_empty(site), LEFTOVER_SECONDS)
    if not site.failed_calls():
        stop(site, pid)
        return None
    first = site.failed_calls()[0]
    point = Point(at, f"{first['call']} {_anonymous(first['path'], site)}")
    if plan.for_good:
        wait_until(lambda: not is_alive(pid), HOLD_SECONDS)
        _judge_the_log(site, point)
        site.marker.unlink()
    await_the_end(site, pid, point, time.monotonic() if plan.for_good else first["time"])
    return point


def _judge_the_log(site: Site, point: Point) -> None:
    errors = site.errors()
    point.untold = not errors
    point.errors_per_second = len(errors) / HOLD_SECONDS
    point.floods = point.errors_per_second > MAX_ERRORS_PER_SECOND


def await_the_end(site: Site, pid: int, point: Point, fault_ended: float) -> None:
    """Wait until all work has ended after a fault, and count the faults in the files."""
    wait_until(lambda: is_through(site) or not is_alive(pid), site.patience)
    wait_until(lambda: is_spool_empty(site), LEFTOVER_SECONDS)
    point.seconds = round(time.monotonic() - fault_ended, 2)
    point.died = stop(site, pid) != 0
    events = site.events()
    if point.died:
        site.drain()  # as systemd would
    point.count = crash.check(site, ORDERS)
    tries = [event.get("attempt", 1) for event in events if event["event"] == "job_started"]
    tries += [event.get("attempts", 1) for event in events if event["event"] == "job_ended"]
    point.counted_attempts = sum(number > 1 for number in tries)
    point.synced_again = sum("violation" in call for call in site.calls())


@contextlib.contextmanager
def mounted(folder: Path, source: str, *options: str) -> Iterator[Path]:
    """Mount `source` on a new folder; needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, source, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """Mount a new small ext4 on a folder; a disk error makes it read-only."""
    image = folder.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(folder, str(image), "-o", EXT4_OPTIONS):
        yield folder
    image.unlink()


@dataclass(frozen=True)
class Filler:
    """Fills a small file system, except for some pages and inodes."""

    folder: Path
    pages: int | None = None
    inodes: int | None = None

    def begin(self) -> None:
        """Use up all other pages and inodes."""
        found = os.statvfs(self.folder)
        if self.inodes is not None:
            for number in range(found.f_favail - self.inodes):
                (self.folder / f"filler-{number}").touch()
        if self.pages is not None:
            size = (found.f_bavail - self.pages) * found.f_bsize
            (self.folder / "filler").write_bytes(b"x" * max(0, size))

    def end(self) -> None:
        """Free them again."""
        for filler in self.folder.glob("filler*"):
            filler.unlink()


@dataclass(frozen=True)
class ReadOnly:
    """Makes a mounted file system read-only, and writable again."""

    folder: Path

    def begin(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def end(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)


@dataclass(frozen=True)
class Broken:
    """Triggers an error in a mounted ext4, which makes it read-only until it is repaired."""

    folder: Path
    image: Path

    def begin(self) -> None:
        command = ["findmnt", "-no", "SOURCE", str(self.folder)]
        device = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        trigger = Path("/sys/fs/ext4") / Path(device.strip()).name / "trigger_fs_error"
        trigger.write_text("for a test\n")

    def end(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)
        repaired = subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True)
        assert repaired.returncode in (0, 1), repaired.stdout.decode()
        command = ["mount", "-o", EXT4_OPTIONS, str(self.image), str(self.folder)]
        subprocess.run(command, check=True)


@dataclass
class Traced:
    """Makes system calls of a process fail while strace is attached to it."""

    calls: str
    error: str
    process: subprocess.Popen[bytes] | None = None

    def attach(self, pid: int) -> None:
        """Attach, and wait until every thread of the process is traced."""
        inject = ["-e", f"trace={self.calls}", "-e", f"inject={self.calls}:error={self.error}"]
        command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, "-p", str(pid)]
        self.process = subprocess.Popen(command)
        tasks = Path(f"/proc/{pid}/task")
        assert wait_until(lambda: all(map(_is_traced, tasks.iterdir()))), "strace did not attach"

    def end(self) -> None:
        """Detach from the process."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()


def _is_traced(task: Path) -> bool:
    return "\nTracerPid:\t0\n" not in (task / "status").read_text()


def endure_real(
    site: Site, begin: Callable[[int], None], end: Callable[[], None], at: int = 0
) -> Point:
    """Cause a real fault until the daemon has logged it, and a while longer; count."""
    site.log.write_bytes(b"")
    pid = site.start()
    site.await_ready()
    unfinished = [_lay_down(order, site) for order in ORDERS]
    begin(pid)
    for path, name in unfinished:
        path.rename(name)
    wait_until(lambda: site.errors() or is_spool_empty_and_through(site) or not is_alive(pid), 10)
    point = Point(at, met=str(site.errors()[0].get("reason")) if site.errors() else "")
    if point.met:
        wait_until(lambda: not is_alive(pid), HOLD_SECONDS)
        _judge_the_log(site, point)
    end()
    await_the_end(site, pid, point, time.monotonic())
    return point


def _lay_down(order: crash.Order, site: Site) -> tuple[Path, Path]:
    """Write a prompt file while there is room; return its temporary and its final path."""
    path = site.folder / "inbox" / order.name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(order.text)
    return unfinished, path


def is_spool_empty_and_through(site: Site) -> bool:
    """Return whether no work and no leftovers remain."""
    return is_through(site) and is_spool_empty(site)


def _anonymous(path: str, site: Site) -> str:
    """Return a path relative to the site, with job ids, which differ between runs, replaced."""
    parts = path.removeprefix(f"{site.folder}/").removeprefix(f"{site.folder.parent}/").split("/")
    return "/".join("<job>" if part[:8].isdigit() else part for part in parts)


@dataclass
class Row:
    """The combined effects of all faults of one plan."""

    plan: str
    points: int = 0
    lost: int = 0
    doubled: int = 0
    half_visible: int = 0
    leftover: int = 0
    counted_attempts: int = 0
    synced_again: int = 0
    died: int = 0
    untold: int = 0
    floods: int = 0
    most_errors_per_second: float = 0.0
    longest_seconds: float = 0.0

    def add(self, point: Point) -> None:
        self.points += 1
        for name in ("lost", "doubled", "half_visible", "leftover"):
            setattr(self, name, getattr(self, name) + getattr(point.count, name))
        for name in ("counted_attempts", "synced_again", "died", "untold", "floods"):
            setattr(self, name, getattr(self, name) + int(getattr(point, name)))
        self.most_errors_per_second = max(self.most_errors_per_second, point.errors_per_second)
        self.longest_seconds = max(self.longest_seconds, point.seconds)

    @property
    def is_clean(self) -> bool:
        return self.longest_seconds <= 10 and not any(self.harm())

    def harm(self) -> list[int]:
        """Return the counts that have to be zero."""
        files = [self.lost, self.doubled, self.half_visible, self.leftover]
        return [*files, self.counted_attempts, self.synced_again, self.died, self.untold,
                self.floods]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Runs the sweeps, on sites below `base`."""

    base: Path
    pipeline: Path
    zygote: Zygote
    retry_seconds: float | None = None
    at_once: int = 4

    def point(self, plan: Plan, at: int) -> Point | None:
        """Make one call fail, on a site of its own that is removed if nothing went wrong."""
        name = f"{str(plan).replace(' ', '-').replace(',', '')}-{at}"
        point = endure(self.site(name), plan, at)
        if point is None or point.is_clean:
            self.clear(name)
        return point

    def site(self, name: str, results: Path | None = None) -> Site:
        """Return a new site; its results may be on another disk."""
        site = Site.make(
            self.base / name,
            results or self.base / f"{name}-results",
            self.pipeline,
            self.zygote,
        )
        site.configure(self.pipeline, self.retry_seconds)
        return site

    def clear(self, name: str) -> None:
        """Remove a site."""
        beside = itertools.chain(self.base.glob(f"{name}-*"), self.base.glob(f"{name}.*"))
        for left in [self.base / name, *beside]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def full(self, what: str, left: int, *, spool: bool) -> Point:
        """Fill the disk of the results, or of the whole site, except for `left` pages or inodes."""
        name = f"full-{'spool' if spool else 'results'}-{what}-{left}"
        disk = self.base / (name if spool else f"{name}-disk")
        with mounted(disk, "tmpfs", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100"):
            site = self.site(name, None if spool else disk / "results")
            filler = Filler(disk, **{what: left})
            point = endure_real(site, lambda _pid: filler.begin(), filler.end, left)
        self.clear(name)
        return point

    def fill(self, what: str, *, spool: bool, stride: int = 1) -> Iterator[Point]:
        """Leave no room, then more and more, until it suffices."""
        for left in itertools.count(0, stride):
            point = self.full(what, left, spool=spool)
            yield point
            if not point.met:
                return

    def read_only(self, *, broken: bool = False) -> Iterator[Point]:
        """Make the disk of the results read-only, and writable again."""
        name = "broken" if broken else "read-only"
        with ext4(self.base / f"{name}-disk") as disk:
            site = self.site(name, disk / "results")
            fault = Broken(disk, disk.with_suffix(".ext4")) if broken else ReadOnly(disk)
            yield endure_real(site, lambda _pid: fault.begin(), fault.end)
        self.clear(name)

    def traced(self, calls: str, error: str) -> Iterator[Point]:
        """Make system calls of the whole process fail."""
        name = f"traced-{calls.replace(',', '-')}-{error}"
        fault = Traced(calls, error)
        yield endure_real(self.site(name), fault.attach, fault.end)
        self.clear(name)

    def real(self, stride: int = 1) -> Iterator[tuple[str, Iterator[Point]]]:
        """Yield real faults with their names; they need root, mount and strace."""
        for spool, what in itertools.product((False, True), ("pages", "inodes")):
            disk = "spool" if spool else "results"
            yield f"{disk}: no {what}", self.fill(what, spool=spool, stride=stride)
        yield "results: read-only", self.read_only()
        yield "results: ext4 error", self.read_only(broken=True)
        for calls in ("fsync", "rename,link,linkat", "mkdir,unlink,unlinkat"):
            yield f"EIO {calls}", self.traced(calls, "EIO")

    def sweep(self, plan: Plan, numbers: Iterable[int]) -> Iterator[Point]:
        """Make each call fail in turn, until there are no more calls."""
        waiting = iter(numbers)
        with ThreadPoolExecutor(self.at_once) as threads:
            while chunk := list(itertools.islice(waiting, self.at_once)):
                points = list(threads.map(lambda at: self.point(plan, at), chunk))
                yield from (point for point in points if point is not None)
                if None in points:
                    return


def summary(plan: Plan | str, points: Iterable[Point]) -> Row:
    """Add up the points, and print those with faults to stderr."""
    row = Row(str(plan))
    for point in points:
        row.add(point)
        if not point.is_clean or point.seconds > 10:
            print(f"{plan}, call {point.at}: {point}", file=sys.stderr)
    return row


PLANS = [
    *(Plan(number, for_good) for number in (errno.EIO, errno.ENOSPC, errno.EROFS)
      for for_good in (False, True)),
    *(Plan(errno.EIO, for_good, reads=True) for for_good in (False, True)),
]  # fmt: skip


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stride", type=int, default=1, help="try only every so-manieth call")
    parser.add_argument("--at-once", type=int, default=4, help="daemons side by side")
    parser.add_argument("--retry-seconds", type=float, help="instead of the product's own")
    parser.add_argument("--only", default="", help="plans whose name has this in it")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-io-faults-"))
    pipeline, zygote = save_tiny_pipeline(base / "tiny"), Zygote()
    bench = Bench(base, pipeline, zygote, arguments.retry_seconds, arguments.at_once)
    plans = [(plan, arguments.stride) for plan in PLANS]
    plans += [(Plan(errno.EDQUOT, for_good), 7 * arguments.stride) for for_good in (False, True)]
    rows = [
        summary(plan, bench.sweep(plan, itertools.count(1, stride)))
        for plan, stride in plans
        if arguments.only in str(plan)
    ]
    rows += [summary(name, points) for name, points in bench.real() if arguments.only in name]
    zygote.close()
    print_table(rows)
    print(json.dumps([asdict(row) for row in rows]))
    if not all(row.is_clean for row in rows):
        sys.exit(f"the files are in {base}")
    shutil.rmtree(base)


def print_table(rows: list[Row]) -> None:
    """Print a line for each plan."""
    names = list(asdict(Row("")))
    print(f"{'plan':25}" + "".join(f"{name.replace('_', ' '):>24}" for name in names[1:]))
    for row in rows:
        numbers = (f"{value:24}" for value in list(asdict(row).values())[1:])
        print(f"{row.plan:25}" + "".join(numbers))


if __name__ == "__main__":
    main()
