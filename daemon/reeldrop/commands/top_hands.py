"""The thread of `reeldrop top` that reads the state and carries out what keys ask for.

So a share that is slow or hangs never blocks the screen.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from textual.message import Message

from reeldrop.base.errors import ReeldropError
from reeldrop.commands.top_state import Looker, Seen

LOOK_SECONDS = 1.0


class Looked(Message):
    """The state was read."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen


class Said(Message):
    """Something was done, or could not be."""

    def __init__(self, text: str, *, is_problem: bool = False) -> None:
        super().__init__()
        self.text = text
        self.is_problem = is_problem


class Broken(Message):
    """The thread has ended with an unexpected error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Hands(threading.Thread):
    """Reads the state each second, and carries out actions."""

    def __init__(self, looker: Looker, tell: Callable[[Message], object]) -> None:
        super().__init__(name="hands", daemon=True)  # a disk that hangs must not keep `top` running
        self._looker = looker
        self._tell = tell
        self._actions: queue.SimpleQueue[Callable[[], str] | None] = queue.SimpleQueue()
        self._is_ending = False
        self._problem = ""

    def do(self, action: Callable[[], str]) -> None:
        """Carry out an action, and read the state. The action returns what to tell people."""
        self._actions.put(action)

    def look(self) -> None:
        """Read the state at once."""
        self._actions.put(None)

    def end(self) -> None:
        """Tell nothing any more; wait a moment for an action that runs."""
        self._is_ending = True
        self.look()
        self.join(LOOK_SECONDS)

    def run(self) -> None:
        try:
            while not self._is_ending:
                self._look_and_do()
        except BaseException as error:
            self._tell(Broken(error))
            raise

    def _look_and_do(self) -> None:
        before, self._problem = self._problem, ""
        try:
            seen = self._looker.look()
        except (OSError, ReeldropError) as error:
            self._problem = str(error)
        if self._is_ending:
            return
        if not self._problem:
            self._tell(Looked(seen))
        elif self._problem != before:
            self._tell(Said(self._problem, is_problem=True))
        with contextlib.suppress(queue.Empty):
            action = self._actions.get(timeout=LOOK_SECONDS)
            if action is not None:
                self._tell(self._done(action))
                self._looker.forget()

    def _done(self, action: Callable[[], str]) -> Said:
        try:
            return Said(action())
        except (OSError, ReeldropError) as error:
            return Said(str(error), is_problem=True)
