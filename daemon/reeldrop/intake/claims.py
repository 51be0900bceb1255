"""Claim files of the inbox, and remember which can't be claimed for now.

Does not know which file is next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from reeldrop.base import at_once, trouble
from reeldrop.base.errors import DISK_ERRORS, Mistake
from reeldrop.base.escaping import shown
from reeldrop.base.job import DefaultsFile, Job
from reeldrop.base.picture_files import NO_PICTURES, PictureFiles
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.scan import Candidate
from reeldrop.store import job_files
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """A file to claim.

    refusal: what is wrong with the defaults above it; it is never rendered without them
    beside: its pictures
    is_cancelled: whether to mark its job as cancelled
    """

    candidate: Candidate
    defaults: tuple[DefaultsFile, ...]
    priority: int = 0
    refusal: Sequence[Mistake] = ()
    beside: PictureFiles = NO_PICTURES
    is_cancelled: bool = False


class Claims:
    """Moves files from an inbox into the spool.

    clock: the clock of all times
    retry_seconds: the pause before a file is tried again
    look_by: called with the time at which to look at the inbox again
    """

    def __init__(
        self,
        inbox: Inbox,
        spool: Spool,
        retry_seconds: float,
        clock: Callable[[], float],
        look_by: Callable[[float], None],
    ) -> None:
        self._inbox = inbox
        self._spool = spool
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._look_by = look_by
        self._disk_trouble = ""
        self.held_until = 0.0

    def claim(self, order: Order) -> Job | None:
        """Claim a file, and its pictures; None if it has changed or can't be claimed."""
        return self.claim_all([order])[0]

    def claim_all(self, orders: Sequence[Order]) -> list[Job | None]:
        """Claim files at once, as `claim` does; if they are several, none may have pictures."""
        ids = [job_files.new_id() for _ in orders]  # not at once, so that they are in order
        pairs = zip(orders, ids, strict=True)
        found = at_once.each(partial(self._claim, *pair) for pair in pairs)
        return [self._claimed(*pair) for pair in zip(orders, found, strict=True)]

    def _claim(self, order: Order, job_id: str) -> Job | None:
        return self._spool.claim(
            order.candidate.path,
            order.defaults,
            order.priority,
            refusal=order.refusal,
            beside=order.beside,
            is_cancelled=order.is_cancelled,
            is_same=order.candidate.is_same,
            job_id=job_id,
        )

    def _claimed(self, order: Order, found: Job | OSError | None) -> Job | None:
        if isinstance(found, OSError):
            self._failed(order.candidate, found)
            return None
        self._inbox.forget(order.candidate, {*order.beside.names} - {*order.beside.shared})
        if not self.are_held_up():  # else another file claimed at the same time has failed
            self._disk_trouble = ""
        return found

    def _failed(self, candidate: Candidate, error: OSError) -> None:
        """Block a file for now, and all others if the disk is in trouble."""
        again = self._clock() + self._retry_seconds
        is_of_disk = error.errno in DISK_ERRORS
        if is_of_disk:
            self.held_until = again
            again += self._retry_seconds  # it may be the cause: try others first
        self.block(candidate, f"can't be taken: {_reason(error)}", error, again)

    def unreadable(self, candidate: Candidate, error: OSError) -> None:
        """Block a file for now that can't be read."""
        again = self._clock() + self._retry_seconds
        self.block(candidate, f"can't be read: {_reason(error)}", error, again)

    def block(self, candidate: Candidate, reason: str, error: OSError, until: float) -> None:
        """Block a file for now, and log the reason unless it is the last one logged."""
        earlier = (self._inbox.pauses.blocked(candidate), self._disk_trouble)
        is_logged = any(trouble.is_same(reason, one) for one in earlier)
        if error.errno in DISK_ERRORS:
            self._disk_trouble = reason
        if not is_logged:
            _log.error("claim_failed", prompt_file=shown(candidate.path), reason=reason)
        self._inbox.pauses.block(candidate, reason, until)
        self._look_by(until)

    def trouble(self) -> str:
        """Return why nothing can be claimed for now; empty if something can."""
        return self._disk_trouble if self.are_held_up() else ""

    def are_held_up(self) -> bool:
        """Return whether nothing can be claimed for now, because a disk is in trouble."""
        return self._clock() < self.held_until


def _reason(error: OSError) -> str:
    """Return why a file can't be taken or read: of trouble of a disk, where and what to do."""
    is_of_disk = error.errno in DISK_ERRORS
    return trouble.in_words(error) if is_of_disk else error.strerror or str(error)
