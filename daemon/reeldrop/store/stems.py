"""Names of new videos in a folder: each has a stem that no file there has, nor another thread gets.

Does not know what is written under a name.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from reeldrop.base import durable
from reeldrop.base.names import PICTURE_SUFFIXES, POSTER_SUFFIX, SIDECAR_SUFFIX, folded

USE_FACTOR = 20.0
"""How much longer than a folder was listed that list is used at most. So a folder with thousands of
videos costs little for each; if a stranger's file comes meanwhile, writing finds its name taken."""

_MOST_FOLDERS = 1000
"""Upper bound on the folders whose lists are kept."""

_PICTURES = frozenset(PICTURE_SUFFIXES) - {POSTER_SUFFIX}

_At = tuple[int, int]
"""Device and inode: on some shares, two names are one folder."""


class Stems:
    """Chooses names for all folders of the results. Threads may choose at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_hand: list[tuple[_At, str]] = []
        self._listed: dict[_At, tuple[float, set[str]]] = {}

    @contextlib.contextmanager
    def chosen(self, folder: Path, before: str, stem: str, refused: set[str]) -> Iterator[str]:
        """Yield a name for a sidecar, whose stem no other thread is given meanwhile.

        It is `before`; if that is empty, one whose stem no file has, and which is not in `refused`.
        """
        status = folder.stat()
        at = status.st_dev, status.st_ino
        with self._lock:
            name = before or self._free_name(folder, at, stem, refused)
            self._in_hand.append((at, folded_stem(name)))
        try:
            yield name
        finally:
            with self._lock:
                self._in_hand.remove((at, folded_stem(name)))

    def _free_name(self, folder: Path, at: _At, stem: str, refused: set[str]) -> str:
        listed = self._stems_in(folder, at)
        chosen = refused.union(taken for place, taken in self._in_hand if place == at)

        def is_taken(name: str) -> bool:
            found = folded_stem(name)
            return found in listed or found in chosen

        name = durable.free_name(stem + SIDECAR_SUFFIX, is_taken)
        listed.add(folded_stem(name))
        return name

    def _stems_in(self, folder: Path, at: _At) -> set[str]:
        until, found = self._listed.pop(at, (-math.inf, set()))
        began = time.monotonic()
        if began >= until:
            found = taken_stems(folder)
            now = time.monotonic()
            until = now + USE_FACTOR * (now - began)
        if len(self._listed) >= _MOST_FOLDERS:
            self._listed.clear()
        self._listed[at] = until, found
        return found


def taken_stems(folder: Path) -> set[str]:
    """Return the names without suffixes that nothing new in a folder may have, folded."""
    found = "/".join(name for name in os.listdir(folder) if not _is_picture(name))
    return {name.rpartition(".")[0] or name for name in folded(found).split("/")}


def folded_stem(name: str) -> str:
    """Return a name without its suffix, as `taken_stems` has it."""
    return folded(name.rpartition(".")[0] or name)


def _is_picture(name: str) -> bool:
    """Return whether a name has no meaning beside a video with the same stem."""
    return name[name.rfind(".") :].lower() in _PICTURES
