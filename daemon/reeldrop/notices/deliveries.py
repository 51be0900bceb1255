"""Pass on what happens to one receiver, in a thread of its own: in order, once, by its record.

A receiver that fails is tried again after growing pauses; others are not affected. In its quiet
hours nothing is sent. What has piled up by then, or is more than a few, becomes one message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from reeldrop.notices.happenings import Happening
from reeldrop.notices.record import Record
from reeldrop.schedule.night import Night

FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 900.0

_IDS = 10
"""How many are logged."""

_log = structlog.get_logger()


class NotDelivered(Exception):
    """A receiver did not take something; a later try may succeed."""


class Receiver(Protocol):
    """Takes what happens.

    name: for the log; without secrets
    key: what distinguishes it from others, also in the next process
    """

    name: str
    key: str

    def take(self, happenings: Sequence[Happening]) -> None:
        """Take one or, as one message, several.

        Raises:
            NotDelivered: it did not.
        """


@dataclass(frozen=True, slots=True)
class Manners:
    """When and how a receiver is told.

    kinds: what it is told of
    quiet: the hours in which it is not; None for none
    most: how many are told one by one; more become one message
    """

    kinds: frozenset[str]
    quiet: Night | None = None
    most: int = 5


class Delivery:
    """Tells one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        manners: Manners,
        record: Record,
        clock: Callable[[], datetime] = datetime.now,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._receiver = receiver
        self._manners = manners
        self._record = record
        self._clock = clock
        self._first_pause = first_pause
        self._waiting: dict[str, Happening] = {}
        self._changed = threading.Condition()
        self._is_ending = False
        self._pause = 0.0
        self._thread = threading.Thread(target=self._work, name=receiver.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, happenings: Sequence[Happening]) -> None:
        """Take what happened; never waits."""
        with self._changed:
            for happening in happenings:
                is_known = self._record.is_told(happening.id, happening.at)
                if happening.kind in self._manners.kinds and not is_known:
                    self._waiting.setdefault(happening.id, happening)
            self._changed.notify_all()

    def end(self, seconds: float) -> bool:
        """Let it send what waits, for so long at most; return whether nothing is left."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            self._is_ending = True
            self._changed.notify_all()
            is_done = not self._waiting
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return is_done

    def is_busy(self) -> bool:
        """Return whether it is telling something: it is not resting, and not in quiet hours."""
        with self._changed:
            is_idle = self._pause or self._is_quiet() or not self._thread.is_alive()
            return bool(self._waiting) and not is_idle

    def is_dead(self) -> bool:
        """Return whether its thread has ended by an unforeseen error, which it has printed."""
        return bool(self._thread.ident) and not self._thread.is_alive() and not self._is_ending

    def _is_quiet(self) -> bool:
        quiet = self._manners.quiet
        return quiet is not None and quiet.has(self._clock())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._is_ending and (not self._waiting or self._is_quiet()):
                    self._changed.wait(60.0 if self._waiting else None)
                if self._is_ending:
                    return
                parcel = self._parcel()
            self._send(parcel)

    def _parcel(self) -> list[Happening]:
        """Return what is sent at once."""
        waiting = list(self._waiting.values())
        return waiting[:1] if len(waiting) <= self._manners.most else waiting

    def _send(self, parcel: list[Happening]) -> None:
        ids = [(happening.id, happening.at) for happening in parcel]
        again = [name for name, _ in ids if self._record.may_have_arrived(name)]
        if again:
            _log.warning(
                "told_again", receiver=self._receiver.name, count=len(again), ids=again[:_IDS]
            )
        try:
            self._record.begin(ids)
            self._receiver.take(parcel)
        except (NotDelivered, OSError) as error:
            self._rest(error)
            return
        try:
            self._record.finish(ids)
        except OSError as error:  # it was taken, so another try would tell it twice
            _log.error("not_recorded", receiver=self._receiver.name, reason=str(error))
        with self._changed:
            self._pause = 0.0
            for happening in parcel:
                del self._waiting[happening.id]
            self._changed.notify_all()

    def _rest(self, error: Exception) -> None:
        with self._changed:
            self._pause = min(max(2 * self._pause, self._first_pause), MAX_PAUSE_SECONDS)
            _log.warning(
                "not_told", receiver=self._receiver.name, reason=str(error), next_in=self._pause
            )
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_ending, self._pause)
