"""Measure the seams of videos that are longer than the model, and whether they show what was asked.

The bundled model films held-out captions in windows, each also within one window. At a seam, a
window begins or ends; the figure is the mean difference of neighbouring frames there, over that
elsewhere, over all videos. The judge looks at each video as a whole. It fails if the goal is
missed.

    python benchmarks/seams.py --count 12 --frames 64
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reeldrop.base.job import Prompt
from reeldrop.base.windows import Windows
from reeldrop.render import pipeline, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource, bundled_model

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from bundled_model import artefact, captions, judge, world

GOAL = 1.3
"""Upper bound on the ratio."""

SEED = 2026


def seams(windows: Windows, frames: int) -> list[int]:
    """Return the frames before which a window begins or ends."""
    starts = windows.starts(frames)
    ends = [start + windows.frames for start in starts[:-1]]
    return sorted({*starts[1:], *ends})


def differences(frames: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of each frame to the one before, in grey levels."""
    found: np.ndarray = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    return found


def ratio(videos: Sequence[np.ndarray], windows: Windows) -> float:
    """Return the mean difference at seams over that elsewhere; of a still video, 1."""
    at_seams, elsewhere = [], []
    for frames in videos:
        places = np.array(seams(windows, len(frames))) - 1
        found = differences(frames)
        at_seams += found[places].tolist()
        elsewhere += np.delete(found, places).tolist()
    return float(np.mean(at_seams) / np.mean(elsewhere))


def film(
    loaded: LoadedPipeline, examples: Sequence[captions.Example], frames: int
) -> tuple[list[np.ndarray], float]:
    """Return a video of each caption, and the median seconds of one."""
    videos, seconds = [], []
    given = {
        "num_frames": frames, "height": world.FRAME_SIZE, "width": world.FRAME_SIZE,
        "num_inference_steps": artefact.STEPS, "guidance_scale": artefact.GUIDANCE,
    }  # fmt: skip
    for number, example in enumerate(examples):
        prompt = Prompt(
            1,
            example.text,
            "bundled",
            tuple(given.items()),
            number,
            8,
            ("mp4",),
            windows=loaded.capabilities.windows,
        )
        began = time.perf_counter()
        videos += rendering.render(loaded, (prompt,), lambda _step: None)
        seconds.append(time.perf_counter() - began)
    return videos, statistics.median(seconds)


def judged(examples: Sequence[captions.Example], videos: Sequence[np.ndarray]) -> dict[str, int]:
    """Return how many videos show each thing that was asked for."""
    counts: Counter[str] = Counter()
    for example, frames in zip(examples, videos, strict=True):
        counts.update(judge.matches(example.spec, judge.judge(frames)))
    return {name: int(count) for name, count in counts.items()}


def peak_mib() -> int:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measure(
    count: int = 12,
    frames: int = 4 * world.NUM_FRAMES,
    window: int = world.NUM_FRAMES,
    overlap: int = world.NUM_FRAMES // 2,
) -> dict[str, Any]:
    """Return all figures."""
    source = ModelSource(
        "bundled", str(bundled_model()), variant="fp16", window=window, overlap=overlap
    )
    loaded = pipeline.load(source)
    examples = captions.held_out_captions(count, SEED)
    short, short_seconds = film(loaded, examples, window)
    short_peak = peak_mib()
    long, long_seconds = film(loaded, examples, frames)
    windows = loaded.capabilities.windows
    return {
        "captions": count,
        "frames": frames,
        "windows": windows.count(frames),
        "window": window,
        "overlap": overlap,
        "seam_ratio": round(ratio(long, windows), 3),
        "goal": GOAL,
        "right_short": judged(examples, short),
        "right_long": judged(examples, long),
        "seconds_short": round(short_seconds, 2),
        "seconds_long": round(long_seconds, 2),
        "peak_mib_short": short_peak,
        "peak_mib_long": peak_mib(),
    }


def main() -> None:
    """Run, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("count", "frames", "window", "overlap"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    report(measure(**vars(parser.parse_args())))


def report(found: dict[str, Any]) -> None:
    """Print the figures as a line of JSON; exit with an error if the goal is missed."""
    print(json.dumps(found))
    if found["seam_ratio"] > GOAL:
        sys.exit(f"the goal is missed: {found['seam_ratio']} is more than {GOAL}")


if __name__ == "__main__":
    main()
