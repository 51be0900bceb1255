"""Move and copy files durably, also from one file system to another. Nothing is overwritten.

A copy has its name only when it is whole and on the disk, and its source is removed after that. So
a kill may leave both, and a repeated `move` removes the source.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from reeldrop.base import durable, temporaries
from reeldrop.base.plain_files import pour
from reeldrop.base.trouble import is_there, naming


def move(source: Path, target: Path, owner: str) -> None:
    """Move a regular file to a name that must be free, also across file systems.

    Across file systems, the whole copy has the target's name before the source is removed. A source
    that was replaced meanwhile stays.

    Raises:
        FileExistsError: the target's name is taken.
    """
    try:
        durable.rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target, owner)


def _move_across(source: Path, target: Path, owner: str) -> None:
    before = source.lstat()
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EXDEV, "only a plain file can be copied there", str(source))
    if not (is_there(target) and _is_copy(source, target)):
        copy(source, target, owner)
    # An earlier call may have made the copy, and failed before this.
    durable.fsync_folder(target.parent)
    remove_copied(source, before)


def remove_copied(source: Path, before: os.stat_result) -> None:
    """Remove a file of which there is a copy, unless it is not as `before` the copy any more."""
    with contextlib.suppress(FileNotFoundError):
        now = source.lstat()
        if all(getattr(now, f) == getattr(before, f) for f in ("st_ino", "st_mtime_ns", "st_size")):
            os.unlink(source)
    with contextlib.suppress(FileNotFoundError):  # another process has removed the empty folder
        durable.fsync_folder(source.parent)


def copy(source: Path, target: Path, owner: str) -> None:
    """Copy a plain file to a name that must be free; with its times, where we may set them.

    Raises:
        FileExistsError: the target's name is taken.
        OSError: EINVAL if the source is a link or no plain file.
    """
    with copied(source, target, owner) as unfinished:
        durable.rename_new(unfinished, target)


@contextlib.contextmanager
def copied(source: Path, target: Path, owner: str) -> Iterator[Path]:
    """Yield a whole copy of a plain file under a temporary name beside `target`.

    Afterwards it is removed, if the block has not renamed it. Raises what `copy` does.
    """
    unfinished = temporaries.fresh(target, f"{owner}-copy")
    try:
        with naming(target), open(unfinished, "xb") as copy:
            pour(source, copy)
            copy.flush()
            with contextlib.suppress(PermissionError):  # on some shares, we do not own what we make
                shutil.copystat(source, unfinished, follow_symlinks=False)
            os.fsync(copy.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _is_copy(source: Path, target: Path) -> bool:
    """Return whether the target is a copy by a `move` killed before it removed the source."""
    ours, theirs = source.lstat(), target.lstat()
    if not stat.S_ISREG(theirs.st_mode) or ours.st_size != theirs.st_size:
        return False
    same = is_same_time(ours.st_mtime_ns, theirs.st_mtime_ns)
    return same and filecmp.cmp(source, target, shallow=False)


def is_same_time(one: int, other: int) -> bool:
    """Return whether two times in ns match, if one may be truncated as file systems do.

    They keep 100 ns (NTFS), us, ms, 10 ms (exFAT), s, or 2 s (FAT). Two different times in whole
    seconds never match: where only seconds are kept, a `touch` must still ask for a new render.
    """
    is_whole = one % 10**9 == 0 == other % 10**9
    return any(
        one // step == other // step and 0 in (one % step, other % step)
        for step in (1, 100, 10**3, 10**6, 10**7, 10**9, *(() if is_whole else (2 * 10**9,)))
    )


def move_to_free_name(source: Path, folder: Path, name: str, owner: str) -> Path:
    """Move a file into a folder under the first free name, and return its path."""
    durable.make_folder(folder)
    before = source.lstat()
    for candidate in durable.free_names(name):
        if _is_taken_by_another(f"{folder}/{candidate}", before):
            continue  # of thousands, each failed move would take ten times as long
        with contextlib.suppress(FileExistsError):
            move(source, folder / candidate, owner)
            return folder / candidate
    raise AssertionError("free_names never ends")


def _is_taken_by_another(target: str, source: os.stat_result) -> bool:
    """Return whether a name is certainly taken: not by what a killed `move` of the source left."""
    try:
        there = os.lstat(target)
    except OSError:  # it is free, or else the move says what is wrong
        return False
    may_be_copy = there.st_size == source.st_size
    may_be_copy &= is_same_time(there.st_mtime_ns, source.st_mtime_ns)
    return not (may_be_copy or os.path.samestat(there, source))
