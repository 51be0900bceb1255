"""Read videos back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image
from reeldrop.base.job import Rendered


def decoded(video: Path) -> np.ndarray:
    """Return the frames of a video file, (frames, height, width, 3) uint8."""
    with av.open(str(video)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def pictures_of(path: Path) -> list[bytes]:
    """Return the pixels of each picture of a video or poster."""
    if path.suffix == ".jpg":
        with Image.open(path) as poster:
            return [poster.tobytes()]
    return [frame.tobytes() for frame in decoded(path)]


def rendered_by(model: str) -> Rendered:
    """Return how a video was rendered by a model."""
    return Rendered(
        model=model,
        revision="8227dddca75a8561bf858d604cc5dae52b954d01",
        pipeline="TextToVideoSDPipeline",
        scheduler="",
        device="cpu",
        dtype="float32",
        versions=(("reeldrop", "1.2"),),
        seconds=1.0,
        peak_memory_mib=1,
    )
