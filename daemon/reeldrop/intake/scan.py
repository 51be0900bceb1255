"""One scan of the inbox: a walk over its folders, which records what is there.

Follows no link: each folder is opened relative to its parent. Reads no file. Does not know what has
settled, nor what waits for what.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from reeldrop.base.escaping import shown
from reeldrop.base.names import PICTURE_SUFFIXES, is_ratings_name
from reeldrop.intake import control_names
from reeldrop.intake.conflicts import conflict_copy
from reeldrop.intake.ignored import Ignored, finished_name

MAX_DEPTH = 32
MAX_ENDING = 20
"""Longest ending that a reason quotes, in characters."""

_README = "readme.txt"

Fingerprint = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in an inbox mean.

    suffixes: the endings of prompt files, in lower case
    defaults_name: the name of the file with a folder's defaults
    ignored: the names to ignore
    has_controls: whether control files do anything
    """

    suffixes: frozenset[str]
    defaults_name: str
    ignored: Ignored
    has_controls: bool = True

    def is_prompt_file(self, name: str) -> bool:
        is_named_so = os.path.splitext(name)[1].lower() in self.suffixes
        return is_named_so and not (name[:6].lower() == "readme" and _is_readme(name))

    def is_control(self, name: str, folder: str, status: os.stat_result) -> bool:
        if not (self.has_controls and stat.S_ISREG(status.st_mode)):
            return False
        return control_names.is_control(name, folder, status.st_size, self.is_prompt_file)

    def is_read(self, name: str) -> bool:
        """Return whether files of this name are read as prompt files."""
        is_defaults = name == self.defaults_name
        return self.is_prompt_file(name) and not is_defaults and name not in self.ignored

    def is_picture(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A file in the inbox that asks to be rendered, in one state; changed, it is another candidate.

    mode: type and permissions, as of lstat
    owner: the user id of its owner
    first_seen: when its path was first seen
    began: when its latest series of changes began
    since: when this state was first seen
    """

    path: PurePosixPath
    mode: int
    fingerprint: Fingerprint
    owner: int
    first_seen: float
    began: float
    since: float

    @property
    def size(self) -> int:
        return self.fingerprint[0]

    @property
    def is_plain(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_interrupted(self) -> bool:
        return is_interrupted(self.fingerprint[1])

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether it is the same file: same inode, or, if inodes change, size and mtime."""
        seen, found = self.fingerprint, fingerprint(status)
        return seen[3] == found[3] or seen[:2] == found[:2]


@dataclass(slots=True)
class Awaited:
    """A file that others wait for until it has stayed unchanged for a while.

    fingerprint: its last state
    since: when that state was first seen
    began: when its latest series of changes began
    owner: the user id of its owner
    tool: the tool that writes it
    """

    fingerprint: Fingerprint
    since: float
    began: float
    owner: int
    tool: str = ""


@dataclass(slots=True)
class Found:
    """The result of a scan, by path in the inbox.

    candidates: the files to be rendered
    pictures: the pictures
    folders: when each folder was first seen
    defaults: the `_defaults.yaml` files, by their folder
    temporaries: unfinished files, by the path that they will have
    controls: the control files
    strays: why a path is never taken as it is
    ignored: pictures that have ignored names
    renamed: the candidates and pictures that arrived by a rename, in folders that are complete
    """

    candidates: dict[str, Candidate] = field(default_factory=dict)
    pictures: dict[str, Awaited] = field(default_factory=dict)
    folders: dict[str, float] = field(default_factory=dict)
    defaults: dict[str, Awaited] = field(default_factory=dict)
    temporaries: dict[str, Awaited] = field(default_factory=dict)
    controls: dict[str, Awaited] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    renamed: frozenset[str] = field(default=frozenset(), compare=False)


class Scan:
    """A walk at one time, compared with the result of the one before.

    waits: returns whether a file has not settled yet; then a change continues its series
    settle_seconds: a change of defaults later than this after the previous one begins a new series
    temporary_seconds: the same for temporary files
    """

    def __init__(
        self,
        names: Names,
        before: Found,
        now: float,
        waits: Callable[[Candidate], bool],
        settle_seconds: float,
        temporary_seconds: float,
    ) -> None:
        self._names = names
        self._before = before
        self._now = now
        self._waits = waits
        self._settle_seconds = settle_seconds
        self._temporary_seconds = temporary_seconds
        self.found = Found()

    def walk(self, place: str, folder: str = "", depth: int = MAX_DEPTH) -> None:
        """Record what is in a folder and below it, sorted by name.

        Raises:
            OSError: the outermost folder can't be read.
        """
        try:
            here, entries = _listed(place)
        except OSError as error:
            if not folder:
                raise
            if isinstance(error, PermissionError):  # else it is gone, or no folder any more
                self.found.strays[folder] = f"can't be read: {error.strerror}"
            return
        try:
            for entry in entries:
                with contextlib.suppress(OSError):
                    self._note(entry, here, folder, depth)
        finally:
            os.close(here)

    def _note(self, entry: os.DirEntry[str], here: int, folder: str, depth: int) -> None:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name in self._names.ignored:
            self._note_temporary(entry, folder)
            if self._names.is_picture(entry.name):
                self.found.ignored.add(path)
            return
        status = entry.stat(follow_symlinks=False)
        if entry.name == self._names.defaults_name:
            before = self._before.defaults.get(folder)
            self.found.defaults[folder] = self._awaited(before, status, self._settle_seconds)
        elif self._names.is_control(entry.name, folder, status):
            control = self._before.controls.get(path)
            self.found.controls[path] = self._awaited(control, status, self._settle_seconds)
        elif self._names.is_prompt_file(entry.name):
            self.found.candidates[path] = self._candidate(path, status)
        elif self._names.is_picture(entry.name) and stat.S_ISREG(status.st_mode):
            picture = self._before.pictures.get(path)
            self.found.pictures[path] = self._awaited(picture, status, self._settle_seconds)
        elif stat.S_ISDIR(status.st_mode):
            if depth > 1:
                self.found.folders[path] = self._before.folders.get(path, self._now)
                self.walk(f"/proc/self/fd/{here}/{entry.name}", path, depth - 1)
            else:
                self.found.strays[path] = f"not scanned: it is {MAX_DEPTH} folders deep"
        else:
            self._note_stray(entry.name, folder, status)

    def _candidate(self, path: str, status: os.stat_result) -> Candidate:
        known, now = self._before.candidates.get(path), self._now
        state = fingerprint(status)
        if known is not None and known.fingerprint == state:
            return known
        first_seen = known.first_seen if known else now
        goes_on = known is not None and self._waits(known)
        began = known.began if known and goes_on else now
        where = PurePosixPath(path)
        return Candidate(where, status.st_mode, state, status.st_uid, first_seen, began, now)

    def _note_temporary(self, entry: os.DirEntry[str], folder: str) -> None:
        """Record a temporary file that a tool will turn into a prompt file or a picture."""
        finished = finished_name(entry.name)
        if finished is None:
            return
        if not (self._names.is_prompt_file(finished[0]) or self._names.is_picture(finished[0])):
            return
        path = f"{folder}/{finished[0]}" if folder else finished[0]
        status = entry.stat(follow_symlinks=False)
        before = self._before.temporaries.get(path)
        self.found.temporaries[path] = self._awaited(
            before, status, self._temporary_seconds, finished[1]
        )

    def _note_stray(self, name: str, folder: str, status: os.stat_result) -> None:
        """Record a file that is not named like a prompt file, unless it is a README."""
        path, mode = f"{folder}/{name}" if folder else name, status.st_mode
        copy = conflict_copy(name)
        stem, ending = os.path.splitext(name)
        is_on, size = self._names.has_controls, status.st_size
        if copy is not None and any(map(self._names.is_prompt_file, copy.originals)):
            ends = " or ".join(sorted(self._names.suffixes))
            reason = f"a conflict copy by {copy.tool}: taken if its name ends in {ends}"
            self.found.strays[path] = reason
        elif stat.S_ISLNK(mode):
            self.found.strays[path] = "a link, which is not followed: put the file itself here"
        elif is_ratings_name(name) and stat.S_ISREG(mode):
            if folder:  # else the page takes it
                self.found.strays[path] = "ratings of videos: put them at the top of the inbox"
        elif stat.S_ISREG(mode) and not (stem.lower() == "readme" or _is_readme(name)):
            no_control = control_names.reason(name, size, is_on=is_on)
            self.found.strays[path] = no_control or no_prompt_file(ending.lower())

    def _awaited(
        self, before: Awaited | None, status: os.stat_result, rest: float, tool: str = ""
    ) -> Awaited:
        """Return `before` if the state is the same, else a record of the new state.

        A change after `rest` seconds without one begins a new series of changes.
        """
        state, now = fingerprint(status), self._now
        if before is not None and before.fingerprint == state:
            return before
        goes_on = before is not None and now < before.since + rest
        began = before.began if before and goes_on else now
        return Awaited(state, now, began, status.st_uid, tool)


def fingerprint(status: os.stat_result) -> Fingerprint:
    """Return what distinguishes one state of a file from another."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_interrupted(mtime_ns: int) -> bool:
    """Return whether the mtime is in the first second of 1970, as of an interrupted rsync."""
    return 0 <= mtime_ns < 10**9


def _is_readme(name: str) -> bool:
    """Return whether a file says what the inbox is for, and so is no prompt file."""
    copy = conflict_copy(name)
    return _README in map(str.lower, copy.originals if copy is not None else (name,))


@functools.lru_cache(100)
def no_prompt_file(ending: str) -> str:
    """Return why a file with this ending is not a prompt file, and which ending would be right."""
    if ending == ".json":
        return "not a prompt file: ends in .json; rename it to .yaml, which may hold JSON"
    what = f"ends in {shown(ending)}" if ending else "its name has no ending"
    if len(ending) > MAX_ENDING:
        what = "its name has another ending"
    return f"not a prompt file: {what}; use .txt with one prompt a line, .yaml or .yml"


def _listed(place: str) -> tuple[int, list[os.DirEntry[str]]]:
    """Return a folder's descriptor, which the caller closes, and its entries sorted by name."""
    here = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.scandir(here) as entries:
            return here, sorted(entries, key=lambda entry: entry.name)
    except BaseException:
        os.close(here)
        raise
