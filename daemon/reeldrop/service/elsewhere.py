"""Where prompts can be rendered, and what other places can do for one that fails.

Decides nothing about jobs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from reeldrop.base.job import Prompt
from reeldrop.service.benches import Benches
from reeldrop.service.health import Failure, Health
from reeldrop.service.models import Models
from reeldrop.service.open_jobs import OpenJobs
from reeldrop.service.workbench import Workbench

HOLD_SECONDS = 600.0
"""How long after its last failure a place waits at most for others to try what failed there."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Knows which renderers can use which models, what fits, and which places are suspected."""

    benches: Benches
    jobs: OpenJobs
    models: Models
    health: Health

    def places(self, model: str, prompt: Prompt | None, now: float) -> frozenset[str]:
        """Return the places where a model can be used, loaded or not, and a prompt of it fits.

        prompt: None for any
        """
        return frozenset(
            bench.place for bench in self.benches if self._can_use(bench, model, prompt, now)
        )

    def _can_use(self, bench: Workbench, model: str, prompt: Prompt | None, now: float) -> bool:
        fits = prompt is None or self.jobs.together(prompt, bench.kind)
        return bool(fits) and model not in self.models.unusable(bench.id, now)

    def held(self, now: float) -> frozenset[Workbench]:
        """Return the renderers that get nothing for now."""
        if not (suspected := self.health.suspected()):  # as nearly always
            return frozenset()
        there = (bench for bench in self.benches if bench.place in suspected)
        return frozenset(bench for bench in there if self.is_held(bench, now))

    def is_held(self, bench: Workbench, now: float) -> bool:
        """Return whether a renderer gets nothing for now: others try what failed at its place."""
        failures = self.health.failures(bench.place)
        if not failures or now >= failures[-1].at + HOLD_SECONDS:
            return False
        left = [failure for failure in failures if self._is_left(failure)]
        return any(self._tries(other, found, now) for other in self._trusted() for found in left)

    def can_spare(self, place: str, now: float) -> bool:
        """Return whether others can render all that has failed at a place, at once."""
        return all(
            any(other.place != place and self._has(other, found, now) for other in self._trusted())
            for found in self.health.failures(place)
        )

    def _trusted(self) -> Iterator[Workbench]:
        return (bench for bench in self.benches if not self.health.failures(bench.place))

    def _is_left(self, failure: Failure) -> bool:
        """Return whether what failed is still to be tried."""
        if failure.works_elsewhere:
            return False
        if failure.prompt is None:
            return True
        is_open = failure.job_id in self.jobs
        return is_open and self.jobs[failure.job_id].is_left(failure.prompt.number)

    def _tries(self, bench: Workbench, failure: Failure, now: float) -> bool:
        """Return whether a renderer tries what failed elsewhere, or will before the hold ends."""
        if failure.prompt is None:
            return bench.loading == failure.model
        free_in = bench.view(now, self.models.unusable(bench.id, now)).free_in(now)
        is_soon = free_in <= HOLD_SECONDS or free_in == math.inf  # that is unknown
        return is_soon and self._has(bench, failure, now)

    def _has(self, bench: Workbench, failure: Failure, now: float) -> bool:
        is_ready = failure.model in bench.memory.ready
        return is_ready and self._can_use(bench, failure.model, failure.prompt, now)
