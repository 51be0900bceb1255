"""The index of an mp4 (ISO 14496-12): the settings embedded there are read, or put into it.

What is read may be a stranger's file; settings are put only into one that our encoder has written.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import mutagen
import mutagen.mp4
import numpy as np

from reeldrop.base import plain_files
from reeldrop.base.errors import Mistake, PromptError, UnfinishedError

_REMEDY = "only an mp4 that reeldrop made can be dropped to be rendered again"
_SETTINGS_TAG = "\xa9cmt"
_MAX_INDEX_BYTES = 1 << 21
_MAX_BOXES = 64
_MAX_INDEX_BOXES = 2000
"""Upper bound, because mutagen makes an object for each box. reeldrop's own have about forty."""

_CONTAINERS = frozenset(
    {b"moov", b"udta", b"trak", b"mdia", b"meta", b"ilst", b"stbl", b"minf", b"moof", b"traf"}
)

_TO_TAGS = ((b"moov", 8), (b"udta", 8), (b"meta", 12), (b"ilst", 8))
"""Boxes within each other, down to the tags, each with the size of its header."""

_TO_OFFSETS = {b"trak", b"mdia", b"minf", b"stbl"}
_OFFSETS = {b"stco": ">u4", b"co64": ">u8"}
"""Tables with places in the file, which change as the index grows."""

_PIECE = 1 << 20


def embedded_settings(path: Path) -> bytes:
    """Return the settings embedded in a dropped mp4, without decoding its pictures.

    Raises:
        PromptError: it is not an mp4, or has no settings.
        UnfinishedError: bytes are missing.
        OSError: it can't be read.
    """
    try:
        tags: Any = mutagen.mp4.MP4(io.BytesIO(_index_of(path))).tags or {}
    except (mutagen.MutagenError, ValueError, RecursionError) as error:
        raise PromptError(Mistake(f"this is no readable mp4: {error}", _REMEDY)) from None
    texts = tags.get(_SETTINGS_TAG) or []
    if not texts or not isinstance(texts[0], str):
        problem = "this mp4 carries no settings: messengers, for example, remove them"
        raise PromptError(Mistake(problem, f"drop its .yaml file instead; {_REMEDY}"))
    return texts[0].encode()


def _index_of(path: Path) -> bytes:
    """Return an mp4's index: only its ftyp and moov boxes (ISO 14496-12).

    Raises:
        ValueError: it has too many boxes, too large an index, or a malformed box.
        UnfinishedError: bytes are missing.
    """
    boxes: list[bytes] = []
    room = _MAX_INDEX_BYTES
    with open(plain_files.open_plain(path), "rb") as file:
        end = os.fstat(file.fileno()).st_size
        for _ in range(_MAX_BOXES):
            header = file.read(8)
            if len(header) < 8:
                index = b"".join(boxes)
                _require_few_boxes(index)
                return index
            _require_bytes(header)
            size, kind = struct.unpack(">I4s", header)
            if size == 1:  # a 64-bit size follows
                header += file.read(8)
                size = int.from_bytes(header[8:], "big")
            rest = size - len(header)
            if rest < 0:
                raise ValueError("a box is smaller than its own header")
            if kind not in (b"ftyp", b"moov"):
                file.seek(min(rest, end), os.SEEK_CUR)
            elif rest > room:
                raise ValueError("its index is too large to be one of reeldrop's")
            else:
                boxes.append(header + file.read(rest))
                _require_bytes(boxes[-1][-8:])
                room -= rest
    raise ValueError("it has too many boxes to be one of reeldrop's")


