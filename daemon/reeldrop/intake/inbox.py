"""The prompt files of the inbox: which have settled, and why the others wait.

The scan decides; file system events only trigger it. Does not parse prompt files. Callers pass the
time: seconds of a monotonic clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from reeldrop.base.job import DefaultsFile
from reeldrop.base.names import folded_file, spellings
from reeldrop.base.roots import Root
from reeldrop.intake import reading
from reeldrop.intake.ignored import Ignored
from reeldrop.intake.scan import Awaited, Candidate, Found, Names, Scan, fingerprint
from reeldrop.intake.settling import TEMPORARY_SECONDS, Patience, Pauses, Settling
from reeldrop.intake.wishes import LONE, PICTURE_SECONDS, Pictures, Wishes


class Inbox:
    """The folder that people drop prompt files into.

    suffixes: the endings of prompt files, in lower case
    settle_seconds: how long a file has to stay unchanged
    renamed_settle_seconds: the same for a file that arrived by a rename, if it is less
    picture_seconds: how long a file waits for a picture that has not appeared
    has_controls: whether control files do anything
    patient: if False, files that look unfinished settle as soon as others
    beside: a folder on the same file system, to tell a remounted inbox from another folder
    ignored: the names to ignore
    """

    def __init__(
        self,
        folder: Path,
        suffixes: frozenset[str],
        settle_seconds: float,
        defaults_name: str,
        *,
        patient: bool = True,
        beside: Path | None = None,
        ignored: Ignored | None = None,
        renamed_settle_seconds: float = math.inf,
        picture_seconds: float = PICTURE_SECONDS,
        has_controls: bool = True,
    ) -> None:
        self.folder = folder
        self.patience = Patience(settle_seconds, renamed_settle_seconds, patient)
        self._picture_seconds = picture_seconds if patient else settle_seconds
        self.pauses = Pauses(Wishes(self._picture_seconds))
        self.root = Root(folder, beside)
        self.names = Names(suffixes, defaults_name, ignored or Ignored(), has_controls)
        self._settle(Found())

    def _settle(self, found: Found) -> None:
        self._found = found
        self._by_folded: dict[PurePosixPath, list[Candidate]] = {}
        self.pauses.keep(found)
        name = self.names.defaults_name
        self._settling = Settling(found, self.pauses, self.patience, name)

    def take_over(self, other: Inbox) -> None:
        """Take over what `other` knows of the same folder."""
        self.root, self.pauses = other.root, other.pauses
        self.pauses.wishes.seconds = self._picture_seconds
        self._settle(other._found)

    def scan(self, now: float, renamed: Container[str] = ()) -> bool:
        """Look at every file, and return whether anything has changed since the last scan.

        `renamed` are the paths of the files that are known to have arrived by a rename.

        Raises:
            OSError: the inbox can't be read, or another folder is in its place.
        """
        before, patience = self._found, self.patience
        scan = Scan(
            self.names,
            before,
            now,
            lambda candidate: self._settling.waits(candidate, now),
            patience.settle_seconds,
            patience.temporary_seconds,
        )
        with self.root.opened() as top:
            scan.walk(f"{top}/.")
        found = scan.found
        found.renamed = frozenset(
            path
            for path in (*found.candidates, *found.pictures)
            if path in renamed and not self._is_in_new_folder(path, found, now)
        )
        self._settle(found)
        return found != before

    def _is_in_new_folder(self, path: str, found: Found, now: float) -> bool:
        """Return whether the folder may still be incomplete: its defaults may arrive last."""
        first_seen = found.folders.get(path.rpartition("/")[0], -math.inf)
        return now < first_seen + self.patience.settle_seconds

    @property
    def pictures(self) -> Pictures:
        """The pictures that the last scan found."""
        return self._settling.pictures

    # What the last scan has found

    def __len__(self) -> int:
        return len(self._found.candidates)

    def __contains__(self, candidate: object) -> bool:
        """Return whether the last scan found this file in this state."""
        return (
            isinstance(candidate, Candidate)
            and self._found.candidates.get(str(candidate.path)) is candidate
        )

    def settled(self, now: float) -> list[Candidate]:
        """Return the settled files, unsorted."""
        remaining = self._settling.remaining
        return [c for c in self._found.candidates.values() if remaining(c, now) <= 0]

    def remaining(self, candidate: Candidate, now: float) -> float:
        """Return the seconds until a file may be claimed; 0 or less if it may be now."""
        return self._settling.remaining(candidate, now)

    def seconds_to_settle(self, now: float) -> float | None:
        """Return the seconds until the next file settles; None if nothing waits."""
        times = (self._settling.remaining(c, now) for c in self._found.candidates.values())
        return min((t for t in times if t > 0), default=None)

    def waiting(self, now: float) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield the files that can't be claimed now, or not under their name, with the reasons."""
        for candidate in self._found.candidates.values():
            if self._settling.remaining(candidate, now) > 0:
                yield candidate.path, self._settling.reason(candidate, now)
        for path, temporary in self._found.temporaries.items():
            if path not in self._found.candidates:
                is_left = now - temporary.since >= TEMPORARY_SECONDS
                what = "left unfinished" if is_left else "still being written"
                yield PurePosixPath(path), f"{what} by {temporary.tool}"

    def waiting_count(self) -> int:
        """Return the number of all files that wait, settled and unfinished ones included."""
        others = sum(path not in self._found.candidates for path in self._found.temporaries)
        return len(self) + others

    def strays(self) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield what is never taken as it is, each with the reason."""
        for path, reason in self._found.strays.items():
            yield PurePosixPath(path), reason
        for path in self.pictures.lone():
            yield PurePosixPath(path), LONE

    def strays_count(self) -> int:
        """Return the number of these."""
        return len(self._found.strays) + sum(1 for _ in self.pictures.lone())

    @property
    def controls(self) -> Mapping[str, Awaited]:
        """The control files, by their path."""
        return self._found.controls

    def in_any_case(self, path: PurePosixPath) -> list[Candidate]:
        """Return the files with a path, whatever the accents and the capitals of their names."""
        if not self._by_folded:
            for candidate in self._found.candidates.values():
                self._by_folded.setdefault(folded_file(candidate.path), []).append(candidate)
        return [found for found in self._by_folded.get(folded_file(path), ()) if found in self]

    def expired_wait(self, candidate: Candidate, now: float) -> str:
        """Return the reason of a wait for another file that has expired; empty if none has."""
        return self._settling.expired_wait(candidate, now)

    def oldest(self) -> float | None:
        """Return when the oldest of the waiting files was first seen; None if there are none."""
        return min((c.first_seen for c in self._found.candidates.values()), default=None)

    def forget(self, candidate: Candidate, taken: Iterable[str] = ()) -> None:
        """Drop a claimed file, and pictures taken with it; the next scan adds what is there."""
        self.pictures.took(candidate, taken)
        self._found.candidates.pop(str(candidate.path), None)
        self.pauses.forget(candidate)

    def turn_controls(self, *, is_on: bool) -> None:
        """Let control files do something, or nothing, from the next scan on."""
        self.names = dataclasses.replace(self.names, has_controls=is_on)

    def remove_control(self, path: str) -> None:
        """Remove a control file, unless it has changed since the last scan."""
        with contextlib.suppress(FileNotFoundError), self.opened(PurePosixPath(path)) as file:
            if fingerprint(file.lstat()) == self._found.controls[path].fingerprint:
                file.unlink()
        self._found.controls.pop(path, None)

    # The files as they are now

    @contextlib.contextmanager
    def opened(self, path: PurePosixPath) -> Iterator[Path]:
        """Yield a path to a file that stays valid if a folder above it is replaced."""
        with self.root.opened(path.parent) as folder:
            yield folder / path.name

    def is_unchanged(self, candidate: Candidate) -> bool:
        """Return whether a file is still as the last scan saw it."""
        try:
            with self.opened(candidate.path) as file:
                return fingerprint(file.lstat()) == candidate.fingerprint
        except OSError:
            return False

    def has_settled(self, candidate: Candidate, name: str, now: float) -> bool:
        """Return whether a picture beside a file has settled, and is as the last scan saw it."""
        found = self.pictures.of(candidate, name)
        if found is None or now < self.pictures.settles(candidate, name):
            return False
        with contextlib.suppress(OSError), self.opened(candidate.path) as file:
            for spelling in spellings(name):
                with contextlib.suppress(FileNotFoundError):
                    return fingerprint(file.with_name(spelling).lstat()) == found.fingerprint
        return False

    def knows_all_beside(self, candidate: Candidate) -> bool:
        """Return whether the last scan has seen all prompt files that are beside a file now."""
        with contextlib.suppress(OSError), self.root.opened(candidate.path.parent) as folder:
            read = filter(self.names.is_read, os.listdir(folder))
            known = self._found.candidates, self._found.controls  # these may end in .txt, too
            paths = (str(candidate.path.with_name(name)) for name in read)
            return all(any(path in found for found in known) for path in paths)
        return False

    def defaults_for(self, path: PurePosixPath, max_bytes: int) -> tuple[DefaultsFile, ...]:
        """Return the `_defaults.yaml` files above a prompt file; see `reading.defaults_above`."""
        return reading.defaults_above(self.root, path, self.names.defaults_name, max_bytes)
