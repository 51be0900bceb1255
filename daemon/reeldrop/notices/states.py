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


@dataclass(slots=True)
class States:
    """The daemon's state at the last look, and the begin of its trouble."""

    _worked: bool = False
    _since: float = 0.0
    _trouble: str = field(default="", init=False)

    def look(self, status: Status | None, *, is_running: bool, now: float) -> list[Happening]:
        """Return new events; `now` is in seconds since 1970."""
        if status is None:
            return []
        found = [*self._idle(status, now), *self._in_trouble(status, is_running, now)]
        self._worked = is_running and status.rendering is not None
        return found

    def _idle(self, status: Status, now: float) -> list[Happening]:
        is_done = status.state == State.IDLE and not status.waiting_count
        if not (self._worked and is_done):
            return []
        return [Happening(IDLE, f"idle {status.updated}", now)]

    def _in_trouble(self, status: Status, is_running: bool, now: float) -> list[Happening]:
        is_down = not is_running and status.state != State.STOPPED
        trouble = ""
        if is_down:
            trouble = f"{DOWN} {status.updated}"  # the last report: the same until it runs again
        elif is_running and status.state.is_obstacle:
            trouble = f"{TROUBLE} {_DIGITS.sub('0', status.said())}"
        if trouble != self._trouble:
            self._trouble, self._since = trouble, now
        if not trouble or now - self._since < PATIENCE_SECONDS:
            return []
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self._since))
        facts = {"state": str(status.state), "reason": status.said(), "since": since}
        if is_down:
            reported = datetime.fromisoformat(status.updated).astimezone()
            facts["report"] = f"{reported:%Y-%m-%d %H:%M:%S}, {status.line()}"
            return [Happening(DOWN, trouble, now, facts)]
        return [Happening(TROUBLE, f"{trouble} {since[:10]}", now, facts)]  # once a day
