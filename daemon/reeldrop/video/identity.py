"""What identifies the pictures of a video, whatever its container and metadata say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av

DEMUXERS = {".mp4": "mp4", ".webm": "webm", ".gif": "gif"}
"""By suffix. Named, or else a file could be taken for a playlist that names other files."""


def shape(path: Path) -> tuple[int, int, int]:
    """Return number of pictures, height and width, which take little time to read.

    path: of a file whose suffix is one of DEMUXERS

    The number is 0 where the container does not say it.

    Raises:
        OSError, ValueError: it is no readable video.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("its pictures are in a format that is not known")
        return stream.frames, stream.height, stream.width


def _opened(path: Path) -> av.container.InputContainer:
    return av.open(str(path), format=DEMUXERS[path.suffix.lower()])


def digest(path: Path) -> str:
    """Return a SHA-256 of the encoded pictures.

    It stays the same when the metadata is removed, or the pictures are copied into another
    container; not when they are encoded again.

    Raises:
        OSError, ValueError: it is no readable video.
    """
    found = hashlib.sha256()
    with _opened(path) as container:
        for packet in container.demux(video=0):
            found.update(bytes(packet))
    return found.hexdigest()


def size(path: Path) -> int:
    """Return how many bytes the encoded pictures have, which is as sure as `digest`.

    Raises:
        OSError, ValueError: it is no readable video.
    """
    with _opened(path) as container:
        return sum(packet.size for packet in container.demux(video=0))
