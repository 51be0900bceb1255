"""What control files ask for: a pause, or the end of a prompt file that waits or is in hand.

A cancelled file is marked in the spool before the control file is removed. After a kill between
these two, the control file is looked at once more, and finds nothing or the same job. One that has
acted and comes back does nothing.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

import structlog

from reeldrop.base import inbox_folders
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.base.names import folded_file
from reeldrop.intake import control_names
from reeldrop.intake.claims import Claims, Order
from reeldrop.intake.heeded import Heeded
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.scan import Awaited, Candidate
from reeldrop.store import job_files
from reeldrop.store.spool import Spool

CANCEL_SECONDS = 30.0
"""How long a control file waits for the prompt file that it cancels: it may have arrived first. A
prompt file that came later than this after it is a new order, and is not cancelled."""

WORK_SECONDS = 0.1
"""How long control files are processed before the renderer is served again."""

_UNUSED = (
    "cancels nothing yet: no prompt file of this name waits or is in hand. In half a minute it "
    "cancels one in hand that has this name in NOW/ or NIGHT/, or outside them, or is removed"
)
_CAME_BACK = (
    "was here before with the same modification time, and so cancels nothing, as a sync tool may "
    "have brought it back; it stays while a prompt file of this name waits or is in hand. To "
    "cancel that, `touch` this file, or make a new empty one (a copy keeps the time)"
)

_log = structlog.get_logger()


class Controls:
    """Heeds the control files of an inbox.

    clock: the clock of all times
    look_by: called with the time at which to look at the inbox again
    pause: the control file that asks for a pause; empty if there is none
    """

    def __init__(
        self,
        inbox: Inbox,
        spool: Spool,
        claims: Claims,
        clock: Callable[[], float],
        look_by: Callable[[float], None],
    ) -> None:
        self._inbox = inbox
        self._spool = spool
        self._claims = claims
        self._clock = clock
        self._look_by = look_by
        self._due: deque[str] = deque()
        self._unused: dict[str, Awaited] = {}
        self._stuck: dict[str, tuple[Awaited, str]] = {}
        self._heeded = Heeded(spool.root)
        self._trouble = ""
        self.pause = ""

    @property
    def are_due(self) -> bool:
        """Whether `cancelled` has something to do."""
        return bool(self._due)

    def look(self, now: float) -> None:
        """Find the control files that have to act, after a scan of the inbox."""
        there = self._inbox.controls
        self.pause = next(filter(control_names.is_pause, there), "")
        self._unused = {p: seen for p, seen in self._unused.items() if there.get(p) is seen}
        self._stuck = {p: kept for p, kept in self._stuck.items() if there.get(p) is kept[0]}
        cancels = (path for path in there if not control_names.is_pause(path))
        self._due = deque(path for path in cancels if self._is_due(path, now))

    def _is_due(self, path: str, now: float) -> bool:
        seen = self._unused.get(path)
        if seen is None or now >= seen.since + CANCEL_SECONDS:
            return True
        self._look_by(seen.since + CANCEL_SECONDS)
        return not self._has_acted(path, seen) and bool(self._inbox.in_any_case(_named(path)))

    def _has_acted(self, path: str, control: Awaited) -> bool:
        return self._heeded.has(path, control.fingerprint[1])

    def cancelled(self) -> Iterator[Job]:
        """Heed the control files that are due, for a moment at most; yield the cancelled jobs.

        What can't be done is due again at the next look.
        """
        if not self._due or self._claims.are_held_up():
            return
        try:
            in_hand = self._in_hand()
            end = self._clock() + WORK_SECONDS  # reading the spool may take longer
            while self._due and self._clock() < end:
                yield from self._heed(self._due.popleft(), in_hand)
            self._trouble = ""
        except OSError as error:  # of the spool
            self._due.clear()
            if self._trouble != str(error):
                _log.error("cancel_failed", reason=str(error), remedy="it is tried again")
            self._trouble = str(error)

    def _in_hand(self) -> dict[PurePosixPath, list[Job]]:
        jobs: dict[PurePosixPath, list[Job]] = {}
        for job in self._spool.unfinished():
            jobs.setdefault(folded_file(job.source), []).append(job)
        return jobs

    def _heed(self, path: str, in_hand: dict[PurePosixPath, list[Job]]) -> list[Job]:
        """Cancel what a control file names, and remove it; return the cancelled jobs."""
        if path in self._stuck:
            self._remove(path, has_acted=True)
            return []
        control = self._inbox.controls[path]
        name = _named(path)
        there, jobs = self._inbox.in_any_case(name), in_hand.get(folded_file(name), [])
        order = _meant(name, (*(one.path for one in there), *(job.source for job in jobs)))
        waiting = next((one for one in there if _order(one.path) == order), None)
        named = [job for job in jobs if _order(job.source) == order]
        has_waited = self._clock() >= control.since + CANCEL_SECONDS
        if self._has_acted(path, control):
            is_missed = waiting is not None or not all(map(job_files.is_cancelled, named))
            self._answer(path, control, stays=is_missed or not has_waited)
            return []
        if has_waited and not named and waiting is None:  # one in hand may have been taken for it
            alike = map(folded_file, inbox_folders.alike(name))
            jobs = [job for other in alike for job in in_hand.get(other, ())]
            order, came = _meant(name, (job.source for job in jobs)), control.fingerprint[2]
            jobs = [job for job in jobs if _order(job.source) == order]
            named = [job for job in jobs if job_files.is_claimed_by(job, came)]
        found = [job for job in named if job_files.ask_to_cancel(job)]
        is_late = waiting is not None and _is_late(waiting, control)
        if waiting is not None and not is_late:
            job = self._claims.claim(Order(waiting, (), is_cancelled=True))
            if job is None:
                return found  # it has changed, or can't be moved, as `status` says
            found.append(job)
        if found:
            _log.info("cancelled_by_file", control_file=shown(path), jobs=len(found))
        elif not (is_late or has_waited):
            self._unused[path] = control
            self._look_by(control.since + CANCEL_SECONDS)
            return []
        else:
            _log.warning("nothing_to_cancel", control_file=shown(path))
        self._remove(path, has_acted=bool(found))
        return found

    def _answer(self, path: str, control: Awaited, *, stays: bool) -> None:
        """Say of a control file that it has acted before; remove it when nobody asks any more."""
        if path not in self._unused:
            _log.warning("cancel_came_back", control_file=shown(path))
        if stays:
            self._unused[path] = control
            self._look_by(max(self._clock(), control.since) + CANCEL_SECONDS)
        else:
            self._remove(path, has_acted=True)

    def _remove(self, path: str, *, has_acted: bool) -> None:
        """Remove a control file; record first that it has acted, or that it stays."""
        if has_acted:
            self._note(path)
        try:
            self._inbox.remove_control(path)
        except OSError as error:
            self._note(path)
            if path not in self._stuck:
                _log.error("control_file_stays", control_file=shown(path), reason=str(error))
            why = f"cancels nothing more, but can't be removed: {error.strerror}"
            self._stuck[path] = self._inbox.controls[path], why
        else:
            self._unused.pop(path, None)
            self._stuck.pop(path, None)

    def _note(self, path: str) -> None:
        try:
            self._heeded.add(path, self._inbox.controls[path].fingerprint[1])
        except OSError as error:
            _log.warning("cancel_not_noted", control_file=shown(path), reason=str(error))

    def strays(self) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield the control files that stay for now, with the reasons."""
        for path, control in self._unused.items():
            has_acted = self._has_acted(path, control)
            yield PurePosixPath(path), _CAME_BACK if has_acted else _UNUSED
        for path, (_, reason) in self._stuck.items():
            yield PurePosixPath(path), reason

    def strays_count(self) -> int:
        """Return the number of these."""
        return len(self._unused) + len(self._stuck)


def _named(path: str) -> PurePosixPath:
    """Return the path of the prompt file that a control file names."""
    control = PurePosixPath(path)
    return control.with_name(control_names.cancelled(control.name))


def _meant(name: PurePosixPath, there: Iterable[PurePosixPath]) -> str:
    """Return the order that a name means: its own, or the only one there is in other capitals."""
    orders = set(map(_order, there))
    return orders.pop() if len(orders) == 1 else _order(name)


def _order(path: PurePosixPath) -> str:
    """Return a path as it is however its accents are written, and without `NOW/` or `NIGHT/`."""
    return unicodedata.normalize("NFC", str(inbox_folders.home(path)))


def _is_late(waiting: Candidate, control: Awaited) -> bool:
    """Return whether a prompt file came so much later than a control file that it is a new order.

    Not if it was seen before, whatever the times say: a clock may have been set back.
    """
    was_first = waiting.since < control.since
    return not was_first and _changed(waiting) > _changed(control) + CANCEL_SECONDS


def _changed(found: Candidate | Awaited) -> float:
    """Return when a file came, in seconds, by the clock of the inbox's file system.

    That is not its mtime, which is set on other machines.
    """
    return found.fingerprint[2] / 1e9
