#!/usr/bin/env python3
"""Measure the bundled model against its goals.

    python benchmarks/model_quality.py

Films 400 captions, half of them Chinese, whose combinations of attributes no stage of the training
saw, and a quarter of which have word orders that it did not see; then each line of the examples
with ten seeds. A judge that knows the pixels only says what they show; how far it can be trusted
is measured on drawn clips, as drawn and after the autoencoder. Prints a table and one line of JSON.

`--sheet FOLDER` writes sheets of 40 more held-out films without captions, the captions as text
beside them, and the picture for the documentation, for which `--font` has to name a font with
Chinese characters, such as `wqy-microhei.ttc` of the Debian package fonts-wqy-microhei.
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

from bundled_model import artefact, autoencoder, captions, quality, sheet, world  # noqa: E402

MODEL = ROOT / "daemon" / "reeldrop" / "bundled_model"
GOALS = {"scene": 0.98, "colour": 0.98, "motion": 0.98, "thing": 0.95, "count": 0.95, "all": 0.90,
         "steadiness": 0.9}  # fmt: skip
JUDGE_GOAL, SECONDS_GOAL, MEGABYTES_GOAL = 0.99, 1.0, 24.0
EXAMPLE_SEEDS, EXAMPLE_GOAL = 10, 0.8
SHEET_SEED = 77  # of captions that the figures do not use
SHEET_FILMS = 40
PICTURED = (
    *captions.EXAMPLES,
    "a red balloon rising over the sea",
    "a big blue ball bouncing on grass",
    "夜里一条金鱼在海上向左游",
)


def judge_drawings(pipeline: artefact.TextToVideoSDPipeline | None, count: int) -> quality.Tally:
    """Judge held-out drawn clips: as drawn, or after the autoencoder of a pipeline."""
    tally, rng = quality.Tally(), np.random.default_rng(quality.CAPTION_SEED)
    for seed in range(count):
        spec = world.sample_spec(rng, held_out=True)
        frames = world.draw_clip(spec, quality.FILM_SEED + seed)
        if pipeline is not None:
            frames = _round_trip(pipeline, frames)
        tally.add(captions.Example(captions.plain_caption(spec), spec), frames)
    return tally


@torch.no_grad()
def _round_trip(pipeline: artefact.TextToVideoSDPipeline, frames: world.Frames) -> world.Frames:
    latents = pipeline.vae.encode(autoencoder.to_images(frames)).latent_dist.mode()
    return autoencoder.to_frames(pipeline.vae.decode(latents).sample)


def time_film(pipeline: artefact.TextToVideoSDPipeline, **settings: float) -> float:
    """Return the median seconds of a video of 16 frames, without the first video."""
    seconds = []
    for seed in range(6):
        begun = time.perf_counter()
        artefact.film(pipeline, ["a red balloon rising over the sea"], [seed], **settings)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[1:]))


def write_sheets(
    pipeline: artefact.TextToVideoSDPipeline,
    folder: Path,
    font: Path | None,
    settings: dict[str, float],
) -> None:
    """Write the sheets for a person's eye, their captions, and the documentation's picture."""
    folder.mkdir(parents=True, exist_ok=True)
    examples = captions.held_out_captions(SHEET_FILMS, SHEET_SEED)
    films = [f for _, f in quality.films(pipeline, examples, range(SHEET_FILMS), **settings)]  # type: ignore[arg-type]
    for start in range(0, SHEET_FILMS, 10):
        some = slice(start, start + 10)
        labels = [str(number + 1) for number in range(SHEET_FILMS)[some]]
        sheet.write_sheet(folder / f"films_{start + 1}.png", films[some], labels)
    lines = [f"{number + 1}. {example.text}" for number, example in enumerate(examples)]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n")
    pictured = [artefact.film(pipeline, [text], [0], **settings)[0] for text in PICTURED]  # type: ignore[arg-type]
    sheet.write_sheet(folder / "films.png", pictured, PICTURED, font=font)


def print_table(result: dict[str, object], drawn: quality.Tally, filmed: quality.Tally) -> None:
    """Print goals and measurements side by side."""
    table = Table("", "goal", "measured", "judge on drawn clips (goal 99 %)")
    right, of_drawn = filmed.shares(), drawn.shares()
    for name, share in right.items():
        goal = f">= {GOALS[name]:.2f}" if name in GOALS else ""
        table.add_row(name, goal, f"{share:.4f}", f"{of_drawn[name]:.4f}")
    table.add_row("seconds a video", f"<= {SECONDS_GOAL}", f"{result['seconds']}", "")
    table.add_row("MB", f"<= {MEGABYTES_GOAL}", f"{result['megabytes']}", "")
    for text, count in result["examples"].items():  # type: ignore[attr-defined]
        table.add_row(text, f">= {EXAMPLE_GOAL}", f"{count} of {result['seeds']}", "")
    Console(width=120).print(table)


def missed(result: dict[str, object]) -> list[str]:
    """Return the names of the goals that the result does not reach."""
    filmed, examples = result["filmed"], result["examples"]
    seeds = float(result["seeds"])  # type: ignore[arg-type]
    names = [name for name, goal in GOALS.items() if filmed[name] < goal]  # type: ignore[index]
    names += [t for t, count in examples.items() if count < EXAMPLE_GOAL * seeds]  # type: ignore[attr-defined]
    names += ["judge"] if result["drawn"]["all"] < JUDGE_GOAL else []  # type: ignore[index]
    names += ["seconds"] if result["seconds"] > SECONDS_GOAL else []  # type: ignore[operator]
    return names + (["megabytes"] if result["megabytes"] > MEGABYTES_GOAL else [])  # type: ignore[operator]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--captions", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=EXAMPLE_SEEDS, help="of each example's line")
    parser.add_argument("--steps", type=int, default=artefact.STEPS)
    parser.add_argument("--guidance", type=float, default=artefact.GUIDANCE)
    parser.add_argument("--sheet", type=Path, help="a folder for sheets of films")
    parser.add_argument("--font", type=Path, help="with Chinese characters, for the pictures")
    return parser.parse_args()


def main() -> int:
    """Measure, print the table and the JSON line; 1 if a goal is not reached."""
    arguments = parse_arguments()
    settings = {"steps": arguments.steps, "guidance": arguments.guidance}
    pipeline = artefact.load_artefact(arguments.model)
    drawn = judge_drawings(None, arguments.captions)
    decoded = judge_drawings(pipeline, arguments.captions)
    filmed = quality.measure(pipeline, arguments.captions, **settings)
    examples = quality.measure_examples(pipeline, arguments.seeds, **settings)
    files = [file for file in arguments.model.rglob("*") if file.is_file()]
    result: dict[str, object] = {
        "captions": arguments.captions,
        "seeds": arguments.seeds,
        "filmed": filmed.shares(),
        "drawn": drawn.shares(),
        "decoded": decoded.shares(),
        "examples": {text: tally.right["all"] for text, tally in examples.items()},
        "seconds": round(time_film(pipeline, **settings), 3),
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
        **settings,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}",
    }
    print_table(result, drawn, filmed)
    for line in (*filmed.wrong, *(line for tally in examples.values() for line in tally.wrong)):
        print(line)
    if arguments.sheet:
        write_sheets(pipeline, arguments.sheet, arguments.font, settings)
    result["missed"] = missed(result)
    print(json.dumps(result, ensure_ascii=False))
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
