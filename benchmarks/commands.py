"""Measure the processor time of the commands that do not render: the best of many runs.

The baselines are a bare start of Python, and one that imports torch.

    python benchmarks/commands.py
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL_SECONDS = 0.3

REELDROP = [sys.executable, "-m", "reeldrop"]
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "--help": [*REELDROP, "--help"],
    "status": [*REELDROP, "status"],
    "history": [*REELDROP, "history"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return user plus system time of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int, site: Path) -> dict[str, float]:
    """Return the minimum time of each command, from alternating runs on an empty site."""
    environment = {**os.environ, "REELDROP_CONFIG": str(site / "config.yaml")}
    environment["PYTHONPYCACHEPREFIX"] = str(site / "byte-code")  # written by the first run
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([*REELDROP, "init", str(site)], stdout=subprocess.DEVNULL, check=True)
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(runs):
        for name, command in COMMANDS.items():
            best[name] = min(best[name], cpu_seconds(command, environment))
    return best


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="reeldrop-commands-") as folder:
        best = measure(runs, Path(folder))
    for name, seconds in best.items():
        print(f"{name:14}{seconds:8.3f} s of the processor")
    print(json.dumps({name: round(seconds, 3) for name, seconds in best.items()}))
    slow = [n for n in ("--help", "status") if best[n] >= GOAL_SECONDS]
    if slow:
        sys.exit(f"not under the goal of {GOAL_SECONDS} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
