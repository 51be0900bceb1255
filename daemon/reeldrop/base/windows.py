"""How a video that is longer than what its model makes is cut into windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST, MOST = 2, 10_000
"""How many frames config.yaml may give a window."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Equal pieces of a video; each begins before its predecessor ends.

    frames: the length of a piece; 0 if a video is never cut
    overlap: how many of them the predecessor has, too; more where the last piece has to end with
        the video
    ratio: frames of a video to one of its latents, after the first; latents are what is cut
    """

    frames: int = 0
    overlap: int = 0
    ratio: int = 1

    @property
    def of_latents(self) -> Windows:
        """The same in frames of the latents."""
        return Windows(math.ceil(self.frames / self.ratio), self.overlap // self.ratio)

    def count(self, frames: object) -> int:
        """Return the number of windows of a video with this number of frames."""
        if not self.frames or not isinstance(frames, int) or frames <= self.frames:
            return 1
        cut, length = self.of_latents, math.ceil(frames / self.ratio)
        return math.ceil((length - cut.overlap) / (cut.frames - cut.overlap))

    def starts(self, length: int) -> list[int]:
        """Return the first frame of each window, for latents with this number of frames."""
        cut = self.of_latents
        last = max(0, length - cut.frames)
        count = self.count(1 + (length - 1) * self.ratio)
        return [min(number * (cut.frames - cut.overlap), last) for number in range(count)]
