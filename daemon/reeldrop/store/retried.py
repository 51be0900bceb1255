"""Move prompt files from `_failed/` back into the inbox for `reeldrop retry`, beside a daemon.

An inbox file with the bytes and the time of one in `_failed/` is, to the daemon, a file that a sync
tool brought back. Where the file system can't move atomically, the daemon must not see both names;
so a file on its way back into the inbox first gets a name in `_failed/` that no failure ever has.
After a kill there may be two of it; nothing but the file itself proves that they are one, as others
may have its bytes, its time and its name. So the name tells the inode of a copy in the inbox.
Knows nothing of jobs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, moves, temporaries
from reeldrop.base.errors import Mistake, Unavailable
from reeldrop.base.names import (
    ERROR_SUFFIX,
    LOG_SUFFIX,
    NOTE_SUFFIX,
    PICTURE_SUFFIXES,
    PICTURES_SUFFIX,
    RETRIED_FOLDER,
)
from reeldrop.base.plain_files import content
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.store import pictures, reports

_TAKEN_OUT = re.compile("[0-9a-f]{8}(?P<inode>[0-9a-f]{1,16})?-.+", re.DOTALL)
"""Names that `_taken_out` gives."""

LOCK_SECONDS = 5.0
"""How long a retry waits for another one in its folder."""

_LOOK_SECONDS = 0.05
_LONGEST_BESIDE = 64 << 20
"""Size limit of a note, log or report that is moved: it is kept in memory during the move."""


def put_back(failed: Root, inbox: Root, name: PurePosixPath) -> Path | None:
    """Move a file of `_failed/` into the inbox, and return its path there; None if it was gone.

    Its pictures go first. A copy of one that is there already goes last, for the daemon may take
    that one with another prompt file meanwhile.

    Raises:
        Unavailable: another retry is at work in its folder.
        OSError: it can't be moved.
    """
    parent, original = _origin(name)
    with (
        failed.opened(parent) as there,
        _alone(there, failed.path / parent),
        inbox.opened(parent, make=True) as into,
    ):
        place = there / name.relative_to(parent)
        try:
            has_pictures = is_there(place.with_name(place.name + PICTURES_SUFFIX))
            was = "" if has_pictures else reports.name_before(place)  # pairs are named alike
            copies: list[str] = []
            if is_there(place):
                copies = _put_pictures_back(failed, parent / original, into)
            named = _name_with_pair(place, into) or was or original
            at = _put_back(place, there / RETRIED_FOLDER, into, named)
            _put_copies_back(failed, parent / original, into, copies)
        except FileNotFoundError:
            if is_there(place):
                raise
            return None
        finally:
            with contextlib.suppress(OSError):  # it is missing, or another retry uses it
                os.rmdir(there / RETRIED_FOLDER)
        temporaries.remove_left(into, at)
        return inbox.path / parent / at.name


@contextlib.contextmanager
def _alone(folder: Path, known_as: Path) -> Iterator[None]:
    """Let other retries in a folder wait: they would take a move that goes on for a killed one's.

    On a network share, the kernel lets those of this host wait only.

    Raises:
        Unavailable: another one has not ended for too long.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # it can't be read, or not be locked there
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, fd)
            _lock(fd, known_as)
        yield


