"""Measure how long the denoiser takes to compile, whole or by blocks, and how much renders gain.

Each form is compiled in a process of its own with an empty cache, then in another process with the
filled cache. Then all forms render in turn, with the same prompt and seed; the result is the median
of the rounds. On a CUDA device, the model has the true shape of ms-1.7b with random weights;
elsewhere, it is the bundled model.

    python benchmarks/compiling.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import device
import full_size_model
import numpy as np
import order
from order import Order
from reeldrop.base.job import Prompt
from reeldrop.host import log
from reeldrop.render import devices, pipeline, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import compiled
from reeldrop.tune.likeness import psnr_db

EAGER = "as it is"
FORMS = {
    EAGER: "off",
    "whole": "whole",
    "blocks": "blocks",
}
"""The forms of the denoiser, and the value of `compile` for each."""


@dataclass
class Row:
    """The measurements of one form.

    compiler_seconds: to compile it with an empty cache.
    cached_seconds: to compile it with a filled cache.
    seconds: of each video.
    psnr_db: of its frames against those of the eager denoiser; None if they are equal.
    """

    compiler_seconds: float = 0.0
    cached_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    psnr_db: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def compare(
    asked: Order,
    forms: Mapping[str, str],
    rounds: int,
    caches: Path,
    apart: Callable[..., Any] = device.in_a_process,
) -> dict[str, Row]:
    """Return a row for each form.

    apart: calls a function in isolation, so that it leaves no state behind.
    caches: the folder for the compiler's caches, one for each form.
    """
    prompt = prompt_of(asked)
    rows = {form: Row() for form in forms}
    for form, row in rows.items():
        took = (apart(compiled_in, asked, forms[form], caches / form) for _ in range(2))
        row.compiler_seconds, row.cached_seconds = took
        seconds = f"{row.compiler_seconds:.1f} s, from its cache {row.cached_seconds:.1f} s"
        print(f"{form}: compiled in {seconds}", file=sys.stderr)
    loaded = {form: warmed_up(asked, how, caches / form) for form, how in forms.items()}
    frames = {form: render(one, prompt)[0] for form, one in loaded.items()}
    for form, row in rows.items():
        near = psnr_db(frames[form], frames[EAGER])
        row.psnr_db = None if np.isinf(near) else near
    for _ in range(rounds):
        for form, one in loaded.items():
            rows[form].seconds.append(render(one, prompt)[1])
    return rows


def compiled_in(asked: Order, how: str, cache: Path) -> float:
    """Return how many seconds the compiler works on a form."""
    return warmed_up(asked, how, cache).fast_path.compiler_seconds


def warmed_up(asked: Order, how: str, cache: Path) -> LoadedPipeline:
    """Return a pipeline that has rendered a prompt, and whose denoiser is compiled."""
    os.environ[compiled.CACHE] = str(cache)
    loaded = load(asked, {"compile": how})
    render(loaded, prompt_of(asked))
    compiled.wait_for_compiler()
    return loaded


def prompt_of(asked: Order) -> Prompt:
    """Return the first prompt of an order."""
    name, seed = asked.prompts[0]
    return Prompt(1, name, "m", tuple(asked.settings.items()), seed, 8, ("mp4",))


def load(asked: Order, speed: Mapping[str, bool | str]) -> LoadedPipeline:
    """Load the pipeline with switches of the fast path; without, it compiles nothing."""
    given = {key: asked.profile.get(key) for key in ("variant", "scheduler")}
    switches = {"compile": "off", **speed}
    return pipeline.load(ModelSource("m", str(asked.folder), speed=switches, **given))


def render(loaded: LoadedPipeline, prompt: Prompt) -> tuple[np.ndarray, float]:
    """Return the frames of a prompt, and the seconds to render them."""
    began = time.monotonic()
    (frames,) = rendering.render(loaded, (prompt,), lambda _step: None)
    return frames, time.monotonic() - began


def table(rows: Mapping[str, Row]) -> str:
    """Return the rows as a table, with the gain over the eager denoiser."""
    lines = [f"{'':18}{'compiled in':>12}{'from cache':>12}{'a video':>10}{'gain':>8}{'PSNR':>10}"]
    for form, row in rows.items():
        gain = rows[EAGER].median / row.median
        near = "equal" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        compiler = f"{row.compiler_seconds:>10.1f} s{row.cached_seconds:>10.1f} s"
        lines.append(f"{form:18}{compiler}{row.median:>8.3f} s{gain:>8.3f}{near:>10}")
    return "\n".join(lines)


def report(rows: Mapping[str, Row]) -> str:
    """Return the rows as a line of JSON."""
    gains = {form: round(rows[EAGER].median / row.median, 3) for form, row in rows.items()}
    return json.dumps({"rows": {form: asdict(row) for form, row in rows.items()}, "gains": gains})


def main() -> None:
    """Run, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=full_size_model.FOLDER)
    given = parser.parse_args()
    log.configure(sys.stderr, for_people=True)
    on_cuda = devices.cuda_is_available()
    if on_cuda:
        asked = order.of_folder(device.in_a_process(full_size_model.save, given.folder), 1)
    else:
        asked = order.of_bundled(1)
    with tempfile.TemporaryDirectory(prefix="reeldrop-compiling-") as caches:
        rows = compare(asked, FORMS, given.rounds, Path(caches))
    print(table(rows))
    print(report(rows))


if __name__ == "__main__":
    main()
