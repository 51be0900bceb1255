"""A daemon whose log, memory, open files and threads are measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.zygote import REELDROP

END_SECONDS = 60.0

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
    """Open files, without those of jobs in the spool: how many jobs it holds changes."""
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
        self._active = site / "spool" / "active"
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
        status = memory(self.process.pid)
        fds = sum(not self._is_of_a_job(file) for file in open_files(self.process.pid))
        return Sample(len(self.events("job_ended")), status["VmRSS"], fds, status["Threads"])

    def _is_of_a_job(self, file: Path) -> bool:
        """Return whether a file is in the spool; one that an ended job left open is not there."""
        return file.is_relative_to(self._active) and file.exists()

    def stop(self) -> int:
        """Ask the daemon to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


def open_files(pid: int) -> Iterator[Path]:
    """Yield what each file descriptor of a process leads to, such as `/a/file` or `pipe:[7]`."""
    for descriptor in (Path("/proc") / str(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield descriptor.readlink()


def memory(pid: int) -> dict[str, int]:
    """Return the numbers of `/proc/PID/status`; memory is in KiB."""
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    words = (line.split() for line in lines)
    return {w[0].rstrip(":"): int(w[1]) for w in words if len(w) in (2, 3) and w[1].isdigit()}
