"""The thread of `reeldrop top` that looks at the state and does what keys ask for.

So a share that is slow, or hangs, never stops the screen.
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
    """The state was looked at."""

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
    """Looking ended by an error that nobody has foreseen."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Hands(threading.Thread):
    """Looks at the state each second, and does what it is given."""

    def __init__(self, looker: Looker, tell: Callable[[Message], object]) -> None:
        super().__init__(name="hands", daemon=True)  # a disk that hangs must not keep it
        self._looker = looker
        self._tell = tell
        self._deeds: queue.SimpleQueue[Callable[[], str] | None] = queue.SimpleQueue()
        self._is_ending = False
        self._problem = ""

    def do(self, deed: Callable[[], str]) -> None:
        """Do something, and look."""
        self._deeds.put(deed)

    def look(self) -> None:
        """Look at once."""
        self._deeds.put(None)

    def end(self) -> None:
        """Tell nothing any more; wait a moment for what is in hand."""
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
            deed = self._deeds.get(timeout=LOOK_SECONDS)
            if deed is not None:
                self._tell(self._done(deed))
                self._looker.forget()

    def _done(self, deed: Callable[[], str]) -> Said:
        try:
            return Said(deed())
        except (OSError, ReeldropError) as error:
            return Said(str(error), is_problem=True)
