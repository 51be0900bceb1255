"""Put very many prompt files into the inbox, and measure their cost.

A real daemon process with a tiny pipeline of a real class is started on the inbox. Measured are:

- the seconds until the first job begins, beyond those of a start with an empty inbox;
- the seconds from the start of the process until its status counts all files;
- the peak of resident memory, beyond that of a daemon that rendered one file;
- processor time while nothing changes, with files that have not settled, and with settled ones
  that wait for a long render (without the render's thread);
- the time of a job with few and with very many results.

It fails if a goal is missed.

    python benchmarks/intake.py --files 1000 10000 100000 --results 100 100000
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.large_inbox import fill_inbox, waiting_count
from harness.watched_daemon import WatchedDaemon, drop, make_site, memory

GOALS = {
    "first_job_seconds": 10.0,
    "known_seconds": 10.0,
    "memory_mib": 300.0,
    "scan_share": 0.05,
    "job_ratio": 1.2,
}
"""Upper bounds; `scan_share` is of one core."""

PATIENCE_SECONDS = 600.0
NEVER_SETTLES_SECONDS = 3600.0
SCAN_SECONDS = 5.0
SETTLE_SECONDS = 2.0
JOBS_OBSERVED = 5
ROUNDS, JOBS_IN_A_ROUND = 6, 12
LONG_RENDER = """\
prompt: a
num_videos_per_prompt: 1000
num_inference_steps: 500
num_frames: 32
height: 128
width: 128
"""


@contextmanager
def running(site: Path) -> Iterator[WatchedDaemon]:
    """Run a daemon until the block ends, then end it without waiting for a long render."""
    daemon = WatchedDaemon(site)
    try:
        yield daemon
    finally:
        daemon.stop()


def fill_results(results: Path, videos: int, *, one_folder: bool = False) -> None:
    """Make the results of `videos` videos, each in a folder of its own or all in one."""
    for number in range(videos):
        folder = results / ("many" if one_folder else f"{number:06}-earlier")
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in ("mp4", "jpg", "yaml", "txt"):
            (folder / f"An_earlier_video_{number}.{suffix}").write_text("rendered: {job: none}\n")


def cpu_seconds(pid: int) -> dict[str, float]:
    """Return the processor time of each thread of a process."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for task in (Path("/proc") / str(pid) / "task").iterdir():
        numbers = (task / "stat").read_text().rpartition(") ")[2].split()
        found[task.name] = (int(numbers[11]) + int(numbers[12])) / tick
    return found


