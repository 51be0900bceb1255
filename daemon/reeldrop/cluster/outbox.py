"""Keep an actor's events until they have arrived, because an answer may get lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

PAUSE_SECONDS = 1.0
"""The pause between two answers that contain only steps: nobody needs each of them."""


@dataclass(slots=True)
class _Item:
    number: int
    kind: str
    content: bytes


class Outbox:
    """Items in the order in which they were put, numbered from 1. Safe for any thread."""

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._last = 0
        self._sent = 0
        self._answered = 0.0
        self._is_urgent = False

    def put(self, content: bytes, kind: str = "") -> None:
        """Add an item. One with a `kind` may wait, and replaces the last item if of that kind."""
        with self._changed:
            before = self._items[-1] if self._items else None
            if kind and before and before.kind == kind and before.number > self._sent:
                before.content = content
            else:
                self._last += 1
                self._items.append(_Item(self._last, kind, content))
            self._is_urgent |= not kind
            self._changed.notify_all()

    def take(self, arrived: int, seconds: float) -> tuple[int, tuple[bytes, ...]]:
        """Return the number of the last item, and the items after `arrived`.

        Waits for new items, at most `seconds`; then returns none. Forgets those up to `arrived`.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._items and self._items[0].number <= arrived:
                self._items.popleft()
            while not self._is_due(arrived) and (left := deadline - time.monotonic()) > 0:
                due = self._answered + PAUSE_SECONDS - time.monotonic()
                self._changed.wait(min(left, max(0.0, due)) if self._items else left)
            self._sent, self._is_urgent = self._last, False
            if self._items:
                self._answered = time.monotonic()
            return self._last, tuple(item.content for item in self._items)

    def _is_due(self, arrived: int) -> bool:
        if not self._items:
            return False
        was_lost = arrived < self._sent
        has_paused = time.monotonic() >= self._answered + PAUSE_SECONDS
        return self._is_urgent or was_lost or has_paused
