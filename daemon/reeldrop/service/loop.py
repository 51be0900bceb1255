"""The daemon's loop: reads one queue of events, and supplies the renderer with work.

The main thread reads that queue, and never waits for a render or an encoding; it does for a disk.
Nothing here holds state that is not in the files, except whose turn it is. `schedule` decides which
job of the spool or file of the inbox is next; to start, to go on and to restart are that same
decision.
"""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import structlog

from reeldrop.base.errors import Mistake
from reeldrop.base.escaping import short
from reeldrop.base.events import Event, Reload, Stop, Wake
from reeldrop.host import ending
from reeldrop.schedule import turns
from reeldrop.schedule.night import Night
from reeldrop.schedule.view import (
    Conditions,
)
from reeldrop.service.answers import Answers
from reeldrop.service.feeding import Seen
from reeldrop.service.limits import Outcome
from reeldrop.service.report import STATUS_SECONDS, Reporter
from reeldrop.service.stages import Phase, Stages
from reeldrop.store import lock
from reeldrop.store.status import MAX_REASON

OPEN_SECONDS = 0.1
"""How long jobs that end at once are opened before events are handled again."""

PAUSE_FACTOR = 20.0
"""How much longer than a look for requests to cancel the pause after it is at most."""

_log = structlog.get_logger()