def cpu_shares(pid: int, window: float) -> list[float]:
    """Return each thread's share of a core during `window` seconds, the busiest first."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(window)
    after, passed = cpu_seconds(pid), time.monotonic() - began
    return sorted(((after[t] - before.get(t, 0.0)) / passed for t in after), reverse=True)


@dataclass(frozen=True)
class Start:
    """Measurements of a start; `job_seconds` is the time of a job while the others wait."""

    ready_seconds: float
    first_job_seconds: float
    peak_mib: float
    job_seconds: float


def start(base: Path, pipeline: Path, files: int) -> Start:
    """Measure a start on an inbox with `files` files, and the first few jobs."""
    site = make_site(base / f"start-{files}", pipeline, "gif", SETTLE_SECONDS, SCAN_SECONDS)
    fill_inbox(site / "inbox", files)
    jobs = min(JOBS_OBSERVED, files)
    with running(site) as daemon:
        daemon.await_that(lambda: len(daemon.events("job_ended")) >= jobs, PATIENCE_SECONDS)
        peak = memory(daemon.process.pid)["VmHWM"] / 1024
        ended = daemon.times("job_ended")
        found = Start(
            ready_seconds=daemon.times("ready")[0] - daemon.started,
            first_job_seconds=daemon.times("job_started")[0] - daemon.started,
            peak_mib=peak,
            job_seconds=statistics.median(b - a for a, b in itertools.pairwise(ended or [0, 0]))
            if len(ended) > 1
            else 0.0,
        )
    shutil.rmtree(site)
    return found


def empty_start(base: Path, pipeline: Path) -> Start:
    """Measure a start on an empty inbox, and one job."""
    site = make_site(base / "start-empty", pipeline, "gif", SETTLE_SECONDS, SCAN_SECONDS)
    with running(site) as daemon:
        daemon.await_that(lambda: daemon.events("ready"), PATIENCE_SECONDS)
        drop(site / "inbox", "one.txt", "A red balloon\n")
        daemon.await_that(lambda: daemon.events("job_ended"), PATIENCE_SECONDS)
        peak = memory(daemon.process.pid)["VmHWM"] / 1024
        ready = daemon.times("ready")[0] - daemon.started
    return Start(ready, ready, peak, 0.0)


def while_unsettled(base: Path, pipeline: Path, files: int, window: float) -> tuple[float, float]:
    """Run a daemon whose files never settle.

    Return the seconds until its status, written twice a second, counts all of them, and its share
    of a core from then on.
    """
    site = make_site(
        base / f"unsettled-{files}", pipeline, "gif", NEVER_SETTLES_SECONDS, SCAN_SECONDS
    )
    fill_inbox(site / "inbox", files)
    with running(site) as daemon:
        daemon.await_that(lambda: waiting_count(site) == files, PATIENCE_SECONDS)
        known_seconds = time.time() - daemon.started
        daemon.await_that(lambda: daemon.events("ready"), PATIENCE_SECONDS)
        shares = cpu_shares(daemon.process.pid, window)
    shutil.rmtree(site)
    return known_seconds, sum(shares)


def share_while_rendering(base: Path, pipeline: Path, files: int, window: float) -> float:
    """Return a daemon's share of a core besides a long render, which settled files wait for."""
    site = make_site(base / f"rendering-{files}", pipeline, "gif", SETTLE_SECONDS, SCAN_SECONDS)
    (site / "inbox" / "a.yaml").write_text(LONG_RENDER)
    with running(site) as daemon:
        daemon.await_that(lambda: daemon.events("job_started"), PATIENCE_SECONDS)
        fill_inbox(site / "inbox", files)
        daemon.await_that(lambda: waiting_count(site) == files, PATIENCE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        pid = daemon.process.pid
        # Once all files are read, the render is by far the busiest thread.
        daemon.await_that(lambda: sum(cpu_shares(pid, 3.0)[1:]) < 0.3, PATIENCE_SECONDS)
        shares = cpu_shares(pid, window)
        assert not daemon.events("video_failed"), "the long render was none"
    shutil.rmtree(site)
    return sum(shares[1:])


def job_times(base: Path, pipeline: Path, results: list[int], *, one_folder: bool) -> list[float]:
    """Return the median time of a job for each number of existing results.

    The daemons take turns, so that other load on the machine affects all of them.
    """
    sites = []
    for count in results:
        site = make_site(base / f"results-{count}", pipeline, "gif", 0.05, 0.2)
        fill_results(site / "results", count, one_folder=one_folder)
        sites.append(site)
    with ExitStack() as stack:
        daemons = [stack.enter_context(running(site)) for site in sites]
        times: list[list[float]] = [[] for _ in sites]
        for turn in range(ROUNDS):
            for site, daemon, found in zip(sites, daemons, times, strict=True):
                found += a_round(site, daemon, turn, one_folder=one_folder)
    for site in sites:
        shutil.rmtree(site)
    return [statistics.median(found) for found in times]


def a_round(site: Path, daemon: WatchedDaemon, turn: int, *, one_folder: bool) -> list[float]:
    """Let a daemon end some jobs, and return their times without the first few."""
    before = len(daemon.events("job_ended"))
    for number, name in enumerate(names(turn, one_folder=one_folder)):
        drop(site / "inbox", name, f"prompt: A red balloon, number {turn} {number}\n")
    all_ended = before + JOBS_IN_A_ROUND
    daemon.await_that(lambda: len(daemon.events("job_ended")) >= all_ended, PATIENCE_SECONDS)
    ended = daemon.times("job_ended")[before:]
    return [b - a for a, b in itertools.pairwise(ended)][2:]


def names(turn: int, *, one_folder: bool) -> list[str]:
    """Return prompt file names whose videos go into a folder each, or all into one."""
    if not one_folder:
        return [f"{turn}-{number}.yaml" for number in range(JOBS_IN_A_ROUND)]
    spelled = itertools.product("yY", "aA", "mM", "lL")
    return [f"many.{''.join(letters)}" for letters in spelled][:JOBS_IN_A_ROUND]


@dataclass(frozen=True)
class Cost:
    """The cost of a number of prompt files in the inbox.

    The first job and memory are beyond those of an empty inbox; shares are of one core;
    `job_seconds` is the time of a job while the others wait.
    """

    first_job_seconds: float
    known_seconds: float
    memory_mib: float
    unsettled_share: float
    rendering_share: float
    job_seconds: float

    def misses(self) -> list[str]:
        """Return the missed goals."""
        reached = {
            "first_job_seconds": self.first_job_seconds,
            "known_seconds": self.known_seconds,
            "memory_mib": self.memory_mib,
            "scan_share": max(self.unsettled_share, self.rendering_share),
        }
        return [name for name, value in reached.items() if value >= GOALS[name]]


def cost(base: Path, pipeline: Path, files: int, window: float, empty: Start) -> Cost:
    """Measure the cost of `files` prompt files."""
    full = start(base, pipeline, files)
    known_seconds, unsettled_share = while_unsettled(base, pipeline, files, window)
    return Cost(
        round(full.first_job_seconds - empty.ready_seconds, 2),
        round(known_seconds, 2),
        round(full.peak_mib - empty.peak_mib, 1),
        round(unsettled_share, 4),
        round(share_while_rendering(base, pipeline, files, window), 4),
        round(full.job_seconds, 3),
    )


def cost_table(costs: dict[int, Cost]) -> str:
    """Return the costs as a table with a column for each number of files."""
    rows = [f"{'files':20}" + "".join(f"{files:>12,}" for files in costs)]
    for field in fields(Cost):
        values = (getattr(found, field.name) for found in costs.values())
        rows.append(f"{field.name.replace('_', ' '):20}" + "".join(f"{v:12}" for v in values))
    return "\n".join(rows)


def results_table(results: list[int], times: dict[str, list[float]]) -> str:
    """Return a table of the time of a job, in milliseconds, for each number of results."""
    rows = [f"{'results':20}" + "".join(f"{count:>12,}" for count in results)]
    for name, found in times.items():
        rows.append(f"{name:20}" + "".join(f"{1000 * seconds:12.1f}" for seconds in found))
    return "\n".join(rows)


def main() -> None:
    """Run, and print tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--results", type=int, nargs="*", default=[100, 100_000])
    parser.add_argument("--window", type=float, default=60.0, help="seconds of a steady state")
    parser.add_argument("--one-folder", action="store_true", help="all results in one folder, too")
    arguments = parser.parse_args()
    from harness.fakes import save_tiny_pipeline

    base = Path(tempfile.mkdtemp(prefix="reeldrop-intake-"))
    pipeline = save_tiny_pipeline(base / "tiny")
    empty, costs = empty_start(base, pipeline), {}
    for files in arguments.files:
        costs[files] = cost(base, pipeline, files, arguments.window, empty)
        print(f"{files:,} files: {costs[files]}", file=sys.stderr)
    times = {}
    for name, one_folder in (("own folders (ms)", False), ("one folder (ms)", True)):
        if len(arguments.results) > 1 and (arguments.one_folder or not one_folder):
            times[name] = job_times(base, pipeline, arguments.results, one_folder=one_folder)
    shutil.rmtree(base)
    print("\n".join([cost_table(costs), "", results_table(arguments.results, times)]))
    misses = {files: found.misses() for files, found in costs.items() if found.misses()}
    ratios = {name: round(found[-1] / found[0], 3) for name, found in times.items()}
    missed_ratios = {name: ratio for name, ratio in ratios.items() if ratio >= GOALS["job_ratio"]}
    report = {"costs": {files: asdict(found) for files, found in costs.items()}, "ratios": ratios}
    print(json.dumps({**report, "goals": GOALS, "misses": misses | missed_ratios}))
    if misses or missed_ratios:
        sys.exit("goals are missed")


if __name__ == "__main__":
    main()
