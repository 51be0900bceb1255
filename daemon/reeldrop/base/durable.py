"""Durable file operations: afterwards a file is whole and on the disk, or not there at all.

Each change is one rename after an fsync of the file, followed by an fsync of the folder, so that
neither a kill nor a power cut leaves a partial result; `write_unsynced` alone withstands only a
kill, as does `rename_unsynced` until its caller flushes the folders. Nothing is overwritten, except
by `write`, `write_unsynced` and `replace`, whose callers own the name.
Knows nothing of jobs or videos.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import secrets
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from reeldrop.base import temporaries
from reeldrop.base.plain_files import OPEN_FLAGS
from reeldrop.base.trouble import is_there, naming

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_NOT_HERE = {errno.EINVAL, errno.ENOSYS}
"""Errors of a kernel or a file system that lacks RENAME_NOREPLACE."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}

_sure: set[tuple[int, int]] = set()
"""Device and inode of folders whose names are known to be on the disk."""
_MOST_SURE = 4096
"""Size of `_sure` at which it is cleared."""


def fsync_file(path: Path | str, flags: int = os.O_RDONLY | os.O_CLOEXEC) -> None:
    """Flush the content of what `flags` open to the disk."""
    fd = os.open(path, flags)
    try:
        with naming(Path(path)):
            os.fsync(fd)
    finally:
        os.close(fd)


def fsync_untrusted(path: Path) -> None:
    """Flush to the disk the content of a file that a stranger made.

    Does nothing if it is not a plain file, or can't be read.
    """
    if stat.S_ISREG(path.lstat().st_mode):
        with contextlib.suppress(PermissionError):  # a later read will fail, too
            fsync_file(path, OPEN_FLAGS)


def fsync_folder(folder: Path | str) -> None:
    """Flush a folder's entries to the disk."""
    try:
        fsync_file(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # unsupported by some network shares
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and its parents durably; it may exist already.

    An existing folder is flushed once per process, too: the process that made it may have been
    killed before the fsync.
    """
    is_new = False
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            is_new = True
    make_sure(folder.parent, folder.stat(), is_new=is_new)


def make_sure(parent: Path | str, folder: os.stat_result, *, is_new: bool) -> None:
    """Flush a folder's name to the disk, unless this process has done so before."""
    identity = folder.st_dev, folder.st_ino
    if is_new:  # it may reuse the inode of a deleted folder
        _sure.discard(identity)
    if identity not in _sure:
        with contextlib.suppress(PermissionError):  # not readable, so nothing in it is ours
            fsync_folder(parent)
        if len(_sure) >= _MOST_SURE:
            _sure.clear()
        _sure.add(identity)


def write(path: Path, data: bytes, owner: str) -> None:
    """Write a file under a name that the caller owns, replacing its earlier content."""
    _write_out(path, data, owner, replace)


def write_new(path: Path, data: bytes, owner: str) -> None:
    """Write a file under a name that must be free; a watcher sees it arrive by a rename.

    Raises:
        FileExistsError: the name is taken.
    """
    _write_out(path, data, owner, rename_new)


def _write_out(
    path: Path, data: bytes, owner: str, into_place: Callable[[Path, Path], None]
) -> None:
    unfinished = temporaries.fresh(path, f"{owner}-write")
    try:
        with naming(path), open(unfinished, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        into_place(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def replace(source: Path, target: Path) -> None:
    """Rename within one file system, replacing the target, and flush both folders."""
    os.replace(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def write_unsynced(path: Path, data: bytes, rights: int | None = None) -> None:
    """Replace a file of our own without an fsync: a kill leaves it whole, a power cut may lose it.

    rights: the mode of the new file; None for that of the umask
    """
    unfinished = path.with_suffix(".tmp")
    make_way(path)
    make_way(unfinished)
    with naming(path):
        unfinished.write_bytes(data)
    if rights is not None:
        unfinished.chmod(rights)
    os.replace(unfinished, path)


def rename_new(source: Path, target: Path) -> None:
    """Rename within one file system to a name that must be free, and flush both folders.

    Raises:
        FileExistsError: the target's name is taken.
        OSError: EXDEV if source and target are on different file systems.
    """
    rename_unsynced(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def rename_unsynced(source: Path, target: Path) -> None:
    """Rename as `rename_new` does, but leave it to the caller to flush the folders.

    Atomic where kernel and file system support it; otherwise the new name is linked before the old
    one is removed, or, without links, checked before the rename.

    Raises:
        FileExistsError: the target's name is taken.
        OSError: EXDEV if source and target are on different file systems.
    """
    try:
        rename_exclusively(source, target)
    except FileExistsError:
        # One file has both names: an earlier call was killed before its unlink.
        linked = source.lstat()
        if linked.st_nlink < 2 or not os.path.samestat(linked, target.lstat()):
            raise
        _remove_linked(source, target, linked)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        _rename_in_steps(source, target)


def rename_exclusively(source: Path, target: Path) -> None:
    """Rename to a name that must be free, by renameat2(2), which Python does not offer.

    Raises:
        OSError: EEXIST, EXDEV; EINVAL or ENOSYS where RENAME_NOREPLACE is not supported.
    """
    names = (_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target))
    if _libc().renameat2(*names, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        has_source = number != errno.ENOENT or is_there(source)
        raise OSError(number, os.strerror(number), str(target if has_source else source))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _rename_in_steps(source: Path, target: Path) -> None:
    """Rename by link and unlink; without links, check the name, then rename."""
    before = source.lstat()
    if stat.S_ISREG(before.st_mode) and _link(source, target):
        _remove_linked(source, target, before)
        return
    if is_there(target):
        raise FileExistsError(errno.EEXIST, "the name is taken", str(target))
    os.rename(source, target)


def _link(source: Path, target: Path) -> bool:
    """Link a file to a second name; return False where the file system has no links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not os.path.samestat(source.lstat(), target.lstat()):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _remove_linked(source: Path, target: Path, linked: os.stat_result) -> None:
    """Remove the old name of a file once the new one is on the disk.

    Another file that has got the old name meanwhile stays.
    """
    fsync_folder(target.parent)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(source.lstat(), linked):
            os.unlink(source)


def free_names(name: str) -> Iterator[str]:
    """Yield a file name, then the same with -2, -3, ... before its suffix."""
    yield name
    yield from map(_numbered(name), itertools.count(2))


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return one of `free_names` that is not taken: the first, if all before it are.

    Thousands of names cost a few looks only.
    """
    if not is_taken(name):
        return name
    numbered = _numbered(name)
    taken, free = 1, 2
    while is_taken(numbered(free)):
        taken, free = free, 2 * free - 1
    between = range(free)
    found = bisect_left(between, True, taken + 1, key=lambda n: not is_taken(numbered(n)))
    return numbered(found)


def _numbered(name: str) -> Callable[[int], str]:
    path = PurePath(name)
    stem, suffix = path.stem, path.suffix
    return lambda number: f"{stem}-{number}{suffix}"


def make_way(path: Path) -> None:
    """Rename what stands at the path of a file of our own, if it is not a plain file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            os.rename(path, path.with_name(f".{path.name}-{secrets.token_hex(4)}"))
