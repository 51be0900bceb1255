"""Whether the disk of the hub's cache has room for a download. Asks no hub."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from reeldrop.render import hub_cache
from reeldrop.render.repository import Wanted

SPARE_BYTES = 256 << 20
"""Disk space that is left free."""

REMEDY = "make room, or put the cache elsewhere with HF_HOME"


def shortage(wanted: Iterable[Wanted], size: float) -> str:
    """Return, in words, that there is no room for repositories of this size; empty if there is.

    What has been downloaded of them, also half a file, needs no more room.
    """
    cache, folders = hub_cache.folder(), dict.fromkeys(map(hub_cache.blobs, wanted))
    left = size - sum(map(_size, folders))
    there = next(path for path in (*folders, cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if left <= 0 or left + SPARE_BYTES <= free:
        return ""
    return f"it takes {_gb(left)} more in {place(free)}: {REMEDY}"


def place(free: int) -> str:
    """Return, in words, where downloads go and how much is free there."""
    return (
        f"{hub_cache.folder()}, where {_gb(free)} are free and {_gb(SPARE_BYTES)} have to stay so"
    )


def _size(folder: Path) -> int:
    size = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # a download may rename it
            size += path.stat().st_size
    return size


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
