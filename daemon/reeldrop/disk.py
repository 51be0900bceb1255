"""Is there room for more? Looks at file systems, and knows nothing of what is written to them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def shortage(folders: Iterable[Path], min_free_gib: float) -> str:
    """Return which folder has too little room on its file system, in words; empty if none has.

    A folder that can't be asked is left to whoever writes there.
    """
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        gib = found.f_bavail * found.f_frsize / 2**30
        if gib < min_free_gib:
            return f"{gib:.2f} GiB free in {folder}, less than min_free_gib: {min_free_gib:g}"
    return ""
