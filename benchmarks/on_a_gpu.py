"""Take every measurement for a GPU that is at hand for a quarter of an hour.

Each phase is a process of its own with a time limit, so one that fails or hangs costs itself alone.
Each figure is printed as a line of JSON, and added to `figures.jsonl`, as soon as it is known. The
models have the true shapes and random weights, made on the device; nothing is downloaded. Phases
that are not begun after `--seconds` are left out, which is said.

    python benchmarks/on_a_gpu.py --folder /tmp/on-a-gpu
    python benchmarks/on_a_gpu.py --folder /tmp/on-a-gpu model script frames

Without a GPU, the bundled model takes the place of the full-size one, to try the phases.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from gpu_phases import PHASES, Figure, trial_in


def tell(folder: Path, figure: Figure) -> None:
    """Print a figure, and add it to the file of figures."""
    line = json.dumps(figure)
    print(line, flush=True)
    with (folder / "figures.jsonl").open("a") as file:
        file.write(f"{line}\n")


def run(folder: Path, names: Iterable[str], seconds: float) -> list[str]:
    """Run phases in turn, each in a process of its own; return those that did not end well."""
    ends_at, failed = time.monotonic() + seconds, []
    for name in names:
        left = ends_at - time.monotonic()
        if left <= 0:
            tell(folder, {"phase": name, "error": "left out: the time is over"})
            failed.append(name)
            continue
        problem = _problem_of_phase(folder, name, min(PHASES[name][1], left))
        if problem:
            tell(folder, {"phase": name, "error": problem})
            failed.append(name)
    return failed


def _problem_of_phase(folder: Path, name: str, limit: float) -> str:
    """Run a phase, and return why it did not end well; empty if it did."""
    log = folder / f"{name}.log"
    command = [sys.executable, __file__, "--folder", str(folder), "--phase", name]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code == 0:
        return ""
    ending = f"ended after {limit:.0f} s" if code is None else f"exit code {code}"
    return f"{ending}: {log.read_text()[-600:]}"


def main() -> None:
    """Run the phases, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"of {', '.join(PHASES)}")
    parser.add_argument("--folder", type=Path, required=True, help="for models and figures")
    parser.add_argument("--seconds", type=float, default=580.0, help="for all phases together")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.phases) - PHASES.keys():
        parser.error(f"unknown phases: {', '.join(sorted(unknown))}")
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.phase:
        for figure in PHASES[given.phase][0](trial_in(given.folder)):
            tell(given.folder, {"phase": given.phase, **figure})
        return
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    tell(given.folder, {"device": name, "torch": torch.__version__})
    if failed := run(given.folder, given.phases or PHASES, given.seconds):
        sys.exit(f"not measured, or not whole: {', '.join(failed)}")


if __name__ == "__main__":
    main()
