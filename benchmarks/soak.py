"""Run thousands of jobs in one daemon, and check that it does not leak.

A real daemon process with a tiny pipeline of a real class is kept busy with prompt files of one
prompt. Its resident memory, open files and threads are sampled at regular intervals; the last tenth
of the samples is compared with the first. It fails if memory grew by more than 5 %, or the minimum
of open files or threads at all.

    python benchmarks/soak.py --jobs 5000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

BACKLOG = 20
"""How many prompt files wait in the inbox at any time."""

WARM_UP_JOBS = 20
"""Jobs before the first sample: libraries load parts on first use."""

MAX_MEMORY_GROWTH = 0.05
END_SECONDS = 60.0

REELDROP = (sys.executable, "-m", "reeldrop")

launch: Callable[..., Any] = subprocess.Popen
"""Starts the daemon; tests, which don't measure it, replace this with something faster."""

CONFIG = """\
settle_seconds: {settle_seconds}
scan_seconds: {scan_seconds}
min_free_gib: 0
model: tiny
models:
  tiny:
    path: {pipeline}
    defaults:
      {{num_inference_steps: 1, num_frames: 2, height: 32, width: 32, format: {format}}}
    limits: {{num_frames: 32, height: 128, width: 128, num_inference_steps: 1000}}
"""


def make_site(
    folder: Path,
    pipeline: Path,
    format: str = "mp4",
    settle_seconds: float = 0.05,
    scan_seconds: float = 0.2,
) -> Path:
    """Make an empty inbox and a config.yaml in a new folder, and return it."""
    (folder / "inbox").mkdir(parents=True)
    config = CONFIG.format(
        pipeline=pipeline,
        format=format,
        settle_seconds=settle_seconds,
        scan_seconds=scan_seconds,
    )
    (folder / "config.yaml").write_text(config)
    return folder


def drop(inbox: Path, name: str, text: str) -> None:
    """Put a prompt file into the inbox by a rename, as a sync tool does."""
    unfinished = inbox / f".{name}.tmp"
    unfinished.write_text(text)
    unfinished.rename(inbox / name)


@dataclass(frozen=True)
class Sample:
    """The resources of a process after a number of jobs; `rss` is in KiB."""

    jobs: int
    rss: int
    fds: int
    threads: int


class WatchedDaemon:
    """A daemon in a process of its own, observed through `/proc` and its log."""

    def __init__(
        self,
        site: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = REELDROP,
    ) -> None:
        self.started = time.time()
        self._path = site / "daemon.log"
        with self._path.open("wb") as log:
            self.process = launch(
                [*program, "run", "--config", str(site / "config.yaml")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            )
        self._log = self._path.open("rb")
        self._half_a_line = b""
        self._events: dict[str, list[dict[str, Any]]] = {}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events with this name that the daemon has logged so far."""
        *lines, self._half_a_line = (self._half_a_line + self._log.read()).split(b"\n")
        for line in lines:
            event = json.loads(line) if line.startswith(b"{") else {"event": "no event"}
            self._events.setdefault(event["event"], []).append(event)
        return self._events.get(name, [])

    def times(self, name: str) -> list[float]:
        """Return the times of the logged events with this name, in seconds since the epoch."""
        stamps = (event["timestamp"] for event in self.events(name))
        return [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]

    def await_that(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until a condition holds; fail after `seconds`, or if the daemon ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            assert time.monotonic() < deadline, f"waited {seconds} s in vain, see {self._path}"
            time.sleep(0.02)

    def check(self) -> None:
        """Fail if the daemon has ended by itself."""
        code = self.process.poll()
        assert code is None, f"the daemon ended with {code}, see {self._path}"

    def sample(self) -> Sample:
        """Return a sample of the daemon's resources."""
        process = Path("/proc") / str(self.process.pid)
        status = memory(self.process.pid)
        fds = len(os.listdir(process / "fd"))
        return Sample(len(self.events("job_ended")), status["VmRSS"], fds, status["Threads"])

    def stop(self) -> int:
        """Ask the daemon to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


def memory(pid: int) -> dict[str, int]:
    """Return the numbers of `/proc/PID/status`; memory is in KiB."""
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    words = (line.split() for line in lines)
    return {w[0].rstrip(":"): int(w[1]) for w in words if len(w) in (2, 3) and w[1].isdigit()}


@dataclass(frozen=True)
class Tenth:
    """A tenth of the samples: median memory in MiB, minimum of open files and threads.

    A job's own files and threads come and go; only leaks raise the minimum.
    """

    memory_mib: float
    fds: int
    threads: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Tenth:
        median = statistics.median(sample.rss for sample in samples) / 1024
        fewest = min(sample.fds for sample in samples), min(sample.threads for sample in samples)
        return cls(round(median, 1), *fewest)


@dataclass(frozen=True)
class Growth:
    """The first and the last tenth of a run."""

    first: Tenth
    last: Tenth

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Growth:
        size = max(1, len(samples) // 10)
        return cls(Tenth.of(samples[:size]), Tenth.of(samples[-size:]))

    @property
    def memory(self) -> float:
        """The growth of memory from the first tenth to the last, as a share of the first."""
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
    """Return the two tenths as a table."""
    rows = [f"{'':12}{'first tenth':>12}{'last tenth':>12}"]
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
    from fakes import save_tiny_pipeline

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
