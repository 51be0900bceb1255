"""Wait for the disk at several places at once: many fsyncs take hardly longer than one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TypeVar

THREADS = 16

_T = TypeVar("_T")


def each(calls: Iterable[Callable[[], _T]]) -> list[_T | OSError]:
    """Call functions that do not depend on each other; return what each returns, or its OSError.

    Other errors are raised, once all calls have ended.
    """
    calls = list(calls)
    if not calls:
        return []
    first, *others = calls
    running: list[futures.Future[_T | OSError]] = []
    try:
        for call in others:  # within the try: a thread may not start
            running.append(_threads().submit(_outcome, call))  # noqa: PERF401
        return [_outcome(first), *(call.result() for call in running)]
    finally:
        futures.wait(running)


def _outcome(call: Callable[[], _T]) -> _T | OSError:
    try:
        return call()
    except OSError as error:
        return error


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
    return futures.ThreadPoolExecutor(THREADS, thread_name_prefix="files")
