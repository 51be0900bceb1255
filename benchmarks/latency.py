"""Measure an idle daemon's time from a prompt file to the first step, and to the video.

A real daemon with the shipped config.yaml and the bundled model gets one prompt file at a time: by
a rename into the inbox, by a rename within it, as sync tools do, and by a copy. Measured are the
times from the delivery to the first call of the UNet, without the time to settle, and to the video,
with and without the time to settle. The baseline is the script (`script_loop.py`), started for each
prompt. All take turns; the results are medians. It fails if a goal is missed; the goals are for
renames, since a copy takes longer to settle.

    python benchmarks/latency.py --rounds 9
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import order
import resident
import yaml
from harness.watched_daemon import WatchedDaemon, drop
from order import Order

GOALS = {"first_step_ms": 100.0, "speedup": 5.0}
"""The daemon's maximum time to the first step, and its minimum speedup over the script, with the
time to settle included."""

QUIET_SECONDS = 1.5
"""The pause before each prompt file, so that the daemon is idle."""

COPIED = "copied"
"""The delivery without goals."""

Delivery = Callable[[Path, str, str], None]
"""Delivers a prompt file into a site's inbox, given its name and content."""


@dataclass(frozen=True)
class Times:
    """Seconds from the delivery of a prompt file to the first step, and to the video."""

    first_step: float
    video: float


def rename_into(site: Path, name: str, text: str) -> None:
    """Write a prompt file outside the inbox, and move it in."""
    elsewhere = site / name
    elsewhere.write_text(text)
    elsewhere.rename(site / "inbox" / name)


def rename_within(site: Path, name: str, text: str) -> None:
    """Write a prompt file in the inbox under a temporary name, and rename it, as sync tools do."""
    drop(site / "inbox", name, text)


def copy(site: Path, name: str, text: str) -> None:
    """Write a prompt file under its final name."""
    (site / "inbox" / name).write_text(text)


DELIVERIES: dict[str, tuple[Delivery, str]] = {
    "renamed into": (rename_into, "renamed_settle_seconds"),
    "renamed within": (rename_within, "renamed_settle_seconds"),
    COPIED: (copy, "settle_seconds"),
}
"""Each with the setting for how long such a file has to settle."""


def by_daemon(daemon: WatchedDaemon, notes: Path, deliver: Callable[[], None]) -> Times:
    """Deliver a prompt file, and return its times."""
    before, steps_before = len(daemon.events("job_ended")), len(first_steps(notes))
    deliver()
    delivered, delivered_at = time.monotonic(), time.time()
    daemon.await_that(lambda: len(daemon.events("job_ended")) > before, resident.PATIENCE_SECONDS)
    (step,) = first_steps(notes)[steps_before:]
    video = daemon.times("video_published")[before]
    return Times(step - delivered, video - delivered_at)


def first_steps(notes: Path) -> list[float]:
    """Return the monotonic time of the UNet's first call for each batch."""
    return [float(line) for line in notes.read_text().splitlines()]


def by_script(folder: Path, asked: Order) -> float:
    """Return how long the script takes from its start to a prompt's video."""
    began = time.time()
    video = resident.script(folder, asked, "--no-warm-up")["published"][0]
    return float(video - began)


@dataclass(frozen=True)
class Comparison:
    """Medians, in seconds unless the name has another unit; deliveries by name.

    The speedups are of the slower of the two renames over the script.
    """

    first_step_ms: dict[str, float]
    video_seconds: dict[str, float]
    script_seconds: float
    settle_seconds: dict[str, float]

    @property
    def speedup(self) -> float:
        """The speedup over the script, with the time to settle."""
        slowest = max(self.video_seconds[name] for name in self._renames)
        return round(self.script_seconds / slowest, 2)

    @property
    def speedup_without_settling(self) -> float:
        """The speedup over the script, without the time to settle."""
        slowest = max(self._beyond_settling(name) for name in self._renames)
        return round(self.script_seconds / slowest, 2)

    @property
    def _renames(self) -> list[str]:
        return [name for name in self.video_seconds if name != COPIED]

    def _beyond_settling(self, name: str) -> float:
        return self.video_seconds[name] - self.settle_seconds[name]

    def misses(self) -> list[str]:
        """Return the missed goals."""
        missed = {
            "first_step_ms": max(self.first_step_ms[name] for name in self._renames)
            >= GOALS["first_step_ms"],
            "speedup": self.speedup < GOALS["speedup"],
        }
        return [name for name, is_missed in missed.items() if is_missed]

    def table(self) -> str:
        """Return the comparison as a table."""
        rows = [f"{'':20}{'first step (ms)':>18}{'video (s)':>12}{'without settling':>18}"]
        for name, video in self.video_seconds.items():
            step = self.first_step_ms[name]
            rows.append(f"{name:20}{step:18.1f}{video:12.2f}{self._beyond_settling(name):18.2f}")
        rows.append(f"{'script, started anew':20}{'':18}{self.script_seconds:12.2f}")
        without = f"{self.speedup_without_settling} times without settling"
        return "\n".join([*rows, f"{self.speedup} times as fast as the script; {without}"])


def compare(
    folder: Path, asked: Order, rounds: int, quiet_seconds: float, **changes: Any
) -> Comparison:
    """Measure each delivery and the script in turn; `changes` are to the shipped config.yaml."""
    site = resident.make_site(folder / "site", asked, **changes)
    config = yaml.safe_load((site / "config.yaml").read_text())
    settle_seconds = {name: config[setting] for name, (_, setting) in DELIVERIES.items()}
    notes = site / "first-steps"
    ours: dict[str, list[Times]] = {name: [] for name in DELIVERIES}
    theirs = []
    with resident.daemon_on(site, (*resident.NOTED, f"--first-steps={notes}")) as daemon:
        for number in range(rounds):
            for name, (deliver, _) in DELIVERIES.items():
                time.sleep(quiet_seconds)
                prompt, seed = asked.prompts[0]
                text = f"prompt: {prompt}\nseed: {seed}\n"
                file = f"{number}-{name.replace(' ', '-')}.yaml"
                now = functools.partial(deliver, site, file, text)
                ours[name].append(by_daemon(daemon, notes, now))
            theirs.append(by_script(folder, asked))
    return medians(ours, theirs, settle_seconds)


def medians(
    ours: dict[str, list[Times]], theirs: list[float], settle: dict[str, float]
) -> Comparison:
    """Return the medians of the measurements; first steps without the time to settle."""
    steps = {
        name: round(1000 * (statistics.median(t.first_step for t in times) - settle[name]), 1)
        for name, times in ours.items()
    }
    videos = {
        name: round(statistics.median(t.video for t in times), 3) for name, times in ours.items()
    }
    return Comparison(steps, videos, round(statistics.median(theirs), 3), settle)


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="reeldrop-latency-") as folder:
        found = compare(Path(folder), order.of_bundled(1), rounds, QUIET_SECONDS)
    print(found.table())
    speedups = {
        "speedup": found.speedup,
        "speedup_without_settling": found.speedup_without_settling,
    }
    print(json.dumps({**asdict(found), **speedups, "goals": GOALS, "misses": found.misses()}))
    if found.misses():
        sys.exit(f"goals are missed: {', '.join(found.misses())}")


if __name__ == "__main__":
    main()
