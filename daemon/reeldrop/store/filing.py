"""End jobs: move the prompt file beside its videos, or into `_failed/` with the reason.

Combines `spool` and `results`, which know their own folders only. Does not know which jobs wait or
are in hand.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from pathlib import PurePosixPath

import structlog

from reeldrop.base.errors import DISK_ERRORS, RenderCancelled
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job, Prompt
from reeldrop.base.names import SIDECAR_SUFFIX
from reeldrop.base.trouble import is_there
from reeldrop.store import pictures, reports, sidecars
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

FailedPrompt = tuple[Prompt, Exception]

_log = structlog.get_logger()


class Filing:
    """Ends jobs. A call that raised OSError has not ended its job, and may be repeated."""

    def __init__(self, spool: Spool, results: Results) -> None:
        self._spool = spool
        self._results = results
        self._rest_is_aside: set[str] = set()

    def file_away(
        self, job: Job, videos: int, failures: Sequence[FailedPrompt], *, is_resumed: bool
    ) -> str | None:
        """End a job with this number of videos, and failures in the order of its prompts.

        Move the prompt file beside the videos, and write one with the failed prompts into
        `_failed/`. If all prompts failed, move the prompt file itself there. Return its name
        beside the videos; None if it is not there.
        """
        if failures and not videos:
            self.set_aside(job, failures[0][1])
            return None
        if failures or is_resumed:
            self._clean(job, {prompt.number for prompt, _ in failures})
        if failures and job.id not in self._rest_is_aside:
            self._set_aside_remainder(job, videos, failures)
            self._rest_is_aside.add(job.id)  # from now on, a person may retry it
        if is_resumed and not failures:  # an earlier attempt may have reported a failure
            for name in {_remainder_name(job), job.source.name}:
                self._spool.failed.take_back(job, name)
        if not failures:
            self._clear(job)
        with (
            self._results.opened(job.source, make=True) as folder,
            self._results.opened_for_order(job.source) as order_folder,
        ):
            name = self._spool.finish(job, folder, order_folder).name
        self._rest_is_aside.discard(job.id)
        return name

    def _clear(self, job: Job) -> None:
        """Clear the failures of a prompt file that was rendered; the job may end without that."""
        what = {"job_id": job.id, "prompt_file": shown(job.source)}
        try:
            for place in self._spool.failed.clear(job):
                _log.info("failure_cleared", moved_to=shown(place), **what)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            _log.warning("failure_not_cleared", reason=str(error), **what)

    def set_aside(self, job: Job, error: Exception) -> None:
        """End a job by moving its prompt file into `_failed/`, with a report."""
        self._make_results()
        warning = self._clean(job)
        advice = functools.partial(reports.advice, job.source, error, pictures=pictures.of(job))

        def report(name: PurePosixPath) -> str:
            return reports.text(job.source, job.id, error, warning + advice(name))

        at = self._spool.fail(job, report)
        what = {"job_id": job.id, "prompt_file": shown(job.source), "set_aside": str(at)}
        if isinstance(error, RenderCancelled):
            _log.info("job_cancelled", **what)
        else:
            _log.error("job_failed", reason=str(error), **what)

    def _clean(self, job: Job, failed: Container[int] | None = None) -> str:
        """Remove what is left of videos; return a warning that lists the others; empty if none.

        A folder that can't be opened has nothing of ours. `failed` is as for `Results.clean`.
        """
        if self._spool.attempts.is_new(job):
            return ""
        try:
            numbers = self._results.clean(job, failed)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            return ""
        if not numbers:
            return ""
        which = ", ".join(map(str, numbers))
        return (
            f"These of its videos are already in {self._results.folder_for(job.source)}: {which}. "
            "Take their prompts out of the file first, or they are rendered again.\n"
        )

    def _make_results(self) -> None:
        """Make the results again if somebody has removed them with the `_failed/` that is in them.

        If that were made first, they would seem to be another folder in the place of the old one.
        """
        with self._results.root.opened(make=True):
            pass

    def _set_aside_remainder(self, job: Job, videos: int, failures: Sequence[FailedPrompt]) -> None:
        """Write a prompt file with only the failed prompts into `_failed/`."""
        self._make_results()
        left = sidecars.remainder_text([prompt for prompt, _ in failures])
        error = failures[0][1]
        others = f"The other videos ({videos}) are in {self._results.folder_for(job.source)}.\n"

        def report(name: PurePosixPath) -> str:
            return reports.text(job.source, job.id, error, others + advice(name))

        used = {picture.path for prompt, _ in failures for picture in prompt.pictures}
        needed = sorted(filter(is_there, used))
        name = _remainder_name(job)
        advice = functools.partial(
            reports.advice, job.source.with_name(name), error, pictures=needed
        )
        self._spool.failed.write(job, name, left.encode(), report, needed)


def _remainder_name(job: Job) -> str:
    return f"{job.source.stem}{SIDECAR_SUFFIX}"
