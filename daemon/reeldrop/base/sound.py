"""What is heard with a video: a record that passes between stages, as those of `job`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]  # (channels, samples), from -1 to 1

SILENT_FORMATS = frozenset({"gif"})
"""The formats of videos that have no sound."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Sound of one or two channels; `sampling_rate` is samples a second."""

    samples: Samples
    sampling_rate: int
