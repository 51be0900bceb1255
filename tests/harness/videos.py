"""Read videos back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def decoded(video: Path) -> np.ndarray:
    """Return the frames of a video file, (frames, height, width, 3) uint8."""
    with av.open(str(video)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
