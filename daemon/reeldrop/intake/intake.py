"""From the inbox into the spool: look at the inbox, examine its files, and claim the next.

Used by the service: connects the parts of this package. Does not know the renderer, nor the open
jobs.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import structlog

from reeldrop.base.errors import DefaultsRefused, PromptError
from reeldrop.base.job import Job
from reeldrop.intake.beside import Beside
from reeldrop.intake.claims import Claims, Order
from reeldrop.intake.controls import Controls
from reeldrop.intake.examining import Examiner, Refused
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.line import Examined, Line
from reeldrop.intake.pace import Intervals, Pace
from reeldrop.intake.reading import Reader
from reeldrop.intake.scan import Candidate, Names
from reeldrop.intake.senses import Senses
from reeldrop.schedule import turns
from reeldrop.schedule.turns import Turns
from reeldrop.schedule.view import (
    FileView,
)
from reeldrop.store import status
from reeldrop.store.spool import Spool
from reeldrop.store.status import Waiting

EXAMINE_SECONDS = 0.1
"""How long new files are read before the renderer is served again."""

EXAMINE_FIRST_SECONDS = 3.0
"""The same while no file is queued: the file of the highest priority should be the first."""

_log = structlog.get_logger()


class Intake:
    """The files that wait in the inbox.

    wake: called from another thread when the inbox may have changed
    clock: the clock of all times that methods take and return
    night: returns why files wait for the night; empty if it is night
    """

    def __init__(
        self,
        inbox: Inbox,
        spool: Spool,
        reader: Reader,
        intervals: Intervals,
        wake: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        order: Turns | None = None,
        night: Callable[[], str] = lambda: "",
    ) -> None:
        self._clock = clock
        self._inbox = inbox
        self._wake = wake
        self._pace = Pace(intervals)
        self.reader = reader
        self.line = Line(order or Turns())
        self.claims = Claims(inbox, spool, intervals.retry_seconds, clock, self._look_by)
        self._senses = Senses(inbox.folder, self._on_event)
        self._beside = Beside(inbox, self._senses, clock, self._look_by, self._on_event)
        self._examiner = Examiner(
            inbox, reader, self.claims, self._senses, self._beside, clock, self._look_by
        )
        self.controls = Controls(inbox, spool, self.claims, clock, self._look_by)
        self._night = night
        self._unexamined: deque[Candidate] = deque()
        self._refused: dict[Candidate, Refused] = {}
        self._reasons: tuple[Mapping[str, str], str] = {}, ""
        self._listed: tuple[tuple[Waiting, ...], int] | None = None
        self._strays: tuple[tuple[Waiting, ...], int] | None = None
        self._oldest: float | None = None
        self.problem = ""
        self.scanned = False

    def after(self, other: Intake) -> Intake:
        """Take over what `other` knows of the same inbox, and return this one."""
        self._inbox.take_over(other._inbox)
        self.line.take_over(other.line, reads_alike=self.reader.reads_as(other.reader))
        return self

    @property
    def names(self) -> Names:
        """What names mean."""
        return self._inbox.names

    def _on_event(self) -> None:
        if not self._pace.is_woken:  # one wake for any number of events
            self._pace.is_woken = True
            self._wake()

    def close(self) -> None:
        """Close the watch."""
        self._senses.close()

    # Looking at the inbox

    def due(self) -> float:
        """Return when to look again at the latest."""
        if not self.claims.are_held_up():
            is_due = self._unexamined or self._refused or self.controls.are_due
            return 0.0 if is_due else self._pace.due()
        return min(self._pace.due(), self.claims.held_until)

    def _look_by(self, at: float) -> None:
        """Look again at this time at the latest: what files wait for has changed."""
        self._pace.look_by(at)
        self._listed = self._strays = None

    @property
    def has_looked(self) -> bool:
        """Whether the inbox has been scanned, or can't be: before, nobody knows of a pause."""
        return self.scanned or bool(self.problem)

    def is_empty(self) -> bool:
        """Return whether the inbox has been scanned and has no file that can be claimed now."""
        left = len(self._inbox) - self.blocked()
        if left and self._night():
            left -= self.line.count_of_night()
        return self.scanned and not self._pace.is_woken and left == 0

    def blocked(self) -> int:
        """Return how many files of the inbox can't be claimed."""
        return self._inbox.pauses.count_blocked(self._clock())

    def look(self, now: float) -> None:
        """Look for settled files; scan first if something may have changed, or a scan is due."""
        if not self._pace.is_due(now):
            return
        began = time.thread_time()
        is_scan_due = self._pace.is_scan_due(now)
        if is_scan_due:
            self._scan(now)
        self._sort(now)
        settles = self._inbox.seconds_to_settle(now)
        work = time.thread_time() - began
        self._pace.looked(now, self._clock(), work, settles, has_scanned=is_scan_due)
        self.controls.look(now)
        self._senses.check()

    def _scan(self, now: float) -> None:
        self._pace.is_woken = False
        try:
            has_changed = self._inbox.scan(now, self._senses.renamed()) or not self.scanned
            self.scanned = True
            self._note("")
        except OSError as error:
            has_changed = False
            self._note(f"the inbox can't be read: {error.strerror}")
        hears_all = self._senses.hears_all and not self.problem
        self._pace.scanned(now, has_changed=has_changed, hears_all=hears_all)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error("inbox_gone", reason=problem, remedy="work goes on when it is back")
        elif self.problem and not problem:
            _log.info("inbox_back")
            self._senses.renew()
        self.problem = problem

    def _sort(self, now: float) -> None:
        """Queue what has settled. Needs no scan: a file is checked when it is claimed."""
        self._listed = self._strays = None
        self._refused = {c: found for c, found in self._refused.items() if c in self._inbox}
        settled = (c for c in self._inbox.settled(now) if c not in self._refused)
        self._unexamined = self.line.fill(settled, self._inbox)

    def turn_controls(self, *, is_on: bool) -> None:
        """Let control files do something, or nothing."""
        self._inbox.turn_controls(is_on=is_on)
        self._on_event()

    # Taking files

    def cancelled(self) -> Iterator[Job]:
        """Heed control files that are due; yield the jobs that they cancel, claimed if they wait.

        The caller ends these jobs.
        """
        if self.controls.are_due:
            self._listed = self._strays = None
        yield from self.controls.cancelled()

    def refused(self, *, patient: bool) -> Iterator[tuple[Job, PromptError]]:
        """Read newly settled files; claim and yield those that can't be rendered.

        Their authors get the error at once, whatever is being rendered. Other files are queued by
        priority. If `patient`, reading may take longer while nothing is queued.
        """
        seconds = EXAMINE_FIRST_SECONDS if patient and not self.line else EXAMINE_SECONDS
        end = self._clock() + seconds
        while self._clock() < end and not self.claims.are_held_up():
            if not (self._unexamined or self._refused):
                break
            candidate, found = self._examine_next()
            self._strays = None  # it may name some of them
            match found:
                case Examined() as examined:
                    self.line.add(examined)
                case Refused(defaults, error):
                    is_of_defaults = isinstance(error, DefaultsRefused)
                    refusal = error.mistakes if is_of_defaults else ()
                    beside = self._beside.of_refused(candidate, error)
                    order = Order(candidate, defaults, refusal=refusal, beside=beside)
                    job = self.claims.claim(order)
                    self._listed = self._strays = None
                    if job is not None:
                        yield job, error
                case _:
                    pass

    def _examine_next(self) -> tuple[Candidate, Examined | Refused | None]:
        """Return the next settled file with what it asks for; last those that can't be rendered.

        They come last if they take pictures along that others may need.
        """
        if not self._unexamined:
            candidate, refused = self._refused.popitem()
            return candidate, refused if self._inbox.is_unchanged(candidate) else None
        candidate = self._unexamined.popleft()
        found = self._examiner.examine(candidate)
        if isinstance(found, Refused) and self._beside.note_refused(candidate, found.error):
            self._refused[candidate] = found
            return candidate, None
        return candidate, found

    def examine_again(self) -> None:
        """Examine again the files whose model was unknown: it may have been loaded since."""
        self.line.expire_unread()
        self._sort(self._clock())

    def first(self) -> tuple[FileView, ...]:
        """Return the next files, in order; none while nothing can be claimed."""
        return () if self.claims.are_held_up() else self.line.first()

    def take_all(self, files: Sequence[FileView]) -> list[Job | None]:
        """Claim files: at once those that have no pictures.

        None for each that has changed, is being written or can't be claimed.
        """
        jobs: dict[str, Job | None] = {}
        orders: dict[str, Order] = {}
        for file in files:
            if self.claims.are_held_up() or (order := self._order(file)) is None:
                continue
            if order.beside.names:
                jobs[file.id] = self.claims.claim(order)
            else:
                orders[file.id] = order
        jobs |= zip(orders, self.claims.claim_all([*orders.values()]), strict=True)
        return [jobs.get(file.id) for file in files]

    def _order(self, file: FileView) -> Order | None:
        """Take a file out of the line; None if it has changed, and has to be examined again."""
        examined = self.line.remove(file.id)
        if examined is None:
            return None
        candidate = examined.candidate
        defaults = self._examiner.defaults_if_as_examined(candidate)
        beside = self._beside.if_as_examined(examined, self._unexamined)
        self._listed = self._strays = None
        if defaults is None or beside is None:
            self.line.expire(candidate)
            return None
        return Order(candidate, defaults, examined.priority, beside=beside)

    # What is reported of the inbox

    def waiting(
        self, now: float, unusable: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[tuple[Waiting, ...], int]:
        """Return the first unclaimed files with the reasons, and the number of all.

        unusable: why models can't be used for now
        """
        reasons = unusable, self._night()
        if self._listed is None or reasons != self._reasons:
            self._reasons = reasons
            self._listed = self._list(now)
            self._oldest = self._inbox.oldest()
        return self._listed

    def unrecognised(self) -> tuple[tuple[Waiting, ...], int]:
        """Return the first files that are never taken as they are, why, and the number of all."""
        if self._strays is None:
            strays = itertools.chain(self.controls.strays(), self._inbox.strays())
            first = itertools.islice(strays, status.MAX_WAITING)
            found = tuple(Waiting.of(path, reason) for path, reason in first)
            count = self.controls.strays_count() + self._inbox.strays_count()
            self._strays = found, count
        return self._strays

    def waiting_seconds(self, now: float) -> int:
        """Return the age of the file that has waited longest, in seconds."""
        return max(0, int(now - self._oldest)) if self._oldest is not None else 0

    def _list(self, now: float) -> tuple[tuple[Waiting, ...], int]:
        ready = itertools.chain(self.line.candidates(status.MAX_WAITING), self._unexamined)
        settled = ((c.path, self._reason(c)) for c in ready if c in self._inbox)
        found = itertools.chain(settled, self._inbox.waiting(now))
        listed = itertools.islice(found, status.MAX_WAITING)
        waiting = tuple(Waiting.of(path, reason) for path, reason in listed)
        return waiting, self._inbox.waiting_count()

    def _reason(self, candidate: Candidate) -> str:
        """Return why a settled file waits."""
        unusable, night = self._reasons
        if night and turns.is_of_night(candidate.path):
            return night
        count = self.line.count(candidate)
        turn = f"waits for its turn: {count} videos" if count > 1 else "waits for its turn"
        return unusable.get(self.line.model(candidate), turn)
