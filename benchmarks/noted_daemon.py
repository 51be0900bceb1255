"""`reeldrop` that records data for a comparison; everything else is real.

With `--first-steps=FILE` as the first argument, it writes there, one per line, the monotonic time
of the UNet's first call for each batch. With `--frames=FOLDER`, it saves the frames that reach the
encoder, as arrays named by their seed.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import yaml
from reeldrop.commands import cli
from reeldrop.video import encoder


def note_first_steps(file: Path) -> None:
    """Record the time of the UNet's first call within each call of the pipeline."""
    pipeline, unet = diffusers.TextToVideoSDPipeline, diffusers.UNet3DConditionModel
    render, step = pipeline.__call__, unet.__call__
    is_first = False

    @functools.wraps(render)  # reeldrop reads the settings from the signature
    def rendering(*arguments: Any, **keywords: Any) -> Any:
        nonlocal is_first
        is_first = True
        return render(*arguments, **keywords)

    def stepping(*arguments: Any, **keywords: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            with file.open("a") as notes:
                notes.write(f"{time.monotonic()}\n")
        return step(*arguments, **keywords)

    pipeline.__call__, unet.__call__ = rendering, stepping


def keep_frames(folder: Path) -> None:
    """Save the frames of each video that is encoded."""
    encode = encoder.encode

    def keeping(
        frames: np.ndarray, path: Path, format: str, fps: float, settings: str, *others: Any
    ) -> None:
        np.save(folder / f"{yaml.safe_load(settings)['seed']}.npy", frames)
        encode(frames, path, format, fps, settings, *others)

    encoder.encode = keeping


if __name__ == "__main__":
    what, _, where = sys.argv.pop(1).partition("=")
    {"--first-steps": note_first_steps, "--frames": keep_frames}[what](Path(where))
    cli.main()
