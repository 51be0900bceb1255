"""Files that are whole and on the disk, or not there at all.

Every change here is one rename after an fsync of the file, followed by an fsync of the folder, so
that neither a kill nor a power cut leaves something half done. Nothing is ever overwritten, except
by `write` and `replace` where the caller owns the name. A temporary name has its owner in it: a
job, so that who takes over after a kill can clear it away, or a random number of a command.
Knows nothing of jobs or videos.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import filecmp
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

_TEMPORARY = ("~syncthing~reeldrop-", ".~.tmp")
"""Prefix and suffix of temporary names, which tools skip that send what they find in a folder:
Syncthing what begins with `~syncthing~`, Nextcloud what has `.~` in it, others `*.tmp`."""

_COMMAND = "command-"
LEFT_SECONDS = 3600.0
"""After so long without a change, a temporary file of a command is what a kill has left."""

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_NOT_HERE = {errno.EINVAL, errno.ENOSYS}
"""What a kernel or a file system says that has no renames to a name that must be free."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


_sure: set[tuple[int, int]] = set()
"""Folders whose names are known to be on the disk, by device and inode; at most so many."""
_MOST_SURE = 4096


def temporary(path: Path, owner: str) -> Path:
    """Return a temporary name beside `path`; the same owner gets the same name again."""
    prefix, suffix = _TEMPORARY
    return path.with_name(f"{prefix}{owner}{suffix}")


def _fresh(unfinished: Path) -> Path:
    """Free a temporary name that an earlier call has left.

    To write into what has it could change a file under its final name: an end between link and
    unlink leaves one file with both names.
    """
    unfinished.unlink(missing_ok=True)
    return unfinished


def command_owner() -> str:
    """Return an owner that no other process has, on whatever host and in whatever container."""
    return f"{_COMMAND}{secrets.token_hex(8)}"


def remove_temporaries(folder: Path, owner: str) -> None:
    """Remove what is left in a folder under the temporary names that begin with `owner`."""
    for entry in _temporaries(folder, owner):
        os.unlink(entry.path)


def remove_left(folder: Path, beside: Path) -> None:
    """Remove the temporary files of commands that were killed long before a file was changed.

    The file is in the folder, so that the clock of its file system says for how long. One of a
    command that is at work stays: it changed a moment ago.
    """
    with contextlib.suppress(OSError):  # it has been claimed, or the folder is no longer there
        limit = beside.lstat().st_ctime - LEFT_SECONDS
        for entry in _temporaries(folder, _COMMAND):
            with contextlib.suppress(OSError):  # somebody has made a folder of that name
                if entry.stat(follow_symlinks=False).st_ctime < limit:
                    os.unlink(entry.path)


def _temporaries(folder: Path, owner: str) -> Iterator[os.DirEntry[str]]:
    missing = (FileNotFoundError, NotADirectoryError)
    with contextlib.suppress(*missing), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.name.startswith(_TEMPORARY[0] + owner):
                yield entry


def is_temporary(name: str) -> bool:
    """Return whether a name is one that `temporary` gives."""
    prefix, suffix = _TEMPORARY
    return name.startswith(prefix) and name.endswith(suffix)


def fsync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_untrusted(path: Path) -> None:
    """Wait until the content of a file that a stranger made is on the disk.

    What is no plain file, or can't be read, is left alone.
    """
    if stat.S_ISREG(path.lstat().st_mode):
        with contextlib.suppress(PermissionError):  # nobody will read it later on, either
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network shares can't
            raise
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably. One that is there already is fine.

    It may have been made by a process that was killed before it had waited for the disk, so that
    is done once for each folder.
    """
    is_new = False
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            is_new = True
    make_sure(folder.parent, folder.stat(), is_new=is_new)


def make_sure(parent: Path, folder: os.stat_result, *, is_new: bool) -> None:
    """Wait until a folder's name is on the disk, unless this process has done so before."""
    identity = folder.st_dev, folder.st_ino
    if is_new:  # it may have the number of one that was deleted
        _sure.discard(identity)
    if identity not in _sure:
        with contextlib.suppress(PermissionError):  # closed to us, so nothing in it is ours
            fsync_folder(parent)
        if len(_sure) >= _MOST_SURE:
            _sure.clear()
        _sure.add(identity)


def write(path: Path, data: bytes, owner: str) -> None:
    """Write a file of the caller's own, replacing what it wrote there before."""
    _write_out(path, data, owner, replace)


def write_new(path: Path, data: bytes, owner: str) -> None:
    """Write a file under a name that must be free; a watcher sees that it came by a rename.

    Raises:
        FileExistsError: the name is taken.
    """
    _write_out(path, data, owner, rename_new)


