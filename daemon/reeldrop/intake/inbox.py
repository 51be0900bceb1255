"""Which prompt files of the inbox are settled, in which order, and why the others wait.

The scan decides; file system events only trigger it. Does not parse prompt files. Follows no link:
each folder is opened relative to its parent. Callers pass the time: seconds of a monotonic clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from reeldrop.base.beneath import Root
from reeldrop.base.errors import DISK_ERRORS, Mistake, PromptError
from reeldrop.base.job import DefaultsFile, shown
from reeldrop.intake.ignored import Ignored, conflict_copy, finished_name

MAX_DEPTH = 32
EMPTY_SECONDS = 60.0
"""How long an empty file waits for content: some programs create a file before they write it."""

TEMPORARY_SECONDS = 120.0
"""How long a file waits for a temporary file of the same name that does not change."""

UNFINISHED_SECONDS = 600.0
"""How long a file waits that looks unfinished and does not change."""

TRANSFER_SECONDS = 3600.0
"""How long a file waits for a temporary file of the same owner that keeps changing."""

DEFAULTS_SECONDS = 120.0
"""How long a file waits for a `_defaults.yaml` that keeps changing."""

_Fingerprint = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


@dataclass(slots=True)
class Candidate:
    """A file in the inbox that asks to be rendered.

    Set by the inbox:
        mode: type and permissions, as of lstat
        since: when its present state was first seen
        first_seen: when its path was first seen
        owner: the user id of its owner
        is_renamed: whether it arrived by a rename, and so settles sooner
        held, held_until: why it waits and until when, if not for its name, size or times

    Set by the caller:
        examined: whether it has been read
        priority: the priority that it asks for
        kind: the hash of its prompts' batch key; 0 if they differ
        count: the number of its prompts; 0 if it is not known yet
        model: the profile that it needs
        was_passed_over: whether a batch has passed it over
        blocked, blocked_until: why it can't be claimed, and until when
    """

    path: PurePosixPath
    mode: int
    fingerprint: _Fingerprint
    since: float
    first_seen: float
    owner: int
    is_renamed: bool = False
    held: str = ""
    held_until: float = 0.0
    examined: bool = False
    priority: int = 0
    kind: int = 0
    count: int = 0
    model: str = ""
    was_passed_over: bool = False
    blocked: str = ""
    blocked_until: float = 0.0

    @property
    def size(self) -> int:
        return self.fingerprint[0]

    @property
    def is_plain(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_interrupted(self) -> bool:
        return _is_interrupted(self.fingerprint[1])

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether it is the same file: same inode, or, if inodes change, size and mtime."""
        seen, found = self.fingerprint, _fingerprint(status)
        return seen[3] == found[3] or seen[:2] == found[:2]


@dataclass(slots=True)
class _Still:
    """A file that has to stay unchanged for a while.

    fingerprint: its last state
    since: when that state was first seen
    began: when the latest series of changes began
    owner: the user id of its owner
    tool: the tool that writes it
    """

    fingerprint: _Fingerprint
    since: float
    began: float
    owner: int
    tool: str = ""


class _Wait(NamedTuple):
    """Why a file waits, until when, and when it is taken regardless."""

    reason: str
    until: float
    end: float


