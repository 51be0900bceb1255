"""Which pictures the prompt files of the inbox wait for, and which pictures nobody waits for.

Pure: no I/O, and no clock of its own. Callers pass the time: seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from reeldrop.base.escaping import shown
from reeldrop.base.names import PICTURE_SUFFIXES, folded, spellings
from reeldrop.intake.scan import Awaited, Candidate, Found

PICTURE_SECONDS = 3600.0
"""How long a file waits for a picture that has not appeared, unless config.yaml sets it."""

NEIGHBOURS_SECONDS = 60.0
"""How long a file with pictures waits for later prompt files of its folder: they may share them."""

LONE = "a picture; waits for a prompt file of the same name, or one that names it"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt file waits for.

    names: pictures in its folder
    since: when that became known
    """

    names: tuple[str, ...]
    since: float


@dataclass(slots=True)
class Wishes:
    """The pictures that prompt files wait for, if the files have been read.

    A wish without names is for any picture of the prompt file's own name.

    seconds: how long a file waits for a picture that has not appeared
    """

    seconds: float
    _wishes: dict[Candidate, Wish] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def note(self, candidate: Candidate, names: tuple[str, ...], now: float) -> None:
        """Record what a file waits for, from now on if it is something new."""
        known = self._wishes.get(candidate)
        if known is None or known.names != names:
            since = known.since if known is not None and not known.names else now
            self.forget(candidate)
            self._wishes[candidate] = Wish(names, since)
            self._counts.update(_beside(candidate, name) for name in names)

    def of(self, candidate: Candidate) -> Wish | None:
        """Return what a file waits for; None if it needs no picture, or has not been read."""
        return self._wishes.get(candidate)

    def count(self, path: str) -> int:
        """Return how many files wait for a picture, by the path that they give it."""
        return self._counts.get(path, 0)

    def keep(self, found: Found) -> None:
        """Forget files that have changed or are gone."""
        for candidate in list(self._wishes):
            if found.candidates.get(str(candidate.path)) is not candidate:
                self.forget(candidate)

    def forget(self, candidate: Candidate) -> None:
        """Drop what a file waits for: it has been claimed, or needs nothing any more."""
        wish = self._wishes.pop(candidate, None)
        if wish is not None:
            paths = [_beside(candidate, name) for name in wish.names]
            self._counts.subtract(paths)
            for path in paths:
                if not self._counts[path]:
                    del self._counts[path]


class Wait(NamedTuple):
    """Why a file waits, until when, and when it is taken regardless."""

    reason: str
    until: float
    end: float = math.inf


