"""Identify the pictures of a video, independently of its container and metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av

DEMUXERS = {".mp4": "mp4", ".webm": "webm", ".gif": "gif"}
"""FFmpeg's demuxers by suffix. If FFmpeg chose, a file could be a playlist that opens others."""

UNREADABLE = (av.FFmpegError, OSError, ValueError, IndexError)
"""What is raised for a file that is no readable video."""


def shape(path: Path) -> tuple[int, int, int]:
    """Return the number of pictures, height and width, without reading the whole file.

    The number is 0 if the container does not have it.

    path: of a file whose suffix is one of DEMUXERS

    Raises:
        One of UNREADABLE.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("its pictures are in an unknown format")
        return stream.frames, stream.height, stream.width


def _opened(path: Path) -> av.container.InputContainer:
    return av.open(str(path), format=DEMUXERS[path.suffix.lower()])


def digest(path: Path) -> str:
    """Return a SHA-256 of the encoded pictures.

    It does not change if metadata is removed, or the pictures are copied into another container; it
    does if they are encoded again.

    Raises:
        One of UNREADABLE.
    """
    found = hashlib.sha256()
    with _opened(path) as container:
        for packet in container.demux(video=0):
            found.update(bytes(packet))
    return found.hexdigest()


def size(path: Path) -> int:
    """Return the number of bytes of the encoded pictures, which is as stable as `digest`.

    Raises:
        One of UNREADABLE.
    """
    with _opened(path) as container:
        return sum(packet.size for packet in container.demux(video=0))
