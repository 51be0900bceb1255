"""A job whose prompts are known and wait, are rendered, or rest."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from reeldrop.base.job import Job, Prompt, Video, shown
from reeldrop.store.filing import Failure

_log = structlog.get_logger()


@dataclass(slots=True)
class OpenJob:
    """A job whose prompts are being rendered; those `in_hand` are in the renderer or encoder.

    `count` is how many videos were asked for, `reserved` those that an earlier attempt has
    reserved names for. It waits for its turn `since` a time, by its `name`: before all else of its
    group once it has led a batch, or was left in the spool. The prompts that are `waiting` go out
    in their order, those of the numbers `alone` not together with others. `resting` are prompts
    that failed, with the time at which to try them again, and `tries` says how often each has
    failed. A job `was_passed_over` if a batch has taken prompts of later ones before its own.
    `trouble` keeps the job from being ended now.
    """

    job: Job
    count: int
    waiting: deque[Prompt]
    reserved: Mapping[int, Video]
    opened_at: float
    videos: int
    is_resumed: bool
    since: float = -math.inf
    name: str = ""
    is_recorded: bool = False
    in_hand: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)
    was_passed_over: bool = False
    resting: list[tuple[float, Prompt]] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)
    trouble: OSError | None = None
    failures: dict[int, Failure] = field(default_factory=dict)
    peak_memory_mib: int = 0

    def wake(self, now: float) -> None:
        """Let the prompts wait for the renderer that have rested for long enough."""
        due = [prompt for at, prompt in self.resting if at <= now]
        self.resting = [(at, prompt) for at, prompt in self.resting if at > now]
        self.waiting.extend(due)

    def log_end(self) -> None:
        """Write the one line that sums a job up."""
        _log.info(
            "job_ended",
            job_id=self.job.id,
            prompt_file=shown(self.job.source),
            videos=self.videos,
            failed=len(self.failures),
            outcome=self._outcome(),
            attempts=len(self.job.attempts) + self.is_recorded,
            seconds=round(time.monotonic() - self.opened_at, 3),
            peak_memory_mib=self.peak_memory_mib,
        )

    def _outcome(self) -> str:
        if not self.failures:
            return "finished"
        return "partly failed" if self.videos else "failed"
