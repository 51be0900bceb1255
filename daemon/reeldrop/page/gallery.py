"""The videos of the gallery: chunks of them, as scripts in `_page/data/`, the oldest first.

All of it is made from the sidecars, and made again if it is missing. Each file is replaced as a
whole, the list of chunks last; `refresh` repairs what a kill between two of them leaves. Chunks are
small, because the last one is rewritten for each video. Only names and times are kept in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reeldrop.base import durable, plain_files, strict_yaml
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.names import SIDECAR_SUFFIX
from reeldrop.page import scripts
from reeldrop.page.scripts import Record
from reeldrop.store import history

CHUNK_BYTES = 32_000
"""A chunk of this size gets no more videos."""

OWNER = "page"
LIST_NAME = "list.js"

_CHUNK = re.compile(r"[0-9]{4,6}\.js")
_MAX_BYTES = 64 << 20
_LEFT_OUT = "versions"
"""What of the record of a render is only in the sidecar: it is long, and the same for many."""


class Gallery:
    """The chunks in a folder: the videos of each, with the times of their sidecars."""

    def __init__(self) -> None:
        self._chunks: list[dict[str, float]] = []

    def refresh(
        self, data: Path, results: Path, failed: Path, rest: Callable[[], None] = lambda: None
    ) -> None:
        """Make the chunks say what the sidecars do.

        data: the folder of the chunks
        failed: the folder `_failed/`, in which no videos are
        rest: called after each chunk; all of them may take minutes
        """
        found = {_name(sidecar, results): at for at, sidecar in history.sidecars(results, failed)}
        self._chunks = [{} for _ in range(_count(data))]
        kept: set[str] = set()
        for number in range(len(self._chunks), 0, -1):  # a kill may leave a video in two chunks
            true = [r for r in _records(data, number) if found.get(r.path) == r.changed]
            self._write(data, number, [record for record in true if record.path not in kept])
            kept |= {record.path for record in true}
            rest()
        new = sorted((at, path) for path, at in found.items() if path not in kept)
        self._add(data, (_record(results, path, at) for at, path in new), rest)

    def add(self, data: Path, results: Path, sidecars: Iterable[Path]) -> None:
        """Add videos that were just published, by their sidecars."""
        new = []
        for sidecar in sidecars:
            with contextlib.suppress(OSError):  # somebody has moved it meanwhile
                at, path = sidecar.stat().st_mtime, _name(sidecar, results)
                if all(chunk.get(path) != at for chunk in self._chunks):  # `refresh` may have it
                    new.append(_record(results, path, at))
        self._add(data, new)

    def _add(
        self, data: Path, new: Iterable[Record | None], rest: Callable[[], None] = lambda: None
    ) -> None:
        """Add videos to the last chunk, and to further ones as each is full."""
        last = max(1, len(self._chunks))
        before = _records(data, last)
        records_of_all = itertools.chain(before, filter(None, new))
        for number, records in enumerate(_packed(records_of_all), start=last):
            if records != before:
                self._write(data, number, records)
            rest()
        count = sum(map(len, self._chunks))
        listed = scripts.call("list", {"chunks": len(self._chunks), "videos": count})
        write(data / LIST_NAME, listed)

    def _write(self, data: Path, number: int, records: Sequence[Record]) -> None:
        write(data / _file_name(number), scripts.chunk(number, records))
        self._chunks[number - 1 : number] = [_times(records)]


def write(path: Path, data: bytes) -> None:
    """Write a file of the page, unless it has this content."""
    with contextlib.suppress(OSError):
        if plain_files.content(path, _MAX_BYTES) == data:
            return
    durable.make_way(path)
    durable.write(path, data, OWNER)


def _file_name(number: int) -> str:
    return f"{number:04}.js"


def _count(data: Path) -> int:
    """Return the number of chunks, with those that are missing before others.

    One with a number far above how many there are is not ours, and would be after a long gap.
    """
    numbers = [int(name[:-3]) for name in os.listdir(data) if _CHUNK.fullmatch(name)]
    return max((number for number in numbers if number <= 2 * len(numbers)), default=0)


def _records(data: Path, number: int) -> list[Record]:
    """Return the videos of a chunk; none if it is missing or no file of ours.

    Raises:
        OSError: the disk is in trouble.
    """
    try:
        return list(scripts.records(plain_files.content(data / _file_name(number), _MAX_BYTES)))
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
    return []


def _times(records: Iterable[Record]) -> dict[str, float]:
    return {record.path: record.changed for record in records}


def _packed(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield records by the chunk."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.line)
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _name(sidecar: Path, results: Path) -> str:
    return str(sidecar.relative_to(results)).removesuffix(SIDECAR_SUFFIX)


def _record(results: Path, path: str, changed: float) -> Record | None:
    """Return a video's record; None if it is no whole video of ours, or no address has its name."""
    sidecar = results / f"{path}{SIDECAR_SUFFIX}"
    if history.video(sidecar) is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        text = plain_files.content(sidecar, history.MAX_BYTES).decode()
        settings: Any = strict_yaml.plain(strict_yaml.load_all(text)[0])
        settings["rendered"].pop(_LEFT_OUT, None)
        settings["seed"] = str(settings["seed"])  # a page's numbers have 53 bits, a seed 63
        path.encode()  # raises where no address can have the name
        return Record.of(path, changed, settings)
    return None