def _write_out(
    path: Path, data: bytes, owner: str, into_place: Callable[[Path, Path], None]
) -> None:
    unfinished = _fresh(temporary(path, f"{owner}-write"))
    try:
        with open(unfinished, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        into_place(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def replace(source: Path, target: Path) -> None:
    """Rename within one file system, replacing the target, and wait for the disk."""
    os.replace(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def rename_new(source: Path, target: Path) -> None:
    """Rename within one file system to a name that must be free, and wait for the disk.

    It is done in one instant where the file system can; else the old name goes after the new one
    has come.

    Raises:
        FileExistsError: the target's name is taken.
        OSError: EXDEV, the two are not on one file system.
    """
    try:
        rename_exclusively(source, target)
    except FileExistsError:
        # Both names for one file: an earlier call ended before it could unlink.
        if source.lstat().st_nlink < 2 or not os.path.samestat(source.lstat(), target.lstat()):
            raise
        _remove_linked(source, target)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        _rename_in_steps(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def rename_exclusively(source: Path, target: Path) -> None:
    """Rename to a name that must be free by renameat2(2), which Python does not have.

    Raises:
        OSError: EEXIST, EXDEV; EINVAL or ENOSYS where it can't be done in this way.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = (_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target))
    if libc.renameat2(*names, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        is_there = number != errno.ENOENT or os.path.lexists(source)
        raise OSError(number, os.strerror(number), str(target if is_there else source))


def _rename_in_steps(source: Path, target: Path) -> None:
    """Do the same by a link, which fails where the name is taken, or by a look at the name."""
    if stat.S_ISREG(source.lstat().st_mode) and _link(source, target):
        _remove_linked(source, target)
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "the name is taken", str(target))
    os.rename(source, target)


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name; false where the file system has no links."""
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


def _remove_linked(source: Path, target: Path) -> None:
    """Remove the old name of a file when the new one is on the disk."""
    fsync_folder(target.parent)
    source.unlink(missing_ok=True)


def move(source: Path, target: Path, owner: str) -> None:
    """Move a regular file to a name that must be free, on whatever file system that is.

    Across file systems the copy appears whole under the target's name before the source goes,
    which stays if it has been replaced meanwhile.

    Raises:
        FileExistsError: the target's name is taken.
    """
    try:
        rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target, owner)


def _move_across(source: Path, target: Path, owner: str) -> None:
    before = source.lstat()
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EXDEV, "only a plain file can be copied to there", str(source))
    if not (os.path.lexists(target) and _is_copy(source, target)):
        _copy(source, target, owner)
    with contextlib.suppress(FileNotFoundError):
        now = source.lstat()
        if (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
            os.unlink(source)
    fsync_folder(source.parent)


def _copy(source: Path, target: Path, owner: str) -> None:
    unfinished = _fresh(temporary(target, f"{owner}-copy"))
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as ours, open(unfinished, "xb") as copy:
            shutil.copyfileobj(ours, copy)
            copy.flush()
            shutil.copystat(source, unfinished, follow_symlinks=False)
            os.fsync(copy.fileno())
        rename_new(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_copy(source: Path, target: Path) -> bool:
    """Return whether an earlier `move` was killed between copying and removing the source."""
    ours, theirs = source.lstat(), target.lstat()
    if not stat.S_ISREG(theirs.st_mode) or ours.st_size != theirs.st_size:
        return False
    same = is_same_time(ours.st_mtime_ns, theirs.st_mtime_ns)
    return same and filecmp.cmp(source, target, shallow=False)


def is_same_time(one: int, other: int) -> bool:
    """Compare times in ns, of which file systems and tools keep parts: 100 ns, us, ms or s."""
    return any(
        one // step == other // step and 0 in (one % step, other % step)
        for step in (1, 100, 10**3, 10**6, 10**9)
    )


def free_names(stem: str, suffix: str) -> Iterator[str]:
    """Yield stem and suffix, then with -2, -3, ... between them."""
    yield f"{stem}{suffix}"
    for number in itertools.count(2):
        yield f"{stem}-{number}{suffix}"


def move_to_free_name(source: Path, folder: Path, name: str, owner: str) -> Path:
    """Move a file into a folder under the first free name, and return where it is."""
    make_folder(folder)
    for candidate in free_names(*split_name(name)):
        with contextlib.suppress(FileExistsError):
            move(source, folder / candidate, owner)
            return folder / candidate
    raise AssertionError("free_names never ends")


def split_name(name: str) -> tuple[str, str]:
    """Return a file name's stem and suffix."""
    path = PurePath(name)
    return path.stem, path.suffix


def make_way(path: Path) -> None:
    """Rename what stands where a plain file of our own belongs, and is none. It is kept."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            os.rename(path, path.with_name(f".{path.name}-{secrets.token_hex(4)}"))