class Loop:
    """A running daemon: it has locked the spool, and its model is being loaded.

    trace: the file that shows to the next process how this one ended
    drained_early: why a drain ended although something is left to do; None if it did not
    """

    def __init__(
        self,
        stages: Stages,
        phase: Phase,
        reporter: Reporter,
        events: queue.SimpleQueue[Event],
        trace: Path,
    ) -> None:
        self._stages = stages
        self._phase = phase
        self._reporter = reporter
        self._events = events
        self._trace = trace
        self._answers = Answers(stages, phase, reporter)
        self.drained_early: Mistake | None = None
        self._cancellations_due = -math.inf
        reporter.check_the_watchdog()

    @property
    def outcome(self) -> Outcome:
        return self._stages.jobs.outcome

    def work(self) -> None:
        """Work until a request to stop; when draining, until nothing is left to do."""
        try:
            self._look_after_the_disk(time.monotonic())
            self._reporter.report(time.monotonic())  # a small model is loaded at once
            while not self._is_over():
                self._handle_events()
                self._advance(time.monotonic())
            self._phase.is_stopping = True  # also if a drain ends with jobs held up
            self._note_what_is_left()
        finally:
            self._end(sys.exception())

    def _is_over(self) -> bool:
        stages = self._stages
        if stages.benches.is_any_rendering:
            return False
        if self._phase.is_stopping:
            return not stages.publisher.videos  # what is rendered is not thrown away
        if not self._phase.drains or stages.publisher.videos:
            return False
        if stages.pause or stages.disk.shortage:  # what is in hand is done; the rest does not wait
            return True
        if stages.benches.why_none_comes(time.monotonic()):
            return True
        busy = stages.benches.is_any_loading or stages.settings.are_changing
        return not busy and stages.intake.has_looked and not self._is_anything_left()

    def _is_anything_left(self) -> bool:
        jobs, intake = self._stages.jobs, self._stages.intake
        if jobs.trouble() or intake.claims.are_held_up():
            return False
        if jobs.suspects.due():
            return True
        is_night = not self._stages.wait_for_night()
        in_inbox = not (intake.problem or intake.is_empty())
        in_spool = jobs.spooled.unfinished(time.monotonic(), is_night=is_night)
        is_open = any(is_night or not turns.is_of_night(o.job.source) for o in jobs.opened)
        return is_open or in_inbox or in_spool is not None

    def _note_what_is_left(self) -> None:
        """Record why a drain ends, if it does not end because nothing is left to do."""
        if not self._phase.drains:
            return
        intake, benches = self._stages.intake, self._stages.benches
        no_renderer = benches.why_none_comes(time.monotonic())
        if no_renderer and self._is_anything_left():
            self.drained_early = Mistake(no_renderer, "start again when that is repaired")
        elif self._stages.pause and self._is_anything_left():
            self.drained_early = Mistake(f"paused {self._stages.pause}", "start again then")
        elif self._stages.disk.shortage and self._is_anything_left():
            self.drained_early = self._stages.disk.problem
        elif intake.problem:
            self.drained_early = Mistake(intake.problem, "put it back", key="inbox")
        elif trouble := self._stages.jobs.trouble() or intake.claims.trouble():
            self.drained_early = Mistake(f"held up: {trouble}", "restart when it is repaired")

    def _end(self, error: BaseException | None) -> None:
        self._reporter.stopping()
        self._stages.close()
        if self._phase.is_stopping:
            self._handle_all_that_came()
            self._stages.jobs.opened.put_down()
        outcome = self.outcome
        outcome.failed_jobs += self._stages.intake.blocked() + self._stages.jobs.spooled.postponed()
        said = " ".join(str(error or "").split())
        why = "" if error is None else short(said, MAX_REASON) or type(error).__name__
        self._reporter.report_the_end(time.monotonic(), why)
        _log.info("stopped", videos=outcome.videos, failed_jobs=outcome.failed_jobs)

    # Events

    def _handle_events(self) -> None:
        """Wait for an event or until something is due, and handle all that have arrived."""
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=self._seconds_to_wait())
            self._handle_all_that_came(event)

    def _handle_all_that_came(self, first: Event = Wake()) -> None:  # noqa: B008
        with self._stages.jobs.ends.gathered(), contextlib.suppress(queue.Empty):
            self._handle(first)
            while True:
                self._handle(self._events.get_nowait())

    def _seconds_to_wait(self) -> float:
        stages, now = self._stages, time.monotonic()
        due = [now + min(stages.settings.config.scan_seconds, lock.LOOK_SECONDS)]
        if self._takes_files() and not self._phase.is_stopping:
            due.append(stages.intake.due())
        if self._is_renderer_free():
            due += stages.jobs.due(opens=not stages.settings.are_changing)
        if len(stages.jobs.opened) or not self._phase.is_ready or stages.disk.shortage:
            due.append(now + STATUS_SECONDS)
        return max(0.0, min(due) - now)

    def _handle(self, event: Event) -> None:
        match event:
            case Wake():
                pass  # it only ends the wait
            case Stop():
                self._stop(event)
            case Reload():
                self._reload()
            case _:
                self._answers.handle(event)

    def _reload(self) -> None:
        """Read config.yaml again, to be used as soon as no job is begun."""
        settings = self._stages.settings
        coming = settings.read_again() or settings.config
        # At once: else no job might end, nor would it be used.
        self._stages.disk.min_free_gib = coming.min_free_gib
        self._stages.night = Night.parsed(coming.night)
        self._stages.intake.turn_controls(is_on=coming.controls)
        self._reporter.report(time.monotonic())

    def _stop(self, event: Stop) -> None:
        _log.info("stopping", signal=event.signal_name)
        self._reporter.stopping()
        self._phase.is_stopping = True
        self._stages.benches.cancel_all()

    # What is due

    def _advance(self, now: float) -> None:
        """Do everything that can be done now."""
        stages = self._stages
        self._keep_the_spool()
        self._look_for_hangs(now)
        self._change_settings()
        self._look_after_the_disk(now)
        if not self._phase.is_stopping:
            seen = self._keep_rendering(now)  # first: a GPU must not wait for a large inbox
            stages.intake.look(now)
            if not stages.disk.is_lost:
                for job in stages.intake.cancelled():
                    stages.feeder.cancel(job, now)
            if self._takes_files():
                for job, error in stages.intake.refused(patient=self._is_renderer_free()):
                    if stages.jobs.ends.is_order(job):
                        stages.jobs.ends.fail(job, error)
            self._heed_cancellations(now)
            self._keep_rendering(now, seen)
        if self._reporter.is_due(now):
            stages.note_kinds(now)
            self._reporter.report(now)

    def _keep_the_spool(self) -> None:
        """End the process at once if another has the spool: that one resumes what was in hand."""
        spool = self._stages.spool
        if not spool.keep():
            reason = f"the lock's file in {spool.root.path} was removed, and another locked it"
            _log.critical("spool_lost", reason=reason)
            ending.leave_at_once()

    def _look_for_hangs(self, now: float) -> None:
        """End a renderer that hangs; if it is in this process, or the encoder does, the process."""
        if not self._reporter.is_due(now):
            return
        for bench in self._stages.benches:
            if bench.hangs(now):
                what = " ".join(bench.doing() or ()).strip()
                reason = self._stalled(f"{what}, in step {bench.step}")
                if bench.is_own:
                    self._end_stalled(reason)
                self._answers.losses.end(bench.id, reason, now)
        self._stages.look_after_sheets(now)
        what = self._stages.hanging(now)
        if what:
            self._end_stalled(self._stalled(what))

    def _stalled(self, what: str) -> str:
        seconds = self._stages.settings.config.stall_seconds
        return f"stalled: no progress for {seconds:g} s while {what}"

    def _end_stalled(self, reason: str) -> NoReturn:
        _log.critical("stalled", reason=reason)
        # After a request to stop, what is in hand is not blamed for the end.
        ending.end_stalled(None if self._phase.is_stopping else self._trace, reason)

    def _change_settings(self) -> None:
        """Use the settings read last, as soon as no job is begun and the renderer is idle."""
        stages = self._stages
        if not stages.settings.are_changing:
            return
        stages.jobs.opened.leave_untranslated()  # a translator may be missing for long
        for bench in stages.benches:
            bench.cut_warm_up_short()
        if self._phase.is_stopping or stages.benches.is_any_busy or stages.jobs.are_begun:
            return
        if stages.settings.change():
            stages.change_renderers()
        else:
            stages.use_settings()
        self._reporter.check_the_watchdog()

    def _look_after_the_disk(self, now: float) -> None:
        """Begin nothing new while the disk is too full, or not the same one; a drain ends then."""
        if self._reporter.is_due(now):
            self._stages.disk.look()

    def _heed_cancellations(self, now: float) -> None:
        """Look for requests to cancel, but not most of the time if there are hundreds of jobs."""
        if now >= self._cancellations_due:
            began = time.monotonic()
            self._stages.feeder.heed_cancellations(now)
            pause = PAUSE_FACTOR * (time.monotonic() - began)
            self._cancellations_due = now + min(pause, STATUS_SECONDS)

    def _keep_rendering(self, now: float, seen: Seen | None = None) -> Seen | None:
        """Keep the renderer supplied with work, but let events wait `OPEN_SECONDS` at most.

        seen: what it returned at the same time; of that, only the renderers are the same
        """
        end = time.monotonic() + OPEN_SECONDS
        feeder, conditions = self._stages.feeder, self._conditions()
        if conditions.is_paused:
            return seen
        seen = replace(seen, jobs={}, spool=None) if seen is not None else feeder.look(now)
        while feeder.feed(now, conditions, seen):
            conditions = self._conditions()
            if time.monotonic() > end:
                self._events.put(Wake())
                if not self._stages.benches.are_busy:  # rather than wait for a full batch
                    feeder.render_next(now, conditions, seen)
                break
        return seen

    def _conditions(self) -> Conditions:
        stages = self._stages
        return Conditions(
            is_ready=self._phase.is_ready,
            is_short_of_room=bool(stages.disk.shortage),
            is_held=bool(stages.pause) or not stages.intake.has_looked,
            is_night=not stages.wait_for_night(),
            settings_change=stages.settings.are_changing,
            bytes_to_encode=stages.publisher.bytes,
            model_wait_seconds=stages.settings.config.model_wait_seconds,
            outlives_renderers=stages.benches.outlives,
            unload_seconds=60 * stages.settings.config.idle_unload_minutes or math.inf,
        )

    def _takes_files(self) -> bool:
        """Return whether settled files are read: not on trial settings, nor without `_failed/`."""
        stages = self._stages
        return self._phase.is_ready and not stages.settings.are_on_trial and not stages.disk.is_lost

    def _is_renderer_free(self) -> bool:
        return not self._conditions().is_paused and not self._stages.benches.are_busy
