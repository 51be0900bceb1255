"""Which prompt files of the inbox are settled, in which order, and why the others wait.

The scan decides; file system events only say when to look. Reads no prompt file and follows no
link: folders are opened one below the other. Time is the caller's: seconds of a monotonic clock.
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
"""How long a file without a byte may stay: some programs make the name first."""

TEMPORARY_SECONDS = 120.0
"""How long a file waits for a temporary one of the same name to change, grow or go."""

UNFINISHED_SECONDS = 600.0
"""How long a file waits to be finished that looks unfinished, and does not change."""

TRANSFER_SECONDS = 3600.0
"""How long a temporary file that keeps changing is waited for: anybody can give it its name."""

DEFAULTS_SECONDS = 120.0
"""How long a `_defaults.yaml` that keeps changing is waited for."""

_Fingerprint = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


@dataclass(slots=True)
class Candidate:
    """A file in the inbox that asks to be rendered.

    `since` is when its present state was first seen; `mode` its type and permissions as lstat
    gives them; `is_renamed` is whether it came by a rename, so that it settles sooner; `held` is
    what it waits for until `held_until`, and looks at its name do not tell.
    The rest is the caller's to set: whether it has been `examined`, its `priority`, of how many
    prompts (`count`) it is and of what `kind` if they are all of one, which `model` it needs,
    whether a batch has passed it over, and what keeps it from being claimed (`blocked`) until when
    (`blocked_until`).
    """

    path: PurePosixPath
    mode: int
    fingerprint: _Fingerprint
    since: float
    first_seen: float
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
        """Return whether this is the file that was seen: a few file systems change its inode."""
        seen, found = self.fingerprint, _fingerprint(status)
        return seen[3] == found[3] or seen[:2] == found[:2]


@dataclass(slots=True)
class _Still:
    """What must not change for a while: how it was seen last, and since when it is so.

    It `began` to change when it was last at rest, or when it came.
    """

    fingerprint: _Fingerprint
    since: float
    began: float
    tool: str = ""


class _Wait(NamedTuple):
    """Why a file waits, until when, and when it is taken all the same."""

    reason: str
    until: float
    end: float


@dataclass(slots=True)
class _Found:
    """What a scan has found, by its path in the inbox.

    `folders` are those below it, with the time at which each was first seen; `defaults` are by
    their folder; `temporaries` are what tools have not finished, by the name that it will have;
    `strays` are what nobody takes as it is, with the reason: conflict copies that no longer have a
    prompt file's ending, and folders that can't be looked into.
    """

    candidates: dict[str, Candidate] = field(default_factory=dict)
    folders: dict[str, float] = field(default_factory=dict)
    defaults: dict[str, _Still] = field(default_factory=dict)
    temporaries: dict[str, _Still] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Inbox:
    """The folder that people drop prompt files into.

    `suffixes` are the endings of prompt files, in lower case; `settle_seconds` is how long a
    file has to stay as it is, and `renamed_settle_seconds` one that has come by a rename, where
    that is less. Where `patient` is false, files that look unfinished settle as
    quickly as others. `beside` is a folder on the same file system, which tells a remounted inbox
    from another one. Names that are `ignored` are passed over.
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
        """Know what `other` knows of the same folder, and return this one."""
        self.root, self._found = other.root, other._found
        return self

    def scan(self, now: float, renamed: Container[str] = ()) -> bool:
        """Look at every file, and return whether anything has changed since the last scan.

        `renamed` are the paths of those that have come by a rename, as far as is known.

        Raises:
            OSError: the inbox itself can't be read, or another folder stands in its place.
        """
        before, found = self._found, _Found()
        with self.root.opened() as top:
            self._walk(f"{top}/.", "", MAX_DEPTH, found, now)
        for path, candidate in found.candidates.items():
            candidate.is_renamed = path in renamed and not self._is_in_new_folder(path, found, now)
        self._found, self._defaults_settle = found, {}
        return found != before

    def _walk(self, place: str, folder: str, depth: int, found: _Found, now: float) -> None:
        """Note what is in a folder, and below it, in the order of names."""
        try:
            here, entries = _listed(place)
        except OSError as error:
            if not folder:
                raise
            if isinstance(error, PermissionError):  # else it went away, or is a folder no more
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
        return Candidate(PurePosixPath(path), status.st_mode, fingerprint, now, first_seen)

    def _note_temporary(
        self, entry: os.DirEntry[str], folder: str, found: _Found, now: float
    ) -> None:
        """Note what will be a prompt file when some tool has finished it."""
        finished = finished_name(entry.name)
        if finished is None or not self._is_prompt_file(finished[0]):
            return
        path = f"{folder}/{finished[0]}" if folder else finished[0]
        status = entry.stat(follow_symlinks=False)
        found.temporaries[path] = _still(
            self._found.temporaries.get(path), status, now, self._temporary_seconds, finished[1]
        )

    def _is_in_new_folder(self, path: str, found: _Found, now: float) -> bool:
        """Return whether a folder is still being delivered: its defaults may come last."""
        first_seen = found.folders.get(path.rpartition("/")[0], -math.inf)
        return now < first_seen + self.settle_seconds

    def _note_stray(self, path: str, found: _Found) -> None:
        """Note a copy of a prompt file that its tool has given an ending of its own."""
        copy = conflict_copy(os.path.basename(path))
        if copy is not None and any(map(self._is_prompt_file, copy.originals)):
            ends = " or ".join(sorted(self.suffixes))
            found.strays[path] = f"a conflict copy by {copy.tool}: taken if its name ends in {ends}"

    def settled(self, now: float) -> list[Candidate]:
        """Return the files that are settled, in no order; `rank` gives them one."""
        return [c for c in self._candidates.values() if self._remaining(c, now) <= 0]

    def waiting(self, now: float) -> Iterator[tuple[PurePosixPath, str]]:
        """Yield the files that can't be claimed yet, or never as they are, each with the reason."""
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
        """Return how many files there are that wait, or are not finished."""
        others = sum(path not in self._candidates for path in self._found.temporaries)
        return len(self) + others + len(self._found.strays)

    def oldest(self) -> float | None:
        """Return since when the file waits that has waited longest."""
        return min((c.first_seen for c in self._candidates.values()), default=None)

    @property
    def _candidates(self) -> dict[str, Candidate]:
        return self._found.candidates

    def __contains__(self, candidate: Candidate) -> bool:
        """Return whether a file is still there as the last scan found it."""
        return self._candidates.get(str(candidate.path)) is candidate

    def find(self, path: str) -> Candidate | None:
        """Return the file of a path, as the last scan found it; None if it is gone."""
        return self._candidates.get(path)

    def _unsettled(self, candidate: Candidate, now: float) -> str:
        """Return what a file waits for, and for how long at most."""
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
        """Return how many files could not be claimed, and are not to be tried again yet."""
        return sum(c.blocked_until > now for c in self._candidates.values())

    def seconds_to_settle(self, now: float) -> float | None:
        """Return when the next file settles, None if nothing waits."""
        times = (self._remaining(c, now) for c in self._candidates.values())
        return min((t for t in times if t > 0), default=None)

    def is_unchanged(self, candidate: Candidate) -> bool:
        """Return whether a file still is as the last scan saw it."""
        try:
            with self.opened(candidate.path) as file:
                return _fingerprint(file.lstat()) == candidate.fingerprint
        except OSError:
            return False

    @contextlib.contextmanager
    def opened(self, path: PurePosixPath) -> Iterator[Path]:
        """Give a path to a file that is not led astray when a folder above it is exchanged."""
        with self.root.opened(path.parent) as folder:
            yield folder / path.name

    def hold(self, candidate: Candidate, reason: str, until: float, now: float) -> bool:
        """Let a file wait that is not finished, unless it has waited in vain for long enough.

        Return whether it waits.
        """
        end = candidate.since + UNFINISHED_SECONDS
        if now >= end:
            return False
        candidate.held, candidate.held_until = reason, min(until, end)
        return True

    def forget(self, candidate: Candidate) -> None:
        """Drop a file that has been claimed; the next scan finds it again if it is there."""
        self._candidates.pop(str(candidate.path), None)

    def __len__(self) -> int:
        return len(self._candidates)

    def _remaining(self, candidate: Candidate, now: float) -> float:
        """Return how long to wait for a file: it, and the defaults above it, have to settle."""
        settled = candidate.since + self._patience(candidate)
        if self._found.temporaries:
            temporary = self._found.temporaries.get(str(candidate.path))
            if temporary is not None:
                settled = max(settled, self._temporary_left(temporary))
        if self._found.defaults:
            settled = max(settled, self._defaults_settled(candidate.path.parent))
        return max(settled, candidate.blocked_until, candidate.held_until) - now

    def _waits(self, candidate: Candidate) -> Iterator[_Wait]:
        """Yield what a file waits for besides itself, which may change for ever."""
        temporary = self._found.temporaries.get(str(candidate.path))
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
        """Return what a file has waited for as long as it may; empty if it has come to rest."""
        waits = self._waits(candidate)
        return next((wait.reason for wait in waits if wait.end <= now < wait.until), "")

    def _patience(self, candidate: Candidate) -> float:
        """Return for how long a file has to stay as it is."""
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
        """For how long a temporary file that does not change may still be finished."""
        return TEMPORARY_SECONDS if self.patient else self.settle_seconds

    def _temporary_left(self, temporary: _Still) -> float:
        """Return when a temporary file is not waited for any more."""
        until = temporary.since + self._temporary_seconds
        return min(until, temporary.began + TRANSFER_SECONDS)

    def _defaults_settled(self, folder: PurePosixPath) -> float:
        """Return when the defaults for the files of a folder are settled, those above it, too."""
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
        """Return the `_defaults.yaml` files above a prompt file, the farthest first.

        Raises:
            PromptError: one of them is no plain file, or they are too large together.
            OSError: a folder above it is no folder any more, or can't be read.
        """
        files = []
        with contextlib.suppress(FileNotFoundError):  # the file has gone with its folder
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
    """Return what settled files are ordered by: priority, then first seen, then name."""
    return -candidate.priority, candidate.first_seen, str(candidate.path)


