"""Remove the files of videos that other processes have encoded, once nobody needs them.

`remote` runs in those processes; `publishing` completes the videos.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from reeldrop.base import durable
from reeldrop.base.fleet import Encoded
from reeldrop.base.roots import Root
from reeldrop.video import remote

if TYPE_CHECKING:
    from reeldrop.base.events import BatchFailed, BatchRendered
    from reeldrop.base.job import Frames


_ID_NAME, _ID = "renderers-id", re.compile(r"[0-9a-f]{16}")
"""Of a file in the spool, with a number that no other spool has."""

_UNUSED_SECONDS = 30 * 86400.0
"""The folder of a service that is gone for ever is removed when nothing in it has come or gone for
so long. If that service works after all, its renderers send their videos over the network."""


def discard_all(event: BatchRendered | BatchFailed) -> None:
    """Remove the files of an answer that nobody waits for."""
    for frames in event.frames:
        discard(frames)


def discard(frames: Frames | Encoded) -> None:
    """Remove the files of a video, if it has any."""
    if isinstance(frames, Encoded):
        for content in frames.files.values():
            if isinstance(content, Path):
                with contextlib.suppress(OSError):  # removed later, by one of the two below
                    content.unlink(missing_ok=True)


def folder(results: Path, spool: Path) -> Path:
    """Return where renderers put files for the service of this spool. It need not exist.

    Other services may have the same results.

    Raises:
        OSError: the spool can't be written to.
    """
    file = spool / _ID_NAME
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        if _ID.fullmatch(found := file.read_text(encoding="ascii")):
            return results / f"{remote.FOLDER}-{found}"
    made = secrets.token_hex(8)
    durable.make_folder(spool)
    durable.write(file, made.encode(), "renderers")
    return results / f"{remote.FOLDER}-{made}"


def remove_left(results: Path, spool: Path) -> None:
    """Remove all files of renderers from the results, with their folder; all have ended."""
    with contextlib.suppress(OSError):
        own = folder(results, spool)
        with Root(results).opened(PurePath(own.name)) as held:
            for file in held.iterdir():
                file.unlink()
        own.rmdir()


def remove_old(results: Path, spool: Path, seconds: float) -> None:
    """Remove files of lost renderers: those that have not changed for `seconds`.

    The folders of other services, also of earlier versions, go after `_UNUSED_SECONDS`.
    """
    now = time.time()
    with contextlib.suppress(OSError):
        own = folder(results, spool)
        root = Root(results)
        for each in results.glob(f"{remote.FOLDER}*"):
            unused_before = 0.0 if each == own else now - _UNUSED_SECONDS
            _remove_old_in(root, each.name, now - seconds, unused_before)


def _remove_old_in(root: Root, name: str, before: float, unused_before: float) -> None:
    """Remove files that are older than a time; all and the folder, if that is unused for long."""
    with contextlib.suppress(OSError):
        with root.opened(PurePath(name)) as held:
            is_unused = held.stat().st_mtime < unused_before
            for file in held.iterdir():
                with contextlib.suppress(OSError):  # another service may remove it at the same time
                    is_marker = file.name.startswith("marker-")
                    if file.stat().st_mtime < before and (is_unused or not is_marker):
                        file.unlink()
        if is_unused:
            (root.path / name).rmdir()
