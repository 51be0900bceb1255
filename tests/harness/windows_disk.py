"""A file system with the limits of Windows, as behind SMB, NTFS and FAT.

Run as a program, it mirrors one folder in another, but refuses names that Windows refuses, links,
and paths that are too long for Windows programs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 30.0
REFUSED = set('<>:"|?*\\')
LONGEST = 259 - 40
"""UTF-16 units of a path within the folder, if the folder's own path has 40."""


@contextlib.contextmanager
def windows_disk(behind: Path, folder: Path) -> Iterator[Path]:
    """Mirror the folder `behind` in `folder` with the limits of Windows."""
    behind.mkdir(parents=True)
    folder.mkdir(parents=True)
    device = folder.stat().st_dev
    process = subprocess.Popen([sys.executable, __file__, str(behind), str(folder)])
    deadline = time.monotonic() + DEADLINE_SECONDS
    while folder.stat().st_dev == device:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the Windows disk did not come up (exit code {process.poll()})")
        time.sleep(0.01)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        process.wait(DEADLINE_SECONDS)


class Disk:
    """A file system for mfusepy: that of another folder, with the rules of Windows."""

    use_ns = True

    def __init__(self, behind: str) -> None:
        self._behind = behind

    def _of(self, path: str) -> str:
        if len(path.encode("utf-16-le")) // 2 > LONGEST and "~syncthing~" not in path:
            raise OSError(errno.ENAMETOOLONG, "File name too long", path)
        for part in path.split("/"):
            if set(part) & REFUSED or part.endswith((" ", ".")):
                raise OSError(errno.EINVAL, "Invalid argument", path)
        return self._behind + path

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, Any]:
        status = os.lstat(self._of(path))
        names = ("mode", "nlink", "size", "uid", "gid", "ino")
        times = {f"st_{n}": getattr(status, f"st_{n}_ns") for n in ("atime", "mtime", "ctime")}
        return {**times, **{f"st_{n}": getattr(status, f"st_{n}") for n in names}}

    def readdir(self, path: str, _handle: int) -> list[str]:
        return [".", "..", *os.listdir(self._of(path))]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._of(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._of(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._of(path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self._of(old), self._of(new))

    def link(self, target: str, _source: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", target)

    def create(self, path: str, mode: int, _info: object = None) -> int:
        return os.open(self._of(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._of(path), flags)

    def read(self, _path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, _path: str, data: bytes, offset: int, handle: int) -> int:
        return os.pwrite(handle, data, offset)

    def truncate(self, path: str, length: int, _handle: int | None = None) -> None:
        os.truncate(self._of(path), length)

    def fsync(self, _path: str, _data_only: int, handle: int) -> None:
        os.fsync(handle)

    def release(self, _path: str, handle: int) -> None:
        os.close(handle)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self._of(path), ns=times)

    def chmod(self, _path: str, _mode: int) -> None:
        pass  # Windows has no such permissions


def _serve(behind: str, folder: str) -> None:
    import mfusepy  # here, because the import needs its C library

    mfusepy.FUSE(Disk(behind), folder, foreground=True, nothreads=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
