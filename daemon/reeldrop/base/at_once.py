"""Wait for the disk at several places at once: many fsyncs take hardly longer than one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TypeVar

THREADS = 16

_T = TypeVar("_T")


def each(calls: Iterable[Callable[[], _T]]) -> list[_T | OSError]:
    """Call functions that do not depend on each other; return what each returns, or its OSError.

    Other errors are raised, once all calls have ended. No thread lasts longer than the calls.
    """
    calls = list(calls)
    if len(calls) < 2:
        return [*map(_outcome, calls)]
    with futures.ThreadPoolExecutor(min(THREADS, len(calls)), "files") as threads:
        running = [threads.submit(_outcome, call) for call in calls]
    return [call.result() for call in running]


def _outcome(call: Callable[[], _T]) -> _T | OSError:
    try:
        return call()
    except OSError as error:
        return error
