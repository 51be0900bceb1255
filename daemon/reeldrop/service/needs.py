"""Which jobs of the spool can't be read before a model has been loaded.

Knows neither models nor what is loaded next.
"""

from __future__ import annotations

from reeldrop.base.job import Job
from reeldrop.store import job_files


class Needs:
    """The models that jobs of the spool wait for."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[Job, str]] = {}

    def add(self, job: Job, model: str) -> None:
        """Record that a job waits for a model."""
        self._jobs[job.id] = (job, model)

    def of(self, job_id: str) -> str:
        """Return the model that a job waits for; empty if for none."""
        return self._jobs[job_id][1] if job_id in self._jobs else ""

    def cancelled(self) -> list[str]:
        """Return which of the jobs are to be cancelled."""
        return [job.id for job, _ in self._jobs.values() if job_files.is_cancelled(job)]

    def forget(self, job_id: str) -> None:
        """Record that a job waits for no model."""
        self._jobs.pop(job_id, None)

    def end(self, model: str) -> None:
        """Record that no job waits for a model any more."""
        self._jobs = {name: need for name, need in self._jobs.items() if need[1] != model}

    def clear(self) -> None:
        """Record that no job waits for any model."""
        self._jobs.clear()
