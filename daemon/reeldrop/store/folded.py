"""Keeps names apart that differ only in upper and lower case: on some clients they would be one."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from reeldrop.base.names import folded, marked_name

_MOST_FOLDERS = 100
"""Upper bound on the remembered answers of `_folded_names`."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names in the folders below `top`, as such clients compare them."""

    top: Path

    def clashes(self, place: PurePath) -> bool:
        """Return whether a name is not there, but one that differs from it only in case."""
        folder = self.top / place.parent
        if os.path.lexists(folder / place.name):
            return False
        with contextlib.suppress(OSError):  # it is missing; or else nothing can be put there
            return folded(place.name) in _folded_names(folder, folder.stat().st_mtime_ns)
        return False

    def apart(self, place: PurePath) -> PurePath:
        """Return the place of a folder: with a mark in its name if one is there that differs so."""
        marked = place.with_name(marked_name(place.name))
        is_marked = os.path.lexists(self.top / marked) or self.clashes(place)
        return marked if is_marked else place

    def within(self, place: PurePosixPath) -> PurePosixPath:
        """Return the place of a file whose folders are told apart in this way."""
        folders = PurePath()
        for part in place.parent.parts:
            folders = self.apart(folders / part)
        return PurePosixPath(folders) / place.name


@functools.lru_cache(_MOST_FOLDERS)
def _folded_names(folder: Path, _changed: int) -> frozenset[str]:
    """Return the folded names in a folder; it is read again when its mtime has changed."""
    return frozenset(map(folded, os.listdir(folder)))
