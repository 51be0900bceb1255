"""Lets prompt files wait for the pictures beside them, and says which are taken with them.

Does not know what prompts ask of pictures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.escaping import short
from reeldrop.base.picture_files import PictureFiles
from reeldrop.intake import pictures, writers
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.line import Examined
from reeldrop.intake.scan import Candidate
from reeldrop.intake.senses import Senses


class Beside:
    """The pictures beside the prompt files of an inbox.

    clock: the clock of all times
    look_by: called with the time at which to look at the inbox again
    ask_for_scan: called when the last scan is too old
    """

    def __init__(
        self,
        inbox: Inbox,
        senses: Senses,
        clock: Callable[[], float],
        look_by: Callable[[float], None],
        ask_for_scan: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._senses = senses
        self._clock = clock
        self._look_by = look_by
        self._ask_for_scan = ask_for_scan

    def pair(self, candidate: Candidate) -> str:
        """Return the first picture that has a file's name, also a coming one; empty if none has."""
        return next(iter(self._inbox.pictures.pairs(candidate)), "")

    def require_one(self, candidate: Candidate) -> None:
        """Raise PromptError if several pictures have the name of a file that starts from one."""
        found = self._inbox.pictures.pairs(candidate)
        if len(found) > 1:
            problem = f"several pictures have its name: {', '.join(map(short, found))}"
            raise PromptError(Mistake(problem, "leave one, or name it in YAML behind `image:`"))

    def waits(self, candidate: Candidate, names: tuple[str, ...]) -> bool:
        """Let a file wait for pictures, or, without names, for one of its own name.

        Return whether it waits: not if they are there, or it has for long enough.
        """
        now = self._clock()
        self._inbox.pauses.wishes.note(candidate, names, now)
        self._note_writers(candidate, names, now)
        remaining = self._inbox.remaining(candidate, now)
        if remaining > 0:
            self._look_by(now + remaining)
        return remaining > 0

    def are_there(self, asked: Examined) -> bool:
        """Return whether a file's pictures are there; if not, it waits for them.

        Raises:
            PromptError: they can't be taken, or have not come for too long.
        """
        candidate, names = asked.candidate, asked.names
        if not names:
            self._inbox.pauses.wishes.forget(candidate)
            return True
        with self._inbox.root.opened(candidate.path.parent) as folder:
            problems = pictures.problems(folder, names)
        if problems:
            raise _refusal(PromptError(*problems), names)
        if self.waits(candidate, names):
            return False
        missing = self._inbox.pictures.missing(candidate)
        if missing:
            raise _refusal(pictures.not_come(missing), names)
        return True

    def _note_writers(self, candidate: Candidate, names: Iterable[str], now: float) -> None:
        """Note the pictures that a program on this machine has open to write: they are changing."""
        if not self._senses.knows_writers:
            return
        # Whoever opens a file next gets the error.
        with contextlib.suppress(OSError), self._inbox.opened(candidate.path) as file:
            for name in names:
                picture = file.with_name(name)
                if writers.is_written(picture):
                    tool = writers.name_of_writer(picture)
                    self._inbox.pictures.is_written(candidate, name, tool, now)

    def settled(self, candidate: Candidate, names: Sequence[str], pair: str = "") -> PictureFiles:
        """Return those of a file's pictures that can be taken with it now."""
        now = self._clock()
        there = [name for name in names if self._inbox.has_settled(candidate, name, now)]
        shared = (name for name in there if self._inbox.pictures.is_shared(candidate, name))
        return PictureFiles(tuple(there), tuple(shared), pair)

    def if_as_examined(self, examined: Examined) -> PictureFiles | None:
        """Return a file's pictures; None if they have changed since it was examined.

        None also if another prompt file has come, which may need them, too.
        """
        if examined.names and not self._inbox.knows_all_beside(examined.candidate):
            self._ask_for_scan()
            return None
        found = self.settled(examined.candidate, examined.names, examined.pair)
        is_same = found.names == examined.names and self.pair(examined.candidate) == examined.pair
        return found if is_same else None


def _refusal(error: PromptError, names: tuple[str, ...]) -> PromptError:
    error.pictures = names
    return error
