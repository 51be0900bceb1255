"""The models that are loaded for jobs: an attempt at that may end the process, too.

Does not know what is loaded next, nor renderers.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from reeldrop.base.job import Attempt, Job
from reeldrop.service import blame
from reeldrop.service.batches import Batches
from reeldrop.service.open_jobs import OpenJobs
from reeldrop.store.attempts import Attempts


class Loads:
    """The attempts to load models for jobs, with none of their prompts in hand.

    are_recorded: whether they are recorded in advance, because a renderer that ends ends the
        process; else `lost` records them, and the job may have prompts in hand
    """

    def __init__(self, attempts: Attempts, jobs: OpenJobs, batches: Batches) -> None:
        self._attempts = attempts
        self._jobs = jobs
        self._batches = batches
        self._spooled = jobs.spooled
        self._suspects = jobs.spooled.suspects
        self.are_recorded = True

    def begin_to_read(self, job_id: str) -> Job | None:
        """Record that a model is being loaded for a job of the spool, and return the job.

        None if it must not be: the job is held back, has failed because of earlier ends, or is
        postponed.
        """
        job = self._spooled.find(job_id)
        if job is None or self._is_held_back(job):
            return None
        if self._has_ended_too_often(job, self._spooled.needs.of(job_id)):
            self._spooled.ends.fail(job, blame.ended_with(job, None))
            return None
        try:
            self._begin(job)
        except OSError as error:
            self._spooled.ends.postpone(job, error)
            return None
        return job

    def begin_to_render(self, job_id: str, model: str) -> Job | None:
        """Record that a model is being loaded again for an open job, and return the job.

        None if it must not be: the job is held back or postponed, or its prompts of the model have
        failed because of earlier ends.
        """
        opened = self._jobs[job_id]
        if opened.may_go_back and self._is_held_back(opened.job):
            self._jobs.put_back(job_id)
            return None
        if self._has_ended_too_often(opened.job, model):
            error = blame.ended_with(opened.job, None)
            self._batches.fail(opened, opened.drop_waiting(model), error)
            return None
        try:
            self._begin(opened.job)
        except OSError as error:
            self._jobs.leave_for_now(opened, error)
            return None
        opened.is_recorded |= self.are_recorded
        return opened.job

    def _is_held_back(self, job: Job) -> bool:
        """Return whether no model is loaded for a job until another has been rendered."""
        limits = self._jobs.limits
        due = time.monotonic() + limits.retry_seconds
        is_suspected = blame.is_suspected(job, None, limits.max_attempts)
        return is_suspected and self._suspects.hold(job, due)

    def _has_ended_too_often(self, job: Job, model: str) -> bool:
        """Return whether a model is not loaded for a job any more.

        At one place that may be to blame: if others can use the model, it gets twice the tries.
        """
        most = self._jobs.limits.max_attempts
        ends = blame.ends_of(job, None)
        if not blame.has_ended_too_often(job, None, most):
            return False
        ended_at = {end.place for end in ends}
        is_of_one = len(ended_at) == 1 and "" not in ended_at and len(ends) < 2 * most
        return not (is_of_one and self._batches.places(model, None, time.monotonic()) - ended_at)

    def _begin(self, job: Job) -> None:
        if self.are_recorded:
            device_worked = self._suspects.device_works(job)
            self._attempts.begin(job, (), device_worked=device_worked)

    def end(self, job: Job, model: str) -> bool:
        """Record that the model is loaded, or can't be; return whether the job was not read yet."""
        is_unread = self._spooled.needs.of(job.id) == model
        self._spooled.needs.end(model)
        if self.are_recorded:
            with contextlib.suppress(OSError):  # the next attempt replaces it
                self._attempts.take_back(job)
        return is_unread

    def lost(self, job: Job, attempt: Attempt) -> None:
        """Record that a renderer was lost while it loaded a model for a job."""
        if job.id in self._jobs:
            self._jobs[job.id].note_loss(attempt)
            self._jobs.let_go(self._jobs[job.id])
        elif (found := self._spooled.find(job.id)) is not None:
            with contextlib.suppress(OSError):  # then it is not blamed
                self._attempts.take_back(replace(found, attempts=(*found.attempts, attempt)))

    def refuse(self, model: str, error: Exception) -> None:
        """Fail the waiting prompts of a model that can't be loaded."""
        for opened in self._jobs:
            self._batches.fail(opened, opened.drop_waiting(model), error)
