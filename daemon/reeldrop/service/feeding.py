"""Carries out what `schedule` decides: opens jobs, loads models, hands over batches.

Has no state: the spool, the inbox and the open jobs tell what is next. Does not wait for anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from reeldrop.base.errors import DISK_ERRORS, Mistake, PromptError, RenderCancelled
from reeldrop.base.job import Job
from reeldrop.intake.intake import Intake
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.schedule import schedule
from reeldrop.schedule.schedule import (
    Conditions,
    FileView,
    Load,
    Open,
    PutBack,
    Render,
    SpoolView,
    View,
)
from reeldrop.service.jobs import OpenJobs
from reeldrop.service.workbench import Workbench
from reeldrop.store import job_files
from reeldrop.store.spool import Spool


@dataclass(frozen=True, slots=True)
class Feeder:
    """Moves what waits onto the workbench."""

    spool: Spool
    jobs: OpenJobs
    intake: Intake
    bench: Workbench

    def feed(self, now: float, conditions: Conditions) -> bool:
        """Take a step towards the next batch, or hand it over; return whether there was a step."""
        renderers = (self.bench.view(now),)
        if conditions.is_paused or schedule.free(renderers) is None:
            return False  # checked first: true after nearly every step
        if self.jobs.turns.are_many():
            self.jobs.turns.keep(self.jobs.groups() | self.intake.line.groups())
        view = View(
            renderers,
            self.jobs.views(now),
            self.jobs.spooled.views(now),
            self.intake.first() if conditions.opens else (),
            conditions,
            is_in_trouble=self.jobs.spooled.is_held_up(),
        )
        match schedule.decide(view):
            case Open(what):
                self._open_next(what)
            case PutBack(job_id):
                self.jobs.put_back(job_id)
            case Load(_, what):
                self._load(what)
            case Render() as found:
                self._render(found, now)
            case _:
                return False
        return True

    def _render(self, found: Render, now: float) -> None:
        batch = self.jobs.begin(found)
        if batch is not None:
            self.intake.line.pass_over(found.passed_over)
            self.bench.render(batch, now)

    def render_next(self, now: float) -> None:
        """Hand over the next batch of the open jobs as it is, if there is one."""
        batch = self.jobs.next_batch(now)
        if batch is not None:
            self.bench.render(batch, now)

    def heed_cancellations(self) -> None:
        """Cancel jobs on request, and each batch that only has prompts of cancelled jobs."""
        cancelled = self.jobs.cancel_asked()
        for batch in self.bench.batches:
            if all(member.job_id in cancelled for member in batch.members):
                self.bench.cancel(batch)

    def _open_next(self, what: SpoolView | FileView) -> None:
        """Open a job of the spool, or claim and open a file of the inbox, if it is still there."""
        if isinstance(what, SpoolView):
            job = self.jobs.spooled.find(what.id)
        else:
            job = self.intake.take(what)
        if job is not None:
            self._open(job, what)

    def _open(self, job: Job, what: SpoolView | FileView) -> None:
        """Read a claimed file, and queue its prompts for the renderer."""
        try:
            if job_files.is_cancelled(job) and not self.spool.attempts.was_in_hand(job):
                self.jobs.ends.fail(job, RenderCancelled("it was cancelled on request"))
                return
            if not self.jobs.ends.is_order(job):
                return
            found = self.intake.reader.read_job(job)
        except NotDescribed as unknown:
            self.jobs.spooled.need(job, unknown.model)
        except PromptError as error:
            self.jobs.ends.fail(job, error)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                self.jobs.ends.postpone(job, error)
            else:
                self.jobs.ends.fail(job, PromptError(Mistake(f"can't read it: {error.strerror}")))
        else:
            self.jobs.open(job, found.prompts, what.rank, found.size)
            self.heed_cancellations()  # before any prompt of it is rendered

    def _load(self, what: SpoolView) -> None:
        """Load the model that a job needs; the job stays in the spool until then."""
        job = self.jobs.spooled.find(what.id)
        if job is not None and self.jobs.spooled.begin_loading(job):
            self.bench.load(what.model, job)
