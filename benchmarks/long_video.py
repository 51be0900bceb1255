"""Measure peak memory and time of a video of 200 frames, for the daemon and for the script.

A real daemon and the script (`script_loop.py`) take turns, each in a process of its own, warm, with
the same model, prompt and seed; the results are medians of the rounds. On a CUDA device, the model
has the true shape of ms-1.7b with random weights; elsewhere, it is the bundled model without its
limits. If the script runs out of memory, it has no row. It fails if a goal is missed; the goals are
for CUDA. With `--seams`, it measures long videos of windows instead: see `seams.py`.

    python benchmarks/long_video.py --rounds 3
    python benchmarks/long_video.py --seams
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import device
import full_size_model
import order
import resident
import seams
from order import Order
from reeldrop.render import devices
from resident import Run

FRAMES = 200
GOALS = {"peak_memory_mib": 12_000, "time_ratio": 0.6}
"""Upper bounds for the daemon on a CUDA device; the ratio is to the script."""


@dataclass(frozen=True)
class Row:
    """What one side needed for the video: median time and maximum peak memory of its rounds."""

    seconds: float
    peak_memory_mib: int

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Row:
        seconds = statistics.median(run.seconds for run in runs)
        return cls(round(seconds, 2), max(run.peak_memory_mib for run in runs))


@dataclass(frozen=True)
class Comparison:
    """Both sides' rows; the script's is None if it ran out of memory."""

    daemon: Row
    script: Row | None

    @property
    def time_ratio(self) -> float | None:
        """The daemon's time as a share of the script's."""
        return round(self.daemon.seconds / self.script.seconds, 3) if self.script else None

    @property
    def memory_ratio(self) -> float | None:
        """The daemon's peak memory as a share of the script's."""
        if self.script is None:
            return None
        return round(self.daemon.peak_memory_mib / self.script.peak_memory_mib, 3)

    def misses(self) -> list[str]:
        """Return the missed goals, including those that could not be measured."""
        reached = {
            "peak_memory_mib": self.daemon.peak_memory_mib,
            "time_ratio": self.time_ratio,
        }
        return [name for name, value in reached.items() if value is None or value > GOALS[name]]

    def table(self) -> str:
        """Return both sides as a table."""
        rows = [f"{'':12}{'seconds':>12}{'peak (MiB)':>12}"]
        for name, row in (("script", self.script), ("daemon", self.daemon)):
            cells = (row.seconds, row.peak_memory_mib) if row else ("no memory", "-")
            rows.append(f"{name:12}" + "".join(f"{cell:>12}" for cell in cells))
        return "\n".join([*rows, f"{'ratio':12}{self.time_ratio!s:>12}{self.memory_ratio!s:>12}"])


def compare(asked: Order, rounds: int, **changes: Any) -> Comparison:
    """Measure both sides in turn; `changes` are to the shipped config.yaml."""
    ours: list[Run] = []
    theirs: list[Run] = []
    for number in range(rounds):
        if len(theirs) == number:  # else it has run out of memory before
            theirs += unless_out_of_memory(lambda folder: resident.by_script(folder, asked))
        with tempfile.TemporaryDirectory(prefix="reeldrop-long-") as folder:
            site = resident.make_site(Path(folder) / "site", asked, **changes)
            ours.append(resident.by_daemon(site, asked))
        print(f"round {number + 1}: {theirs[-1:]}, {ours[-1]}", file=sys.stderr)
    return Comparison(Row.of(ours), Row.of(theirs) if theirs else None)


def unless_out_of_memory(script: Callable[[Path], Run]) -> list[Run]:
    """Return a list of the script's run; empty if it ran out of memory."""
    with tempfile.TemporaryDirectory(prefix="reeldrop-long-") as folder:
        try:
            return [script(Path(folder))]
        except resident.ScriptOutOfMemory as error:
            print(error, file=sys.stderr)
            return []


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=full_size_model.FOLDER)
    parser.add_argument("--seams", action="store_true", help="measure videos of windows instead")
    given = parser.parse_args()
    if given.seams:
        seams.report(seams.measure())
        return
    on_cuda = devices.cuda_is_available()
    if on_cuda:
        folder = device.in_a_process(full_size_model.save, given.folder)
        asked = order.of_folder(folder, 1, num_frames=given.frames)
    else:
        asked = order.of_bundled(1, num_frames=given.frames)
        asked.profile["limits"]["num_frames"] = given.frames
    found = compare(asked, given.rounds)
    misses = found.misses() if on_cuda else []
    print(found.table())
    ratios = {"time_ratio": found.time_ratio, "memory_ratio": found.memory_ratio}
    goals = GOALS if on_cuda else {}
    report = {"frames": given.frames, **asdict(found), **ratios, "goals": goals, "misses": misses}
    print(json.dumps(report))
    if misses:
        sys.exit(f"goals are missed: {', '.join(misses)}")


if __name__ == "__main__":
    main()
