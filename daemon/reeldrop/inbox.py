"""Which prompt files of the inbox are settled, in which order, and why the others wait.

The scan decides; file system events only say when to look. Reads no prompt file and follows no
link. Time is the caller's: seconds of a monotonic clock.
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import logging
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from reeldrop.errors import DISK_ERRORS, Mistake, PromptError
from reeldrop.job import DefaultsFile

MAX_DEPTH = 32
EMPTY_SECONDS = 60.0
"""How long a file without a byte may stay: some programs make the name first."""

IGNORED_NAMES = (
    ".*", "~*", "*~", "#*#", "*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload",
    "*.error.txt", "*.download", "*.!sync", "*.seaftmp", "desktop.ini", "thumbs.db", "@eadir",
    "__macosx",
)  # fmt: skip
"""Hidden files, reports of ours that came back, and names under which programs keep what they
have not finished; in lower case."""

_IGNORED = re.compile("|".join(map(fnmatch.translate, IGNORED_NAMES)))

_Fingerprint = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


@dataclass(slots=True)
class Candidate:
    """A file in the inbox that asks to be rendered.

    `since` is when its present state was first seen; `mode` its type and permissions as lstat
    gives them. The rest is the caller's to set: whether it has been `examined`, its `priority`,
    and what keeps it from being claimed (`blocked`) until when (`blocked_until`).
    """

    path: PurePosixPath
    mode: int
    fingerprint: _Fingerprint
    since: float
    first_seen: float
    examined: bool = False
    priority: int = 0
    blocked: str = ""
    blocked_until: float = 0.0

    @property
    def size(self) -> int:
        return self.fingerprint[0]


@dataclass(slots=True)
class Inbox:
    """The folder that people drop prompt files into.

    `suffixes` are the endings of prompt files, in lower case; `settle_seconds` is how long a
    file has to stay as it is. Where `patient` is false, empty files settle as quickly as others.
    `beside` is a folder on the same file system, which tells a remounted inbox from another one.
    """

    folder: Path
    suffixes: frozenset[str]
    settle_seconds: float
    defaults_name: str
    patient: bool = True
    beside: Path | None = None
    _identity: tuple[int, int] | None = None
    _candidates: dict[str, Candidate] = field(default_factory=dict)
    _defaults: dict[PurePosixPath, tuple[_Fingerprint, float]] = field(default_factory=dict)
    _defaults_settle: dict[PurePosixPath, float] = field(default_factory=dict)

    def after(self, other: Inbox) -> Inbox:
        """Know what `other` knows of the same folder, and return this one."""
        self._identity, self._candidates = other._identity, other._candidates
        self._defaults = other._defaults
        return self

    def scan(self, now: float) -> None:
        """Look at every file.

        Raises:
            OSError: the inbox itself can't be read, or another folder stands in its place.
        """
        self._check_identity()
        found: dict[str, Candidate] = {}
        defaults: dict[PurePosixPath, tuple[_Fingerprint, float]] = {}
        for name, status in self._walk("", MAX_DEPTH):
            fingerprint = _fingerprint(status)
            if os.path.basename(name) == self.defaults_name:
                folder = PurePosixPath(name).parent
                before = self._defaults.get(folder, (None, 0.0))
                since = before[1] if before[0] == fingerprint else now
                defaults[folder] = (fingerprint, since)
                continue
            known = self._candidates.get(name)
            if known is not None and known.fingerprint == fingerprint:
                found[name] = known
            else:
                first_seen = known.first_seen if known is not None else now
                path = PurePosixPath(name)
                found[name] = Candidate(path, status.st_mode, fingerprint, now, first_seen)
        self._candidates, self._defaults = found, defaults
        self._defaults_settle = {}

    def _check_identity(self) -> None:
        """Refuse what is not the folder of the first scan: an empty mount point looks like it.

        A share may have another device number after it was mounted again; then it has the one
        of the folder beside it.
        """
        found = self.folder.stat()
        identity = (found.st_dev, found.st_ino)
        if self._identity is not None and identity != self._identity:
            moved_along = (
                self.beside is not None
                and found.st_ino == self._identity[1]
                and found.st_dev == self.beside.stat().st_dev
            )
            if not moved_along:
                reason = "another folder is in its place; put the old one back, or start again"
                raise OSError(errno.ESTALE, reason, str(self.folder))
        self._identity = identity

    def _walk(self, folder: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what may be a prompt file by its path in the inbox."""
        try:
            with os.scandir(self.folder / folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if not folder:
                raise
            return  # it went away, or is closed to us: the others go on
        for entry in ordered:
            if is_ignored(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if os.path.splitext(entry.name)[1].lower() in self.suffixes:
                yield name, status
            elif stat.S_ISDIR(status.st_mode) and depth > 1:
                yield from self._walk(name, depth - 1)

    def settled(self, now: float) -> list[Candidate]:
        """Return the files that are settled, in no order; `rank` gives them one."""
        return [c for c in self._candidates.values() if self._remaining(c, now) <= 0]

    def waiting(self, now: float) -> Iterator[tuple[Candidate, str]]:
        """Yield the files that are not settled, or blocked, each with the reason."""
        for c in self._candidates.values():
            if self._remaining(c, now) > 0:
                yield c, c.blocked if c.blocked_until > now else self._unsettled(c, now)

    def __contains__(self, candidate: Candidate) -> bool:
        """Tell whether a file is still there as the last scan found it."""
        return self._candidates.get(str(candidate.path)) is candidate

    def _unsettled(self, candidate: Candidate, now: float) -> str:
        seconds = self._remaining(candidate, now)
        return f"settles in {math.ceil(seconds)} s" if candidate.size else "empty so far"

    def blocked(self, now: float) -> int:
        """Return how many files could not be claimed, and are not to be tried again yet."""
        return sum(c.blocked_until > now for c in self._candidates.values())

    def seconds_to_settle(self, now: float) -> float | None:
        """Return when the next file settles, None if nothing waits."""
        times = (self._remaining(c, now) for c in self._candidates.values())
        return min((t for t in times if t > 0), default=None)

    def is_unchanged(self, candidate: Candidate) -> bool:
        """Tell whether a file still is as the last scan saw it."""
        try:
            return _fingerprint((self.folder / candidate.path).lstat()) == candidate.fingerprint
        except OSError:
            return False

    def forget(self, candidate: Candidate) -> None:
        """Drop a file that has been claimed; the next scan finds it again if it is there."""
        self._candidates.pop(str(candidate.path), None)

    def __len__(self) -> int:
        return len(self._candidates)

    def _remaining(self, candidate: Candidate, now: float) -> float:
        """Return how long to wait for a file: it, and the defaults above it, have to settle."""
        empty = candidate.size == 0 and stat.S_ISREG(candidate.mode)
        patience = EMPTY_SECONDS if empty and self.patient else self.settle_seconds
        settled = candidate.since + patience
        if self._defaults:
            settled = max(settled, self._defaults_settled(candidate.path.parent))
        return max(settled, candidate.blocked_until) - now

    def _defaults_settled(self, folder: PurePosixPath) -> float:
        """Return when the defaults for the files of a folder are settled, those above it, too."""
        if folder not in self._defaults_settle:
            own = self._defaults.get(folder)
            settled = own[1] + self.settle_seconds if own else -math.inf
            if folder.name:
                settled = max(settled, self._defaults_settled(folder.parent))
            self._defaults_settle[folder] = settled
        return self._defaults_settle[folder]

    def defaults_for(self, path: PurePosixPath, max_bytes: int) -> tuple[DefaultsFile, ...]:
        """Return the `_defaults.yaml` files above a prompt file, the farthest first.

        Raises:
            PromptError: one of them is no plain file, or too large.
        """
        files = []
        for folder in reversed(path.parents):
            name = folder / self.defaults_name
            if os.path.lexists(self.folder / name):
                files.append(DefaultsFile(str(name), self._read_defaults(name, max_bytes)))
        return tuple(files)

    def _read_defaults(self, name: PurePosixPath, max_bytes: int) -> bytes:
        try:
            return read_plain(self.folder / name, max_bytes)
        except PromptError as error:
            named = (dataclasses.replace(m, file=str(name)) for m in error.mistakes)
            raise PromptError(*named) from None


def rank(candidate: Candidate) -> tuple[int, float, str]:
    """Return what settled files are ordered by: priority, then first seen, then name."""
    return -candidate.priority, candidate.first_seen, str(candidate.path)


def _fingerprint(status: os.stat_result) -> _Fingerprint:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_ignored(name: str) -> bool:
    """Tell whether a name says that the file is hidden, or not finished by whoever writes it."""
    return _IGNORED.match(name.lower()) is not None


def refusal(path: PurePosixPath, mode: int) -> PromptError | None:
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


class Watch:
    """Calls back when something happens in a folder, if the file system says so.

    Raises:
        OSError: the folder can't be watched.
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        # Here, and not above, because commands that only look at the inbox should start at once.
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type not in ("opened", "closed_no_write"):  # our own reading
                    wake()

        # It warns of each thread that it ends; the scan notices a watch that died.
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)
        self._observer = Observer()
        self._observer.schedule(Waker(), str(folder), recursive=True)
        self._observer.start()

    def is_alive(self) -> bool:
        """Tell whether events can still come."""
        return self._observer.is_alive() and all(e.is_alive() for e in self._observer.emitters)

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()