def _lock(fd: int, known_as: Path) -> None:
    """Lock a folder; whoever can read it can lock it, and a retry may have been stopped."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() >= end:
            problem = f"another retry is at work in {known_as}, or a program holds a lock on it"
            raise Unavailable(Mistake(problem, "try again when it has ended; `lslocks` lists them"))
        time.sleep(_LOOK_SECONDS)


def _put_pictures_back(failed: Root, place: PurePosixPath, into: Path) -> list[str]:
    """Return the names of those that stayed, because the inbox has the same."""
    kept_in = place.with_name(place.name + PICTURES_SUFFIX)
    with contextlib.suppress(FileNotFoundError), failed.opened(kept_in) as kept:
        return pictures.put_back(kept, into, place.name, temporaries.command_owner())
    return []


def _put_copies_back(failed: Root, place: PurePosixPath, into: Path, names: list[str]) -> None:
    kept_in = place.with_name(place.name + PICTURES_SUFFIX)
    with contextlib.suppress(FileNotFoundError), failed.opened(kept_in) as kept:
        pictures.put_copies_back(kept, into, names, temporaries.command_owner())
        with failed.opened(kept_in.parent) as above, contextlib.suppress(OSError):
            os.rmdir(above / kept_in.name)  # unless others' files are in it, too


def _name_with_pair(place: Path, into: Path) -> str:
    """Return the name of a file that waited with a picture of its name, which is in the inbox.

    It was cancelled, and got another name here. Empty if it is none, or the picture is not there.
    """
    report = reports.beside(place)
    name = PurePosixPath(reports.about(report)).name
    numbered = re.fullmatch(r"(.+)-[0-9]+", place.stem, re.DOTALL)
    if reports.job_of(report) or not numbered or name != numbered[1] + place.suffix:
        return ""
    pairs = (into / (numbered[1] + suffix) for suffix in PICTURE_SUFFIXES)
    return name if any(map(is_there, pairs)) else ""


def _origin(name: PurePosixPath) -> tuple[PurePosixPath, str]:
    """Return the folder and the name that a file of `_failed/` had in the inbox."""
    if name.parent.name != RETRIED_FOLDER or not _TAKEN_OUT.fullmatch(name.name):
        return name.parent, name.name
    return name.parent.parent, name.name.partition("-")[2]  # left by a killed retry


def _put_back(place: Path, retried: Path, into: Path, name: str) -> Path:
    """Move the file, and remove its note, log and report; restore them if the move fails.

    They are removed first: once the file is moved, its place may belong to another failure.
    """
    owner, taken = temporaries.command_owner(), place
    beside = (place.with_name(place.name + s) for s in (NOTE_SUFFIX, LOG_SUFFIX, ERROR_SUFFIX))
    kept = dict(_contents(beside))
    try:
        if place.parent == retried:
            if (at := _put_back_before(place, into)) is not None:
                durable.fsync_folder(into)
                place.unlink(missing_ok=True)
                return at
        else:
            with contextlib.suppress(PermissionError):
                _make_new(place)
            for path in kept:
                path.unlink(missing_ok=True)
            taken = _taken_out(place, retried, name)
        try:
            return _renamed(taken, into, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        before = taken.lstat()
        with moves.copied(taken, into / name, owner) as copy:
            with _unless_too_long():
                taken = _taken_out(taken, retried, name, f"{copy.lstat().st_ino:x}")
            durable.fsync_folder(retried)
            at = _renamed(copy, into, name)
        moves.remove_copied(taken, before)
        return at
    except OSError:
        with contextlib.suppress(OSError):
            if taken != place:
                durable.rename_new(taken, place)
            if is_there(place):
                for path, data in kept.items():
                    durable.write_new(path, data, owner)
        raise


@contextlib.contextmanager
def _unless_too_long() -> Iterator[None]:
    """Go on without a record where a name has no room for it, from 231 bytes on.

    After a kill, such a file may be rendered twice.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise


def _contents(paths: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    """Yield the plain files among the paths, with their contents; nothing else there is ours."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield path, content(path, _LONGEST_BESIDE)


def _renamed(file: Path, folder: Path, name: str) -> Path:
    """Rename a file to the first free name in a folder, and return its path there.

    Unlike a move, it never takes another file for its own copy.
    """
    for target in map(folder.joinpath, durable.free_names(name)):
        with contextlib.suppress(FileExistsError):
            durable.rename_new(file, target)
            return target
    raise AssertionError("free_names never ends")


def _make_new(file: Path) -> None:
    """Give a file a new time, which makes it a new order.

    The kernel's own time of now is that of its last tick, some milliseconds ago: many files have
    the same. But it may be set by all who may write.
    """
    now = time.time_ns()
    try:
        os.utime(file, ns=(now, now), follow_symlinks=False)
    except PermissionError:
        os.utime(file, follow_symlinks=False)


def _put_back_before(taken: Path, into: Path) -> Path | None:
    """Return where a killed retry has put a file already; None if nowhere, or it is gone."""
    with os.scandir(into) as entries:
        names = [entry.name for entry in entries if not temporaries.is_temporary(entry.name)]
    return next((into / name for name in names if is_put_back(taken, into / name)), None)


def is_put_back(taken: Path, file: Path) -> bool:
    """Return whether a file is what a retry has put into the inbox of one in `RETRIED_FOLDER`.

    It is the same file, or the copy that was recorded. No other counts, whatever is in it: better
    two are rendered than none.
    """
    named = _TAKEN_OUT.fullmatch(taken.name)
    with contextlib.suppress(FileNotFoundError):
        theirs, ours = taken.lstat(), file.lstat()
        is_recorded = named is not None and named["inode"] == f"{ours.st_ino:x}"
        if is_recorded or os.path.samestat(ours, theirs):
            is_as_old = moves.is_same_time(ours.st_mtime_ns, theirs.st_mtime_ns)
            return is_as_old and pictures.is_same(taken, file)
    return False


def _taken_out(place: Path, retried: Path, name: str, inode: str = "") -> Path:
    """Move a file to a unique name, so that no other file can be moved in its place.

    inode: that of its copy, in hexadecimal
    """
    target = retried / f"{secrets.token_hex(4)}{inode}-{name}"
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(retried)
        try:
            os.rename(place, target)
        except FileNotFoundError:  # another retry may have removed the empty folder
            if not is_there(place):
                raise
        else:
            return target
