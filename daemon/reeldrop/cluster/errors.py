"""Read Ray's error messages: why a renderer has ended, and what people are told about it.

Knows only the texts, not Ray's classes.
"""

from __future__ import annotations

from reeldrop.base.job import Cause

_OUT_OF_MEMORY = ("running low on memory", "OutOfMemory")
_LOST_NODE = ("node has died", "raylet", "preempted", "unschedulable")
_MOST_WORDS = 600
_ADVICE = "Some common causes"


def cause_of(words: str) -> Cause:
    """Return what probably ended a renderer, by the text of Ray's error."""
    told = words.partition(_ADVICE)[0]
    if any(part in told for part in _OUT_OF_MEMORY):  # these words name the raylet's log, too
        return Cause.WORK
    return Cause.MACHINE if any(part in told for part in _LOST_NODE) else Cause.UNKNOWN


def reason_of(words: str) -> str:
    """Return why a renderer has ended, for people: Ray's text without ids and advice."""
    lines = [line.strip() for line in words.partition(_ADVICE)[0].splitlines()]
    ids = ("class_name:", "actor_id:", "namespace:", "pid:")
    return " ".join(line for line in lines if line and not line.startswith(ids))[:_MOST_WORDS]


def first_line(error: BaseException) -> str:
    """Return the first line that is not empty: with Ray's own errors it says what happened."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), repr(error))[:_MOST_WORDS]


def last_line(error: BaseException) -> str:
    """Return the last line: with an error from another process, it follows the traceback."""
    return str(error).strip().rpartition("\n")[2][:_MOST_WORDS]
