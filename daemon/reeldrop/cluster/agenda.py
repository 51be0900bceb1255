"""What one thread has to do: at once, in the order in which it came, or after some seconds."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import time
from collections.abc import Callable
from typing import NamedTuple


class _Timer(NamedTuple):
    due: float
    number: int
    call: Callable[[], None]


class Agenda:
    """Calls to be made by the thread that calls `go_on`. Any thread may `put` one."""

    def __init__(self) -> None:
        self.todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.timers: list[_Timer] = []
        self._numbers = itertools.count()

    def put(self, call: Callable[[], None]) -> None:
        """Let the thread make a call as soon as it can."""
        self.todo.put(call)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Let it make a call later; for this thread only."""
        due = time.monotonic() + seconds
        heapq.heappush(self.timers, _Timer(due, next(self._numbers), call))

    def go_on(self) -> None:
        """Make the next call, and all that are due; there has to be a timer."""
        wait = max(0.0, self.timers[0].due - time.monotonic())
        with contextlib.suppress(queue.Empty):
            self.todo.get(timeout=wait)()
        while self.timers and self.timers[0].due <= time.monotonic():
            heapq.heappop(self.timers).call()
