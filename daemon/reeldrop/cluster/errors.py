"""What the errors of Ray say: why a renderer has ended, and in which words people are told.

Words only; knows nothing of Ray's classes.
"""

from __future__ import annotations

from reeldrop.base.job import Cause

_OUT_OF_MEMORY = ("running low on memory", "OutOfMemory")
_LOST_NODE = ("node has died", "raylet", "preempted", "unschedulable")
_MOST_WORDS = 600
_ADVICE = "Some common causes"


def cause_of(words: str) -> Cause:
    """Return what may have ended a renderer, by the words of Ray's error."""
    told = words.partition(_ADVICE)[0]
    if any(part in told for part in _OUT_OF_MEMORY):  # these words name the raylet's log, too
        return Cause.WORK
    return Cause.MACHINE if any(part in told for part in _LOST_NODE) else Cause.UNKNOWN


def reason_of(words: str) -> str:
    """Return what people are told of a renderer's end: Ray's words without ids and advice."""
    lines = [line.strip() for line in words.partition(_ADVICE)[0].splitlines()]
    ids = ("class_name:", "actor_id:", "namespace:", "pid:")
    return " ".join(line for line in lines if line and not line.startswith(ids))[:_MOST_WORDS]


def first_line(error: BaseException) -> str:
    """Return the first line that is not empty, which says what happened."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), repr(error))[:_MOST_WORDS]


def last_line(error: BaseException) -> str:
    """Return the last line: of an error raised in another process, the error itself."""
    return str(error).strip().rpartition("\n")[2][:_MOST_WORDS]
