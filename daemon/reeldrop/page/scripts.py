"""Data as scripts: a page that is opened from a disk may run scripts, but read no other file.

Pure: no I/O. Each script is one call of a function of the page, `reeldrop.<name>(...)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_ESCAPES = str.maketrans({"<": r"\u003c", "\u2028": r"\u2028", "\u2029": r"\u2029"})
"""What ends a script within HTML, or a line within a script. JSON has these in strings only."""


@dataclass(frozen=True, slots=True)
class Record:
    """A video in the gallery.

    path: of its files below the results, without suffix
    changed: the time of its sidecar, in seconds since 1970
    line: what the page gets, as one line of JSON
    """

    path: str
    changed: float
    line: str

    @classmethod
    def of(cls, path: str, changed: float, settings: Mapping[str, object]) -> Record:
        return cls(path, changed, _line([path, changed, settings]))


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def call(name: str, value: object) -> bytes:
    """Return a script that gives a value to the page."""
    return f"reeldrop.{name}({_line(value)});\n".encode()


def chunk(number: int, records: Iterable[Record]) -> bytes:
    """Return a script that gives some videos to the page, each on a line of its own."""
    lines = "".join(f"{record.line},\n" for record in records)
    return f"reeldrop.chunk({number},[\n{lines}]);\n".encode()


def records(data: bytes) -> Iterator[Record]:
    """Yield the videos of a chunk; damaged lines are left out."""
    for line in data.decode(errors="replace").split("\n")[1:-2]:
        try:
            path, changed, _settings = json.loads(line.removesuffix(","))
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(path, str) and isinstance(changed, float):
            yield Record(path, changed, line.removesuffix(","))
