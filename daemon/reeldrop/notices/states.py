"""Find events in the daemon's status: all is done, it waits for something, it does not run."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import datetime

from reeldrop.notices.happenings import DOWN, IDLE, TROUBLE, Happening
from reeldrop.store.status import State, Status

PATIENCE_SECONDS = 60.0
"""Trouble that ends sooner is not told."""

_DIGITS = re.compile("[0-9]+")
"""Ignored when troubles are compared: numbers such as free bytes change."""


_STARTING = (State.STOPPED, State.LOADING, State.WARMING_UP)
"""A service that is down is not back before these are over: it may end again and again. The first
is in the report of its last process."""


@dataclass(slots=True)
class States:
    """The daemon's state at the last look, and the begin of its trouble.

    _worked: whether something was rendered since all was told to be done
    _counted: since when the daemon counts its numbers, and for how long it had rendered
    _id: of the trouble, as it was at its begin
    """

    _worked: bool = False
    _counted: tuple[str, float] | None = None
    _since: float = 0.0
    _trouble: str = field(default="", init=False)
    _id: str = field(default="", init=False)

    def look(self, status: Status | None, *, is_running: bool, now: float) -> list[Happening]:
        """Return new events; `now` is in seconds since 1970."""
        if status is None:
            return []
        if is_running:
            self._note_work(status)
        return [*self._idle(status, now), *self._in_trouble(status, is_running, now)]

    def _note_work(self, status: Status) -> None:
        """Note that something was rendered; between two looks, only the numbers tell it."""
        counted = status.numbers.began, status.numbers.busy_seconds
        is_more = self._counted not in (None, counted) and counted[1] > 0
        self._worked |= is_more or status.rendering is not None
        self._counted = counted

    def _idle(self, status: Status, now: float) -> list[Happening]:
        is_done = status.state == State.IDLE and not status.waiting_count
        if not (self._worked and is_done):
            return []
        self._worked = False
        return [Happening(IDLE, f"idle {status.updated}", now)]

    def _in_trouble(self, status: Status, is_running: bool, now: float) -> list[Happening]:
        trouble, own_id = self._trouble, self._id
        if not is_running:
            # The last report is the same until it runs again.
            is_stopped = status.state == State.STOPPED and not status.reason
            trouble, own_id = ("", "") if is_stopped else (DOWN, f"{DOWN} {status.updated}")
        elif trouble != DOWN or status.state not in _STARTING:
            said = _DIGITS.sub("0", status.said())
            trouble = own_id = f"{TROUBLE} {said}" if status.state.is_obstacle else ""
        if trouble != self._trouble:
            self._trouble, self._id, self._since = trouble, own_id, now
        is_starting = trouble == DOWN and is_running
        if not trouble or is_starting or now - self._since < PATIENCE_SECONDS:
            return []
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self._since))
        facts = {"state": str(status.state), "reason": status.said(), "since": since}
        if trouble == DOWN:
            reported = datetime.fromisoformat(status.updated).astimezone()
            facts["report"] = f"{reported:%Y-%m-%d %H:%M:%S}, {status.line()}"
            return [Happening(DOWN, self._id, now, facts)]
        return [Happening(TROUBLE, f"{self._id} {since[:10]}", now, facts)]  # once a day
