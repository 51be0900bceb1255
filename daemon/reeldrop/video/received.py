"""Remove the files of videos that other processes have encoded, once nobody needs them.

`remote` runs in those processes; `publishing` completes the videos.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reeldrop.base.fleet import Encoded
from reeldrop.video import remote

if TYPE_CHECKING:
    from reeldrop.base.events import BatchFailed, BatchRendered
    from reeldrop.base.job import Frames


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


def remove_left(results: Path) -> None:
    """Remove all files of renderers from the results, with their folder; all have ended."""
    folder = results / remote.FOLDER
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def remove_old(results: Path, seconds: float) -> None:
    """Remove files of lost renderers: those that have not changed for `seconds`."""
    with contextlib.suppress(OSError):
        for file in (results / remote.FOLDER).glob("[!m]*"):
            if file.stat().st_mtime < time.time() - seconds:
                file.unlink()
