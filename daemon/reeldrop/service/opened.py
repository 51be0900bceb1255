"""One open job: which of its prompts wait, are in hand, rest or have failed.

Does not know what is rendered next, nor where files go.
"""

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
    """A job whose prompts are being rendered.

    count: how many videos were ordered
    waiting: the prompts for the renderer, in order
    reserved: the videos whose names an earlier attempt has reserved, by prompt number
    videos: how many are published, those of earlier attempts included
    is_resumed: whether there may have been an earlier attempt
    since, name: its place in its group; the first, once it has led a batch or was in the spool
    is_recorded: whether the spool has a record of this attempt
    in_hand: numbers of the prompts in the renderer or the encoder
    alone: numbers of the prompts that are rendered in a batch of their own
    was_passed_over: whether a batch took prompts of later jobs before its own
    resting: failed prompts, with the time of their next try
    tries: how often each prompt has failed
    trouble: why the job goes back to the spool instead of ending
    failures: the prompts that are not tried again, by number
    size: how many bytes the prompt file had when it was read; None if that is unknown
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
    size: int | None = None

    def wake(self, now: float) -> None:
        """Queue the prompts for the renderer that have rested for long enough."""
        due = [prompt for at, prompt in self.resting if at <= now]
        self.resting = [(at, prompt) for at, prompt in self.resting if at > now]
        self.waiting.extend(due)

    def log_end(self) -> None:
        """Log the line that sums up the job."""
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
