"""Run thousands of jobs in one daemon, and check that it does not leak.

A real daemon process with a tiny pipeline of a real class is kept busy with prompt files of one
prompt. Its resident memory, open files and threads are sampled at regular intervals. It fails if
the median memory of the last tenth of the samples is more than 5 % above that of the first, or if
the minimum of open files or threads is higher in the second half than in the first.

    python benchmarks/soak.py --jobs 5000
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from harness.watched_daemon import Sample, WatchedDaemon, drop, make_site

BACKLOG = 20
"""How many prompt files wait in the inbox at any time."""

WARM_UP_JOBS = 20
"""Jobs before the first sample: libraries load parts on first use."""

MAX_MEMORY_GROWTH = 0.05


@dataclass(frozen=True)
class Use:
    """What the daemon used in a part of the run.

    A job's own files and threads come and go; only leaks raise the minimum.
    """

    memory_mib: float
    """Median over a tenth of the samples: memory grows slowly, and a tenth shows it."""
    fds: int
    """Minimum over half of the samples: in a tenth the daemon may never have been at rest."""
    threads: int
    """As `fds`."""

    @classmethod
    def of(cls, tenth: Sequence[Sample], half: Sequence[Sample]) -> Use:
        median = statistics.median(sample.rss for sample in tenth) / 1024
        fewest = min(sample.fds for sample in half), min(sample.threads for sample in half)
        return cls(round(median, 1), *fewest)


@dataclass(frozen=True)
class Growth:
    """The use at the beginning and at the end of a run."""

    first: Use
    last: Use

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Growth:
        tenth, half = max(1, len(samples) // 10), len(samples) // 2
        return cls(
            Use.of(samples[:tenth], samples[:half]), Use.of(samples[-tenth:], samples[half:])
        )

    @property
    def memory(self) -> float:
        """The growth of memory, as a share of that at the beginning."""
        return self.last.memory_mib / self.first.memory_mib - 1

    def leaks(self, most_memory: float = MAX_MEMORY_GROWTH) -> list[str]:
        """Return the names of the resources that grew beyond their bounds."""
        grown = {
            "memory": self.memory > most_memory,
            "fds": self.last.fds > self.first.fds,
            "threads": self.last.threads > self.first.threads,
        }
        return [name for name, has_grown in grown.items() if has_grown]


def soak(daemon: WatchedDaemon, inbox: Path, jobs: int, every: float) -> list[Sample]:
    """Keep a daemon busy until it has ended `jobs` jobs; return a sample of each interval."""
    dropped, samples = 0, []
    while (ended := len(daemon.events("job_ended"))) < jobs:
        daemon.check()
        for number in range(dropped, min(jobs, ended + BACKLOG)):
            drop(inbox, f"{number:06}.txt", f"A red balloon, number {number}\n")
            dropped = number + 1
        if ended >= WARM_UP_JOBS:
            samples.append(daemon.sample())
        time.sleep(every)
    outcomes = {event["outcome"] for event in daemon.events("job_ended")}
    assert outcomes == {"finished"}, f"jobs ended as {outcomes}"
    return samples


def table(growth: Growth) -> str:
    """Return beginning and end as a table."""
    rows = [f"{'':12}{'beginning':>12}{'end':>12}"]
    for name, before in asdict(growth.first).items():
        after = asdict(growth.last)[name]
        rows.append(f"{name.replace('_mib', ' (MiB)'):12}{before:12}{after:12}")
    return "\n".join([*rows, f"memory grew by {growth.memory:.2%}"])


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--format", choices=("mp4", "gif", "webm"), default="mp4")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two samples")
    arguments = parser.parse_args()
    from harness.fakes import save_tiny_pipeline

    base = Path(tempfile.mkdtemp(prefix="reeldrop-soak-"))
    site = make_site(base / "site", save_tiny_pipeline(base / "tiny"), arguments.format)
    daemon, began = WatchedDaemon(site), time.monotonic()
    try:
        samples = soak(daemon, site / "inbox", arguments.jobs, arguments.every)
        seconds = time.monotonic() - began
    finally:
        code = daemon.stop()
    growth = Growth.of(samples)
    print(table(growth))
    figures = {"jobs": arguments.jobs, "seconds": round(seconds, 1), "samples": len(samples)}
    growth_in_figures = {"memory_growth": round(growth.memory, 4), "leaks": growth.leaks()}
    print(json.dumps({**figures, **asdict(growth), **growth_in_figures, "exit_code": code}))
    if growth.leaks() or code:
        sys.exit(f"the files are in {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
