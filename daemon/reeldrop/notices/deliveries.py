"""Tell one receiver what happens, in a thread of its own: in order, and each event once.

A receiver that fails is tried again after growing pauses, without effect on other receivers. In its
quiet hours nothing is sent. If more than a few events wait, they become one message. A message that
is refused repeatedly lets the others go first.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from reeldrop.notices.happenings import Happening
from reeldrop.notices.parcels import NotDelivered, Parcel, Receiver
from reeldrop.notices.record import Record
from reeldrop.schedule.night import Night

FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 900.0

TRIES = 3
"""After this many failures in a row, the other messages are tried, one by one. A message that has
failed while this many others were delivered is given up."""

MAX_WAITING = 100_000
"""Upper bound on the events that wait for a receiver; beyond it, the oldest is given up."""

_DROP_SECONDS = 60.0
_IDS = 10
"""Upper bound on the ids in a log entry."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Manners:
    """When and how a receiver is told.

    kinds: of which kinds of events
    quiet: the hours without messages; None for none
    most: how many events are told one by one; more become one message
    repeats: whether a parcel that may have arrived is sent again with its key; else its events are
        named in another message, which says that it may be the second
    """

    kinds: frozenset[str]
    quiet: Night | None = None
    most: int = 5
    repeats: bool = True


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
        self.record = record
        self._receiver = receiver
        self._manners = manners
        self._clock = clock
        self._first_pause = first_pause
        self._waiting: dict[str, Happening] = {}
        self._failures = 0
        self._tries: dict[str, int] = {}
        self._failed: set[str] = set()
        self._passed: dict[str, int] = {}
        self._plain: set[str] = set()
        self._dropped = -math.inf
        self._changed = threading.Condition()
        self._is_ending = self._is_resting = False
        self._pause = 0.0
        self._thread = threading.Thread(target=self._work, name=receiver.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, happenings: Sequence[Happening]) -> None:
        """Add events that are new for this receiver; never waits."""
        with self._changed:
            for happening in happenings:
                is_known = self.record.is_told(happening.id, happening.at)
                if happening.kind in self._manners.kinds and not is_known:
                    self._waiting.setdefault(happening.id, happening)
            self._changed.notify_all()

    def end(self, seconds: float) -> bool:
        """Wait until all is sent, at most `seconds`, and end; return whether nothing is left."""
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
        """Return whether it has something to send now: not in a pause, and not in quiet hours."""
        with self._changed:
            is_idle = self._is_resting or self._is_quiet() or not self._thread.is_alive()
            return bool(self._waiting) and not is_idle

    def is_dead(self) -> bool:
        """Return whether its thread has ended with an unexpected error, which it has printed."""
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
                self._drop_what_is_old()
                parcel = self._parcel()
            if parcel is not None:
                self._send(parcel)

    def _drop_what_is_old(self) -> None:
        """Give up events so old that a restarted process would not tell them either."""
        now = time.monotonic()
        if now - self._dropped < _DROP_SECONDS and len(self._waiting) <= MAX_WAITING:
            return
        self._dropped, waiting = now, list(self._waiting.values())
        kept = [h for h in waiting if not self.record.is_told(h.id, h.at)][-MAX_WAITING:]
        if len(kept) < len(waiting):
            ids = {happening.id for happening in kept}
            self._give_up([h for h in waiting if h.id not in ids], "it has waited for too long")

    def _parcel(self) -> Parcel | None:
        """Return what is sent next; None for nothing.

        First parcels that may have arrived, with the same events as before; then other events, in
        order; last those that were refused while others were taken. After `TRIES` failures, single
        events, the least tried first.
        """
        is_usual = not (self._failures or self._passed or self.record.has_begun)
        if is_usual and len(self._waiting) <= self._manners.most:  # nothing to sort
            return next((Parcel((h,), _key([h.id])) for h in self._waiting.values()), None)
        unsure, others = dict[str, list[Happening]](), list[Happening]()
        for happening in self._waiting.values():
            key = self.record.key(happening.id)
            if key:
                unsure.setdefault(key if self._manners.repeats else "", []).append(happening)
            else:
                others.append(happening)
        good = [happening for happening in others if self._passed.get(happening.id, 0) < 2]
        bad = [happening for happening in others if self._passed.get(happening.id, 0) >= 2]
        if self._failures < TRIES and len(good) > self._manners.most:
            groups = [*unsure.values(), good, *([one] for one in bad)]
        else:
            groups = [*unsure.values(), *([one] for one in (*good, *bad))]
        if not groups:
            return None
        weights = self._tries if self._failures >= TRIES else self._passed
        chosen = min(groups, key=lambda group: weights.get(group[0].id, 0))
        ids = [happening.id for happening in chosen]
        key = self.record.key(ids[0]) if self._manners.repeats else ""
        is_unsure = not key and bool(self.record.key(ids[0]))
        is_plain = not self._plain.isdisjoint(ids)
        key = key or _key([*ids, "plain"] if is_plain else ids)  # another text, another key
        return Parcel(tuple(chosen), key, is_unsure, is_plain)

    def _send(self, parcel: Parcel) -> None:
        ids = parcel.ids
        again = [name for name, _ in ids if self.record.key(name)]
        if again:
            event = "told_as_unsure" if parcel.is_unsure else "told_again"
            _log.warning(event, receiver=self._receiver.name, count=len(again), ids=again[:_IDS])
        try:
            self.record.begin(ids, parcel.key)
            self._hand_over(parcel)
        except (NotDelivered, OSError) as error:
            self._not_taken(parcel, error, set(again))
            return
        self._finish(parcel.happenings)
        with self._changed:
            self._pause, self._failures = 0.0, 0
            for name in self._failed.intersection(self._waiting):
                self._passed[name] = self._passed.get(name, 0) + 1
                if self._passed[name] > 1:
                    self._plain.add(name)
            self._failed.clear()
            passed = [h for h in self._waiting.values() if self._passed.get(h.id, 0) >= TRIES]
            self._give_up(passed, "it was refused, and others were taken")
            self._changed.notify_all()

    def _hand_over(self, parcel: Parcel) -> None:
        """Let the receiver take a parcel.

        What its library can't handle counts as refused, so that it holds up nothing else.

        Raises:
            NotDelivered, OSError: it was not taken.
        """
        try:
            self._receiver.take(parcel)
        except (NotDelivered, OSError):
            raise
        except Exception as error:  # the texts of errors may have secrets
            at = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"unexpected {type(error).__name__} in {at.filename}, line {at.lineno}"
            raise NotDelivered(reason, may_have_arrived=True, is_refused=True) from None

    def _give_up(self, happenings: Sequence[Happening], reason: str) -> None:
        if happenings:
            ids = [happening.id for happening in happenings]
            told = {"receiver": self._receiver.name, "count": len(ids), "ids": ids[:_IDS]}
            _log.error("given_up", reason=reason, **told)
            self._finish(happenings)

    def _finish(self, happenings: Sequence[Happening]) -> None:
        """Record that these are told, and remove them."""
        try:
            self.record.finish([(happening.id, happening.at) for happening in happenings])
        except OSError as error:  # it was delivered, so it must not be tried again
            _log.error("not_recorded", receiver=self._receiver.name, reason=str(error))
        with self._changed:
            for happening in happenings:
                del self._waiting[happening.id]
                for counts in (self._tries, self._passed):
                    counts.pop(happening.id, None)
                self._plain.discard(happening.id)

    def _not_taken(self, parcel: Parcel, error: Exception, unsure: set[str]) -> None:
        """Record that a parcel was not taken, and pause.

        unsure: the ids that may have arrived in an earlier try
        """
        first = parcel.happenings[0].id
        is_lost = isinstance(error, NotDelivered) and error.may_have_arrived
        sure = [] if is_lost else [(name, at) for name, at in parcel.ids if name not in unsure]
        try:
            self.record.withdraw(sure)
        except OSError as problem:  # after a restart, it will count as unsure
            _log.error("not_recorded", receiver=self._receiver.name, reason=str(problem))
        with self._changed:
            self._failures += 1
            self._tries[first] = self._tries.get(first, 0) + 1
            self._failed.add(first)
            if isinstance(error, NotDelivered) and error.is_refused:
                self._plain.update(happening.id for happening in parcel.happenings)
            self._pause = min(max(2 * self._pause, self._first_pause), MAX_PAUSE_SECONDS)
            _log.warning(
                "not_told", receiver=self._receiver.name, reason=str(error), next_in=self._pause
            )
            self._is_resting = True
            self._changed.notify_all()
            known = len(self._waiting) if first in self._passed else MAX_WAITING
            self._changed.wait_for(
                lambda: self._is_ending or len(self._waiting) > known, self._pause
            )
            self._is_resting = False


def _key(ids: Sequence[str]) -> str:
    """Return the key of a new parcel with these ids."""
    return hashlib.sha256("\n".join(ids).encode(errors="replace")).hexdigest()[:32]
