"""The original script that reeldrop replaces, unimproved: the baseline of the comparisons.

It loads a pipeline with the script's noise schedule and offload, and for each prompt renders,
exports with diffusers' `export_to_video`, and moves the file into the results. On the CPU, weights
are float32, the only dtype that diffusers renders there. First, it renders the first prompt once as
a warm-up.

    python benchmarks/script_loop.py --videos 4

Prints a table and a line of JSON with the time at which each video was finished.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from diffusers.utils import export_to_video
from order import Order, of_bundled, of_folder

VARIANT = "fp16"


@dataclass(frozen=True)
class Report:
    """Measurements of a run. `began`, after the warm-up, and `published`, when each video was in
    the results, are in seconds since the epoch."""

    began: float
    published: tuple[float, ...]
    cpu_seconds: float
    peak_memory_mib: int


def load(order: Order, *, offloads: bool = True) -> Any:
    """Return the pipeline, set up as in the script."""
    on_cuda = torch.cuda.is_available()
    dtype = torch.float16 if on_cuda else torch.float32
    pipe = DiffusionPipeline.from_pretrained(order.folder, dtype=dtype, variant=VARIANT)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    if on_cuda and offloads:
        pipe.enable_model_cpu_offload()
    elif on_cuda:
        pipe.to("cuda")
    return pipe


def render(pipe: Any, prompt: str, seed: int, settings: dict[str, Any]) -> np.ndarray:
    """Return a prompt's frames, (frames, height, width, 3) floats from 0 to 1."""
    generator = torch.Generator("cpu").manual_seed(seed)
    frames: np.ndarray = pipe(prompt, generator=generator, **settings).frames[0]
    return frames


def loop(pipe: Any, order: Order, results: Path, keep: Path | None = None) -> Report:
    """Render one prompt after the other; also save the frames as arrays in `keep`."""
    began, cpu_before, published = time.time(), time.process_time(), []
    for prompt, seed in order.prompts:
        frames = render(pipe, prompt, seed, order.settings)
        video = export_to_video(frames, fps=order.profile["defaults"]["fps"])
        shutil.move(video, results / f"{prompt.replace(' ', '_')}_{seed}.mp4")
        published.append(time.time())
        if keep is not None:
            np.save(keep / f"{seed}.npy", (frames * 255).round().astype(np.uint8))
    cpu_seconds = time.process_time() - cpu_before
    return Report(began, tuple(published), cpu_seconds, peak_memory_mib())


def peak_memory_mib() -> int:
    """Return the peak memory of this process; with a GPU, that of the GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def table(report: Report) -> str:
    """Return the report as a table."""
    seconds = np.diff([report.began, *report.published])
    rows = [f"{'video':>8}{'seconds':>10}"]
    rows += [f"{number:8}{one:10.2f}" for number, one in enumerate(seconds, start=1)]
    return "\n".join([*rows, f"peak memory {report.peak_memory_mib} MiB"])


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="a diffusers pipeline; else the bundled one")
    parser.add_argument("--order", type=Path, help="a file that says all of this")
    parser.add_argument("--results", type=Path, help="where the videos go; else they are removed")
    parser.add_argument("--keep", type=Path, help="a folder for the frames, as arrays")
    parser.add_argument("--no-offload", action="store_true", help="the whole pipeline on the GPU")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first video, too")
    given = parser.parse_args()
    if given.order:
        order = Order.read(given.order)
    else:
        order = of_folder(given.folder, given.videos) if given.folder else of_bundled(given.videos)
    with tempfile.TemporaryDirectory(prefix="reeldrop-script-") as folder:
        pipe = load(order, offloads=not given.no_offload)
        if not given.no_warm_up:
            render(pipe, *order.prompts[0], order.settings)
        report = loop(pipe, order, given.results or Path(folder), given.keep)
    print(table(report))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
