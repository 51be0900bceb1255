"""Run and measure both sides of a comparison: a daemon as it is shipped, and the script.

Both are measured alike: when each video was finished, the processor time until then, and peak
memory.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import yaml
from harness.watched_daemon import REELDROP, WatchedDaemon
from order import Order
from reeldrop.base.errors import is_shortage
from reeldrop.config import config
from reeldrop.tune.likeness import psnr_db

HERE = Path(__file__).parent
PATIENCE_SECONDS = 3600.0
NOTED = (sys.executable, str(HERE / "noted_daemon.py"))
EQUAL_DB = 120.0
"""The PSNR of equal frames; a difference in a single value gives less."""

launch: Callable[..., subprocess.CompletedProcess[str]] = functools.partial(
    subprocess.run, capture_output=True, text=True, check=False
)
"""Runs the script; tests replace it with something faster, as in `watched_daemon`."""


class ScriptOutOfMemory(Exception):
    """The device has too little memory for the script."""


@dataclass(frozen=True)
class Run:
    """What some videos took, without start and warm-up.

    began: in seconds since the epoch.
    cpu_seconds: of the process.
    """

    videos: int
    began: float
    seconds: float
    cpu_seconds: float
    peak_memory_mib: int


def make_site(folder: Path, order: Order, **changes: Any) -> Path:
    """Make a site with the shipped config.yaml, except for the model and `changes`."""
    settings = yaml.safe_load(config.template())
    settings |= {"model": "asked", "models": {"asked": order.profile}, "min_free_gib": 0}
    (folder / "inbox").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | changes))
    return folder


@contextmanager
def daemon_on(site: Path, program: Sequence[str] = REELDROP) -> Iterator[WatchedDaemon]:
    """Run a daemon with the number of `threads` until the block ends."""
    daemon = WatchedDaemon(site, threads(), program)
    try:
        daemon.await_that(lambda: daemon.events("ready"), PATIENCE_SECONDS)
        yield daemon
    finally:
        daemon.stop()


def threads() -> dict[str, str]:
    """Return OMP_NUM_THREADS for both sides: the environment's, else one thread per core."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))}


def by_daemon(site: Path, order: Order) -> Run:
    """Let a daemon render an order after a warm-up with a similar one.

    Each order's prompt files appear at once, so that both have the same batch sizes. The time
    begins with the first job, so it excludes the time to settle.
    """
    with daemon_on(site) as daemon:
        drop_all(site, "warm-up", order)
        published(daemon, order.videos)
        cpu_before = cpu_seconds(daemon.process.pid)
        drop_all(site, "order", order)
        last = published(daemon, 2 * order.videos)[-1]
        cpu = cpu_seconds(daemon.process.pid) - cpu_before
        began = daemon.times("job_started")[order.videos]
    return Run(order.videos, began, last - began, cpu, peak_memory_mib(site))


def drop_all(site: Path, name: str, order: Order) -> None:
    """Move a folder with a file for each prompt into the inbox by one rename."""
    unfinished = site / name
    unfinished.mkdir()
    for prompt, seed in order.prompts:
        (unfinished / f"{seed:04}.yaml").write_text(f"prompt: {prompt}\nseed: {seed}\n")
    unfinished.rename(site / "inbox" / name)


def published(daemon: WatchedDaemon, videos: int) -> list[float]:
    """Wait until there are `videos` videos, and return when each was finished."""

    def are_there() -> bool:
        failed = daemon.events("video_failed") + daemon.events("job_failed")
        assert not failed, f"the daemon could not: {failed}"
        return len(daemon.events("video_published")) >= videos

    daemon.await_that(are_there, PATIENCE_SECONDS)
    return daemon.times("video_published")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_mib(site: Path) -> int:
    """Return the maximum of the videos' peak memory in their sidecars; with a GPU, the GPU's."""
    sidecars = (site / "results").rglob("*.yaml")
    blocks = (yaml.safe_load(sidecar.read_text()).get("rendered") for sidecar in sidecars)
    return max(block["peak_memory_mib"] for block in blocks if block)


def by_script(folder: Path, order: Order, *options: str) -> Run:
    """Let the script render an order after a warm-up, in a process of its own."""
    report = script(folder, order, *options)
    began = report["began"]
    seconds = report["published"][-1] - began
    return Run(order.videos, began, seconds, report["cpu_seconds"], report["peak_memory_mib"])


def script(folder: Path, order: Order, *options: str) -> dict[str, Any]:
    """Run the script on an order, and return its report."""
    command = [sys.executable, str(HERE / "script_loop.py"), *options]
    written = order.write(folder / "order.json")
    done = launch([*command, "--order", str(written)], env={**os.environ, **threads()})
    if is_shortage(RuntimeError(done.stderr)):
        raise ScriptOutOfMemory("the script has not enough memory")
    assert done.returncode == 0, f"the script ended with {done.returncode}: {done.stderr[-2000:]}"
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def frames_of_script(folder: Path, order: Order) -> dict[int, np.ndarray]:
    """Return the frames that the script renders, as uint8, by their seed."""
    keep = folder / "script-frames"
    keep.mkdir()
    script(folder, order, "--keep", str(keep))
    return _kept(keep)


def frames_of_daemon(site: Path, order: Order) -> dict[int, np.ndarray]:
    """Return the frames that reach the daemon's encoder, as uint8, by their seed."""
    keep = site / "daemon-frames"
    keep.mkdir()
    with daemon_on(site, (*NOTED, f"--frames={keep}")) as daemon:
        drop_all(site, "compared", order)
        published(daemon, order.videos)
    return _kept(keep)


def _kept(folder: Path) -> dict[int, np.ndarray]:
    return {int(path.stem): np.load(path) for path in folder.iterdir()}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR of two videos in dB; above 40, differences are invisible."""
    return min(EQUAL_DB, psnr_db(a, b))


def likeness(folder: Path, site: Path, order: Order) -> float:
    """Return the minimum PSNR between the daemon's and the script's videos of the same seed."""
    theirs, ours = frames_of_script(folder, order), frames_of_daemon(site, order)
    assert theirs.keys() == ours.keys(), "both sides have to render the same seeds"
    return min(psnr(theirs[seed], ours[seed]) for seed in theirs)
