"""Which suspected jobs are held back until another job has been rendered.

If nothing else can be rendered either, the device is broken, and no prompt is to blame; and a kill
by a person says nothing about the prompts in hand. `blame` knows what makes a job suspected.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Container, Mapping

import structlog

from reeldrop.base.job import Job
from reeldrop.schedule.retries import Retries
from reeldrop.service.limits import Outcome
from reeldrop.service.opened import OpenJob
from reeldrop.store.spool import Spool

MAX_HOLDS = 30
"""How often a suspected job is held back, for others to show that the device works."""

_log = structlog.get_logger()


class Suspects:
    """Jobs that are held back until another has been rendered, or until a time.

    others_wait: returns whether files wait in the inbox
    ends: after so many ends of a process nothing may be in hand beside a prompt; None where, after
        the first, nothing may be beside its whole job
    """

    def __init__(
        self, spool: Spool, opened: Mapping[str, OpenJob], retries: Retries, outcome: Outcome
    ) -> None:
        self._spool = spool
        self._open = opened
        self._retries = retries
        self._outcome = outcome
        self._holds: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self.others_wait: Callable[[], bool] = lambda: False
        self.ends: int | None = None

    def is_suspect(self, ends: Mapping[int | None, int]) -> bool:
        """Return whether nothing may be in hand beside a job, by its ends; see `blame`."""
        return bool(ends) if self.ends is None else ends.get(None, 0) >= self.ends

    def prompts(self, ends: Mapping[int | None, int]) -> set[int]:
        """Return the numbers of prompts beside which nothing may be in hand."""
        most = self.ends
        if most is None:
            return set()
        return {number for number, count in ends.items() if number is not None and count >= most}

    def hold(self, job: Job, due: float) -> bool:
        """Hold a job back until `due`, unless the device works; return whether it is held back."""
        if self.device_works(job) or self._holds[job.id] >= MAX_HOLDS:
            self._holds.pop(job.id, None)
            self._due.pop(job.id, None)
            return False
        self._holds[job.id] += 1
        self._due[job.id] = due
        if self._holds[job.id] == 1:
            _log.warning("job_held_back", job_id=job.id, reason="others are rendered first")
        return True

    def device_works(self, job: Job) -> bool:
        """Return whether this process has rendered something, or has only suspected jobs to try."""
        if self._outcome.videos:
            return True
        if self._open.keys() - {job.id} or self.others_wait():
            return False
        known = {*self._holds, *self._retries.resting(), job.id}
        with contextlib.suppress(OSError):
            return next(self._spool.unfinished(known), None) is None
        return False

    def look(self, now: float, there: Container[str]) -> None:
        """Release the jobs that are due by now, or gone."""
        self._due = {i: due for i, due in self._due.items() if due > now and i in there}

    def note_success(self) -> None:
        """Release all jobs: something was rendered."""
        self._due.clear()

    def due(self) -> dict[str, float]:
        """Return until when each job is held back."""
        return self._due
