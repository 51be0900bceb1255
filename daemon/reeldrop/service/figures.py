"""What work took that was measured, and how large and of which kinds work is.

Pure: no I/O, and no clock. For `forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from reeldrop.base.job import Batch, Prompt

MAX_KINDS = 1000
"""Upper bound on the remembered figures of one sort: prompt files choose their kinds."""


class Figures:
    """The seconds that one unit of size takes, by kinds of work, as last measured."""

    def __init__(self) -> None:
        self._rates: dict[Hashable, float] = {}

    def note(self, kinds: Sequence[Hashable], size: float, seconds: float) -> None:
        """Remember what work took that is of all these kinds."""
        for kind in kinds:
            self._rates.pop(kind, None)
            self._rates[kind] = seconds / size
        while len(self._rates) > MAX_KINDS:
            del self._rates[next(iter(self._rates))]

    def of(self, kinds: Sequence[Hashable], size: float) -> float | None:
        """Return how long work takes, from the first of its kinds that was measured."""
        rate = next((self._rates[kind] for kind in kinds if kind in self._rates), None)
        return None if rate is None else rate * size


def kinds(batch: Batch, device: str) -> list[Hashable]:
    """Return the kinds of a batch, the nearest first; those of other devices are the last."""
    key = batch.members[0].prompt.memory_key
    return [
        (device, key, len(batch.members)),
        (device, key),
        (device, batch.model),
        (key, len(batch.members)),
        key,
        batch.model,
        (device,),
        None,
    ]


def formats(prompt: Prompt, size: int) -> list[Hashable]:
    """Return the kinds of a video with so many pixels for the encoder, the nearest first."""
    return [(prompt.formats, size), prompt.formats, None]


def size(batch: Batch) -> int:
    """Return the number of pixels of all videos."""
    return pixels(batch.members[0].prompt) * len(batch.members)


def step_size(batch: Batch) -> int:
    """Return the size of what a step renders: the videos, or one window of them."""
    prompt = batch.members[0].prompt
    return pixels(prompt, prompt.windows.frames) * len(batch.members)


def pixels(prompt: Prompt, most_frames: int = 0) -> int:
    """Return the number of pixels of all frames, or of some, as far as the prompt says it."""
    said = dict(prompt.arguments)
    frames, *sides = map(said.get, ("num_frames", "height", "width"))
    if most_frames and isinstance(frames, int):
        frames = min(frames, most_frames)
    return math.prod(n for n in (frames, *sides) if isinstance(n, int) and n > 0)


def steps(batch: Batch) -> int:
    """Return the number of steps, which is 1 where it is not known."""
    return max(1, batch.steps)
