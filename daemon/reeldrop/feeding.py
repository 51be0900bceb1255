"""What the renderer gets next: jobs are opened, and their prompts handed over in batches.

Keeps nothing: the spool, the inbox and the open jobs say what is next. Does not wait for anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from reeldrop.errors import DISK_ERRORS, Mistake, PromptError, RenderCancelled
from reeldrop.intake import Intake
from reeldrop.job import Job
from reeldrop.jobs import OpenJobs, Room
from reeldrop.prompts import NotDescribed
from reeldrop.spool import Spool
from reeldrop.workbench import Workbench

MAX_OPEN_JOBS = 256
"""No more jobs are begun while so many rest or wait to be encoded: each holds a file open."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """Brings what waits onto the workbench."""

    spool: Spool
    jobs: OpenJobs
    intake: Intake
    bench: Workbench

    def feed(self, now: float, *, opens: bool) -> bool:
        """Come nearer to the next batch, or hand it over; tell whether there was anything to do.

        A job is opened only if it `opens` any: first what goes along with that batch, and the next
        job where there is no batch to be had.
        """
        if not self.bench.takes_another(now):
            return False
        room = self.jobs.room_beside(now)
        if opens and room is not None and self._open_next(now, room):
            return True
        return self.render_next(now) or (opens and self._open_next(now))

    def render_next(self, now: float) -> bool:
        """Hand over the next batch as it is; tell whether there was one."""
        batch = self.jobs.next_batch(now)
        if batch is not None:
            self.bench.render(batch, now)
        return batch is not None

    def heed_cancellations(self) -> None:
        """Stop what somebody asked to cancel, and what nobody else waits for."""
        cancelled = self.jobs.cancel_asked()
        for batch in self.bench.batches:
            if all(member.job_id in cancelled for member in batch.members):
                self.bench.cancel(batch)

    def _open_next(self, now: float, room: Room | None = None) -> bool:
        job = self._next_job(now, room)
        return job is not None and self._open(job)

    def _next_job(self, now: float, room: Room | None) -> Job | None:
        """Return the job to open: the oldest of the spool, else the next of the inbox.

        Where there is `room` in a batch, the next that fits into it. What was in hand when a
        process ended may be what ended it, and has to be alone; where the disk makes trouble,
        nothing new is begun.
        """
        job = self.jobs.unfinished(now)
        if len(self.jobs) >= MAX_OPEN_JOBS:
            return None
        if len(self.jobs) and (self.jobs.has_suspect() or (job and job.attempts)):
            return None
        if job or self.jobs.is_held_up():
            return job
        return self.intake.take_beside(room.beside, room.count) if room else self.intake.take()

    def _open(self, job: Job) -> bool:
        """Read a claimed file, so that its prompts wait for the renderer.

        Return false where that has to wait, because its model must be loaded first.
        """
        try:
            if self.spool.is_cancelled(job) and not self.spool.was_in_hand(job):
                self.jobs.fail(job, RenderCancelled("it was cancelled on request"))
                return True
            if not self.jobs.is_order(job):
                return True
            found = self.intake.read(job)
        except NotDescribed as unknown:
            return self._load(unknown.model, job)
        except PromptError as error:
            self.jobs.fail(job, error)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                self.jobs.postpone(job, error)
            else:
                self.jobs.fail(job, PromptError(Mistake(f"can't read it: {error.strerror}")))
        else:
            self.jobs.open(job, found.prompts)
            self.heed_cancellations()  # before it is begun again
        return True

    def _load(self, model: str, job: Job) -> bool:
        """Load the model for a job, which stays first in the spool until then."""
        if self.bench.is_busy:
            return False
        if self.jobs.begin_loading(job):
            self.bench.load(model, job)
        return True
