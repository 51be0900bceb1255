"""How jobs end: filed away beside their videos, set aside as failed, or put off for now.

How a job ended is kept in memory until its files are where they belong; only the filing is tried
again. Does not know which prompts of a job are left, nor where files go.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog

from reeldrop.base import at_once, trouble
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.intake import late
from reeldrop.intake.places import Place
from reeldrop.intake.repeats import Repeats
from reeldrop.schedule import turns
from reeldrop.schedule.retries import End, Retries
from reeldrop.schedule.turns import Turns
from reeldrop.service.limits import Limits, Outcome
from reeldrop.service.opened import OpenJob
from reeldrop.store import job_files
from reeldrop.store.filing import FailedPrompt, Filing
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


class Ends:
    """Ends jobs that are not open.

    retries: what is in trouble, and when it is tried again
    forget: called with the id of a job that has ended
    hurry: called with a job whose record says now that it is rendered sooner
    """

    def __init__(
        self,
        spool: Spool,
        results: Results,
        limits: Limits,
        turns: Turns,
        retries: Retries,
        outcome: Outcome,
        forget: Callable[[str], None],
        hurry: Callable[[Job], None],
    ) -> None:
        self.limits = limits
        self._attempts = spool.attempts
        self._failed = spool.failed.root.path
        self._filing = Filing(spool, results)
        self._repeats = Repeats(spool, results, hurry)
        self._results = results
        self._turns = turns
        self._retries = retries
        self._outcome = outcome
        self._forget = forget
        self._gathered: dict[str, End] | None = None

    def is_order(self, job: Job) -> bool:
        """Return whether a job orders anything. If not, it has been ended, or postponed."""
        try:
            is_order = self._repeats.is_order(job)
        except OSError as error:
            self.postpone(job, error)
            return False
        if not is_order:
            self._forget(job.id)
        return is_order

    def fail(self, job: Job, error: Exception) -> None:
        """Put a job's prompt file into `_failed/`, with the error."""
        self._file(End(job, partial(self._set_aside, job, error), failed=True))

    def _set_aside(self, job: Job, error: Exception) -> None:
        late.require_closed(job, unless_moved_into=self._failed)
        self._filing.set_aside(job, error)

    def finish(self, opened: OpenJob, failures: Sequence[FailedPrompt]) -> None:
        """File away a job that was open, with its failures in the order of its prompts."""
        file = partial(self._file_away, opened, failures)
        self._file(End(opened.job, file, failed=bool(failures)))

    def _file_away(self, opened: OpenJob, failures: Sequence[FailedPrompt]) -> None:
        """End a job that is through, once nobody writes into its prompt file any more."""
        job = opened.job
        late.require_closed(job, unless_moved_into=None if opened.videos else self._failed)
        name = self._filing.file_away(job, opened.videos, failures, is_resumed=opened.is_resumed)
        if name is not None and opened.size is not None:
            below = self._results.order_place(job.source, job.source).with_name(name)
            late.tell(job, Place(self._results.root, below), opened.size)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """File away the jobs that end in the block when it ends, at once.

        Those with failures are not gathered, nor two with the same results: both would use the
        same names.
        """
        self._gathered = {}
        try:
            yield
        finally:
            found, self._gathered = self._gathered, None
            self._file_all([*found.values()])

    def _file(self, end: End) -> None:
        """File away a job that has ended; if that fails, only the filing is tried again."""
        key = self._results.key_for(end.job.source)
        if self._gathered is None or end.failed or key in self._gathered:
            self._file_all([end])
        else:
            self._gathered[key] = end

    def _file_all(self, ends: Sequence[End]) -> None:
        filed = at_once.each(end.file for end in ends)
        for end, error in zip(ends, filed, strict=True):
            if isinstance(error, OSError):
                with contextlib.suppress(OSError):  # then the attempt counts
                    if self._attempts.was_in_hand(end.job):
                        self._attempts.take_back(end.job)
                self.postpone(end.job, error, end)
            else:
                self._forget(end.job.id)
                self._outcome.failed_jobs += end.failed

    def file_again(self) -> None:
        """Try again to file away the job that has been due for it the longest."""
        end = self._retries.due_end()
        if end is None:
            return
        if job_files.is_in_hand(end.job):
            self._file(end)
        else:  # it was filed away, although the disk reported an error
            self._forget(end.job.id)

    def postpone(self, job: Job, error: OSError, end: End | None = None) -> None:
        """Leave a job in the spool for now, for example because the disk is full."""
        self._turns.lead(turns.group(job.source, job.owner))  # else it would be first each time
        details = {"job_id": job.id, "prompt_file": shown(job.source)}
        self.try_later(job.id, error, "job_postponed", end, **details)

    def try_later(
        self, what: str, error: OSError, event: str, end: End | None = None, **details: str
    ) -> None:
        """Leave something for now, and log the event if the error is news."""
        pause, reason = self.limits.retry_seconds, trouble.in_words(error)
        # Log only news: a line for each try would fill the log, and maybe the disk.
        if self._retries.put(what, error, time.monotonic(), pause, end, reason=reason):
            _log.error(event, **details, reason=reason, seconds=pause)
