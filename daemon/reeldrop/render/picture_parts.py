"""Which parts of a picture's file are decoded: those that say how it looks.

Texts, thumbnails, previews and what lies behind the picture are left out before a decoder sees the
file: they may cost minutes and gigabytes, and look like parts of the picture. Decodes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"

_MOST_PIECES = 200_000
"""Upper bound on the pieces of a file. Usual files have some thousands."""

_DRAWN = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_PROFILE, _TURNED, _END = b"iCCP", b"eXIf", b"IEND"

_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
"""A marker that begins a segment. Those left out stand alone, or are no markers but bytes."""

_SCAN, _IMAGE_END, _APPLICATION = 0xDA, 0xD9, 0xE0
_KEPT = {0xE0: (b"JFIF\0",), 0xE2: (b"ICC_PROFILE\0",), 0xEE: (b"Adobe",)}
"""The segments of applications that say how a picture looks, and with what they begin."""

_EXIF_MARKER, _EXIF = 0xE1, b"Exif\0\0"

_FILL = b"\xff" * (1 << 16)
"""Bytes that may stand before a marker. Pillow copies all of them again for each piece it reads."""


class Parts(NamedTuple):
    """What is decoded of a picture.

    data: a file of the same format; the same file if the format is another one
    exif: its EXIF data, without a prefix; empty if it has none or the format is another one
    passes: how often a decoder goes over all pixels
    """

    data: bytes
    exif: bytes = b""
    passes: int = 1


def of(data: bytes) -> Parts:
    """Return the parts of a PNG or JPEG that say how it looks.

    Raises:
        OSError: it is in too many pieces, or has a long run of fill bytes.
    """
    if data.startswith(_PNG):
        return _of_png(data)
    if data.startswith(_JPEG):
        return _of_jpeg(data)
    return Parts(data)


def _of_png(data: bytes) -> Parts:
    """Return the parts of a PNG: its default image, which is the first one of an animation."""
    view = memoryview(data)  # whose slices are no copies
    kept, exif, has_profile = [memoryview(_PNG)], b"", False
    for name, start, end in _chunks(data):
        if name in _DRAWN or name == _END or (name == _PROFILE and not has_profile):
            kept.append(view[start:end])
            has_profile = has_profile or name == _PROFILE
        elif name == _TURNED and not exif:
            exif = data[start + 8 : end - 4]
    return Parts(b"".join(kept), exif)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a PNG up to its end: name, start and end, which may be missing."""
    start = len(_PNG)
    for _ in range(_MOST_PIECES):
        length, name = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        end = start + length + 12
        yield name, start, end
        if name == _END or end >= len(data):
            return
        start = end
    raise OSError("it is in too many pieces")


def _of_jpeg(data: bytes) -> Parts:
    view = memoryview(data)
    kept, exif, passes, pixels, last = [memoryview(_JPEG)], b"", 0, len(data), len(data)
    for marker, start, end in _segments(data):
        content = start + 4
        if marker == _IMAGE_END:
            last = end
        elif marker == _SCAN:
            pixels = min(pixels, start)
            passes += 1
        elif passes:
            pass  # it is kept with the pixels
        elif marker < _APPLICATION or data.startswith(_KEPT.get(marker, ()), content):
            kept.append(view[start:end])
        elif marker == _EXIF_MARKER and not exif and data.startswith(_EXIF, content):
            exif = data[content + len(_EXIF) : end]
    if data.find(_FILL, pixels, last) >= 0:
        raise OSError("it has a long run of fill bytes")
    kept.append(view[pixels:last])
    return Parts(b"".join(kept), exif, passes)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the segments of a JPEG up to its end: marker, start and end."""
    end = len(_JPEG)
    for _ in range(_MOST_PIECES):
        found = _MARKER.search(data, end)
        if found is None:
            return
        marker, start, end = found[1][0], found.start(), found.end()
        if marker == _IMAGE_END:
            yield marker, start, end
            return
        end += int.from_bytes(data[end : end + 2])
        yield marker, start, end
    raise OSError("it is in too many pieces")