def _listed(place: str) -> tuple[int, list[os.DirEntry[str]]]:
    """Return a folder's descriptor, to be closed, and what is in it, in the order of names."""
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
    """Return what was seen before if it is the same, else what is seen now.

    It has begun to change anew if it was at rest for so many seconds.
    """
    fingerprint = _fingerprint(status)
    if before is not None and before.fingerprint == fingerprint:
        return before
    goes_on = before is not None and now < before.since + rest
    return _Still(fingerprint, now, before.began if before and goes_on else now, tool)


def _is_interrupted(mtime_ns: int) -> bool:
    """Tell a file that rsync has left when it was interrupted: its time is in the first second."""
    return 0 <= mtime_ns < 10**9


def refusal(path: PurePosixPath, mode: int, mtime_ns: int = -1) -> PromptError | None:
    """Return why a file can't be a prompt file whatever is in it; None if it can."""
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
        PromptError: it is something else, or larger than `max_bytes`.
        OSError: the disk is in trouble, and the file not to blame.
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
    """Calls back when something happens in a folder, if the file system says so.

    `renamed` are the files of which the last that was heard is that they came to their name by a
    rename, by their path in the folder.

    Raises:
        OSError: the folder can't be watched.
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        # Here, and not above, because commands that only look at the inbox should start at once.
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers.inotify import InotifyObserver

        renamed = self.renamed = set[str]()

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type in ("opened", "closed_no_write"):  # our own reading
                    return
                if event.event_type != "attrib" and not event.is_directory:
                    self._note(event)
                wake()

            def _note(self, event: FileSystemEvent) -> None:
                """Note who renamed, and who wrote or made it anew; a folder's files are neither."""
                renamed.discard(_below(folder, event.src_path))
                if event.event_type == "moved" and event.dest_path and not event.is_synthetic:
                    renamed.add(_below(folder, event.dest_path))

        # It warns of each thread that it ends; the scan notices a watch that died.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        # Full events tell a file that came from outside by a rename from one that was made here.
        self._observer = InotifyObserver(generate_full_events=True)
        self._observer.schedule(Waker(), str(folder), recursive=True)
        self._observer.start()

    def is_alive(self) -> bool:
        """Return whether events can still come."""
        return self._observer.is_alive() and all(e.is_alive() for e in self._observer.emitters)

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()
