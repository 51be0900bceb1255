"""What it takes to compile the denoiser, as a whole or by blocks, and what renders gain by it.

All forms are made in one process, one after the other, so later ones find in the cache what is
alike in earlier ones. They render in turn: the same
prompt and seed, medians of the rounds. On a CUDA device the model has the true shape of ms-1.7b
with random weights, and CUDA graphs are recorded, too; elsewhere it is the bundled one.

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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import device
import full_size_model
import numpy as np
import order
from order import Order
from reeldrop import compiled, fast, log, pipeline, renderer
from reeldrop.job import Prompt
from reeldrop.likeness import psnr_db
from reeldrop.pipeline import LoadedPipeline, ModelSource

EAGER = "as it is"
FORMS = {
    EAGER: {"compile": False},
    "whole": {"compile": True},
    "blocks": {"compile_blocks": True},
}
ON_CUDA = {
    "recorded": {"compile": False, "cuda_graphs": True},
    "whole, recorded": {"compile": True, "cuda_graphs": True},
    "blocks, recorded": {"compile_blocks": True, "cuda_graphs": True},
}


@dataclass
class Row:
    """What one form took: once to be compiled, and for each video. `psnr_db` is how near its frames
    are to those of the denoiser as it is; None where they are equal.
    """

    compiler_seconds: float
    seconds: list[float] = field(default_factory=list)
    psnr_db: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def compare(asked: Order, forms: Mapping[str, dict[str, bool]], rounds: int) -> dict[str, Row]:
    """Return a row for each of the forms, which are switches of the fast path."""
    name, seed = asked.prompts[0]
    prompt = Prompt(1, name, "m", tuple(asked.settings.items()), seed, 8, ("mp4",))
    loaded = {form: load(asked, speed) for form, speed in forms.items()}
    rows: dict[str, Row] = {}
    frames: dict[str, np.ndarray] = {}
    for form, one in loaded.items():
        render(one, prompt)  # what has been rendered once is compiled
        compiled.wait_for_compiler()
        frames[form] = render(one, prompt)[0]  # and then recorded
        rows[form] = Row(one.fast_path.compiler_seconds)
        near = psnr_db(frames[form], frames[EAGER])
        rows[form].psnr_db = None if np.isinf(near) else near
        print(f"{form}: compiled in {rows[form].compiler_seconds:.1f} s", file=sys.stderr)
    for _ in range(rounds):
        for form, one in loaded.items():
            rows[form].seconds.append(render(one, prompt)[1])
    return rows


def load(asked: Order, speed: dict[str, bool]) -> LoadedPipeline:
    """Load the pipeline with its fast path, but for the form of the denoiser."""
    switches: dict[str, bool | str] = {**dict.fromkeys(fast.FORMS, False), **speed}
    given = {key: asked.profile.get(key) for key in ("variant", "scheduler")}
    return pipeline.load(ModelSource("m", str(asked.folder), speed=switches, **given))


def render(loaded: LoadedPipeline, prompt: Prompt) -> tuple[np.ndarray, float]:
    """Return the frames of a prompt, and the seconds that they took."""
    began = time.monotonic()
    (frames,) = renderer.render(loaded, (prompt,), lambda _step: None)
    return frames, time.monotonic() - began


def table(rows: Mapping[str, Row]) -> str:
    """Return the rows as a table, each beside the denoiser as it is."""
    lines = [f"{'':18}{'compiled in':>12}{'a video':>10}{'gain':>8}{'PSNR':>10}"]
    for form, row in rows.items():
        gain = rows[EAGER].median / row.median
        near = "equal" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        cells = f"{row.compiler_seconds:>10.1f} s{row.median:>8.3f} s{gain:>8.3f}{near:>10}"
        lines.append(f"{form:18}{cells}")
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
    on_cuda = pipeline.cuda_is_available()
    if on_cuda:
        asked = order.of_folder(device.in_a_process(full_size_model.save, given.folder), 1)
    else:
        asked = order.of_bundled(1)
    with tempfile.TemporaryDirectory(prefix="reeldrop-compiling-") as cache:
        os.environ[compiled.CACHE] = cache
        rows = compare(asked, {**FORMS, **(ON_CUDA if on_cuda else {})}, given.rounds)
    print(table(rows))
    print(report(rows))


if __name__ == "__main__":
    main()
