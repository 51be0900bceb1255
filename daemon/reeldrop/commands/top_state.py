"""What `reeldrop top` shows, and what its keys do. Knows no terminal.

Whatever is read here is the daemon's report and the folders: the daemon is not asked.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Generic, TypeVar

from reeldrop.base import durable, inbox_folders
from reeldrop.base.errors import PromptError
from reeldrop.base.escaping import shown
from reeldrop.base.roots import Root
from reeldrop.commands import cancel, folders, retry
from reeldrop.commands import status as shown_status
from reeldrop.intake import control_names
from reeldrop.store import status as reports
from reeldrop.store.history import Failure
from reeldrop.store.status import State, Status, Waiting

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.intake.inbox import Inbox
    from reeldrop.intake.scan import Candidate

PAUSE_NAME = "PAUSE"

SCAN_SECONDS = 5.0
"""How often folders are walked through, at most; the daemon's report is looked at each second."""

_SCAN_SHARE = 20
"""Slow walks through folders take at most one in this many seconds."""

MAX_LISTED = 100
"""Upper bound on the files of a list, the same as in the daemon's status."""

T = TypeVar("T")


class Kind(StrEnum):
    """A list of files; the value is its heading."""

    RENDERING = "rendering"
    WAITING = "waiting"
    UNRECOGNISED = "not taken"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """A file in a list, with its name for the screen and the one for actions."""

    kind: Kind
    name: str
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is shown.

    doubt: what seems to be wrong with the daemon
    failures: the newest of those in `_failed/`, with one more than are listed
    free_bytes: the room for results; None if there is no such folder
    sought: what the names that are listed have in common; empty for all
    found: prompt files of the inbox with that in their names, with one more than are listed
    """

    status: Status
    doubt: str = ""
    failures: tuple[Failure, ...] = ()
    free_bytes: int | None = None
    sought: str = ""
    found: tuple[str, ...] = ()

    def lists(self) -> Iterator[tuple[Kind, str, list[Row]]]:
        """Yield each list that is not empty: its kind, how many are in it, and its rows."""
        now, waiting = self.status.rendering, self.status.waiting
        if now is not None:
            of = f"video {now.number} of {now.count}"
            yield from self._list(Kind.RENDERING, 0, [Waiting(now.prompt_file, of)])
        if self.sought:
            known = {file.prompt_file for file in waiting}
            others = [Waiting(name, "") for name in self.found if name not in known]
            yield from self._list(Kind.WAITING, 0, [*waiting, *others])
        else:
            yield from self._list(Kind.WAITING, self.status.waiting_count, waiting)
        count = self.status.unrecognised_count
        yield from self._list(Kind.UNRECOGNISED, count, self.status.unrecognised)
        failed = [Waiting(failure.name, failure.reason) for failure in self.failures]
        yield from self._list(Kind.FAILED, 0, failed)

    def _list(
        self, kind: Kind, count: int, files: Iterable[Waiting]
    ) -> Iterator[tuple[Kind, str, list[Row]]]:
        """Yield a list, unless it is empty; `count` is how many there are if not all are known."""
        rows = [
            Row(kind, shown(PurePosixPath(file.prompt_file)), shown(file.reason), file.prompt_file)
            for file in files
            if self.sought.casefold() in shown(file.prompt_file).casefold()
        ]
        if not rows:
            return
        how_many = f"{len(rows)}" if len(rows) <= MAX_LISTED else f"more than {MAX_LISTED}"
        yield kind, how_many if self.sought or not count else f"{count:,}", rows[:MAX_LISTED]


class _Seldom(Generic[T]):
    """A value that is slow to read, and is read again only after some seconds."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._value: T | None = None
        self._due = 0.0

    def value(self) -> T:
        """Return the value; an error is raised again each time, as long as it lasts."""
        began = time.monotonic()
        if self._value is None or began >= self._due:
            self._value = self._read()
            took = time.monotonic() - began
            self._due = began + took + max(SCAN_SECONDS, _SCAN_SHARE * took)
        return self._value

    def forget(self) -> None:
        self._due = 0.0


