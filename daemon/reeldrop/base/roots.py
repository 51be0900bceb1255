"""The folders that the operator named, and how those below them are opened without following links.

Strangers name what is below the inbox, the results and `_failed/`, and may swap a folder for a
link at any moment. So each folder is opened relative to its parent's descriptor, and used by the
path `/proc/self/fd/<number>`, which every call accepts. The root itself may be a link; its identity
is remembered, to tell the root from the empty mount point that it was mounted on.
Knows nothing of what is in these folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from reeldrop.base import durable, proc

NOTHING_THERE = (FileNotFoundError, NotADirectoryError, PermissionError)
"""Errors of opening a folder in which nothing of ours can be."""

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_PLACE = os.O_PATH | _FOLDER
_HERE = PurePath()
_CHANGED = "another folder is in its place; put the old one back, or restart"
_GONE = "its share is not mounted any more; mount it again, or restart"


@dataclass(frozen=True, slots=True)
class _Identity:
    """Identity of a folder: device, inode, and the file system's id (`f_fsid`)."""

    device: int
    inode: int
    file_system: int

    @classmethod
    def of(cls, place: int | Path) -> _Identity:
        status = os.stat(place)
        return cls(status.st_dev, status.st_ino, os.statvfs(place).f_fsid)


@dataclass(frozen=True, slots=True)
class _Mount:
    """What is mounted where.

    Not the kernel's number of the mount and not the device's: a share that is mounted again gets
    others, and another share may get the same ones.
    """

    folder: str
    """The path within the mounted file system."""
    point: str
    origin: tuple[str, ...]
    """Type and source; of a disk the type alone, as its device may get another name."""
    file_system: int

    @classmethod
    def of(cls, fd: int) -> _Mount:
        described = Path(f"/proc/self/fdinfo/{fd}").read_text()
        number = described.partition("mnt_id:")[2].split()[0]
        file_system = os.statvfs(fd).f_fsid
        for found in proc.mounts():
            if found.number == number:
                is_disk = found.source.startswith("/dev/")
                origin = (found.kind,) if is_disk else (found.kind, found.source)
                return cls(found.folder, found.point, origin, file_system)
        device = f"{os.fstat(fd).st_dev}"
        return cls(number, device, (), file_system)  # the mount of a chroot's root is not listed


@dataclass(slots=True)
class Root:
    """A folder that the operator named; it must stay the folder that was found there first.

    beside: a folder on the same file system. It confirms the new device number of a share that
        was mounted again.
    may_be_remade: accept another folder in the same mount, made after the first was deleted.
    """

    path: Path
    beside: Path | None = None
    may_be_remade: bool = False
    _identity: _Identity | None = None
    _mount: _Mount | None = field(default=None, repr=False)

    @contextlib.contextmanager
    def opened(self, below: PurePath = _HERE, *, make: bool = False) -> Iterator[Path]:
        """Hold a folder below this one open, and yield a path to it that is valid meanwhile.

        With `make`, missing folders are created durably. Errors raised in the block name the
        folder's ordinary path.

        Raises:
            NotADirectoryError: a part of the path is a link, or no folder.
            FileNotFoundError: a part of the path is missing.
            OSError: ESTALE if another folder is in the place of this one.
        """
        fd = self._open(make)
        try:
            known_as = str(self.path)
            for name in below.parts:
                known_as = os.path.join(known_as, name)
                fd = _enter(fd, name, known_as, make)
            held = f"/proc/self/fd/{fd}"
            with _named(held, known_as):
                yield Path(held)
        finally:
            os.close(fd)

    def check(self) -> None:
        """Check that this is still the same folder; forget its identity if it was deleted.

        Raises:
            OSError: ESTALE if it is another folder, or its share is gone; or it can't be opened.
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
                parent = f"/proc/self/fd/{fd}/.."
                with _named(parent, str(self.path.parent)):
                    durable.make_sure(parent, os.fstat(fd), is_new=False)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _require_same(self, fd: int) -> None:
        status, known = os.fstat(fd), self._identity
        if known is not None and (known.device, known.inode) == (status.st_dev, status.st_ino):
            return
        found, mount = _Identity.of(fd), _Mount.of(fd)
        is_same = known is None or self._has_come_back(known, found, mount)
        if not is_same and not (self.may_be_remade and mount == self._mount):
            raise OSError(errno.ESTALE, _CHANGED, str(self.path))
        self._identity, self._mount = found, mount

    def _has_come_back(self, known: _Identity, found: _Identity, mount: _Mount) -> bool:
        if found.inode != known.inode:
            return False
        is_beside = self.beside is not None and found.device == self.beside.stat().st_dev
        is_origin = self._mount is not None and mount.origin == self._mount.origin
        return is_beside or (is_origin and found.file_system == known.file_system)

    def _require_deleted(self) -> None:
        """Raise ESTALE if the folder is missing because its share is not mounted."""
        if self._mount is not None and self._mount != _mount_above(self.path):
            raise OSError(errno.ESTALE, _GONE, str(self.path))


def _mount_above(folder: Path) -> _Mount:
    """Return the mount of the nearest existing folder above a missing one."""
    for above in Path(os.path.realpath(folder)).parents:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(above, _PLACE)
            try:
                return _Mount.of(fd)
            finally:
                os.close(fd)
    raise AssertionError("there is always a folder /")


def _enter(fd: int, name: str, known_as: str, make: bool) -> int:
    """Return the descriptor of a subfolder; close the parent's on success."""
    if name in ("..", "/"):
        raise OSError(errno.EINVAL, "this leads out of the folder", known_as)
    above = f"/proc/self/fd/{fd}"
    with _named(name, known_as), _named(above, os.path.dirname(known_as)):
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
        durable.make_sure(f"/proc/self/fd/{fd}", os.fstat(inner), is_new=is_new)
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
def _named(path: str, known_as: str) -> Iterator[None]:
    """Replace the prefix `path` by `known_as` in the file names of errors.

    PyAV's errors, whose names are read-only, are replaced.
    """
    try:
        yield
    except OSError as error:
        for attribute in ("filename", "filename2"):
            name = getattr(error, attribute, None)
            if isinstance(name, str | Path) and f"{name}/".startswith(f"{path}/"):
                known = known_as + str(name)[len(path) :]
                try:
                    setattr(error, attribute, known)
                except AttributeError:
                    raise OSError(error.errno, error.strerror, known) from error
        raise
