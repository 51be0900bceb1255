"""The open jobs: their batches go out, their videos and failures come in, and they end.

Used by the service. Does not render or encode, nor know where files go in the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import structlog

from reeldrop.base.errors import DISK_ERRORS, RenderCancelled
from reeldrop.base.escaping import shown
from reeldrop.base.job import Batch, Job, Member, Prompt, Rendered, Video
from reeldrop.host import log
from reeldrop.schedule.schedule import Render
from reeldrop.schedule.turns import Rank, Turns
from reeldrop.schedule.view import (
    JobView,
)
from reeldrop.service import opening
from reeldrop.service.limits import Fits, Limits, Outcome
from reeldrop.service.opened import OpenJob, log_notes
from reeldrop.service.spooled import SpooledJobs
from reeldrop.store import job_files
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import Waiting

_log = structlog.get_logger()


class OpenJobs:
    """The jobs in hand whose prompts are known.

    limits: what config.yaml sets
    turns: whose turn it is among the groups of one priority
    outcome: what this run has done
    fits: how many prompts fit into memory at once
    spooled: the jobs in hand that are not open
    loads: the jobs that wait for a model to be loaded
    suspects: those of them that are held back
    ends: ends them
    """

    def __init__(self, spool: Spool, results: Results, limits: Limits) -> None:
        self._spool = spool
        self._results = results
        self._open: dict[str, OpenJob] = {}
        self.fits = Fits()
        self.limits = limits
        self.turns = Turns()
        self.outcome = Outcome()
        self.spooled = SpooledJobs(spool, results, limits, self._open, self.turns, self.outcome)
        self.suspects = self.spooled.suspects
        self.ends = self.spooled.ends
        self.loads = self.spooled.loads

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, job_id: str) -> OpenJob:
        return self._open[job_id]

    def use(self, limits: Limits) -> None:
        """Apply other limits. Only while no job is begun."""
        self.limits = limits
        self.spooled.use(limits)

    @property
    def are_begun(self) -> bool:
        """Return whether any job has been opened and has not ended."""
        return bool(self._open) or self.spooled.are_begun

    def views(self, now: float) -> tuple[JobView, ...]:
        """Return the open jobs, as input of a decision."""
        most = max((limit.most for limit in self.limits.batch_sizes.values()), default=1)
        return tuple(self._view(opened, now, most) for opened in self._open.values())

    def _view(self, opened: OpenJob, now: float, most: int) -> JobView:
        opened.wake(now)
        size = 1
        if opened.waiting:
            first = opened.waiting[0]
            size = self.fits.size(first, self.limits.batch_sizes[first.model])
        return opened.view(self.turns.of(opened.group), size, most)

    def groups(self) -> set[str]:
        """Return the groups that have a job in hand, as far as they are known."""
        opened = {opened.group for opened in self._open.values()}
        return opened | self.spooled.groups()

    def due(self, *, opens: bool) -> list[float]:
        """Return when failed prompts are to be tried again; if `opens`, postponed jobs, too."""
        resting = [at for opened in self._open.values() for at, _ in opened.resting]
        return [*resting, *self.spooled.due()] if opens else resting

    def waiting(self, unusable: Mapping[str, str] = MappingProxyType({})) -> list[Waiting]:
        """Return the jobs that were begun and wait to go on.

        unusable: why models can't be used for now
        """
        opened = [
            Waiting.of(opened.job.source, "begun; waits for its turn")
            for opened in self._open.values()
            if opened.waiting and opened.is_recorded and not opened.in_hand
        ]
        return [*opened, *self.spooled.waiting(unusable)]

    # Jobs open

    def open(
        self,
        job: Job,
        prompts: tuple[Prompt, ...],
        rank: Rank | None = None,
        size: int | None = None,
    ) -> None:
        """Queue the prompts of a job for the renderer that have no video yet.

        `size` is how many bytes the prompt file had when it was read.
        """
        try:
            opened = opening.opened(
                job, prompts, self._spool, self._results, self.limits, self.suspects
            )
            if opened is None:
                return
            log.open_job_file(job.id, job_files.log_of(job))
        except OSError as error:
            self.ends.postpone(job, error)
            return
        log_notes(job, prompts)
        if past := self.spooled.past.pop(job.id, None):
            opened.recall(past)
        if rank is not None:
            opened.place = rank[2:]
        opened.size = size
        self._open[job.id] = opened
        if not self.spooled.take_out(job.id):
            _log.info(
                "job_started",
                job_id=job.id,
                prompt_file=shown(job.source),
                attempt=len(job.attempts) + 1,
                videos=len(prompts),
                already_published=opened.videos,
            )
        self._close_if_through(opened)

    def put_back(self, job_id: str) -> None:
        """Put an open job with nothing in hand back into the spool until its turn comes."""
        del self._open[job_id]
        log.close_job_file(job_id)
        self.spooled.put_back(job_id)

    def put_down(self) -> None:
        """Leave the open jobs in the spool, to be resumed at the next start."""
        for opened in self._open.values():
            log.close_job_file(opened.job.id)
            opened.take_back_attempt()

    # Models are loaded, and batches go out

    def begin_loading(self, job_id: str, model: str) -> Job | None:
        """Record that a model is being loaded for an open job, and return the job.

        None if it must not be loaded for this job: it is held back or postponed, or its prompts of
        the model have failed because of earlier ends.
        """
        opened = self._open[job_id]
        if opened.may_go_back and self.loads.are_held_back(opened.job):
            self.put_back(job_id)
        elif (blame := self.loads.blame(opened.job)) is not None:
            self._fail(opened, opened.drop_waiting(model), blame)
        else:
            try:
                self.loads.begin(opened.job)
            except OSError as error:
                self._leave_for_now(opened, error)
            else:
                opened.is_recorded = True
                return opened.job
        return None

    def refuse(self, model: str, error: Exception) -> None:
        """Fail the waiting prompts of a model that can't be loaded."""
        for opened in tuple(self._open.values()):
            self._fail(opened, opened.drop_waiting(model), error)

    def begin(self, found: Render) -> Batch | None:
        """Record that a batch is in hand, and return it.

        Jobs for which that can't be recorded are left out and wait in the spool; None if all are.
        """
        first = self._open[found.picks[0][0]]
        first.lead()
        members = [m for job_id, count in found.picks for m in self._begin(job_id, count)]
        for job_id in found.passed_over:
            if job_id in self._open:
                self._open[job_id].was_passed_over = True
        if members:
            self.turns.lead(first.group)
        return Batch(tuple(members)) if members else None

    def _begin(self, job_id: str, count: int) -> list[Member]:
        """Record that the first waiting prompts are in hand; return none of them if that fails."""
        opened = self._open[job_id]
        try:
            prompts = opened.begin(count, device_worked=self.suspects.device_works(opened.job))
        except OSError as error:
            self._leave_for_now(opened, error)
            return []
        return [Member(job_id, prompt) for prompt in prompts]

    def render_alone(self, batch: Batch) -> None:
        """Queue the prompts of a batch again, each for a batch of its own."""
        for member in reversed(batch.members):
            self._open[member.job_id].queue_alone(member.prompt)
        for job_id in {member.job_id for member in batch.members}:
            self._let_go(self._open[job_id])

    def give_back(self, batch: Batch) -> None:
        """Queue the prompts of a batch again, which was not begun."""
        for member in reversed(batch.members):
            self._open[member.job_id].queue_again(member.prompt)
        for job_id in {member.job_id for member in batch.members}:
            self._let_go(self._open[job_id])

    def hold(self, model: str, until: float) -> None:
        """Let the prompts of a model wait until a time. Jobs with no others wait in the spool."""
        for opened in tuple(self._open.values()):
            opened.hold(model, until)
            if opened.only_waits_for(model):
                del self._open[opened.job.id]
                log.close_job_file(opened.job.id)
                self.spooled.past[opened.job.id] = opened.past
                self.loads.need(opened.job, model)

    # Videos and failures come in

    def rendered(self, job_id: str, rendered: Rendered) -> None:
        """Record how a prompt was rendered."""
        opened = self._open[job_id]
        opened.peak_memory_mib = max(opened.peak_memory_mib, rendered.peak_memory_mib)
        if rendered.ignored_text:
            _log.warning("prompt_too_long", job_id=job_id, ignored_text=rendered.ignored_text)
        if rendered.ignored_negative_text:
            ignored = rendered.ignored_negative_text
            _log.warning("negative_prompt_too_long", job_id=job_id, ignored_text=ignored)

    def published(self, video: Video) -> None:
        """Record a video; end its job if it was the last."""
        opened = self._open[video.job_id]
        opened.in_hand.discard(video.number)
        opened.videos += 1
        self.outcome.videos += 1
        self.spooled.retries.note_success(video.job_id)
        self.suspects.note_success()
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
        if opened.is_worth_a_try(prompt, error, self.limits.max_attempts):
            _log.warning("video_delayed", **what, seconds=self.limits.retry_seconds)
            opened.rest(prompt, time.monotonic() + self.limits.retry_seconds)
            if opened.in_hand:
                self._let_go(opened)
        else:
            if isinstance(error, RenderCancelled):
                _log.info("video_cancelled", **what)
            else:
                _log.error("video_failed", **what)
            opened.failures[prompt.number] = (prompt, error)
        self._close_if_through(opened)

    def _is_of_disk(self, job_id: str, error: OSError) -> bool:
        """Return whether the disk is to blame: not if only this job keeps failing."""
        tries = self.spooled.retries.tries(job_id)
        return error.errno in DISK_ERRORS and tries < self.limits.max_attempts

    def cancel_asked(self) -> set[str]:
        """Fail the waiting prompts of jobs with a request to cancel, and return the jobs' ids."""
        asked = [opened for opened in self._open.values() if job_files.is_cancelled(opened.job)]
        for opened in asked:
            self._fail(opened, opened.drop_waiting(), RenderCancelled())
        return {opened.job.id for opened in asked}

    def _fail(self, opened: OpenJob, prompts: Sequence[Prompt], error: Exception) -> None:
        """Fail prompts that were not in hand."""
        opened.in_hand.update(prompt.number for prompt in prompts)  # or it would end with the first
        for prompt in prompts:
            self.prompt_failed(opened.job.id, prompt, error)

    # Jobs end

    def _leave_for_now(self, opened: OpenJob, error: OSError) -> None:
        """Return a job to the spool as soon as nothing of it is in hand."""
        opened.trouble = error
        opened.drop_waiting()
        self._close_if_through(opened)

    def _let_go(self, opened: OpenJob) -> None:
        opened.let_go(device_worked=self.suspects.device_works(opened.job))

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
            opened.take_back_attempt()
            self.ends.postpone(job, opened.trouble)
            return
        failures = [opened.failures[number] for number in sorted(opened.failures)]
        self.ends.finish(opened, failures)
