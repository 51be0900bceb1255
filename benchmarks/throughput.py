"""Measure the videos per minute of the daemon with a full inbox, and of the script.

A real daemon with the shipped config.yaml and an inbox full of prompt files, and the script
(`script_loop.py`) take turns, each in a process of its own, warm, with the same model, prompts and
seeds; the results are medians of the rounds. On a CUDA device, the model has the true shape of
ms-1.7b with random weights, the daemon renders in several batch sizes, and the script runs with and
without its offload; elsewhere, it is the bundled model. First, both sides' frames are compared. It
fails if a goal is missed.

    python benchmarks/throughput.py --videos 16 --rounds 5
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import device
import full_size_model
import order
import resident
from order import Order
from reeldrop.render import devices
from resident import Run

BATCH_SIZES = (1, 4, 8, 16)
SCRIPT = "script"
SCRIPT_ON_GPU = "script, no offload"
MIN_PSNR = 40.0
GOALS = {
    "cuda": {SCRIPT: 4.0, SCRIPT_ON_GPU: 2.0, "peak_share": 0.5, "idle_share": 0.02},
    "cpu": {SCRIPT: 1.5},
}
"""The fastest daemon's minimum speedup over each baseline, its minimum share of the device's peak,
and the device's maximum share of idle time."""

Measured = tuple[Run, float]
"""A run, and the device's share of idle time."""

Way = Callable[[Path], Run]
"""Renders the order in one way, in a folder of its own."""


@dataclass(frozen=True)
class Row:
    """What one way to render took: medians of its rounds, but the maximum of peak memory."""

    videos_per_minute: float
    seconds_per_video: float
    peak_share: float
    idle_share: float
    peak_memory_mib: int

    @classmethod
    def of(cls, runs: Sequence[Measured], tflop: float, peak_tflops: float) -> Row:
        seconds = statistics.median(run.seconds / run.videos for run, _ in runs)
        return cls(
            videos_per_minute=round(60 / seconds, 2),
            seconds_per_video=round(seconds, 3),
            peak_share=round(tflop / seconds / peak_tflops, 3),
            idle_share=round(statistics.median(idle for _, idle in runs), 3),
            peak_memory_mib=max(run.peak_memory_mib for run, _ in runs),
        )


@dataclass(frozen=True)
class Comparison:
    """All rows by way to render, the minimum PSNR between both sides' frames, and the goals."""

    rows: dict[str, Row]
    psnr: float
    goals: Mapping[str, float]

    @property
    def fastest(self) -> Row:
        """The fastest daemon's row."""
        ours = (row for name, row in self.rows.items() if name.startswith("daemon"))
        return min(ours, key=lambda row: row.seconds_per_video)

    @property
    def speedups(self) -> dict[str, float]:
        """The fastest daemon's speedup over each baseline."""
        theirs = {name: row for name, row in self.rows.items() if name.startswith(SCRIPT)}
        ours = self.fastest.seconds_per_video
        return {name: round(row.seconds_per_video / ours, 3) for name, row in theirs.items()}

    def misses(self) -> list[str]:
        """Return the missed goals."""
        reached = {**self.speedups, "peak_share": self.fastest.peak_share}
        missed = [name for name in reached if reached[name] < self.goals.get(name, 0.0)]
        if self.fastest.idle_share >= self.goals.get("idle_share", 2.0):
            missed.append("idle_share")
        return [*missed, "psnr"] if self.psnr < MIN_PSNR else missed

    def table(self) -> str:
        """Return the comparison as a table."""
        names = [field.name for field in dataclasses.fields(Row)]
        rows = [f"{'':20}" + "".join(f"{name.replace('_', ' '):>19}" for name in names)]
        for way, row in self.rows.items():
            rows.append(f"{way:20}" + "".join(f"{value:19}" for value in asdict(row).values()))
        times = (f"{speedup} times as fast as {way}" for way, speedup in self.speedups.items())
        alike = f"frames are alike by {self.psnr:.1f} dB at least"
        return "\n".join([*rows, f"the fastest daemon is {', '.join(times)}; {alike}"])

    def json(self) -> str:
        """Return the comparison as a line of JSON."""
        return json.dumps(
            {
                "rows": {name: asdict(row) for name, row in self.rows.items()},
                "speedups": self.speedups,
                "psnr": round(self.psnr, 2),
                "goals": self.goals,
                "misses": self.misses(),
            }
        )


