"""What the kernel tells in its own files, among it names that strangers have chosen.

Of a name it escapes what separates its fields and lines, but no other byte: a name may hold what
Python also takes for the end of a line, or for a blank.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mounted(NamedTuple):
    """A mount that this process sees.

    number: the kernel's
    folder: the path within the file system
    point: where it is mounted
    kind, source: of the file system, such as "ext4" and "/dev/sda1"
    """

    number: str
    folder: str
    point: str
    kind: str
    source: str


def lines(file: Path) -> list[str]:
    """Return the lines of a file of the kernel (proc(5)) that are not empty.

    Raises:
        OSError: it can't be read.
    """
    return [line for line in os.fsdecode(file.read_bytes()).split("\n") if line]


def mounts(file: Path = Path("/proc/self/mountinfo")) -> Iterator[Mounted]:
    """Yield all mounts, of two on one point the upper one last (proc_pid_mountinfo(5)).

    Raises:
        OSError: they can't be read.
    """
    for line in lines(file):
        place, _, described = line.partition(" - ")
        fields = [*place.split(" ")[:5], *described.split(" ")[:2]]
        if len(fields) == len(Mounted._fields) + 2:
            number, _, _, *others = (_ESCAPED.sub(_character, field) for field in fields)
            yield Mounted(number, *others)


def _character(octal: re.Match[str]) -> str:
    return os.fsdecode(bytes([int(octal[1], 8)]))
