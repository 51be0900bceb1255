"""The reports in `_failed/`: which job a report is about, and whether a place there is free.

A file with the name of a report may be anything, as a prompt file of that name may be set aside,
too. So only plain files are read, and no more than a report has. Does not know what reports say.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from reeldrop.base import durable
from reeldrop.base.beneath import open_plain
from reeldrop.base.names import ERROR_SUFFIX

_LONGEST = 1 << 20
"""Bytes at the end of a report that are searched for the id of its job."""


def beside(target: Path) -> Path:
    """Return the path of the report on a file in `_failed/`."""
    return target.with_name(target.name + ERROR_SUFFIX)


def is_free(target: Path) -> bool:
    """Return whether a place in `_failed/` has neither a prompt file nor a report."""
    return not (os.path.lexists(target) or os.path.lexists(beside(target)))


def is_on(report: Path, job_id: str) -> bool:
    """Return whether a report is about a job."""
    with contextlib.suppress(OSError), open(open_plain(report), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST))
        return f"Job {job_id}".encode() in file.read(_LONGEST)
    return False


def begins_with(report: Path, beginning: bytes) -> bool:
    """Return whether a report begins with these bytes."""
    with contextlib.suppress(OSError), open(open_plain(report), "rb") as file:
        return file.read(len(beginning)) == beginning
    return False


def write(target: Path, text: bytes, job_id: str) -> bool:
    """Write a report for a place in `_failed/`; return False if the place is taken."""
    path = beside(target)
    into_place = durable.write if is_on(path, job_id) else durable.write_new
    try:
        into_place(path, text, job_id)
    except FileExistsError:
        return False
    return True
