"""Prompts of the open jobs go out in batches, and their videos and failures come in.

Does not know what is rendered next, nor how jobs are opened or ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from reeldrop.base.errors import DISK_ERRORS, RenderCancelled
from reeldrop.base.job import Attempt, Batch, Cause, Member, Prompt, Rendered, Video
from reeldrop.schedule.decisions import Render
from reeldrop.service import blame
from reeldrop.service.limits import Outcome
from reeldrop.service.open_jobs import OpenJobs
from reeldrop.service.opened import OpenJob, first_place
from reeldrop.store import job_files

_log = structlog.get_logger()


class Batches:
    """The prompts of the open jobs, while they are in hand and when that ends.

    places: returns where a model can be used for now, and a prompt of it fits; see `Device`
    """

    def __init__(self, jobs: OpenJobs, outcome: Outcome) -> None:
        self.places: Callable[[str, Prompt | None, float], frozenset[str]] = lambda *_: frozenset()
        self._jobs = jobs
        self._outcome = outcome
        self._suspects = jobs.spooled.suspects
        self._retries = jobs.spooled.retries

    # Batches go out

    def begin(self, found: Render) -> Batch | None:
        """Record that a batch is in hand, and return it.

        Jobs for which that can't be recorded are left out and wait in the spool; None if all are.
        """
        first = self._jobs[found.picks[0][0]]
        first.lead()
        members = [m for job_id, count in found.picks for m in self._begin(job_id, count)]
        for job_id in found.passed_over:
            if job_id in self._jobs:
                self._jobs[job_id].was_passed_over = True
        if members:
            self._jobs.turns.lead(first.group)
        return Batch(tuple(members)) if members else None

    def _begin(self, job_id: str, count: int) -> list[Member]:
        """Record that the first waiting prompts are in hand; return none of them if that fails."""
        opened = self._jobs[job_id]
        try:
            prompts = opened.begin(count, device_worked=self._suspects.device_works(opened.job))
        except OSError as error:
            self._jobs.leave_for_now(opened, error)
            return []
        return [Member(job_id, prompt) for prompt in prompts]

    def give_back(self, batch: Batch, *, alone: bool = False) -> None:
        """Queue the prompts of a batch again; if `alone`, each for a batch of its own."""
        for member in reversed(batch.members):
            self._jobs[member.job_id].queue_again(member.prompt, alone=alone)
        for job_id in {member.job_id for member in batch.members}:
            self._jobs.let_go(self._jobs[job_id])

    def lost(self, batch: Batch, attempt: Attempt) -> None:
        """Queue the prompts of a batch as the first ones again: its renderer was lost.

        attempt: how it ended, for each job with its own numbers. Prompts that were in hand too
            often then fail; if the machine ended, none is to blame.
        """
        numbers: dict[str, list[int]] = {}
        for member in batch.members:
            numbers.setdefault(member.job_id, []).append(member.prompt.number)
        is_blamed = attempt.cause is not Cause.MACHINE
        for job_id, own in numbers.items():
            self._jobs[job_id].place = first_place(self._jobs[job_id].job)
            if is_blamed:
                self._jobs[job_id].note_loss(replace(attempt, numbers=tuple(own)))
        most = self._jobs.limits.max_attempts
        to_fail: list[tuple[Member, Exception]] = []
        for member in reversed(batch.members):
            opened, number = self._jobs[member.job_id], member.prompt.number
            is_too_often = is_blamed and blame.has_ended_too_often(opened.job, number, most)
            if is_too_often and not opened.is_untried_elsewhere(
                number, self._places(member.prompt), most
            ):
                to_fail.append((member, blame.ended_with(opened.job, number)))
            else:
                opened.queue_again(member.prompt, alone=is_blamed)
        for job_id in numbers:
            self._jobs.let_go(self._jobs[job_id])
        for member, error in reversed(to_fail):
            self.failed(member.job_id, member.prompt, error)

    # Videos and failures come in

    def rendered(self, job_id: str, rendered: Rendered) -> None:
        """Record how a prompt was rendered."""
        opened = self._jobs[job_id]
        opened.peak_memory_mib = max(opened.peak_memory_mib, rendered.peak_memory_mib)
        for key, end in rendered.ignored.items():
            _log.warning(f"{key}_too_long", job_id=job_id, ignored_text=end)

    def published(self, video: Video) -> None:
        """Record a video; end its job if it was the last."""
        opened = self._jobs[video.job_id]
        opened.in_hand.discard(video.number)
        opened.videos += 1
        self._outcome.videos += 1
        self._retries.note_success(video.job_id)
        self._suspects.note_success()
        file = str(video.files[0])
        _log.info("video_published", job_id=video.job_id, number=video.number, file=file)
        self._jobs.close_if_through(opened)

    def failed(self, job_id: str, prompt: Prompt, error: Exception, place: str = "") -> None:
        """Record that a prompt failed; try it again later, or end its job if it was the last.

        place: where its renderer is; empty if that has rendered it
        """
        opened = self._jobs[job_id]
        opened.in_hand.discard(prompt.number)
        if isinstance(error, OSError) and self._is_of_disk(job_id, error):
            self._jobs.leave_for_now(opened, error)
            return
        opened.note_failure(prompt.number, place)
        what = {"job_id": job_id, "number": prompt.number, "reason": str(error)}
        pause = self._pause(opened, prompt, error)
        if pause is not None:
            _log.warning("video_delayed", **what, seconds=pause)
            opened.rest(prompt, time.monotonic() + pause)
            if opened.in_hand:
                self._jobs.let_go(opened)
        else:
            if isinstance(error, RenderCancelled):
                _log.info("video_cancelled", **what)
            else:
                _log.error("video_failed", **what)
            opened.failures[prompt.number] = (prompt, error)
        self._jobs.close_if_through(opened)

    def _pause(self, opened: OpenJob, prompt: Prompt, error: Exception) -> float | None:
        """Return after how many seconds a prompt is tried again; None if it is not."""
        if not opened.may_pass(error):
            return None
        limits, number = self._jobs.limits, prompt.number
        if opened.is_untried_elsewhere(number, self._places(prompt), limits.max_attempts):
            return 0.0
        is_left = sum(opened.tries[number].values()) < limits.max_attempts
        return limits.retry_seconds if is_left else None

    def _places(self, prompt: Prompt) -> frozenset[str]:
        return self.places(prompt.model, prompt, time.monotonic())

    def _is_of_disk(self, job_id: str, error: OSError) -> bool:
        """Return whether the disk is to blame: not if only this job keeps failing."""
        tries = self._retries.tries(job_id)
        return error.errno in DISK_ERRORS and tries < self._jobs.limits.max_attempts

    # Prompts fail that are not in hand

    def cancel_asked(self, among: Iterable[str]) -> set[str]:
        """Fail the waiting prompts of jobs with a request to cancel, and return the jobs' ids.

        among: ids of jobs; those that are not open are left out
        """
        found = [self._jobs[job_id] for job_id in among if job_id in self._jobs]
        asked = [opened for opened in found if job_files.is_cancelled(opened.job)]
        for opened in asked:
            self.fail(opened, opened.drop_waiting(), RenderCancelled())
        return {opened.job.id for opened in asked}

    def fail(self, opened: OpenJob, prompts: Sequence[Prompt], error: Exception) -> None:
        """Fail prompts of a job that were waiting."""
        opened.in_hand.update(prompt.number for prompt in prompts)  # or it would end with the first
        for prompt in prompts:
            self.failed(opened.job.id, prompt, error)