class Looker:
    """Looks at the state, and reads only what may have changed.

    sought: what is to be in the names of files
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.sought = ""
        self._report: Status | None = None
        self._read: tuple[int, ...] = ()
        self._folders = _Seldom(lambda: shown_status.current(config))
        self._failures = _Seldom(
            lambda: tuple(folders.failures(config.failed, config, MAX_LISTED + 1))
        )
        self._inbox = _Seldom(lambda: _names(folders.scanned_inbox(config)))

    def look(self) -> Seen:
        """Return the state."""
        config, report, sought = self._config, self._daemons_report(), self.sought
        its_own = report if folders.is_at_work(config) else None
        return Seen(
            its_own or self._without_report(),
            shown_status.doubts(config, report),
            self._failures.value(),
            _free_bytes(config),
            sought,
            self._found(sought),
        )

    def forget(self) -> None:
        """Read everything again at the next look."""
        for value in (self._folders, self._failures, self._inbox):
            value.forget()

    def _daemons_report(self) -> Status | None:
        """Return the daemon's report, which is read only if it is another one."""
        file = self._config.spool / reports.FILE_NAME
        try:
            found = file.stat()
        except OSError:
            return None
        now = (found.st_mtime_ns, found.st_ino, found.st_size)
        if now != self._read:
            self._report, self._read = reports.read(file), now
        return self._report

    def _without_report(self) -> Status:
        try:
            return self._folders.value()
        except OSError as error:
            reason = f"{error.filename} can't be read: {error.strerror}"
            return shown_status.bare(self._config, State.NOT_RUNNING, reason)

    def _found(self, sought: str) -> tuple[str, ...]:
        if not sought:
            return ()
        names = (name for name in self._inbox.value() if sought.casefold() in name.casefold())
        return tuple(name for name, _ in zip(names, range(MAX_LISTED + 1), strict=False))


def _names(inbox: Inbox) -> tuple[str, ...]:
    return tuple(map(shown, folders.prompt_files(inbox)))


def _free_bytes(config: Config) -> int | None:
    try:
        found = os.statvfs(config.results)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


# What the keys do. Each returns in words what was done.


def pause(config: Config) -> str:
    """Let the daemon pause after the batch in hand; or go on, if somebody has asked for a pause."""
    if not config.controls:
        return "control files are turned off in config.yaml: `controls: false`"
    with Root(config.inbox).opened() as inbox:
        asked = [entry for entry in os.scandir(inbox) if control_names.is_pause(entry.name)]
        if not asked:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(inbox / PAUSE_NAME, flags, 0o666))
            return "the daemon pauses after what it has in hand"
        for entry in asked:
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_size > control_names.MAX_BYTES:
                return f"{shown(entry.name)} in the inbox is no control file: remove it yourself"
            os.unlink(inbox / entry.name)
    return "the daemon goes on"


def cancel_file(config: Config, row: Row) -> str:
    """Cancel a prompt file that waits or is rendered; no other one, if it has left meanwhile."""
    in_hand, waiting = cancel.in_hand_and_waiting(config)
    if row.kind is Kind.RENDERING:
        waiting = []
    source = _only(row.key, waiting) or _only(row.key, in_hand)
    if source is None:
        return f"{row.name} has ended or left meanwhile, or is not whole yet"
    done = cancel.cancel_file(config, PurePosixPath(source), waits=source in waiting)
    return f"{row.name} {done.what}"


def retry_file(config: Config, row: Row) -> str:
    """Put a failed prompt file back into the inbox."""
    folders.require_inbox(config)
    return f"{row.name} {retry.put_file_back(config, PurePosixPath(row.key)).what}"


def raise_file(config: Config, row: Row) -> str:
    """Let a waiting prompt file go first: by one rename, it moves into `NOW/`.

    Not if it has pictures, which would stay behind, or is one for new seeds, which `NOW/` has not.
    """
    inbox = folders.scanned_inbox(config)
    candidates = {str(candidate.path): candidate for candidate in inbox.settled(0.0)}
    source = _only(row.key, candidates)
    if source is None:
        return f"{row.name} is in hand already, has left meanwhile, or is not whole yet"
    path = PurePosixPath(source)
    if inbox_folders.wish(path) == inbox_folders.NOW:
        return f"{row.name} goes first already"
    if inbox_folders.wish(path) == inbox_folders.AGAIN:
        return f"{row.name} would lose its new seed: only in {inbox_folders.AGAIN}/ it gets one"
    if _has_pictures(config, inbox, candidates[source]):
        return f"{row.name} has pictures, which would stay behind: move them together"
    root, target = Root(config.inbox), inbox_folders.NOW / inbox_folders.home(path)
    with root.opened(path.parent) as there, root.opened(target.parent, make=True) as into:
        try:
            durable.rename_new(there / path.name, into / path.name)
        except FileExistsError:
            return f"another file is in the inbox as {shown(target)}"
    return f"{row.name} goes first, as {shown(target)}"


def _only(key: str, paths: Iterable[str]) -> str | None:
    """Return the path that is shown as `key`; None if there is none, or several are."""
    found = [path for path in paths if key == shown(PurePosixPath(path))]
    return found[0] if len(found) == 1 else None


def _has_pictures(config: Config, inbox: Inbox, candidate: Candidate) -> bool:
    """Return whether a prompt file names pictures, or one has its name."""
    from reeldrop.intake.reading import Reader
    from reeldrop.prompts.parsing import NotDescribed

    if inbox.pictures.pairs(candidate):
        return True
    reader = Reader(dict.fromkeys(config.models), next(iter(config.models)))
    try:
        with inbox.opened(candidate.path) as file:
            reader.read(candidate.path, file, ())
    except (NotDescribed, PromptError) as error:
        return bool(error.pictures)
    return False
