"""Claim files of the inbox, and remember which can't be claimed for now.

Does not know which file is next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from reeldrop.base.errors import DISK_ERRORS, Mistake
from reeldrop.base.escaping import shown
from reeldrop.base.job import DefaultsFile, Job
from reeldrop.base.picture_files import NO_PICTURES, PictureFiles
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.scan import Candidate
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


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

    def claim(
        self,
        candidate: Candidate,
        defaults: tuple[DefaultsFile, ...],
        priority: int = 0,
        refusal: Sequence[Mistake] = (),
        beside: PictureFiles = NO_PICTURES,
        *,
        is_cancelled: bool = False,
    ) -> Job | None:
        """Claim a file, and its pictures; None if it has changed or can't be claimed.

        refusal: what is wrong with the defaults above it; it is never rendered without them
        is_cancelled: whether to mark its job as cancelled
        """
        try:
            job = self._spool.claim(
                candidate.path,
                defaults,
                priority,
                refusal=refusal,
                beside=beside,
                is_cancelled=is_cancelled,
                is_same=candidate.is_same,
            )
        except OSError as error:
            self._failed(candidate, error)
            return None
        self._inbox.forget(candidate, {*beside.names} - {*beside.shared})
        self._disk_trouble = ""
        return job

    def _failed(self, candidate: Candidate, error: OSError) -> None:
        """Block a file for now, and all others if the disk is in trouble."""
        again = self._clock() + self._retry_seconds
        is_of_disk = error.errno in DISK_ERRORS
        if is_of_disk:
            self.held_until = again
            again += self._retry_seconds  # it may be the cause: try others first
        self.block(candidate, f"can't be taken: {error.strerror}", error, again)

    def unreadable(self, candidate: Candidate, error: OSError) -> None:
        """Block a file for now that can't be read."""
        again = self._clock() + self._retry_seconds
        self.block(candidate, f"can't be read: {error.strerror}", error, again)

    def block(self, candidate: Candidate, reason: str, error: OSError, until: float) -> None:
        """Block a file for now, and log the reason unless it is the last one logged."""
        is_logged = reason in (self._inbox.pauses.blocked(candidate), self._disk_trouble)
        if error.errno in DISK_ERRORS:
            self._disk_trouble = reason
        if not is_logged:
            _log.error("claim_failed", prompt_file=shown(candidate.path), reason=str(error))
        self._inbox.pauses.block(candidate, reason, until)
        self._look_by(until)

    def trouble(self) -> str:
        """Return why nothing can be claimed for now; empty if something can."""
        return self._disk_trouble if self.are_held_up() else ""

    def are_held_up(self) -> bool:
        """Return whether nothing can be claimed for now, because a disk is in trouble."""
        return self._clock() < self.held_until
