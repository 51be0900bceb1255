"""What follows when a renderer is lost, or fails what others render.

What it had in hand goes to others. A place that is broken is left out for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from reeldrop.base import trouble
from reeldrop.base.errors import RenderCancelled, Unrenderable
from reeldrop.base.events import RendererLeft
from reeldrop.base.job import Attempt, Cause
from reeldrop.service.stages import Phase, Stages

if TYPE_CHECKING:
    from reeldrop.base.job import Batch, Member
    from reeldrop.service.workbench import Workbench

LEFT_OUT_SECONDS = 600.0
"""How long a place that fails what others render gets no renderer; then it is tried again."""

MOST_PLACES = 3
"""A prompt at which the machines of so many places have failed may be the cause."""

_log = structlog.get_logger()


class Losses:
    """Takes back what lost renderers had in hand, while the process goes on.

    be_ready: called when the daemon goes on without its own model
    """

    def __init__(self, stages: Stages, phase: Phase, be_ready: Callable[[], None]) -> None:
        self._stages = stages
        self._phase = phase
        self._be_ready = be_ready
        self._failing: dict[tuple[str, int], set[str]] = {}

    def end(self, renderer: str, reason: str, now: float, cause: Cause = Cause.WORK) -> None:
        """End a renderer that hangs or is broken."""
        self._stages.fleet.end(renderer, reason)
        self.lost(RendererLeft(renderer, reason, cause), now)

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
            jobs.batches.lost(bench.coming, self._attempt(bench, event.reason, Cause.MACHINE))
        attempt = self._attempt(bench, event.reason, cause)
        if bench.batch is not None:
            is_alone = len(bench.batch.members) == 1
            if cause is not Cause.MACHINE:
                self._note_failure(bench, bench.batch.members[0], event.reason)
            jobs.batches.lost(bench.batch, replace(attempt, was_alone=is_alone))
        elif (bench.loading or bench.warm_up) and cause is not Cause.MACHINE:
            self._load_lost(bench, attempt)
        if cause is Cause.MACHINE:
            self._stages.health.forget(bench.place)
        self._leave_out_broken(now)

    def _attempt(self, bench: Workbench, reason: str, cause: Cause) -> Attempt:
        began, how = datetime.now(UTC).isoformat(timespec="seconds"), reason or "lost"
        return Attempt(began, (), how, cause=cause, renderer=bench.id, place=bench.place)

    def _load_lost(self, bench: Workbench, attempt: Attempt) -> None:
        """Note that a renderer has ended while it loaded a model, or rendered the warm-up.

        After several in a row, prompts of the model wait, and it is tried seldom. The job that
        asked for it is blamed, unless it is the daemon's own.
        """
        stages, now = self._stages, time.monotonic()
        model = bench.loading or (bench.warm_up.model if bench.warm_up else "")
        others = [other for other in stages.benches if other.place != bench.place]
        has_it = any(model in other.memory.ready for other in others)
        stages.health.load_failed(
            bench.place, bench.id, model, attempt.ending, now, works_elsewhere=has_it
        )
        if bench.loads_for is not None and model != stages.settings.model:
            stages.jobs.loads.lost(bench.loads_for, attempt)
        trying = {other.place for other in others if other.loading == model}
        error = None
        if not has_it:
            error = stages.models.ended(model, attempt.ending, now, bench.place, trying)
        if error is None:
            return
        remedy = "prompts of other models are rendered; it is tried again"
        _log.error("model_failed", model=model, reason=str(error), remedy=remedy)
        if model == stages.settings.model:
            if stages.settings.change_back(error):
                stages.change_renderers()
            else:
                self._be_ready()

    def is_machine_to_blame(self, bench: Workbench, batch: Batch, error: Exception) -> bool:
        """Return whether the machine of another process fails; that renderer is ended then.

        An error that a prompt meets at place after place counts as an attempt of it: else such a
        prompt would end all renderers for ever.
        """
        of_machine = None if bench.is_own else trouble.of(error)
        if of_machine is None:
            return False
        reason = f"its machine fails: {trouble.in_words(of_machine)}"
        is_followed = False
        for member in batch.members:
            places = self._failing.setdefault((member.job_id, member.prompt.number), set())
            places.add(bench.place)
            is_followed |= len(places) >= MOST_PLACES
        self.end(bench.id, reason, time.monotonic(), Cause.WORK if is_followed else Cause.MACHINE)
        self._failing = {k: v for k, v in self._failing.items() if k[0] in self._stages.jobs.opened}
        return True

    # Places that fail what others render

    def loaded(self, bench: Workbench, model: str) -> None:
        """Note that a renderer has loaded a model; one that has joined ends all rests."""
        self._stages.models.works(model, bench.id)
        if not bench.is_own and bench.loads_for is None:
            self._stages.jobs.opened.end_rests()
        self._stages.health.loaded(bench.place, model)
        self._leave_out_broken(time.monotonic())

    def rendered(self, bench: Workbench, batch: Batch) -> None:
        """Note that a renderer has rendered a batch."""
        self._stages.models.renders(batch.model, bench.id)
        keys = tuple((member.job_id, member.prompt.number) for member in batch.members)
        self._stages.health.rendered(bench.place, keys)
        self._leave_out_broken(time.monotonic())

    def failed(self, bench: Workbench, member: Member, error: Exception) -> None:
        """Fail a prompt, or let it be tried again: at other places, if there are some."""
        if isinstance(error, Unrenderable | RenderCancelled) or bench.is_own:
            self._stages.jobs.batches.failed(member.job_id, member.prompt, error)
            return
        self._note_failure(bench, member, str(error))
        self._stages.jobs.batches.failed(member.job_id, member.prompt, error, bench.place)
        self._leave_out_broken(time.monotonic())

    def _note_failure(self, bench: Workbench, member: Member, reason: str) -> None:
        job_id, prompt, now = member.job_id, member.prompt, time.monotonic()
        self._stages.health.failed(bench.place, bench.id, job_id, prompt, reason, now)

    def _leave_out_broken(self, now: float) -> None:
        """Leave out places that fail what others render, and count no attempts there."""
        stages = self._stages
        for place, last in stages.health.broken():
            if not stages.health.failures(place):  # it has just been left out
                continue
            if not stages.elsewhere.can_spare(place, now):
                continue
            benches = [bench for bench in stages.benches if bench.place == place]
            ids = [bench.id for bench in benches] or [last]
            reason = (
                f"{', '.join(ids)} is left out for {LEFT_OUT_SECONDS / 60:.0f} minutes, as what "
                f"fails there works elsewhere: {stages.health.suspicion(place)}"
            )
            _log.error("renderer_left_out", renderers=ids, reason=reason)
            stages.health.forget(place)
            for renderer in ids:
                stages.fleet.end(renderer, reason, LEFT_OUT_SECONDS)
            for bench in benches:
                self.lost(RendererLeft(bench.id, reason, Cause.MACHINE), now)
            for opened in stages.jobs.opened:
                opened.forgive(place)
            stages.jobs.spooled.forgive(place)
