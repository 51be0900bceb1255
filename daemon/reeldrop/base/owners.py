"""Give what root makes in a service's folder to the folder's owner, who has to change it later.

For other users, nothing happens. Links are not followed, and files with several names are left:
they may be anybody's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def given_to_owner(folder: Path) -> Iterator[None]:
    """At the end, give all that root owns in a folder to the folder's owner.

    If the folder is not there at the beginning, to the owner of the one in which it is made.
    """
    if os.geteuid() != 0:
        yield
        return
    top = above = folder
    while not above.exists():
        top, above = above, above.parent
    owner = above.stat()
    try:
        yield
    finally:
        if top.exists():
            for _, folders, files, fd in os.fwalk(top.resolve()):
                for name in (".", *folders, *files):
                    _give(owner, name, fd)


def give_to_owner(file: Path) -> None:
    """Give a file that root has made to the owner of its folder."""
    if os.geteuid() == 0:
        _give(file.parent.stat(), str(file))


def _give(owner: os.stat_result, name: str, folder: int | None = None) -> None:
    with contextlib.suppress(FileNotFoundError):  # somebody has replaced it
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        has_one_name = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1
        if found.st_uid == 0 != owner.st_uid and has_one_name:
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)
