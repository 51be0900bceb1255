"""Folders below one that the operator has named, opened without following a link on the way.

What is below the inbox, the results and `_failed` was named by strangers, who may exchange a folder
for a link at any moment. So each folder is opened below the one before it, and what is done in it
is done by its descriptor: its path is `/proc/self/fd/<number>`, which every call takes. The folder
at the top may be a link, and is known again: an empty mount point looks like it.
Knows nothing of what is in these folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from reeldrop.base import durable

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_PLACE = os.O_PATH | _FOLDER
_HERE = PurePath()
_PIECE = 1 << 16
_CHANGED = "another folder is in its place; put the old one back, or start again"
_GONE = "it is gone with the share that it was on; mount that again, or start again"


@dataclass(frozen=True, slots=True)
class _Identity:
    """What tells a folder from others: device, inode, and what some file systems call theirs."""

    device: int
    inode: int
    file_system: int

    @classmethod
    def of(cls, place: int | Path) -> _Identity:
        status = os.stat(place)
        return cls(status.st_dev, status.st_ino, os.statvfs(place).f_fsid)


@dataclass(slots=True)
class Root:
    """A folder that the operator has named, which must stay the one that was found there first.

    `beside` is a folder on the same file system: a share that is mounted again may have another
    device number, and then so has that folder. One that `may_be_remade` is also the same when
    another took its place in the same mount, as who deletes it and makes it anew wants it.
    """

    path: Path
    beside: Path | None = None
    may_be_remade: bool = False
    _identity: _Identity | None = None
    _mount: tuple[int, int] | None = field(default=None, repr=False)

    @contextlib.contextmanager
    def opened(self, below: PurePath = _HERE, *, make: bool = False) -> Iterator[Path]:
        """Hold a folder below this one open, and give a path to it that holds meanwhile.

        With `make`, folders that are missing are made, durably. In errors that are raised
        meanwhile, the path is replaced by the one that people know.

        Raises:
            NotADirectoryError: something on the way is a link, or no folder.
            FileNotFoundError: something on the way is missing.
            OSError: ESTALE, another folder is in the place of this one.
        """
        fd = self._open(make)
        try:
            for depth, name in enumerate(below.parts):
                known_as = self.path.joinpath(*below.parts[: depth + 1])
                fd = _enter(fd, name, known_as, make)
            held = Path(f"/proc/self/fd/{fd}")
            with _named(held, self.path / below):
                yield held
        finally:
            os.close(fd)

    def check(self) -> None:
        """Look whether this is the folder that it was; one that was deleted is forgotten.

        Raises:
            OSError: ESTALE, it is not; or it can't be looked at.
        """
        with contextlib.suppress(FileNotFoundError):
            os.close(self._open(make=False))
            return
        self._require_deleted()
        self._identity = None

    def _open(self, make: bool) -> int:
        try:
            fd = os.open(self.path, _PLACE)
        except FileNotFoundError:
            if not make:
                raise
            self._require_deleted()
            durable.make_folder(Path(os.path.realpath(self.path)))
            self._identity = None
            fd = os.open(self.path, _PLACE)
        try:
            self._require_same(fd)
            if make:
                parent = Path(os.path.realpath(self.path)).parent
                durable.make_sure(parent, os.fstat(fd), is_new=False)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _require_same(self, fd: int) -> None:
        status, known = os.fstat(fd), self._identity
        if known is not None and (known.device, known.inode) == (status.st_dev, status.st_ino):
            return
        found, mount = _Identity.of(fd), _mount_of(fd)
        is_same = known is None or self._has_come_back(known, found)
        if not is_same and not (self.may_be_remade and mount == self._mount):
            raise OSError(errno.ESTALE, _CHANGED, str(self.path))
        self._identity, self._mount = found, mount

    def _has_come_back(self, known: _Identity, found: _Identity) -> bool:
        if found.inode != known.inode:
            return False
        is_beside = self.beside is not None and found.device == self.beside.stat().st_dev
        return is_beside or found.file_system == known.file_system

    def _require_deleted(self) -> None:
        """Refuse to make a folder that was not deleted, but is on a share that is not mounted."""
        if self._mount is not None and self._mount != _mount_above(self.path):
            raise OSError(errno.ESTALE, _GONE, str(self.path))


def _mount_above(folder: Path) -> tuple[int, int]:
    """Return on which mount the nearest folder is that is there, above one that is not."""
    for above in Path(os.path.realpath(folder)).parents:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(above, _PLACE)
            try:
                return _mount_of(fd)
            finally:
                os.close(fd)
    raise AssertionError("there is always a folder /")


def _mount_of(fd: int) -> tuple[int, int]:
    """Return the numbers of a mount and its device: that of a mount is given again to others."""
    described = Path(f"/proc/self/fdinfo/{fd}").read_text()
    return int(described.partition("mnt_id:")[2].split()[0]), os.fstat(fd).st_dev


def _enter(fd: int, name: str, known_as: Path, make: bool) -> int:
    """Return the descriptor of a folder in another, whose own is closed if all goes well."""
    if name in ("..", "/"):
        raise OSError(errno.EINVAL, "this leads out of the folder", str(known_as))
    above = Path(f"/proc/self/fd/{fd}")
    with _named(Path(name), known_as), _named(above, known_as.parent):
        inner = _open_or_make(fd, name) if make else _open_in(fd, name)
    os.close(fd)
    return inner


def _open_or_make(fd: int, name: str) -> int:
    is_new = False
    try:
        inner = _open_in(fd, name)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=fd)
            is_new = True
        inner = _open_in(fd, name)
    try:
        durable.make_sure(Path(f"/proc/self/fd/{fd}"), os.fstat(inner), is_new=is_new)
    except BaseException:
        os.close(inner)
        raise
    return inner


def _open_in(fd: int, name: str) -> int:
    try:
        return os.open(name, _PLACE | os.O_NOFOLLOW, dir_fd=fd)
    except NotADirectoryError as error:
        error.strerror = "this is a link or no folder, and no link is followed here"
        raise


@contextlib.contextmanager
def _named(path: Path, known_as: Path) -> Iterator[None]:
    """Replace the beginning of a path in errors by one that people know."""
    try:
        yield
    except OSError as error:
        for attribute in ("filename", "filename2"):
            name = getattr(error, attribute, None)
            if isinstance(name, str | Path) and Path(name).is_relative_to(path):
                with contextlib.suppress(AttributeError):  # PyAV's errors keep theirs
                    setattr(error, attribute, str(known_as / Path(name).relative_to(path)))
        raise


def open_plain(path: Path) -> int:
    """Open a plain file to read it, without following a link or waiting for a pipe.

    Raises:
        OSError: it can't be read; EINVAL where it is a link or something else.
    """
    _require_plain(path, os.lstat(path))  # to open a pipe would let its writer go on
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_plain(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_plain(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "this is not a plain file", str(path))


def have_same_bytes(one: Path, other: Path) -> bool:
    """Return whether two plain files have the same content.

    Raises:
        OSError: one of them can't be read, or is no plain file.
    """
    with open(open_plain(one), "rb") as ours, open(open_plain(other), "rb") as theirs:
        if os.fstat(ours.fileno()).st_size != os.fstat(theirs.fileno()).st_size:
            return False
        while piece := ours.read(_PIECE):
            if piece != theirs.read(_PIECE):
                return False
        return not theirs.read(1)


def content(path: Path, most: int) -> bytes:
    """Return the content of a plain file, opened like that.

    Raises:
        OSError: it can't be read; EFBIG where it has more than so many bytes.
    """
    with open(open_plain(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"this file has more than {most:,} bytes", str(path))
    return data
