"""Examine settled files: what they ask for, or why they can't be rendered.

A file that is still being written waits. Does not know which file is next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from reeldrop.base.errors import NeedsPicture, PromptError, UnfinishedError
from reeldrop.base.escaping import shown
from reeldrop.base.job import DefaultsFile
from reeldrop.intake import writers
from reeldrop.intake.beside import Beside
from reeldrop.intake.claims import Claims
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.line import Examined
from reeldrop.intake.pace import SETTLE_PAUSE_SECONDS
from reeldrop.intake.reading import Reader
from reeldrop.intake.scan import Candidate
from reeldrop.intake.senses import Senses
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.schedule import turns

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that can't be rendered, with the defaults that it was read with."""

    defaults: tuple[DefaultsFile, ...]
    error: PromptError


class Examiner:
    """Reads settled files before they are claimed.

    clock: the clock of all times
    look_by: called with the time at which to look at the inbox again
    """

    def __init__(
        self,
        inbox: Inbox,
        reader: Reader,
        claims: Claims,
        senses: Senses,
        beside: Beside,
        clock: Callable[[], float],
        look_by: Callable[[float], None],
    ) -> None:
        self._inbox = inbox
        self._reader = reader
        self._claims = claims
        self._senses = senses
        self._clock = clock
        self._look_by = look_by
        self._beside = beside

    def examine(self, candidate: Candidate) -> Examined | Refused | None:
        """Read a settled file; None if it waits, or has changed."""
        if self._is_being_written(candidate, is_logged=True):
            return None
        if what := self._inbox.expired_wait(candidate, self._clock()):
            _log_unfinished(candidate, what)
        defaults: tuple[DefaultsFile, ...] = ()
        try:
            defaults = self._defaults(candidate)
            asked = self._read(candidate, defaults)
            return asked if self._beside.are_there(asked) else None
        except OSError as error:
            if self._inbox.is_unchanged(candidate):  # else the next scan decides
                self._claims.unreadable(candidate, error)
            return None
        except PromptError as error:
            if isinstance(error, UnfinishedError) and self._holds_nul(candidate):
                return None
            if isinstance(error, NeedsPicture):
                if self._beside.waits(candidate, ()):
                    return None
                error = self._beside.with_what_is_there(candidate, error)
            if not self._inbox.is_unchanged(candidate):
                return None
            return Refused(defaults, error)

    def _read(self, candidate: Candidate, defaults: tuple[DefaultsFile, ...]) -> Examined:
        """Return what a file asks for, or raise what is wrong with it."""
        pair = self._beside.pair(candidate)
        try:
            with self._inbox.opened(candidate.path) as file:
                found = self._reader.read(candidate.path, file, defaults, pair=pair)
        except NotDescribed as unknown:
            priority = turns.priority(candidate.path, unknown.priority)
            asked = candidate, priority, 0, 0, unknown.model
            return Examined(*asked, unknown.pictures, pair, unknown.is_paired)
        if found.is_paired:
            self._beside.require_one(candidate)
        kinds = {hash(prompt.batch_key) for prompt in found.prompts}
        kind = kinds.pop() if len(kinds) == 1 else 0
        models = {prompt.model for prompt in found.prompts}
        model = models.pop() if len(models) == 1 else ""
        priority = turns.priority(candidate.path, found.priority)
        asked = candidate, priority, kind, len(found.prompts), model
        return Examined(*asked, found.pictures, pair, found.is_paired)

    def defaults_if_as_examined(self, candidate: Candidate) -> tuple[DefaultsFile, ...] | None:
        """Return a file's defaults; None if it has changed, is being written, or can't be read."""
        if candidate not in self._inbox or not self._inbox.is_unchanged(candidate):
            return None
        if self._is_being_written(candidate):
            return None
        try:
            return self._defaults(candidate)
        except PromptError:  # the defaults have changed: the caller examines the file again
            pass
        except OSError as error:
            self._claims.unreadable(candidate, error)
        return None

    def _defaults(self, candidate: Candidate) -> tuple[DefaultsFile, ...]:
        return self._inbox.defaults_for(candidate.path, parsing.MAX_DEFAULTS_BYTES)

    def _is_being_written(self, candidate: Candidate, *, is_logged: bool = False) -> bool:
        """Let a file wait if a program on this machine is writing it; return whether it waits.

        After the longest wait it is taken, and the reason is logged if `is_logged`.
        """
        if not self._senses.knows_writers:
            return False
        held = self._inbox.pauses.held(candidate)
        try:
            with self._inbox.opened(candidate.path) as file:
                if not writers.is_written(file):
                    return False
                what = held or f"still being written by {writers.name_of_writer(file)}"
        except OSError:  # the next call that opens it reports the error
            return False
        again = self._clock() + max(self._inbox.patience.settle_seconds, SETTLE_PAUSE_SECONDS)
        waits = self._hold(candidate, what, again)
        if is_logged and not waits:
            _log_unfinished(candidate, what)
        return waits

    def _holds_nul(self, candidate: Candidate) -> bool:
        """Let a file wait whose size was allocated before its bytes; return whether it waits."""
        return self._inbox.patience.is_long and self._hold(
            candidate, "holds NUL bytes so far", math.inf
        )

    def _hold(self, candidate: Candidate, what: str, until: float) -> bool:
        """Let an unfinished file wait; return False after the longest wait."""
        end = self._inbox.pauses.hold(candidate, what, until, self._clock())
        if end is None:
            return False
        self._look_by(end)
        return True


def _log_unfinished(candidate: Candidate, what: str) -> None:
    _log.warning("taken_unfinished", prompt_file=shown(candidate.path), reason=what)
