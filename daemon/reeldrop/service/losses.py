"""What follows when a renderer is lost: what it had in hand goes to others.

Does not know why it is lost, nor what the others do.
"""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from reeldrop.base.events import RendererLeft
from reeldrop.base.job import Attempt, Cause
from reeldrop.service.stages import Phase, Stages

_log = structlog.get_logger()


class Losses:
    """Takes back what lost renderers had in hand, while the process goes on."""

    def __init__(self, stages: Stages, phase: Phase) -> None:
        self._stages = stages
        self._phase = phase

    def end(self, renderer: str, reason: str, now: float) -> None:
        """End a renderer that hangs or is broken."""
        self._stages.fleet.end(renderer, reason)
        self.lost(RendererLeft(renderer, reason, Cause.WORK), now)

    def lost(self, event: RendererLeft, now: float) -> None:
        """Queue again what a renderer had in hand, as the first.

        Only the batch that it rendered is to blame, or the load; not the batch handed over ahead.
        """
        bench = self._stages.leave(event.id, now)
        if bench is None:
            return
        _log.error(
            "renderer_lost",
            renderer=event.id,
            reason=event.reason,
            batch=[f"{m.job_id}:{m.prompt.number}" for m in bench.batch.members]
            if bench.batch
            else [],
            renderers_left=len(self._stages.benches),
        )
        cause = Cause.MACHINE if self._phase.is_stopping else event.cause
        jobs = self._stages.jobs
        if bench.coming is not None:
            jobs.batches.lost(bench.coming, self._attempt(event, Cause.MACHINE))
        if bench.batch is not None:
            is_alone = len(bench.batch.members) == 1
            jobs.batches.lost(bench.batch, self._attempt(event, cause, is_alone=is_alone))
        elif bench.loading and bench.loads_for is not None and cause is not Cause.MACHINE:
            jobs.loads.lost(bench.loads_for, self._attempt(event, cause))

    def _attempt(self, event: RendererLeft, cause: Cause, *, is_alone: bool = True) -> Attempt:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        return Attempt(began, (), event.reason or "lost", is_alone, cause, renderer=event.id)
