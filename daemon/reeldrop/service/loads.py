"""The models that jobs wait for, and the attempts at loading them, which may end the process, too.

Does not know what is loaded next, nor which jobs are open.
"""

from __future__ import annotations

import contextlib
import time

from reeldrop.base.errors import Unrenderable
from reeldrop.base.job import Job
from reeldrop.service import blame
from reeldrop.service.limits import Limits
from reeldrop.service.suspects import Suspects
from reeldrop.store import job_files
from reeldrop.store.attempts import Attempts


class Loads:
    """Which jobs can't be read before a model has been loaded, and for which one is being loaded.

    suspects: jobs that are held back until another has been rendered
    """

    def __init__(self, attempts: Attempts, suspects: Suspects, limits: Limits) -> None:
        self.limits = limits
        self._attempts = attempts
        self._suspects = suspects
        self._needs: dict[str, tuple[Job, str]] = {}

    def need(self, job: Job, model: str) -> None:
        """Record that a job can't be read before a model has been loaded."""
        self._needs[job.id] = (job, model)

    def needed_by(self, job_id: str) -> str:
        """Return the model without which a job can't be read; empty if it can be."""
        return self._needs[job_id][1] if job_id in self._needs else ""

    def cancelled(self) -> list[str]:
        """Return which of these jobs are to be cancelled."""
        return [job.id for job, _ in self._needs.values() if job_files.is_cancelled(job)]

    def forget(self, job_id: str) -> None:
        """Record that a job has ended, or is going to be opened without the model."""
        self._needs.pop(job_id, None)

    def forget_all(self) -> None:
        """Drop what is remembered: the models are not the same any more."""
        self._needs.clear()

    def are_held_back(self, job: Job) -> bool:
        """Return whether no model is loaded for a job until another has been rendered.

        So it is if that may have ended processes too often.
        """
        due = time.monotonic() + self.limits.retry_seconds
        is_suspected = blame.is_suspected(job, None, self.limits.max_attempts)
        return is_suspected and self._suspects.hold(job, due)

    def blame(self, job: Job) -> Unrenderable | None:
        """Return why no model is loaded for a job any more: that has ended too many processes."""
        if blame.has_ended_too_often(job, None, self.limits.max_attempts):
            return blame.ended_with(job, None)
        return None

    def begin(self, job: Job) -> None:
        """Record that a model is being loaded for a job, with none of its prompts in hand.

        Raises:
            OSError: it can't be recorded.
        """
        self._attempts.begin(job, (), device_worked=self._suspects.device_works(job))

    def end(self, job: Job, model: str) -> bool:
        """Record that the model is loaded, or can't be.

        Returns whether the job, which it was loaded for, could not be read before.
        """
        is_unread = self.needed_by(job.id) == model
        self._needs = {name: need for name, need in self._needs.items() if need[1] != model}
        with contextlib.suppress(OSError):  # the next attempt replaces it
            self._attempts.take_back(job)
        return is_unread