def in_batches(asked: Order, size: int) -> Order:
    """Return the order with a batch size for the daemon."""
    return dataclasses.replace(asked, profile={**asked.profile, "max_batch_size": size})


def ways(asked: Order, batch_sizes: Sequence[int], **changes: Any) -> dict[str, Way]:
    """Return the ways to render an order; without batch sizes, the daemon's is the shipped one.

    `changes` are to the shipped config.yaml.
    """

    def daemon(ours: Order) -> Way:
        return lambda folder: resident.by_daemon(
            resident.make_site(folder / "site", ours, **changes), ours
        )

    found: dict[str, Way] = {SCRIPT: lambda folder: resident.by_script(folder, asked)}
    if not batch_sizes:
        return {**found, "daemon": daemon(asked)}
    found[SCRIPT_ON_GPU] = lambda folder: resident.by_script(folder, asked, "--no-offload")
    batches = {f"daemon, batch {size}": daemon(in_batches(asked, size)) for size in batch_sizes}
    return found | batches


def measured(way: Way, on_cuda: bool) -> Measured:
    """Render the order once, and measure the device's idle time meanwhile."""
    with tempfile.TemporaryDirectory(prefix="reeldrop-throughput-") as folder:
        log = Path(folder) / "gpu.log"
        with device.gpu_watched(log) if on_cuda else nullcontext():
            run = way(Path(folder))
        if on_cuda:
            return run, device.gpu_idle_share(log.read_text(), run.began, run.began + run.seconds)
        threads = int(resident.threads()["OMP_NUM_THREADS"])
        return run, device.cpu_idle_share(run.cpu_seconds, run.seconds, threads)


def likeness(asked: Order, batch_sizes: Sequence[int], **changes: Any) -> float:
    """Return the minimum PSNR of the daemon's frames, in the largest batches, to the script's."""
    ours = in_batches(asked, max(batch_sizes)) if batch_sizes else asked
    with tempfile.TemporaryDirectory(prefix="reeldrop-likeness-") as folder:
        site = resident.make_site(Path(folder) / "site", ours, **changes)
        return resident.likeness(Path(folder), site, ours)


def compare(asked: Order, batch_sizes: Sequence[int], rounds: int, **changes: Any) -> Comparison:
    """Measure the ways to render in turn. Batch sizes are for a CUDA device only.

    `changes` are to the shipped config.yaml.
    """
    alike = likeness(asked, batch_sizes, **changes)
    tflop, peak_tflops = device.in_a_process(device.work_and_peak, asked)
    on_cuda = bool(batch_sizes)
    all_ways = ways(asked, batch_sizes, **changes)
    runs: dict[str, list[Measured]] = {name: [] for name in all_ways}
    for number in range(rounds):
        for name, way in all_ways.items():
            runs[name].append(measured(way, on_cuda))
            run, idle = runs[name][-1]
            text = f"{run.seconds:.1f} s, {idle:.1%} idle; load {os.getloadavg()[0]:.1f}"
            print(f"round {number + 1}, {name}: {text}", file=sys.stderr)
    rows = {name: Row.of(found, tflop, peak_tflops) for name, found in runs.items()}
    return Comparison(rows, alike, GOALS["cuda" if on_cuda else "cpu"])


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=16, help="videos in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=BATCH_SIZES)
    parser.add_argument("--folder", type=Path, default=full_size_model.FOLDER)
    given = parser.parse_args()
    if devices.cuda_is_available():
        folder = device.in_a_process(full_size_model.save, given.folder)
        found = compare(order.of_folder(folder, given.videos), given.batch_sizes, given.rounds)
    else:
        found = compare(order.of_bundled(given.videos), [], given.rounds)
    print(found.table())
    print(found.json())
    if found.misses():
        sys.exit(f"goals are missed: {', '.join(found.misses())}")


if __name__ == "__main__":
    main()
