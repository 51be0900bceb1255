"""The limits that config.yaml sets for jobs, what fits at once as measured, and what a run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reeldrop.base.fleet import BatchLimit
from reeldrop.base.job import Batch, Prompt

MAX_KINDS = 1000
"""Upper bound on the remembered entries of `Fits`: prompt files choose their keys."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that config.yaml sets.

    batch_sizes: how many prompts of a profile may be rendered together
    max_attempts: how often a prompt is tried in all
    retry_seconds: the pause before a retry
    """

    batch_sizes: Mapping[str, BatchLimit]
    max_attempts: int
    retry_seconds: float


@dataclass(slots=True)
class Outcome:
    """What a run has done."""

    videos: int = 0
    failed_jobs: int = 0


class Fits:
    """How many prompts of equal size fit into a kind of device at once, where that was measured."""

    def __init__(self) -> None:
        self._measured: dict[tuple[object, ...], int] = {}

    def note(self, batch: Batch, fits: int, kind: str = "") -> None:
        """Remember how many prompts like those of a batch fit into a device at once; 0 if none."""
        key = (kind, *batch.prompts[0].memory_key)
        self._measured.pop(key, None)
        if len(self._measured) >= MAX_KINDS:
            del self._measured[next(iter(self._measured))]
        self._measured[key] = fits

    def size(self, prompt: Prompt, limit: BatchLimit, kind: str = "") -> int:
        """Return how many prompts like this one a kind of device renders together.

        0 if not one fits, whatever config.yaml says.
        """
        fits = self._measured.get((kind, *prompt.memory_key), 1)
        return min(limit.most, fits) if limit.is_measured or not fits else limit.most
