"""The open jobs: their batches go out, their videos and failures come in, and they end.

Used by the service. Does not render or encode, nor know where files go in the end.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import structlog

from reeldrop.base.errors import DISK_ERRORS, PlaceError, RenderCancelled, RenderError, Unrenderable
from reeldrop.base.job import Batch, BatchLimit, Job, Member, Prompt, Rendered, Video, shown
from reeldrop.host import log
from reeldrop.intake import late
from reeldrop.intake.places import Place
from reeldrop.intake.repeats import Repeats
from reeldrop.schedule import schedule, turns
from reeldrop.schedule.retries import End, Retries
from reeldrop.schedule.schedule import JobView, Render, RendererView, SpoolView, View
from reeldrop.schedule.turns import Rank, Turns
from reeldrop.service import blame
from reeldrop.service.opened import OpenJob
from reeldrop.store import results
from reeldrop.store.filing import Failure, Filing
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import MAX_WAITING, Waiting

MAX_KINDS = 1000
"""Upper bound on the remembered entries of `note_fits`: prompt files choose their keys."""

_SPOOL = ""
"""Stands for the spool itself among the jobs to be tried again."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Outcome:
    """What a run has done."""

    videos: int = 0
    failed_jobs: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that config.yaml sets.

    batch_sizes: how many prompts of a profile may be rendered together
    max_attempts: how often a prompt is tried in all
    retry_seconds: the pause before a retry
    """

    batch_sizes: Mapping[str, BatchLimit]
    max_attempts: int
    retry_seconds: float


@dataclass(frozen=True, slots=True)
class _Left:
    """What is known of a job of the spool that is not open."""

    priority: int
    group: str
    is_suspect: bool


class OpenJobs:
    """The jobs in hand whose prompts are known."""

    def __init__(self, place: Spool, tree: Results, limits: Limits) -> None:
        self.limits = limits
        self._spool = place
        self._results = tree
        self._filing = Filing(place, tree)
        self._repeats = Repeats(place, tree)
        self._open: dict[str, OpenJob] = {}
        self._retries = Retries()
        self._fits: dict[tuple[object, ...], int] = {}
        self._left: dict[str, _Left] = {}
        self._needs: dict[str, str] = {}
        self._put_back: set[str] = set()
        self.turns = Turns()
        self._suspects = blame.Suspects()
        self.others_wait: Callable[[], bool] = lambda: False
        self.outcome = Outcome()

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, job_id: str) -> OpenJob:
        return self._open[job_id]

    def use(self, limits: Limits) -> None:
        """Apply other limits. Only while no job is begun."""
        self.limits = limits
        self._needs.clear()

    @property
    def are_begun(self) -> bool:
        """Return whether any job has been opened and has not ended."""
        return bool(self._open or self._put_back)

    def unfinished(self, now: float) -> Job | None:
        """Return the oldest job of the spool that is neither open nor postponed.

        None if there is none. Jobs that were in trouble come last.
        """
        for job_id in sorted(self._unopened(now), key=lambda job_id: job_id in self._retries):
            if (job := self.find(job_id)) is not None:
                return job
        return None

    def find(self, job_id: str) -> Job | None:
        """Return a job of the spool that is not open; None if it has ended or can't be read."""
        try:
            job = self._spool.find(job_id)
        except OSError as error:  # of this job's record alone, or the next one fails, too
            unreadable = OSError(f"its record can't be read: {error.strerror}")
            self._retry(job_id, unreadable, "job_postponed", job_id=job_id)
            return None
        if job is None:
            self._forget(job_id)
        return job

    def _unopened(self, now: float) -> list[str]:
        """Return the ids of the jobs of the spool that may be opened, the oldest first.

        Those are neither open, postponed nor held back. Also try again to file away a job, if due.
        """
        self._retries.look(now)
        if _SPOOL in self._retries.resting():
            return []
        try:
            self._spool.tidy()
            self._file_again()
            found = self._spool.ids()
        except OSError as error:
            self._retry(_SPOOL, error, "spool_unreadable")
            return []
        resting = self._retries.resting()
        for gone in {*self._retries} - {*found, *resting}:
            self._retries.forget(gone)
        self._put_back.intersection_update(found)
        self._suspects.look(now, found)
        hidden = {*self._open, *resting, *self._suspects.due()}
        return [job_id for job_id in found if job_id not in hidden]

    def _forget(self, job_id: str) -> None:
        """Drop what is remembered of a job that has ended."""
        self._retries.forget(job_id)
        self._left.pop(job_id, None)
        self._needs.pop(job_id, None)
        self._put_back.discard(job_id)

    def in_spool(self, now: float) -> tuple[SpoolView, ...]:
        """Return the jobs that are not open, as input of a decision."""
        return tuple(self._spool_views(now))

    def _spool_views(self, now: float) -> Iterator[SpoolView]:
        for job_id in self._unopened(now):
            if job_id not in self._left:
                job = self.find(job_id)
                if job is None:
                    continue
                group = turns.group(job.source, job.owner)
                self._left[job_id] = _Left(job.priority, group, bool(job.attempts))
            left, since = self._left[job_id], self._retries.due(job_id)
            rank = (-left.priority, self.turns.of(left.group), since, job_id)
            model, was_begun = self._needs.get(job_id, ""), job_id in self._put_back
            yield SpoolView(job_id, rank, model, left.is_suspect, was_begun)

    def views(self, now: float) -> tuple[JobView, ...]:
        """Return the open jobs, as input of a decision."""
        most = max((limit.most for limit in self.limits.batch_sizes.values()), default=1)
        return tuple(self._view(opened, now, most) for opened in self._open.values())

    def _view(self, opened: OpenJob, now: float, most: int) -> JobView:
        opened.wake(now)
        job = opened.job
        turn = self.turns.of(turns.group(job.source, job.owner))
        prompts = tuple(islice(opened.waiting, most))
        is_suspect = bool(job.attempts)
        is_alone = prompts and (is_suspect or prompts[0].number in opened.alone)
        return JobView(
            job.id,
            (-job.priority, turn, opened.since, opened.name or job.id),
            prompts,
            len(opened.waiting),
            self._size(prompts[0]) if prompts and not is_alone else 1,
            frozenset(opened.alone),
            is_suspect,
            bool(opened.in_hand),
            opened.was_passed_over,
            not (
                opened.in_hand
                or opened.resting
                or opened.failures
                or opened.trouble
                or opened.tries
                or opened.alone
            ),
        )

    def groups(self) -> set[str]:
        """Return the groups that have a job in hand, as far as they are known."""
        opened = {
            turns.group(opened.job.source, opened.job.owner) for opened in self._open.values()
        }
        return opened | {left.group for left in self._left.values()}

    def due(self, *, opens: bool) -> list[float]:
        """Return when failed prompts are to be tried again; if `opens`, postponed jobs, too."""
        resting = [at for opened in self._open.values() for at, _ in opened.resting]
        later = self._retries.resting()
        if _SPOOL in later:  # nothing else of the spool is looked at before
            later = {_SPOOL: later[_SPOOL]}
        else:
            later |= self._suspects.due()
        return [*later.values(), *resting] if opens else resting

    def open(
        self,
        job: Job,
        prompts: tuple[Prompt, ...],
        rank: Rank | None = None,
        size: int | None = None,
    ) -> None:
        """Queue the prompts of a job for the renderer that have no video yet.

        `size` is how many bytes the prompt file had when it was read.

        A prompt fails instead if it was in hand at `max_attempts` ends of a process, at one of them
        alone; ends that show no sign of its doing count for less. After the first end, prompts are
        rendered one at a time, to find the one to blame, suspected ones last. A job with only
        suspected ones left may be held back. If there is no place for their videos, all fail.
        """
        try:
            is_resumed = not self._spool.is_new(job)
            reserved = self._results.reserved(job) if is_resumed else {}
            published = {n for n, video in reserved.items() if results.is_published(video)}
            left = [prompt for prompt in prompts if prompt.number not in published]
            problem = self._problem_of_place(job) if left else None
            most = self.limits.max_attempts
            suspected = {p.number for p in left if blame.is_suspected(job, p.number, most)}
            if suspected and len(suspected) == len(left) and self._is_held_back(job):
                return
            log.open_job_file(job.id, self._spool.log_file(job))
        except OSError as error:
            self.postpone(job, error)
            return
        opened = OpenJob(
            job, len(prompts), deque(), reserved, time.monotonic(), len(published), is_resumed
        )
        opened.size = size
        self._open[job.id] = opened
        if rank is not None:
            _, _, opened.since, opened.name = rank
        for prompt in left:
            if problem is not None:
                opened.failures[prompt.number] = (prompt, problem)
            elif blame.has_ended_too_often(job, prompt.number, most):
                opened.failures[prompt.number] = (prompt, blame.ended_with(job, prompt.number))
        left.sort(key=lambda prompt: prompt.number in suspected)
        opened.waiting.extend(p for p in left if p.number not in opened.failures)
        if job.id not in self._put_back:
            _log.info(
                "job_started",
                job_id=job.id,
                prompt_file=shown(job.source),
                attempt=len(job.attempts) + 1,
                videos=len(prompts),
                already_published=len(published),
            )
        self._put_back.discard(job.id)
        self._close_if_through(opened)

    def _problem_of_place(self, job: Job) -> PlaceError | None:
        try:
            self._results.check_place(job.source)
        except PlaceError as problem:
            return problem
        return None

    def _is_held_back(self, job: Job) -> bool:
        """Return whether a suspected job waits until another has been rendered.

        If nothing else can be rendered either, the device is broken, and no prompt is to blame; and
        whoever kills the service does so whatever is in hand.
        """
        if self._device_works(job) or self._suspects.have_waited(job.id):
            self._suspects.let_go(job.id)
            return False
        if self._suspects.hold(job.id, time.monotonic() + self.limits.retry_seconds):
            _log.warning("job_held_back", job_id=job.id, reason="others are rendered first")
        return True

    def holds_back(self) -> bool:
        """Return whether a suspected job waits for others to be rendered."""
        return bool(self._suspects.due())

    def _device_works(self, job: Job) -> bool:
        """Return whether this process has rendered something, or has only suspected jobs to try."""
        if self.outcome.videos:
            return True
        if self._open.keys() - {job.id} or self.others_wait():
            return False
        known = {*self._suspects, *self._retries.resting(), job.id}
        with contextlib.suppress(OSError):
            return next(self._spool.unfinished(known), None) is None
        return False

    def begin_loading(self, job: Job) -> bool:
        """Record that a model is being loaded for a job, because that may end the process, too.

        Return False if it must not be loaded: the job is held back, has failed because of earlier
        ends, or is postponed.
        """
        if blame.is_suspected(job, None, self.limits.max_attempts) and self._is_held_back(job):
            return False
        if blame.has_ended_too_often(job, None, self.limits.max_attempts):
            self.fail(job, blame.ended_with(job, None))
            return False
        try:
            self._spool.begin_attempt(job, (), device_worked=self._device_works(job))
        except OSError as error:
            self.postpone(job, error)
            return False
        return True

    def end_loading(self, job: Job) -> None:
        """Record that the model is loaded, or can't be."""
        model = self._needs.pop(job.id, "")
        self._needs = {job_id: other for job_id, other in self._needs.items() if other != model}
        with contextlib.suppress(OSError):  # the next attempt replaces it
            self._spool.take_back_attempt(job)

    def need(self, job: Job, model: str) -> None:
        """Record that a job can't be read before a model has been loaded."""
        self._needs[job.id] = model

    def put_back(self, job_id: str) -> None:
        """Put an open job with nothing in hand back into the spool until its turn comes."""
        del self._open[job_id]
        log.close_job_file(job_id)
        self._put_back.add(job_id)

    def next_batch(self, now: float) -> Batch | None:
        """Begin the next batch of the open jobs, and return it; None if there is none."""
        batch = None
        while batch is None:
            found = schedule.decide(View((RendererView(),), self.views(now)))
            if not isinstance(found, Render):
                break
            batch = self.begin(found)
        return batch

    def begin(self, found: Render) -> Batch | None:
        """Record that a batch is in hand, and return it.

        Jobs for which that can't be recorded are left out and wait in the spool; None if all are.
        """
        first = self._open[found.picks[0][0]]
        first.was_passed_over, first.since, first.name = False, -math.inf, first.job.id
        members = [m for job_id, count in found.picks for m in self._begin(job_id, count)]
        for job_id in found.passed_over:
            if job_id in self._open:
                self._open[job_id].was_passed_over = True
        if members:
            self.turns.lead(turns.group(first.job.source, first.job.owner))
        return Batch(tuple(members)) if members else None

    def _size(self, prompt: Prompt) -> int:
        """Return how many prompts like this one are rendered together."""
        limit = self.limits.batch_sizes[prompt.model]
        fits = self._fits.get(prompt.memory_key, 1) if limit.is_measured else limit.most
        return min(limit.most, fits)

    def _begin(self, job_id: str, count: int) -> list[Member]:
        """Record that the first waiting prompts are in hand; return none of them if that fails."""
        opened = self._open[job_id]
        in_hand = opened.in_hand | {prompt.number for prompt in islice(opened.waiting, count)}
        try:
            self._record(opened, in_hand)
        except OSError as error:
            self._leave_for_now(opened, error)
            return []
        opened.is_recorded = True
        opened.in_hand = in_hand
        return [Member(job_id, opened.waiting.popleft()) for _ in range(count)]

    def _record(self, opened: OpenJob, in_hand: set[int]) -> None:
        worked = self._device_works(opened.job)
        self._spool.begin_attempt(opened.job, sorted(in_hand), device_worked=worked)

    def render_alone(self, batch: Batch) -> None:
        """Queue the prompts of a batch again, each for a batch of its own."""
        for member in reversed(batch.members):
            opened = self._open[member.job_id]
            opened.in_hand.discard(member.prompt.number)
            opened.alone.add(member.prompt.number)
            opened.waiting.appendleft(member.prompt)
        for job_id in {member.job_id for member in batch.members}:
            self._let_go(self._open[job_id])

    def note_fits(self, batch: Batch, fits: int) -> None:
        """Remember how many prompts like those of a batch fit into memory at once."""
        key = batch.prompts[0].memory_key
        self._fits.pop(key, None)
        if len(self._fits) >= MAX_KINDS:
            del self._fits[next(iter(self._fits))]
        self._fits[key] = fits

    def rendered(self, job_id: str, rendered: Rendered) -> None:
        """Record how a prompt was rendered."""
        opened = self._open[job_id]
        opened.peak_memory_mib = max(opened.peak_memory_mib, rendered.peak_memory_mib)
        if rendered.ignored_text:
            _log.warning("prompt_too_long", job_id=job_id, ignored_text=rendered.ignored_text)

    def published(self, video: Video) -> None:
        """Record a video; end its job if it was the last."""
        opened = self._open[video.job_id]
        opened.in_hand.discard(video.number)
        opened.videos += 1
        self.outcome.videos += 1
        self._retries.note_success(video.job_id)
        self._suspects.note_success()
        file = str(video.files[0])
        _log.info("video_published", job_id=video.job_id, number=video.number, file=file)
        self._close_if_through(opened)

    def prompt_failed(self, job_id: str, prompt: Prompt, error: Exception) -> None:
        """Record that a prompt failed; try it again later, or end its job if it was the last."""
        opened = self._open[job_id]
        opened.in_hand.discard(prompt.number)
        if isinstance(error, OSError) and self._is_of_disk(job_id, error):
            self._leave_for_now(opened, error)
            return
        opened.tries[prompt.number] += 1
        what = {"job_id": job_id, "number": prompt.number, "reason": str(error)}
        if self._is_worth_a_try(opened, prompt, error):
            _log.warning("video_delayed", **what, seconds=self.limits.retry_seconds)
            at = time.monotonic() + self.limits.retry_seconds
            opened.alone.add(prompt.number)
            opened.resting.append((at, prompt))
            if opened.in_hand:
                self._let_go(opened)
        else:
            _log.error("video_failed", **what)
            opened.failures[prompt.number] = (prompt, error)
        self._close_if_through(opened)

    def _is_of_disk(self, job_id: str, error: OSError) -> bool:
        """Return whether the disk is to blame: not if only this job keeps failing."""
        return error.errno in DISK_ERRORS and self._retries.tries(job_id) < self.limits.max_attempts

    def _is_worth_a_try(self, opened: OpenJob, prompt: Prompt, error: Exception) -> bool:
        may_pass = isinstance(error, RenderError | MemoryError)
        may_pass = may_pass and not isinstance(error, Unrenderable)
        few = opened.tries[prompt.number] < self.limits.max_attempts
        return may_pass and few and opened.trouble is None

    def _leave_for_now(self, opened: OpenJob, error: OSError) -> None:
        """Return a job to the spool as soon as nothing of it is in hand."""
        opened.trouble = error
        opened.waiting.clear()
        opened.resting.clear()
        self._close_if_through(opened)

    def cancel_asked(self) -> set[str]:
        """Fail the waiting prompts of jobs with a request to cancel, and return the jobs' ids."""
        asked = [opened for opened in self._open.values() if self._spool.is_cancelled(opened.job)]
        for opened in asked:
            left = [*opened.waiting, *(prompt for _, prompt in opened.resting)]
            opened.waiting.clear()
            opened.resting.clear()
            opened.in_hand.update(prompt.number for prompt in left)
            for prompt in left:
                error = RenderCancelled("it was cancelled on request")
                self.prompt_failed(opened.job.id, prompt, error)
        return {opened.job.id for opened in asked}

    def put_down(self) -> None:
        """Leave the open jobs in the spool, to be resumed at the next start."""
        for opened in self._open.values():
            log.close_job_file(opened.job.id)
            self._take_back_attempt(opened)

    def _let_go(self, opened: OpenJob) -> None:
        """Record that fewer prompts are in hand than before, while the job goes on."""
        with contextlib.suppress(OSError):  # then the attempt counts
            if opened.in_hand:
                self._record(opened, opened.in_hand)
            else:
                self._spool.take_back_attempt(opened.job)

    def _take_back_attempt(self, opened: OpenJob) -> None:
        if opened.is_recorded:
            with contextlib.suppress(OSError):  # then the attempt counts
                self._spool.take_back_attempt(opened.job)

    def postponed(self) -> int:
        """Return how many jobs wait in the spool for another try."""
        return len(self._retries.resting())

    def is_held_up(self) -> bool:
        """Return whether nothing new should begin, because a disk or a share is in trouble."""
        return self.trouble() != ""

    def trouble(self) -> str:
        """Return why nothing new should begin; empty if something may."""
        return self._retries.trouble()

    def waiting(self) -> list[Waiting]:
        """Return the jobs that were begun and wait to go on."""
        found = [
            Waiting(shown(opened.job.source), "begun; waits for its turn")
            for opened in self._open.values()
            if opened.waiting and opened.is_recorded and not opened.in_hand
        ]
        with contextlib.suppress(OSError):
            found += [
                Waiting(
                    shown(job.source), f"begun; {self._retries.reason(job.id) or 'goes on later'}"
                )
                for job in islice(self._spool.unfinished(self._open), MAX_WAITING)
            ]
        return found

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
        self._file(End(job, partial(self._filing.set_aside, job, error), failed=True))

    def _close_if_through(self, opened: OpenJob) -> None:
        """End a job when all its prompts have a video or a failure; postpone it if in trouble."""
        if opened.in_hand:
            return
        if opened.waiting or opened.resting:
            if opened.is_recorded:  # no blame for what is rendered before its turn
                self._let_go(opened)
            return
        job = opened.job
        del self._open[job.id]
        if opened.trouble is None:
            opened.log_end()
        log.close_job_file(job.id)
        if opened.trouble is not None:
            self._take_back_attempt(opened)
            self.postpone(job, opened.trouble)
            return
        failures = [opened.failures[number] for number in sorted(opened.failures)]
        self._file(End(job, partial(self._file_away, opened, failures), failed=bool(failures)))

    def _file_away(self, opened: OpenJob, failures: Sequence[Failure]) -> None:
        """End a job that is through, once nobody writes into its prompt file any more."""
        job = opened.job
        if opened.videos:
            late.require_closed(job)
        name = self._filing.file_away(job, opened.videos, failures, is_resumed=opened.is_resumed)
        if name is not None and opened.size is not None:
            folder = self._results.place_for(job.source)
            late.tell(job, Place(self._results.root, folder / name), opened.size)

    def _file(self, end: End) -> None:
        """File away a job that has ended; if that fails, only the filing is tried again."""
        try:
            end.file()
        except OSError as error:
            with contextlib.suppress(OSError):  # then the attempt counts
                if self._spool.was_in_hand(end.job):
                    self._spool.take_back_attempt(end.job)
            self.postpone(end.job, error, end)
        else:
            self._forget(end.job.id)
            self.outcome.failed_jobs += end.failed

    def _file_again(self) -> None:
        end = self._retries.due_end()
        if end is None:
            return
        if self._spool.is_in_hand(end.job):
            self._file(end)
        else:  # it was filed away, although the disk reported an error
            self._forget(end.job.id)

    def postpone(self, job: Job, error: OSError, end: End | None = None) -> None:
        """Leave a job in the spool for now, for example because the disk is full."""
        self.turns.lead(turns.group(job.source, job.owner))  # else it would be first each time
        details = {"job_id": job.id, "prompt_file": shown(job.source)}
        self._retry(job.id, error, "job_postponed", end, **details)

    def _retry(
        self, what: str, error: OSError, event: str, end: End | None = None, **details: str
    ) -> None:
        pause = self.limits.retry_seconds
        # Log only news: a line for each try would fill the log, and maybe the disk.
        if self._retries.put(what, error, time.monotonic(), pause, end):
            _log.error(event, **details, reason=str(error), seconds=pause)
