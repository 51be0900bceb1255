"""A disk that logs every write and flush, so that any power cut can be replayed.

Run as a program, it provides one file, `disk`, in a folder. A loop device on that file is a block
device whose writes and flushes arrive here in the order in which a real disk would receive them.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import os
import random
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEADLINE_SECONDS = 30.0

_HEAD = struct.Struct("<QqI")  # nanoseconds, offset, length; of a flush, _FLUSH
_FLUSH = -1
_SECTORS = 4096
"""Bytes that a disk writes atomically. Of longer writes, any part may survive a power cut."""

_ODDS = (0.0, 0.2, 0.5, 0.9, 1.0)
"""The probability that a write without a later flush survives, for each state in turn."""


@dataclass(frozen=True, slots=True)
class Change:
    """A write, or a flush if `offset` is _FLUSH. `at` is monotonic time in nanoseconds."""

    at: int
    offset: int
    data: bytes

    @property
    def is_flush(self) -> bool:
        return self.offset == _FLUSH


@dataclass(frozen=True)
class Changes:
    """All writes and flushes of a disk, in order."""

    changes: list[Change]

    @classmethod
    def read(cls, log: Path) -> Changes:
        raw, changes, place = log.read_bytes(), [], 0
        while place < len(raw):
            at, offset, length = _HEAD.unpack_from(raw, place)
            place += _HEAD.size
            changes.append(Change(at, offset, raw[place : place + length]))
            place += length
        return cls(changes)

    def count_until(self, at: int) -> int:
        """Return the number of changes up to a time."""
        return bisect.bisect_right(self.changes, at, key=lambda change: change.at)

    def play(self, image: Path, count: int, dice: random.Random) -> None:
        """Bring a copy of the first image into a state that a power cut could leave.

        count: the number of changes before the cut. All of those before the last flush are applied,
            and a random part of the others.
        """
        flushes = (n for n in range(count - 1, -1, -1) if self.changes[n].is_flush)
        safe, odds = next(flushes, 0), dice.choice(_ODDS)
        with open(image, "r+b", buffering=0) as disk:
            for number, change in enumerate(self.changes[:count]):
                for start in range(0, len(change.data), _SECTORS):
                    if number < safe or dice.random() < odds:
                        piece = change.data[start : start + _SECTORS]
                        os.pwrite(disk.fileno(), piece, change.offset + start)


@contextlib.contextmanager
def logged_disk(image: Path, log: Path, folder: Path) -> Iterator[Path]:
    """Provide an image as a file whose changes are logged; the log is complete at exit."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, __file__, str(image), str(log), str(folder)])
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (folder / "disk").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the logged disk did not come up (exit code {process.poll()})")
        time.sleep(0.01)
    try:
        yield folder / "disk"
    finally:
        # Lazy, because the loop device on it is released some time after its own unmount.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        process.wait(DEADLINE_SECONDS)


class Disk:
    """A file system for mfusepy: a folder with one file, whose changes are logged."""

    use_ns = True

    def __init__(self, image: str, log: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = open(log, "wb", buffering=1 << 20)  # noqa: SIM115 (destroy closes it)

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == "/disk":
            size = os.fstat(self._image).st_size
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}
        raise FileNotFoundError(errno.ENOENT, "there is only the disk", path)

    def readdir(self, _path: str, _handle: int) -> list[str]:
        return [".", "..", "disk"]

    def open(self, _path: str, _flags: int) -> int:
        return 0

    def read(self, _path: str, size: int, offset: int, _handle: int) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, _path: str, data: bytes, offset: int, _handle: int) -> int:
        self._log.write(_HEAD.pack(time.monotonic_ns(), offset, len(data)) + data)
        return os.pwrite(self._image, data, offset)

    def fsync(self, _path: str, _data_only: int, _handle: int) -> int:
        self._log.write(_HEAD.pack(time.monotonic_ns(), _FLUSH, 0))
        return 0

    def destroy(self, _path: str) -> None:
        self._log.close()
        os.close(self._image)


def _serve(image: str, log: str, folder: str) -> None:
    import mfusepy  # here, because the import needs its C library

    options = {"foreground": True, "nothreads": True, "big_writes": True, "max_write": 131072}
    mfusepy.FUSE(Disk(image, log), folder, **options)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
