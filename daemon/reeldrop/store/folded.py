"""Keeps names apart that differ only in upper and lower case: on some clients they would be one."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.names import folded, marked_name
from reeldrop.base.trouble import is_there

_MOST_FOLDERS = 100
"""Upper bound on the folders whose names are remembered."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names in the folders below `top`, as such clients compare them."""

    top: Path

    def clashes(self, place: PurePath) -> bool:
        """Return whether a name is not there, but one that differs from it only in case.

        Raises:
            OSError: one of `DISK_ERRORS`; nobody can know.
        """
        folder = self.top / place.parent
        if is_there(folder / place.name):
            return False
        try:
            return folded(place.name) in _folded_names(folder)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            return False  # it is missing; or else nothing can be put there

    def apart(self, place: PurePath) -> PurePath:
        """Return the place of a folder: with a mark in its name if one is there that differs so."""
        marked = place.with_name(marked_name(place.name))
        is_marked = is_there(self.top / marked) or self.clashes(place)
        return marked if is_marked else place

    def within(self, place: PurePosixPath) -> PurePosixPath:
        """Return the place of a file whose folders are told apart in this way."""
        folders = PurePath()
        for part in place.parent.parts:
            folders = self.apart(folders / part)
        return PurePosixPath(folders) / place.name


def _folded_names(folder: Path) -> frozenset[str]:
    """Return the folded names in a folder.

    What was read is kept until the folder's times change, but only if it was read when any change
    would have changed them.
    """
    found = folder.stat()
    state = _State(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    is_sure = time.monotonic() - _first_seen(state) > state.unsure_seconds
    return _kept(folder, state) if is_sure else _read(folder)


class _State(NamedTuple):
    """What a folder is, and when it was changed, in ns by the clock of its file system."""

    device: int
    inode: int
    mtime: int
    ctime: int

    @property
    def unsure_seconds(self) -> float:
        """How long the folder may change again without other times: FAT counts two seconds each."""
        is_coarse = self.mtime % 10**9 == 0 or self.ctime % 10**9 == 0
        return 2.5 if is_coarse else 0.1


@functools.lru_cache(_MOST_FOLDERS)
def _first_seen(_state: _State) -> float:
    """Return when a folder was first seen in a state, by our clock: others' may be wrong."""
    return time.monotonic()


@functools.lru_cache(_MOST_FOLDERS)
def _kept(folder: Path, _state: _State) -> frozenset[str]:
    return _read(folder)


def _read(folder: Path) -> frozenset[str]:
    return frozenset(map(folded, os.listdir(folder)))
