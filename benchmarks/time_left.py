"""Compare the time left that a daemon says with what it took, for several prompt files.

A real daemon with the shipped config.yaml and the bundled model gets one prompt file after the
other. Each report that it writes from the first step on is compared with the time until the last
video of that file was published. It fails if one is wrong by more than the goal, and by more than a
second. The first file comes after the warm-up only; the others after one of another kind.

    python benchmarks/time_left.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import order
import resident
from harness.watched_daemon import WatchedDaemon, drop
from reeldrop.store import status

GOAL = 0.3
"""The largest error, as a share of the truth."""

SLACK_SECONDS = 1.0
"""Errors below this are none: the daemon reports every half second."""

FILES = {
    "first": (1, ""),
    "again": (1, ""),
    "many": (6, ""),
    "more steps": (1, "num_inference_steps: 30\n"),
    "longer": (3, "num_frames: 32\n"),
    "webm": (2, "format: webm\n"),
}
"""Each with the number of its prompts, and its settings."""


@dataclass(frozen=True)
class Said:
    """What a report said is left, and what was, in seconds."""

    left: float
    truth: float

    @property
    def error(self) -> float:
        """The error as a share of the truth; 0 if it is less than `SLACK_SECONDS`."""
        wrong = abs(self.left - self.truth)
        return wrong / self.truth if wrong > SLACK_SECONDS else 0.0


def measure(daemon: WatchedDaemon, site: Path, name: str) -> list[Said]:
    """Let a daemon render a prompt file, and return what it said from the first step on."""
    count, settings = FILES[name]
    file, before = f"{name.replace(' ', '_')}.yaml", len(daemon.events("job_ended"))
    report, written, said = site / "spool" / status.FILE_NAME, 0, []
    prompts = "".join(f"  - a red balloon, {number}\n" for number in range(count))
    drop(site / "inbox", file, f"{settings}prompts:\n{prompts}")

    def is_over() -> bool:
        nonlocal written
        changed = report.stat().st_mtime_ns
        found = status.read(report) if changed != written else None
        written = changed
        now = found.rendering if found is not None else None
        if now is not None and now.prompt_file == file and now.step:
            assert now.eta_seconds is not None
            assert now.eta_seconds > 0
            said.append((changed / 1e9, now.eta_seconds))
        return len(daemon.events("job_ended")) > before

    daemon.await_that(is_over, resident.PATIENCE_SECONDS)
    end = daemon.times("video_published")[-1]
    return [Said(left, end - at) for at, left in said if at < end]


HEAD = f"{'':12}{'reports':>8}{'first':>18}{'in the middle':>18}{'error':>8}"


def row(name: str, said: list[Said]) -> str:
    """Return what was said of a file first and in the middle, and the largest error."""
    shown = [f"{s.left:.1f} for {s.truth:.1f} s" for s in (said[0], said[len(said) // 2])]
    error = f"{max(s.error for s in said):.0%}"
    return f"{name:12}{len(said):>8}{shown[0]:>18}{shown[1]:>18}{error:>8}"


def main() -> None:
    """Run, and print a table, row by row, and a line of JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reeldrop-time-left-") as folder:
        site = resident.make_site(Path(folder) / "site", order.of_bundled(1))
        with resident.daemon_on(site) as daemon:
            print(HEAD, flush=True)
            found = {}
            for name in FILES:
                found[name] = measure(daemon, site, name)
                print(row(name, found[name]), flush=True)
    print(json.dumps({name: list(map(asdict, said)) for name, said in found.items()}))
    if any(said.error > GOAL for several in found.values() for said in several):
        sys.exit("the goal is missed: an error is larger")


if __name__ == "__main__":
    main()
