"""The jobs of the spool that are not open: which may be opened, and why others wait.

Does not read prompt files, and does not know what is rendered next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath

from reeldrop.base import trouble
from reeldrop.base.job import Job
from reeldrop.schedule import turns
from reeldrop.schedule.retries import Retries
from reeldrop.schedule.turns import Turns
from reeldrop.schedule.view import (
    SpoolView,
)
from reeldrop.service import blame
from reeldrop.service.ends import Ends
from reeldrop.service.limits import Limits, Outcome
from reeldrop.service.needs import Needs
from reeldrop.service.opened import OpenJob, Past
from reeldrop.service.suspects import Suspects
from reeldrop.store import job_files
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import MAX_WAITING, Waiting

_SPOOL = ""
"""Stands for the spool itself among the jobs to be tried again."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a job from its record; `ends` are those of processes, see `blame`."""

    priority: int
    group: str
    ends: Mapping[int | None, int]
    is_of_night: bool


def of_night(source: PurePosixPath, night: str) -> str:
    """Return why a prompt file waits for the night; empty if it does not, or `night` is."""
    return night if turns.is_of_night(source) else ""


class SpooledJobs:
    """The jobs of the spool that are not open.

    opened: the open jobs, by id
    retries: jobs in trouble, and when they are tried again
    suspects: jobs that are held back until another has been rendered
    ends: ends these jobs
    past: what is known of the prompts of jobs that were open
    needs: the models that they wait for
    """

    def __init__(
        self,
        spool: Spool,
        results: Results,
        limits: Limits,
        opened: Mapping[str, OpenJob],
        turns: Turns,
        outcome: Outcome,
    ) -> None:
        self._spool = spool
        self._open = opened
        self._turns = turns
        self.retries = Retries()
        self.suspects = Suspects(spool, opened, self.retries, outcome)
        ends = self._forget, self._hurry
        self.ends = Ends(spool, results, limits, turns, self.retries, outcome, *ends)
        self.needs = Needs()
        self._known: dict[str, _Known] = {}
        self._put_back: set[str] = set()
        self.past: dict[str, Past] = {}

    def begin_anew(self) -> None:
        """Drop what was true under other settings."""
        self.needs.clear()
        self.past.clear()

    def unfinished(self, now: float, *, is_night: bool = True) -> Job | None:
        """Return the oldest job that may be opened; None if there is none.

        Jobs that were in trouble come last.
        """
        for job_id in sorted(self._unopened(now), key=lambda job_id: job_id in self.retries):
            job = self.find(job_id)
            if job is not None and (is_night or not turns.is_of_night(job.source)):
                return job
        return None

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id; None if it has ended or can't be read."""
        try:
            job = self._spool.find(job_id)
        except OSError as error:  # of this job's record alone, or the next one fails, too
            unreadable = OSError(f"its record can't be read: {trouble.in_words(error)}")
            self.ends.try_later(job_id, unreadable, "job_postponed", job_id=job_id)
            return None
        if job is None:
            self._forget(job_id)
        return job

    def _unopened(self, now: float) -> list[str]:
        """Return the ids of the jobs that may be opened, the oldest first.

        Those are neither open, postponed nor held back. Also try again to file away a job, if due.
        """
        self.retries.look(now)
        if _SPOOL in self.retries.resting():
            return []
        try:
            self._spool.tidy()
            self.ends.file_again()
            found = self._spool.ids()
        except OSError as error:
            self.ends.try_later(_SPOOL, error, "spool_unreadable")
            return []
        resting = self.retries.resting()
        for gone in {*self.retries} - {*found, *resting}:
            self.retries.forget(gone)
        self._put_back.intersection_update(found)
        self.suspects.look(now, found)
        hidden = {*self._open, *resting, *self.suspects.due()}
        return [job_id for job_id in found if job_id not in hidden]

    def _forget(self, job_id: str) -> None:
        """Drop what is remembered of a job that has ended."""
        self.retries.forget(job_id)
        self._known.pop(job_id, None)
        self.needs.forget(job_id)
        self._put_back.discard(job_id)
        self.past.pop(job_id, None)

    def _hurry(self, job: Job) -> None:
        """Use what the record of a job says now of its turn."""
        self._known.pop(job.id, None)
        if job.id in self._open:
            self._open[job.id].hurry(job)

    def views(self, now: float) -> tuple[SpoolView, ...]:
        """Return the jobs that may be opened, as input of a decision."""
        return tuple(self._views(now))

    def _views(self, now: float) -> Iterator[SpoolView]:
        for job_id in self._unopened(now):
            if job_id not in self._known:
                job = self.find(job_id)
                if job is None:
                    continue
                group = turns.group(job.source, job.owner)
                is_of_night = turns.is_of_night(job.source)
                ends = blame.ends_of_processes(job)
                self._known[job_id] = _Known(job.priority, group, ends, is_of_night)
            known, since = self._known[job_id], self.retries.due(job_id)
            rank = (-known.priority, self._turns.of(known.group), since, job_id)
            is_suspect = self.suspects.is_suspect(known.ends)
            model, was_begun = self.needs.of(job_id), job_id in self._put_back
            is_cancelled = job_files.is_marked(self._spool.active / job_id)
            is_of_night = known.is_of_night and not is_cancelled
            yield SpoolView(job_id, rank, model, is_suspect, was_begun, is_of_night, is_cancelled)

    def groups(self) -> set[str]:
        """Return the groups that have a job here, as far as they are known."""
        return {known.group for known in self._known.values()}

    def due(self) -> list[float]:
        """Return when jobs in trouble are to be tried again, and those held back released."""
        resting = self.retries.resting()
        if _SPOOL in resting:  # nothing else of the spool is looked at before
            return [resting[_SPOOL]]
        return [*(resting | self.suspects.due()).values()]

    def postponed(self) -> int:
        """Return how many jobs wait for another try."""
        return len(self.retries.resting())

    def waiting(self, unusable: Mapping[str, str], night: str) -> list[Waiting]:
        """Return the first jobs, with the reasons why they wait.

        unusable: why models can't be used for now
        night: why jobs wait for the night; empty if it is night
        """
        with contextlib.suppress(OSError):
            found = islice(self._spool.unfinished(self._open), MAX_WAITING)
            reasons = ((job, self._reason(job, unusable, night)) for job in found)
            return [Waiting.of(job.source, f"begun; {reason}") for job, reason in reasons]
        return []

    def _reason(self, job: Job, unusable: Mapping[str, str], night: str) -> str:
        of_its_model = unusable.get(self.needs.of(job.id), "")
        own = self.retries.reason(job.id) or of_night(job.source, night)
        return own or of_its_model or "goes on later"

    # Jobs that were open

    def forgive(self, place: str) -> None:
        """Forget what failed at a place, which is broken."""
        self.past = {job_id: past.without(place) for job_id, past in self.past.items()}
        with contextlib.suppress(OSError):  # then it counts
            for job in self._spool.unfinished(self._open):
                attempts = tuple(found for found in job.attempts if found.place != place)
                if attempts != job.attempts:
                    self._spool.attempts.take_back(replace(job, attempts=attempts))

    @property
    def are_begun(self) -> bool:
        """Return whether a job that was open is here."""
        return bool(self._put_back)

    def put_back(self, job_id: str) -> None:
        """Record that a job is not open any more, and waits here until its turn comes."""
        self._put_back.add(job_id)

    def take_out(self, job_id: str) -> bool:
        """Record that a job is open; return whether it was before."""
        was_open = job_id in self._put_back
        self._put_back.discard(job_id)
        return was_open
