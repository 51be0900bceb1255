#!/usr/bin/env python3
"""Measure the bundled model: the judge on drawn clips, the model on captions not trained on.

    python benchmarks/model_quality.py

Prints a table and one line of JSON. The clips' combinations of attributes are held out of every
stage of training, a quarter of the captions also have held-out word orders, and no seed is used
twice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from bundled_model import artefact, autoencoder, captions, judge, world  # noqa: E402

MODEL = ROOT / "daemon" / "reeldrop" / "bundled_model"
ATTRIBUTES = ("scene", "colour", "motion", "thing", "size", "all")
GOALS = {"scene": 0.98, "colour": 0.95, "motion": 0.90, "thing": 0.80, "all": 0.70}
JUDGE_GOAL = 0.97
CAPTION_SEED, FILM_SEED = 2026, 1_000_000

Counts = dict[str, int]


def check_judge(
    pipeline: artefact.TextToVideoSDPipeline, count: int
) -> tuple[Counts, float, float]:
    """Judge drawn clips after the autoencoder; return counts, mean dB and mean steadiness."""
    counts, decibels, steadiness = dict.fromkeys(ATTRIBUTES, 0), [], []
    rng = np.random.default_rng(CAPTION_SEED)
    for seed in range(count):
        spec = world.sample_spec(rng, held_out=seed % 2 == 0)
        drawn = world.draw_clip(spec, seed)
        decoded = _round_trip(pipeline, drawn)
        error = decoded.astype(np.float64) - drawn
        decibels.append(10 * np.log10(255**2 / np.mean(error**2)))
        verdict = judge.judge(decoded)
        steadiness.append(verdict.steadiness)
        _count(counts, judge.matches(spec, verdict))
    return counts, float(np.mean(decibels)), float(np.mean(steadiness))


@torch.no_grad()
def _round_trip(pipeline: artefact.TextToVideoSDPipeline, frames: world.Frames) -> world.Frames:
    latents = pipeline.vae.encode(autoencoder.to_images(frames)).latent_dist.mode()
    return autoencoder.to_frames(pipeline.vae.decode(latents).sample)


def check_model(
    pipeline: artefact.TextToVideoSDPipeline, count: int, batch: int, steps: int, guidance: float
) -> tuple[Counts, dict[str, str], float]:
    """Render and judge held-out captions; return counts, the failures, mean steadiness."""
    counts, wrong, steadiness = dict.fromkeys(ATTRIBUTES, 0), {}, []
    examples = captions.held_out_captions(count, CAPTION_SEED)
    for start in range(0, count, batch):
        some = examples[start : start + batch]
        seeds = [FILM_SEED + start + k for k in range(len(some))]
        videos = artefact.film(pipeline, [x.text for x in some], seeds, steps, guidance)
        for example, video in zip(some, videos, strict=True):
            verdict = judge.judge(video)
            matches = judge.matches(example.spec, verdict)
            steadiness.append(verdict.steadiness)
            _count(counts, matches)
            if not matches["all"]:
                seen = {
                    n: getattr(verdict, n)
                    for n, right in matches.items()
                    if not right and n != "all"
                }
                wrong[example.text] = ", ".join(f"{n}: {value}" for n, value in seen.items())
    return counts, wrong, float(np.mean(steadiness))


def _count(counts: Counts, matches: dict[str, bool]) -> None:
    for name, right in matches.items():
        counts[name] += right


def time_film(pipeline: artefact.TextToVideoSDPipeline, steps: int, guidance: float) -> float:
    """Return the median seconds of a video of 16 frames, without the first video."""
    seconds = []
    for seed in range(6):
        begun = time.perf_counter()
        artefact.film(pipeline, ["a red balloon rising over the sea"], [seed], steps, guidance)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[1:]))


def time_load() -> float:
    """Return the median seconds to load the model, without imports."""
    seconds = []
    for _ in range(4):
        begun = time.perf_counter()
        artefact.load_artefact(MODEL)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[1:]))


def megabytes() -> float:
    """Return the size of the model's folder in MB of a million bytes."""
    return sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) / 1e6


def print_table(
    result: dict[str, object], drawn: Counts, drawn_of: int, filmed: Counts, filmed_of: int
) -> None:
    """Print goals and measurements side by side."""
    table = Table("", "goal", "measured", "judge on drawn clips (goal 97 %)")
    for name in ATTRIBUTES:
        goal = f">= {GOALS[name]:.0%}" if name in GOALS else ""
        table.add_row(
            name,
            goal,
            f"{filmed[name]}/{filmed_of} = {filmed[name] / filmed_of:.1%}",
            f"{drawn[name]}/{drawn_of}",
        )
    table.add_row(
        "steadiness", ">= 0.85", f"{result['steadiness']:.3f}", f"{result['drawn_steadiness']:.3f}"
    )
    table.add_row("seconds a video", "<= 2", f"{result['seconds']:.2f}")
    table.add_row("MB", "<= 16", f"{result['megabytes']:.1f}")
    table.add_row("seconds to load", "<= 0.5", f"{result['load_seconds']:.2f}")
    table.add_row("autoencoder, dB", ">= 28", f"{result['decibels']:.1f}")
    Console(width=110).print(table)


def main() -> None:
    """Measure, print the table, then the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--drawn", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=artefact.STEPS)
    parser.add_argument("--guidance", type=float, default=artefact.GUIDANCE)
    parser.add_argument(
        "--wrong", action="store_true", help="list the captions that were not filmed right"
    )
    arguments = parser.parse_args()
    pipeline = artefact.load_artefact(MODEL)
    drawn, decibels, drawn_steadiness = check_judge(pipeline, arguments.drawn)
    filmed, wrong, steadiness = check_model(
        pipeline, arguments.captions, arguments.batch, arguments.steps, arguments.guidance
    )
    result: dict[str, object] = {
        "captions": arguments.captions,
        "filmed": filmed,
        "drawn_clips": arguments.drawn,
        "drawn": drawn,
        "steadiness": round(steadiness, 4),
        "drawn_steadiness": round(drawn_steadiness, 4),
        "seconds": round(time_film(pipeline, arguments.steps, arguments.guidance), 3),
        "load_seconds": round(time_load(), 3),
        "megabytes": round(megabytes(), 2),
        "decibels": round(decibels, 2),
        "steps": arguments.steps,
        "guidance": arguments.guidance,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}",
    }
    print_table(result, drawn, arguments.drawn, filmed, arguments.captions)
    if arguments.wrong:
        for text, seen in wrong.items():
            print(f"{text!r}: {seen}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
