"""What identifies the pictures of a video, whatever its container and metadata say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av


def shape(path: Path) -> tuple[int, int, int]:
    """Return number of pictures, height and width, which take little time to read.

    The number is 0 where the container does not say it.

    Raises:
        OSError, ValueError: it is no readable video.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.frames, stream.height, stream.width


def digest(path: Path) -> str:
    """Return a SHA-256 of the encoded pictures.

    It stays the same when the metadata is removed, or the pictures are copied into another
    container; not when they are encoded again.

    Raises:
        OSError, ValueError: it is no readable video.
    """
    found = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            found.update(bytes(packet))
    return found.hexdigest()