def _require_few_boxes(index: bytes) -> None:
    """Raise ValueError if the index has too many boxes, including tags, to be read quickly."""
    at = tags_end = 0
    for _ in range(_MAX_INDEX_BOXES):
        if at + 8 > len(index):
            return
        size, kind = struct.unpack_from(">I4s", index, at)
        header = 16 if size == 1 else 8
        size = int.from_bytes(index[at + 8 : at + 16], "big") if size == 1 else size
        if kind == b"ilst":
            tags_end = at + size
        if kind in _CONTAINERS or (at < tags_end and kind != b"data"):
            at += header + 4 * (kind == b"meta")
        elif size < header:
            return  # mutagen reads no further
        else:
            at += size
    raise ValueError("its index has too many boxes to be one of reeldrop's")


def _require_bytes(part: bytes) -> None:
    """Raise UnfinishedError if `part` is all NUL: preallocated, but not written yet."""
    if not any(part):
        remedy = f"send it again if a part of it is missing; {_REMEDY}"
        raise UnfinishedError(Mistake("this is no readable mp4: it ends in NUL bytes", remedy))


def complete(
    source: BinaryIO, path: Path, settings: str, end: bytes, on_piece: Callable[[], None]
) -> None:
    """Write an mp4 of our encoder, whose index comes first, with settings as its comment.

    end: what comes after the rest of the file
    on_piece: called after each piece of it

    Raises:
        OSError, ValueError: it can't be read or written.
    """
    _require_whole(source)
    kind = source.read(_size_of_next(source, b"ftyp"))
    index = source.read(_size_of_next(source, b"moov"))
    with path.open("wb") as file:
        file.write(kind + _with_settings(index, settings))
        while piece := source.read(_PIECE):
            file.write(piece)
            on_piece()
        file.write(end)


def _require_whole(source: BinaryIO) -> None:
    """Raise ValueError unless a file ends with its pictures, where their box does."""
    kind, at, end = b"", 0, source.seek(0, os.SEEK_END)
    while at < end:
        source.seek(at)
        size, kind = struct.unpack(">I4s", source.read(8).ljust(8, b"\0"))
        if size == 1:
            size = int.from_bytes(source.read(8), "big")
        if size < 8:
            raise ValueError("it is damaged")
        at += size
    if at > end or kind != b"mdat":
        raise ValueError("its end is missing")
    source.seek(0)


def _size_of_next(source: BinaryIO, expected: bytes) -> int:
    size, kind = struct.unpack(">I4s", source.read(8).ljust(8, b"\0"))
    if kind != expected:
        raise ValueError(f"there is no {expected.decode()} in its place")
    source.seek(-8, os.SEEK_CUR)
    return int(size)


def _with_settings(index: bytes, settings: str) -> bytes:
    """Return an index with one more tag. What comes after it in the file moves by its size."""
    text = settings.encode()
    tag = struct.pack(">I4sI4sII", 24 + len(text), b"\xa9cmt", 16 + len(text), b"data", 1, 0) + text
    made = bytearray(index)
    for at, kind in _offsets_in(index, 8, len(index)):
        (count,) = struct.unpack_from(">I", index, at + 12)
        table = np.frombuffer(made, _OFFSETS[kind], count, at + 16)
        if count and int(table.max()) + len(tag) > np.iinfo(table.dtype).max:
            raise ValueError("it is too large")
        table += len(tag)
    begin, end = 0, len(index)
    for expected, header in _TO_TAGS:
        found = (at for at, kind, _ in _boxes(index, begin, end) if kind == expected)
        if (begin := next(found, -1)) < 0:
            raise ValueError(f"there is no {expected.decode()} in its index")
        (size,) = struct.unpack_from(">I", index, begin)
        struct.pack_into(">I", made, begin, size + len(tag))
        begin, end = begin + header, begin + size
    return bytes(made[:end] + tag + made[end:])


def _offsets_in(index: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    for at, kind, size in _boxes(index, begin, end):
        if kind in _TO_OFFSETS:
            yield from _offsets_in(index, at + 8, at + size)
        elif kind in _OFFSETS:
            yield at, kind


def _boxes(index: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the place, kind and size of each box between two places."""
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", index, begin)
        if not 8 <= size <= end - begin:
            raise ValueError("its index is damaged")
        yield begin, kind, size
        begin += size