@dataclass(slots=True)
class _Found:
    """The result of a scan, by path in the inbox.

    candidates: the files to be rendered
    folders: when each folder was first seen
    defaults: the `_defaults.yaml` files, by their folder
    temporaries: unfinished files, by the path that they will have
    strays: why nobody takes a path as it is: a conflict copy whose name does not end like a prompt
        file's any more, or a folder that can't be read
    """

    candidates: dict[str, Candidate] = field(default_factory=dict)
    folders: dict[str, float] = field(default_factory=dict)
    defaults: dict[str, _Still] = field(default_factory=dict)
    temporaries: dict[str, _Still] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Inbox:
    """The folder that people drop prompt files into.

    suffixes: the endings of prompt files, in lower case
    settle_seconds: how long a file has to stay unchanged
    renamed_settle_seconds: the same for a file that arrived by a rename, where it is less
    patient: if False, files that look unfinished settle as quickly as others
    beside: a folder on the same file system, to tell a remounted inbox from another folder
    ignored: the names to ignore
    """

    folder: Path
    suffixes: frozenset[str]
    settle_seconds: float
    defaults_name: str
    patient: bool = True
    beside: Path | None = None
    ignored: Ignored = field(default_factory=Ignored)
    renamed_settle_seconds: float = math.inf
    root: Root = field(init=False)
    _found: _Found = field(default_factory=_Found)
    _defaults_settle: dict[PurePosixPath, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = Root(self.folder, self.beside)

    def after(self, other: Inbox) -> Inbox:
        """Take over what `other` knows of the same folder, and return this one."""
        self.root, self._found = other.root, other._found
        return self

    def scan(self, now: float, renamed: Container[str] = ()) -> bool:
        """Look at every file, and return whether anything has changed since the last scan.

        `renamed` are the paths of the files that are known to have arrived by a rename.

        Raises:
            OSError: the inbox can't be read, or another folder is in its place.
        """
        before, found = self._found, _Found()
        with self.root.opened() as top:
            self._walk(f"{top}/.", "", MAX_DEPTH, found, now)
        for path, candidate in found.candidates.items():
            candidate.is_renamed = path in renamed and not self._is_in_new_folder(path, found, now)
        self._found, self._defaults_settle = found, {}
        return found != before

    def _walk(self, place: str, folder: str, depth: int, found: _Found, now: float) -> None:
        """Record what is in a folder and below it, sorted by name."""
        try:
            here, entries = _listed(place)
        except OSError as error:
            if not folder:
                raise
            if isinstance(error, PermissionError):  # else it is gone, or no folder any more
                found.strays[folder] = f"can't be looked into: {error.strerror}"
            return
        try:
            for entry in entries:
                with contextlib.suppress(OSError):
                    self._note(entry, here, folder, depth, found, now)
        finally:
            os.close(here)

    def _note(
        self, entry: os.DirEntry[str], here: int, folder: str, depth: int, found: _Found, now: float
    ) -> None:
        if entry.name in self.ignored:
            self._note_temporary(entry, folder, found, now)
            return
        path = f"{folder}/{entry.name}" if folder else entry.name
        status = entry.stat(follow_symlinks=False)
        if entry.name == self.defaults_name:
            before = self._found.defaults.get(folder)
            found.defaults[folder] = _still(before, status, now, self.settle_seconds)
        elif self._is_prompt_file(entry.name):
            found.candidates[path] = self._candidate(path, status, now)
        elif stat.S_ISDIR(status.st_mode):
            if depth > 1:
                found.folders[path] = self._found.folders.get(path, now)
                self._walk(f"/proc/self/fd/{here}/{entry.name}", path, depth - 1, found, now)
            else:
                found.strays[path] = f"not looked into: it is {MAX_DEPTH} folders deep"
        else:
            self._note_stray(path, found)

    def _is_prompt_file(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in self.suffixes

    def _candidate(self, path: str, status: os.stat_result, now: float) -> Candidate:
        known = self._found.candidates.get(path)
        fingerprint = _fingerprint(status)
        if known is not None and known.fingerprint == fingerprint:
            return known
        first_seen = known.first_seen if known is not None else now
        name = PurePosixPath(path)
        return Candidate(name, status.st_mode, fingerprint, now, first_seen, status.st_uid)

    def _note_temporary(
        self, entry: os.DirEntry[str], folder: str, found: _Found, now: float
    ) -> None:
        """Record a temporary file that a tool will turn into a prompt file."""
        finished = finished_name(entry.name)
        if finished is None or not self._is_prompt_file(finished[0]):
            return
        path = f"{folder}/{finished[0]}" if folder else finished[0]
        status = entry.stat(follow_symlinks=False)
        found.temporaries[path] = _still(
            self._found.temporaries.get(path), status, now, self._temporary_seconds, finished[1]
        )

    def _is_in_new_folder(self, path: str, found: _Found, now: float) -> bool:
        """Return whether the folder may still be incomplete: its defaults may arrive last."""
        first_seen = found.folders.get(path.rpartition("/")[0], -math.inf)
        return now < first_seen + self.settle_seconds

    def _note_stray(self, path: str, found: _Found) -> None:
        """Record a conflict copy of a prompt file to whose name the tool appended an ending."""
        copy = conflict_copy(os.path.basename(path))
        if copy is not None and any(map(self._is_prompt_file, copy.originals)):
            ends = " or ".join(sorted(self.suffixes))
            found.strays[path] = f"a conflict copy by {copy.tool}: taken if its name ends in {ends}"

    def settled(self, now: float) -> list[Candidate]:
        """Return the settled files, unsorted; `rank` is their sort key."""
        return [c for c in self._candidates.values() if self._remaining(c, now) <= 0]

    def waiting(self, now: float) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield the files that can't be claimed yet, or not as they are, each with the reason."""
        for c in self._candidates.values():
            if self._remaining(c, now) > 0:
                yield c.path, c.blocked if c.blocked_until > now else self._unsettled(c, now)
        for path, temporary in self._found.temporaries.items():
            if path not in self._candidates:
                is_left = now - temporary.since >= TEMPORARY_SECONDS
                what = "left unfinished" if is_left else "still being written"
                yield PurePosixPath(path), f"{what} by {temporary.tool}"
        for path, reason in self._found.strays.items():
            yield PurePosixPath(path), reason

    def waiting_count(self) -> int:
        """Return the number of all files that wait, settled and unfinished ones included."""
        others = sum(path not in self._candidates for path in self._found.temporaries)
        return len(self) + others + len(self._found.strays)

    def oldest(self) -> float | None:
        """Return when the oldest of the waiting files was first seen; None if there are none."""
        return min((c.first_seen for c in self._candidates.values()), default=None)

    @property
    def _candidates(self) -> dict[str, Candidate]:
        return self._found.candidates

    def __contains__(self, candidate: Candidate) -> bool:
        """Return whether the last scan found this file in this state."""
        return self._candidates.get(str(candidate.path)) is candidate

    def find(self, path: str) -> Candidate | None:
        """Return the file at a path as of the last scan; None if there is none."""
        return self._candidates.get(path)

    def _unsettled(self, candidate: Candidate, now: float) -> str:
        """Return what a file waits for, and for how long at most, in words."""
        waits = [
            _Wait(candidate.held, candidate.held_until, candidate.since + UNFINISHED_SECONDS),
            *self._waits(candidate),
        ]
        end = candidate.since + self._patience(candidate)
        if candidate.size == 0:
            waits.append(_Wait("empty so far", end, end))
        if candidate.is_interrupted:
            waits.append(_Wait("its modification time is 0: an interrupted transfer", end, end))
        for wait in waits:
            if now < min(wait.until, wait.end):
                return f"{wait.reason}; waits {math.ceil(wait.end - now)} s more at most"
        return f"settles in {math.ceil(self._remaining(candidate, now))} s"

    def blocked(self, now: float) -> int:
        """Return how many files could not be claimed and are not to be tried again yet."""
        return sum(c.blocked_until > now for c in self._candidates.values())

    def seconds_to_settle(self, now: float) -> float | None:
        """Return the seconds until the next file settles; None if nothing waits."""
        times = (self._remaining(c, now) for c in self._candidates.values())
        return min((t for t in times if t > 0), default=None)

    def is_unchanged(self, candidate: Candidate) -> bool:
        """Return whether a file is still as the last scan saw it."""
        try:
            with self.opened(candidate.path) as file:
                return _fingerprint(file.lstat()) == candidate.fingerprint
        except OSError:
            return False

    @contextlib.contextmanager
    def opened(self, path: PurePosixPath) -> Iterator[Path]:
        """Yield a path to a file that stays valid if a folder above it is replaced."""
        with self.root.opened(path.parent) as folder:
            yield folder / path.name

    def hold(self, candidate: Candidate, reason: str, until: float, now: float) -> bool:
        """Let an unfinished file wait, `UNFINISHED_SECONDS` at most; return whether it waits."""
        end = candidate.since + UNFINISHED_SECONDS
        if now >= end:
            return False
        candidate.held, candidate.held_until = reason, min(until, end)
        return True

    def forget(self, candidate: Candidate) -> None:
        """Drop a claimed file; the next scan adds it again if it is still there."""
        self._candidates.pop(str(candidate.path), None)

    def __len__(self) -> int:
        return len(self._candidates)

    def _remaining(self, candidate: Candidate, now: float) -> float:
        """Return the seconds until a file may be claimed; 0 or less if it may be now.

        The file, its temporary file and the defaults above it have to settle.
        """
        settled = candidate.since + self._patience(candidate)
        temporary = self._temporary_of(candidate)
        if temporary is not None:
            settled = max(settled, self._temporary_left(temporary))
        if self._found.defaults:
            settled = max(settled, self._defaults_settled(candidate.path.parent))
        return max(settled, candidate.blocked_until, candidate.held_until) - now

    def _waits(self, candidate: Candidate) -> Iterator[_Wait]:
        """Yield the waits for other files. Those may change for ever, so each wait has an end."""
        temporary = self._temporary_of(candidate)
        if temporary is not None:
            reason = f"still being written by {temporary.tool}: its temporary file is beside it"
            until = temporary.since + self._temporary_seconds
            yield _Wait(reason, until, temporary.began + TRANSFER_SECONDS)
        for folder in candidate.path.parents:
            defaults = self._found.defaults.get(str(folder) if folder.name else "")
            if defaults is not None:
                reason = f"{shown(folder / self.defaults_name)} has just changed"
                until = defaults.since + self.settle_seconds
                yield _Wait(reason, until, defaults.began + DEFAULTS_SECONDS)

    def waited_in_vain(self, candidate: Candidate, now: float) -> str:
        """Return the reason of a wait for another file that has run out; empty if none has."""
        waits = self._waits(candidate)
        return next((wait.reason for wait in waits if wait.end <= now < wait.until), "")

    def _patience(self, candidate: Candidate) -> float:
        """Return how many seconds a file has to stay unchanged."""
        if self.patient and candidate.is_plain:
            if candidate.size == 0:
                return max(EMPTY_SECONDS, self.settle_seconds)
            if candidate.is_interrupted:
                return max(UNFINISHED_SECONDS, self.settle_seconds)
        if candidate.is_renamed:
            return min(self.renamed_settle_seconds, self.settle_seconds)
        return self.settle_seconds

    @property
    def _temporary_seconds(self) -> float:
        """How long to wait for a temporary file that does not change."""
        return TEMPORARY_SECONDS if self.patient else self.settle_seconds

    def _temporary_of(self, candidate: Candidate) -> _Still | None:
        """Return the temporary file of a file, if it has the same owner: others may only delay."""
        temporary = self._found.temporaries.get(str(candidate.path))
        return temporary if temporary is not None and temporary.owner == candidate.owner else None

    def _temporary_left(self, temporary: _Still) -> float:
        """Return the time at which the wait for a temporary file ends."""
        until = temporary.since + self._temporary_seconds
        return min(until, temporary.began + TRANSFER_SECONDS)

    def _defaults_settled(self, folder: PurePosixPath) -> float:
        """Return when the defaults of a folder and of those above it are settled."""
        if folder not in self._defaults_settle:
            own = self._found.defaults.get(str(folder) if folder.name else "")
            settled = -math.inf
            if own is not None:
                settled = min(own.since + self.settle_seconds, own.began + DEFAULTS_SECONDS)
            if folder.name:
                settled = max(settled, self._defaults_settled(folder.parent))
            self._defaults_settle[folder] = settled
        return self._defaults_settle[folder]

    def defaults_for(self, path: PurePosixPath, max_bytes: int) -> tuple[DefaultsFile, ...]:
        """Return the `_defaults.yaml` files above a prompt file, the outermost first.

        Raises:
            PromptError: one of them is not a plain file, or they are too large together.
            OSError: a folder above it is no folder any more, or can't be read.
        """
        files = []
        with contextlib.suppress(FileNotFoundError):  # the file is gone with its folder
            for folder in reversed(path.parents):
                name = folder / self.defaults_name
                with self.opened(name) as file:
                    if os.path.lexists(file):
                        data = self._read_defaults(name, file, max_bytes)
                        files.append(DefaultsFile(str(name), data))
                if sum(len(file.data) for file in files) > max_bytes:
                    problem = (
                        f"the defaults for this folder have more than {max_bytes:,} bytes together"
                    )
                    raise PromptError(Mistake(problem, "make them smaller", file=str(name)))
        return tuple(files)

    def _read_defaults(self, name: PurePosixPath, file: Path, max_bytes: int) -> bytes:
        try:
            return read_plain(file, max_bytes)
        except PromptError as error:
            named = (dataclasses.replace(m, file=str(name)) for m in error.mistakes)
            raise PromptError(*named) from None


def rank(candidate: Candidate) -> tuple[int, float, str]:
    """Return the sort key of settled files: priority, then first seen, then name."""
    return -candidate.priority, candidate.first_seen, str(candidate.path)


def _listed(place: str) -> tuple[int, list[os.DirEntry[str]]]:
    """Return a folder's descriptor, which the caller closes, and its entries sorted by name."""
    here = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.scandir(here) as entries:
            return here, sorted(entries, key=lambda entry: entry.name)
    except BaseException:
        os.close(here)
        raise


def _fingerprint(status: os.stat_result) -> _Fingerprint:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _still(
    before: _Still | None, status: os.stat_result, now: float, rest: float, tool: str = ""
) -> _Still:
    """Return `before` if the state is the same, else a record of the new state.

    A change after `rest` seconds without one begins a new series of changes.
    """
    fingerprint = _fingerprint(status)
    if before is not None and before.fingerprint == fingerprint:
        return before
    goes_on = before is not None and now < before.since + rest
    began = before.began if before and goes_on else now
    return _Still(fingerprint, now, began, status.st_uid, tool)


def _is_interrupted(mtime_ns: int) -> bool:
    """Return whether the mtime is in the first second of 1970, as of an interrupted rsync."""
    return 0 <= mtime_ns < 10**9


def refusal(path: PurePosixPath, mode: int, mtime_ns: int = -1) -> PromptError | None:
    """Return why a file can't be a prompt file, whatever its content; None if it can."""
    kinds: Sequence[tuple[Callable[[int], bool], str]] = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    for is_kind, kind in kinds:
        if is_kind(mode):
            problem = f"this is {kind}, not a file; it has not been opened"
            return PromptError(Mistake(problem, "put the file itself into the inbox"))
    for part in path.parts:
        if part.startswith("_"):
            problem = f"names that begin with an underscore are reeldrop's own, and '{part}' does"
            return PromptError(Mistake(problem, "give it another name"))
    if _is_interrupted(mtime_ns):
        problem = "its modification time is 0, as rsync leaves a file of which it sent only a part"
        return PromptError(Mistake(problem, "send it again, or `touch` it if all of it is there"))
    return None


def read_plain(path: Path, max_bytes: int) -> bytes:
    """Return the content of a plain file, without following a link or waiting for a pipe.

    Raises:
        PromptError: it is not a plain file, can't be read, or is larger than `max_bytes`.
        OSError: the disk is to blame, not the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        remedy = "put a plain, readable file there"
        raise PromptError(Mistake(f"can't read it: {error.strerror}", remedy)) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PromptError(Mistake("this is not a plain file", "put a plain file there"))
        if status.st_size > max_bytes:
            problem = f"this file has {status.st_size:,} bytes, more than {max_bytes:,}"
            raise PromptError(Mistake(problem, "split it into several files"))
        with open(fd, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(fd)


def _below(folder: Path, path: str | bytes) -> str:
    return os.fsdecode(path).removeprefix(f"{folder}/")


class Watch:
    """Calls `wake` when something happens in a folder, if the file system reports it.

    renamed: the files, by path in the folder, whose last event was a rename to that path

    Raises:
        OSError: the folder can't be watched.
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        # Imported here so that commands that only read the inbox start quickly.
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers.inotify import InotifyObserver

        renamed = self.renamed = set[str]()

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in ("opened", "closed_no_write"):  # our own reads
                    return
                if event.event_type != "attrib" and not event.is_directory:
                    self._note(event)
                wake()

            def _note(self, event: FileSystemEvent) -> None:
                """Add what was renamed; drop what was changed since, and files of moved folders."""
                renamed.discard(_below(folder, event.src_path))
                if event.event_type == "moved" and event.dest_path and not event.is_synthetic:
                    renamed.add(_below(folder, event.dest_path))

        # watchdog warns when it ends a thread; `is_alive` detects a watch that died.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        # Full events distinguish a file moved in from outside from one created here.
        self._observer = InotifyObserver(generate_full_events=True)
        self._observer.schedule(Waker(), str(folder), recursive=True)
        self._observer.start()

    def is_alive(self) -> bool:
        """Return whether events can still arrive."""
        return self._observer.is_alive() and all(e.is_alive() for e in self._observer.emitters)

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()
