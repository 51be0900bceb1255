"""Which prompts fail because the process crashed or was killed, and which are only suspected.

Knows the attempts at a job. Does not know how jobs are opened or ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reeldrop.base.errors import Unrenderable
from reeldrop.base.job import Attempt, Cause, Job

KILLS_PER_SIGN = 3
"""How many ends of unknown cause count as much as one that a prompt seems to have caused."""


def ends_of_processes(job: Job) -> Counter[int | None]:
    """Return at how many ends of a process each prompt was in hand; for None, a load."""
    ends = (attempt for attempt in job.attempts if not attempt.renderer)
    return Counter(number for end in ends for number in end.numbers or (None,))


def to_be_alone(job: Job, *, is_suspect: bool) -> set[int]:
    """Return which prompts are rendered alone: they were in hand when a renderer ended.

    Those in hand when a process ended, too, unless the whole job is suspect.
    """
    ends = (attempt for attempt in job.attempts if attempt.renderer or not is_suspect)
    return {number for end in ends for number in end.numbers}


def has_ended_too_often(job: Job, number: int | None, max_attempts: int) -> bool:
    """Return whether a prompt (None: loading the model) has ended processes too often.

    Unexplained kills count for less and, unless there are very many, only if the process had
    rendered something else before one of them.
    """
    ends = ends_of(job, number)
    if _has_left_signs(ends, max_attempts):
        return True
    kills = max_attempts * KILLS_PER_SIGN
    is_clear = len(ends) >= 2 * kills or any(end.device_worked for end in ends)
    return len(ends) >= kills and is_clear and any(end.was_alone for end in ends)


def is_suspected(job: Job, number: int | None, max_attempts: int) -> bool:
    """Return whether a prompt (None: loading the model) may have ended processes too often."""
    ends = ends_of(job, number)
    kills = [end for end in ends if end.cause is Cause.UNKNOWN]
    return len(kills) >= max_attempts or _has_left_signs(ends, max_attempts)


def ends_of(job: Job, number: int | None) -> list[Attempt]:
    """Return the attempts with a prompt in hand; for None, while the model was loading."""
    return [attempt for attempt in job.attempts if attempt.is_of(number)]


def _has_left_signs(ends: Sequence[Attempt], max_attempts: int) -> bool:
    signs = [end for end in ends if end.cause is Cause.WORK]
    return len(signs) >= max_attempts and any(end.was_alone for end in signs)


def ended_with(job: Job, number: int | None) -> Unrenderable:
    """Return the error of a prompt (None: of loading the model) that ended processes too often."""
    ends = ends_of(job, number)
    told = "; ".join(f"at {end.began}: {end.ending}" for end in ends)
    what = "it" if number else "loading its model"
    who = "a renderer" if any(end.renderer for end in ends) else "the process"
    advice = " ".join(dict.fromkeys(map(_advice, ends)))
    return Unrenderable(f"{who} ended in the middle of {what} {len(ends)} times ({told}). {advice}")


def _advice(end: Attempt) -> str:
    if end.cause is Cause.UNKNOWN:
        return "Find out who kills the service: journalctl -k, systemd-oomd, a container's limit."
    if "memory ran out" in end.ending:
        return "Ask for a smaller size or fewer frames, or give the service more memory."
    if "stalled" in end.ending:
        return "It hung: the log has the stacks of all threads."
    return "It crashed: the log has the stacks; a driver or a library may be at fault."
