"""The jobs that are open: their batches go out, their videos and failures come in, they end.

The service's left hand: ties `spool` and `results` together. Does not render or encode.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import structlog

from reeldrop import log, results, spool
from reeldrop.errors import RenderCancelled, RenderError
from reeldrop.job import Batch, Job, Prompt, Rendered, Video, shown
from reeldrop.names import SIDECAR_SUFFIX
from reeldrop.results import Results
from reeldrop.spool import Spool

RETRY_SECONDS = 30.0

DISK_ERRORS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV,
        errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EMFILE,
    }
)  # fmt: skip
"""Errors of a disk or a share, which meet every job; others are of one file or folder."""

_THEN = (
    "Mend the file and put it into the inbox again, or, if nothing is wrong with it, "
    "run `reeldrop retry`."
)

_log = structlog.get_logger()


@dataclass(slots=True)
class Outcome:
    """What a run has done."""

    videos: int = 0
    failed_jobs: int = 0


@dataclass(slots=True)
class OpenJob:
    """A job whose prompts are being rendered; `in_hand` counts those in renderer or encoder.

    `count` is how many videos were asked for, `begun` those that an earlier attempt has reserved
    names for, `attempt` the number of this one, 0 before anything is rendered. `trouble` keeps
    the job from being ended now.
    """

    job: Job
    count: int
    waiting: deque[Batch]
    begun: Mapping[int, Video]
    began: float
    videos: int
    attempt: int = 0
    in_hand: int = 0
    trouble: OSError | None = None
    failures: dict[int, tuple[Prompt, Exception]] = field(default_factory=dict)
    peak_memory_mib: int = 0


class OpenJobs:
    """The jobs in hand whose prompts are known.

    `batch_sizes` says for each profile how many prompts may be rendered together.
    """

    def __init__(self, place: Spool, tree: Results, batch_sizes: Mapping[str, int]) -> None:
        self._spool = place
        self._results = tree
        self._batch_sizes = batch_sizes
        self._open: dict[str, OpenJob] = {}
        self._retry_at: dict[str, float] = {}
        self._disk_trouble = False
        self.outcome = Outcome()

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, job_id: str) -> OpenJob:
        return self._open[job_id]

    def unfinished(self, now: float) -> Job | None:
        """Return the oldest job of the spool that is not open, nor postponed."""
        for job_id in [job_id for job_id, at in self._retry_at.items() if at <= now]:
            del self._retry_at[job_id]
        in_hand = {*self._open, *self._retry_at}
        return next((job for job in self._spool.unfinished() if job.id not in in_hand), None)

    def due(self) -> list[float]:
        """Return when postponed jobs are to be tried again."""
        return list(self._retry_at.values())

    def open(self, job: Job, prompts: tuple[Prompt, ...], max_attempts: int) -> None:
        """Make those prompts of a job wait for the renderer that have no video yet.

        After `max_attempts` that ended with the process, they fail instead.
        """
        try:
            begun = self._results.begun(job)
            log.open_job_file(job.id, self._spool.log_file(job))
        except OSError as error:
            self.postpone(job, error)
            return
        published = {number for number, video in begun.items() if results.is_published(video)}
        left = [prompt for prompt in prompts if prompt.number not in published]
        opened = OpenJob(job, len(prompts), deque(), begun, time.monotonic(), len(published))
        self._open[job.id] = opened
        if job.attempts < max_attempts:
            opened.waiting.extend(_batches(job.id, left, self._batch_sizes))
        else:
            problem = f"the process ended in the middle of it {job.attempts} times"
            opened.failures = {p.number: (p, RenderError(problem)) for p in left}
        _log.info(
            "job_started",
            job_id=job.id,
            prompt_file=shown(job.source),
            attempt=job.attempts + 1,
            videos=len(prompts),
            already_published=len(published),
        )
        self._close_if_through(opened)

    def has_suspect(self) -> bool:
        """Tell whether an open job was in hand when a process ended: it has to be alone then."""
        return any(opened.job.attempts for opened in self._open.values())

    def next_batch(self) -> Batch | None:
        """Return what is to be rendered next, of the job that was opened first."""
        for opened in list(self._open.values()):
            if opened.waiting and self._attempt(opened):
                batch = opened.waiting.popleft()
                opened.in_hand += len(batch.prompts)
                return batch
        return None

    def _attempt(self, opened: OpenJob) -> bool:
        """Record, before the first of a job is rendered, that it is; tell whether it could be."""
        if not opened.attempt:
            try:
                opened.attempt = self._spool.begin_attempt(opened.job)
            except OSError as error:
                self._put_back(opened, error)
        return opened.attempt > 0

    def render_alone(self, batch: Batch) -> None:
        """Make the prompts of a batch wait again, each in a batch of its own."""
        opened = self._open[batch.job_id]
        opened.in_hand -= len(batch.prompts)
        alone = [Batch(batch.job_id, (prompt,)) for prompt in batch.prompts]
        opened.waiting.extendleft(reversed(alone))

    def rendered(self, job_id: str, rendered: Rendered) -> None:
        """Note how a prompt was rendered."""
        opened = self._open[job_id]
        opened.peak_memory_mib = max(opened.peak_memory_mib, rendered.peak_memory_mib)
        if rendered.ignored_text:
            _log.warning("prompt_too_long", job_id=job_id, ignored_text=rendered.ignored_text)

    def published(self, video: Video) -> None:
        """Note a video; end its job if it was the last."""
        opened = self._open[video.job_id]
        opened.in_hand -= 1
        opened.videos += 1
        self.outcome.videos += 1
        self._disk_trouble = False
        file = str(video.files[0])
        _log.info("video_published", job_id=video.job_id, number=video.number, file=file)
        self._close_if_through(opened)

    def failed(self, job_id: str, prompt: Prompt, error: Exception) -> None:
        """Note that a prompt has no video; end its job if it was the last."""
        opened = self._open[job_id]
        opened.in_hand -= 1
        _log.error("video_failed", job_id=job_id, number=prompt.number, reason=str(error))
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:  # the prompt is not to blame
            opened.trouble = error
            opened.waiting.clear()
        else:
            opened.failures[prompt.number] = (prompt, error)
        self._close_if_through(opened)

    def cancel_asked(self) -> set[str]:
        """Fail what waits of the jobs that somebody asked to cancel, and return their ids."""
        asked = [opened for opened in self._open.values() if self._spool.is_cancelled(opened.job)]
        for opened in asked:
            while opened.waiting:
                batch = opened.waiting.popleft()
                opened.in_hand += len(batch.prompts)
                for prompt in batch.prompts:
                    error = RenderCancelled("it was cancelled on request")
                    self.failed(opened.job.id, prompt, error)
        return {opened.job.id for opened in asked}

    def put_down(self) -> None:
        """Leave the open jobs in the spool, to be gone on with at the next start."""
        for opened in self._open.values():
            log.close_job_file(opened.job.id)
            self._take_back_attempt(opened)

    def _take_back_attempt(self, opened: OpenJob) -> None:
        if opened.attempt:
            with contextlib.suppress(OSError):  # then it counts
                self._spool.take_back_attempt(opened.job)

    def _put_back(self, opened: OpenJob, error: OSError) -> None:
        """Close a job without an end, and leave it in the spool for now."""
        del self._open[opened.job.id]
        log.close_job_file(opened.job.id)
        self._take_back_attempt(opened)
        self.postpone(opened.job, error)

    def postponed(self) -> int:
        """Return how many jobs wait in the spool to be tried again."""
        return len(self._retry_at)

    def is_held_up(self) -> bool:
        """Tell whether nothing new should be begun, because the disk or the share is in trouble."""
        return self._disk_trouble and bool(self._retry_at)

    def fail(self, job: Job, error: Exception) -> None:
        """Set a job's prompt file aside, with what is wrong."""
        try:
            self._results.clean(job)
            at = self._spool.fail(job, spool.error_text(job.source, job.id, error, _THEN))
        except OSError as problem:
            self.postpone(job, problem)
            return
        self.outcome.failed_jobs += 1
        _log.error(
            "job_failed",
            job_id=job.id,
            prompt_file=shown(job.source),
            reason=str(error),
            set_aside=str(at),
        )

    def _close_if_through(self, opened: OpenJob) -> None:
        """End a job whose prompts all have their video or their failure."""
        job = opened.job
        if opened.waiting or opened.in_hand:
            return
        if opened.trouble is not None:
            self._put_back(opened, opened.trouble)
            return
        _log.info(
            "job_ended",
            job_id=job.id,
            prompt_file=shown(job.source),
            videos=opened.videos,
            failed=len(opened.failures),
            outcome=_outcome(opened),
            attempts=opened.attempt,
            seconds=round(time.monotonic() - opened.began, 3),
            peak_memory_mib=opened.peak_memory_mib,
        )
        log.close_job_file(job.id)
        del self._open[job.id]
        try:
            self._results.clean(job)
            self._file_away(opened)
        except OSError as error:
            self.postpone(job, error)

    def _file_away(self, opened: OpenJob) -> None:
        """Move the prompt file beside its videos, or, where there are none, into `_failed/`."""
        job, failures = opened.job, [opened.failures[n] for n in sorted(opened.failures)]
        if failures and not opened.videos:
            self.fail(job, failures[0][1])
            return
        folder = self._results.folder_for(job.source)
        if failures:
            self._set_aside_remainder(opened, failures)
            self.outcome.failed_jobs += 1
        elif job.attempts:
            self._spool.take_back_aside(job, self._remainder_name(job))
        self._spool.finish(job, folder)

    def _set_aside_remainder(
        self, opened: OpenJob, failures: list[tuple[Prompt, Exception]]
    ) -> None:
        """Put a prompt file with just the prompts that are left into `_failed/`."""
        job = opened.job
        left = results.remainder_text([prompt for prompt, _ in failures])
        others = (
            f"The other videos ({opened.videos}) are in {self._results.folder_for(job.source)}."
        )
        report = spool.error_text(job.source, job.id, failures[0][1], f"{others} {_THEN}")
        self._spool.set_aside(job, self._remainder_name(job), left.encode(), report)

    def _remainder_name(self, job: Job) -> str:
        return f"{job.source.stem}{SIDECAR_SUFFIX}"

    def postpone(self, job: Job, error: OSError) -> None:
        """Leave a job in the spool for now: the disk may be full."""
        self._retry_at[job.id] = time.monotonic() + RETRY_SECONDS
        self._disk_trouble = error.errno in DISK_ERRORS
        _log.error(
            "job_postponed",
            job_id=job.id,
            prompt_file=shown(job.source),
            reason=str(error),
            seconds=RETRY_SECONDS,
        )


def _outcome(opened: OpenJob) -> str:
    if not opened.failures:
        return "finished"
    return "partly failed" if opened.videos else "failed"


def _batches(job_id: str, left: list[Prompt], sizes: Mapping[str, int]) -> Iterator[Batch]:
    """Yield the prompts in batches of neighbours with equal settings."""
    for key, group in groupby(left, key=lambda prompt: prompt.batch_key):
        neighbours, size = list(group), sizes[str(key[0])]
        for first in range(0, len(neighbours), size):
            yield Batch(job_id, tuple(neighbours[first : first + size]))