class Pictures:
    """The pictures of one scan, and what prompt files wait for of them.

    own_seconds: how long a prompt file has to stay unchanged
    settle_seconds: the same for a picture, by its path in the inbox
    """

    def __init__(
        self,
        found: Found,
        wishes: Wishes,
        own_seconds: Callable[[Candidate], float],
        settle_seconds: Callable[[str], float],
    ) -> None:
        self._found = found
        self._wishes = wishes
        self._own_seconds = own_seconds
        self._settle_seconds = settle_seconds
        self._settle_of_folders: dict[PurePosixPath, float] = {}
        self._until: dict[Candidate, tuple[Wish, float]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._alike: dict[str, str] = {}
        coming = (path for path in found.temporaries if has_ending(path))
        for path in sorted({*found.pictures, *coming}):
            place = PurePosixPath(path)
            self._by_stem.setdefault(str(place.with_suffix("")), []).append(place.name)

    def pairs(self, candidate: Candidate) -> list[str]:
        """Return the names of the pictures that have a prompt file's name, also of coming ones."""
        return self._by_stem.get(str(candidate.path.with_suffix("")), [])

    def of(self, candidate: Candidate, name: str) -> Awaited | None:
        """Return what was found of a picture beside a prompt file; None if it is not there."""
        path = self._path(candidate, name, self._found.pictures)
        return self._found.pictures[path] if path is not None else None

    def missing(self, candidate: Candidate) -> list[str]:
        """Return the pictures that a file waits for and that are not there."""
        wish = self._wishes.of(candidate)
        return [name for name in wish.names if not self.of(candidate, name)] if wish else []

    def instead(self, candidate: Candidate, name: str = "") -> str:
        """Return what is there in place of a picture that is missing, in words; empty if nothing.

        Without a name, of the prompt file's own.
        """
        if not self._alike:
            for path in (*self._found.pictures, *self._found.ignored):
                stem = str(PurePosixPath(path).with_suffix(""))
                self._alike |= {folded(path): path, folded(stem): path}
        wanted = _beside(candidate, name) if name else str(candidate.path.with_suffix(""))
        other = self._alike.get(folded(wanted))
        if other is None:
            return ""
        why = "upper and lower case count"
        if other in self._found.ignored:
            why = "`ignore:` in config.yaml has its name"
        return f"; {shown(PurePosixPath(other).name)} is there, but {why}"

    def is_shared(self, candidate: Candidate, name: str) -> bool:
        """Return whether another prompt file of the folder waits for a picture, too."""
        wish = self._wishes.of(candidate)
        own = wish is not None and name in wish.names
        return sum(map(self._wishes.count, _spelled(_beside(candidate, name)))) > own

    def lone(self) -> Iterator[str]:
        """Yield the pictures that belong to no prompt file that is known."""
        if not self._found.pictures:
            return
        stems = {str(c.path.with_suffix("")) for c in self._found.candidates.values()}
        for path in self._found.pictures:
            is_named = any(map(self._wishes.count, _spelled(path)))
            if not is_named and str(PurePosixPath(path).with_suffix("")) not in stems:
                yield path

    def until(self, candidate: Candidate) -> float:
        """Return until when a file waits on account of its pictures; remembered, as it is asked."""
        wish = self._wishes.of(candidate)
        if wish is None:
            return -math.inf
        known = self._until.get(candidate)
        if known is None or known[0] is not wish:
            until = max((wait.until for wait in self.waits(candidate)), default=-math.inf)
            known = self._until[candidate] = wish, until
        return known[1]

    def is_written(self, candidate: Candidate, name: str, tool: str, now: float) -> None:
        """Note that a program has a picture beside a prompt file open to write: it is changing."""
        found = self.of(candidate, name)
        if found is not None:
            found.since, found.tool = now, tool
            self._until.clear()

    def waits(self, candidate: Candidate) -> Iterator[Wait]:
        """Yield what a file waits for on account of its pictures."""
        wish = self._wishes.of(candidate)
        if wish is None:
            return
        if not wish.names and not self.pairs(candidate):
            end = wish.since + self._wishes.seconds
            what = f"waits for a picture of its name{self.instead(candidate)}"
            yield Wait(what, end, end)
        for name in wish.names:
            yield self._wait_for(candidate, name, wish)
        if wish.names:
            until = min(self.folder_settles(candidate), candidate.began + NEIGHBOURS_SECONDS)
            yield Wait("another prompt file may need its picture, too", until, until)

    def _wait_for(self, candidate: Candidate, name: str, wish: Wish) -> Wait:
        found = self.of(candidate, name)
        if found is not None:
            what = f"is still being written by {found.tool}" if found.tool else "has just changed"
            return Wait(f"its picture {shown(name)} {what}", self.settles(candidate, name))
        path = self._path(candidate, name, self._found.temporaries)
        if path is None:
            end = wish.since + self._wishes.seconds
            what = f"waits for its picture {shown(name)}{self.instead(candidate, name)}"
            return Wait(what, end, end)
        temporary = self._found.temporaries[path]
        end = max(wish.since, temporary.since) + self._wishes.seconds
        what = f"its picture {shown(name)} is still being written by {temporary.tool}"
        return Wait(what, end, end)

    def settles(self, candidate: Candidate, name: str) -> float:
        """Return when a picture beside a prompt file settles; never if it is not there."""
        path = self._path(candidate, name, self._found.pictures)
        if path is None:
            return math.inf
        return self._found.pictures[path].since + self._settle_seconds(path)

    def _path(self, candidate: Candidate, name: str, found: Container[str]) -> str | None:
        return next((path for path in _spelled(_beside(candidate, name)) if path in found), None)

    def folder_settles(self, candidate: Candidate) -> float:
        """Return when all prompt files that are now in a file's folder have settled."""
        if not self._settle_of_folders:
            for other in self._found.candidates.values():
                folder, settled = other.path.parent, other.since + self._own_seconds(other)
                known = self._settle_of_folders.get(folder, -math.inf)
                self._settle_of_folders[folder] = max(known, settled)
        return self._settle_of_folders.get(candidate.path.parent, -math.inf)

    def took(self, candidate: Candidate, names: Iterable[str]) -> None:
        """Drop pictures that were taken with a prompt file."""
        for name in names:
            path = self._path(candidate, name, self._found.pictures)
            if path is not None:
                self._until.clear()
                del self._found.pictures[path]
                place = PurePosixPath(path)
                self._by_stem[str(place.with_suffix(""))].remove(place.name)


def _beside(candidate: Candidate, name: str) -> str:
    """Return the path of a picture beside a prompt file."""
    above = str(candidate.path).rpartition("/")[0]
    return f"{above}/{name}" if above else name


def _spelled(path: str) -> list[str]:
    """Return the paths of the spellings of a name."""
    above, slash, name = path.rpartition("/")
    return [above + slash + spelling for spelling in spellings(name)]


def has_ending(path: str) -> bool:
    """Return whether a name ends like a picture."""
    return path.lower().endswith(PICTURE_SUFFIXES)
