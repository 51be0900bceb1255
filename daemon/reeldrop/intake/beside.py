"""Lets prompt files wait for the pictures beside them, and says which are taken with them.

Does not know what prompts ask of pictures.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

        Return whether it waits: not if it has waited long enough.
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
            raise _refusal(PromptError(*problems), asked)
        if self.waits(candidate, names):
            return False
        missing = self._inbox.pictures.missing(candidate)
        if missing:
            instead = {name: self._inbox.pictures.instead(candidate, name) for name in missing}
            raise _refusal(pictures.not_come(instead), asked)
        return True

    def with_what_is_there(self, candidate: Candidate, error: PromptError) -> PromptError:
        """Return the error of a file that lacks a picture of its name, with what is there."""
        instead = self._inbox.pictures.instead(candidate)
        mistakes = (dataclasses.replace(m, problem=m.problem + instead) for m in error.mistakes)
        found = PromptError(*mistakes)
        found.pictures, found.is_paired = error.pictures, error.is_paired
        return found

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
                    return  # one is enough to wait for, and it takes long to find who writes

    def settled(self, candidate: Candidate, names: Sequence[str], pair: str = "") -> PictureFiles:
        """Return those of a file's pictures that can be taken with it now."""
        now = self._clock()
        there = [name for name in names if self._inbox.has_settled(candidate, name, now)]
        shared = (name for name in there if self._inbox.pictures.is_shared(candidate, name))
        return PictureFiles(tuple(there), tuple(shared), pair)

    def note_refused(self, candidate: Candidate, error: PromptError) -> bool:
        """Note the pictures that a file names which can't be rendered; return whether any is there.

        Then other files that need one of them should be read before its pictures are taken.
        """
        names = () if error.is_paired else self.settled(candidate, error.pictures).names
        if names:
            self._inbox.pauses.wishes.note(candidate, names, self._clock())
        return bool(names)

    def of_refused(self, candidate: Candidate, error: PromptError) -> PictureFiles:
        """Return the pictures that are set aside with a file that can't be rendered."""
        pair = self.pair(candidate) if error.is_paired else ""
        found = self.settled(candidate, error.pictures, pair)
        return found if pair else self._shared_with((), candidate, found)

    def _shared_with(
        self, unread: Iterable[Candidate], candidate: Candidate, found: PictureFiles
    ) -> PictureFiles:
        """Return the pictures that a file names, to be copied if others beside it may name them."""
        if not found.names:
            return found
        folder = candidate.path.parent
        is_unsettled = self._inbox.pictures.folder_settles(candidate) > self._clock()
        if is_unsettled or any(other.path.parent == folder for other in unread):
            return dataclasses.replace(found, shared=found.names)
        return found

    def if_as_examined(
        self, examined: Examined, unread: Iterable[Candidate]
    ) -> PictureFiles | None:
        """Return a file's pictures; None if they have changed since it was examined.

        None also if another prompt file has come, which may need them, too.

        unread: other prompt files that have not been read
        """
        if examined.names and not self._inbox.knows_all_beside(examined.candidate):
            self._ask_for_scan()
            return None
        found = self.settled(examined.candidate, examined.names, examined.unnamed_pair)
        is_same = found.names == examined.names and self.pair(examined.candidate) == examined.pair
        if not (is_same and self._may_be_taken(examined)):
            return None
        if examined.is_paired:
            return found
        return self._shared_with(unread, examined.candidate, found)

    def _may_be_taken(self, examined: Examined) -> bool:
        """Return whether a file's pictures still have sizes that they may have."""
        if not examined.names:
            return True
        above = examined.candidate.path.parent
        with contextlib.suppress(OSError), self._inbox.root.opened(above) as folder:
            return not pictures.problems(folder, examined.names)
        return False


def _refusal(error: PromptError, asked: Examined) -> PromptError:
    error.pictures, error.is_paired = asked.names, asked.is_paired
    return error
