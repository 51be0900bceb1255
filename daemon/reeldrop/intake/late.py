"""Report what is written into a prompt file after it was read; it is not rendered.

A program that keeps the file open continues to write into it, wherever the file is moved.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from reeldrop.base import plain_files
from reeldrop.base.escaping import short, shown
from reeldrop.base.job import Job
from reeldrop.intake import share, writers
from reeldrop.intake.places import Place
from reeldrop.prompts import parsing

MAX_LINES = 20
"""Upper bound on the late lines that a note repeats."""

_log = structlog.get_logger()


def require_closed(job: Job, *, unless_moved_into: Path | None = None) -> None:
    """Check that no program on this machine has a prompt file open for writing.

    A move to another file system is a copy, which would lose what is written later. A move into
    `unless_moved_into` is allowed if it is on the same file system.

    Raises:
        OSError: a program has it open.
    """
    if unless_moved_into is not None and _device(unless_moved_into) == _device(job.folder):
        return
    if writers.is_written(job.prompt_file) and share.knows_writers(job.folder):
        raise OSError(f"still being written by {writers.name_of_writer(job.prompt_file)}")


def tell(job: Job, place: Place, size: int) -> None:
    """Write a note beside a prompt file that has grown since its `size` bytes were read."""
    try:
        with place.opened() as file:
            now = file.lstat().st_size
            is_text = file.suffix.lower() != ".mp4" and now <= parsing.MAX_BYTES
            data = plain_files.content(file, now) if now > size and is_text else b""
        if now <= size or (data and not data[size:].strip()):
            return
        what = _which(data, size) + f"{now - size} bytes" + ")" * bool(data)
        _log.warning("grew_after_it_was_read", prompt_file=shown(job.source), late=what)
        place.write_note(_note(shown(job.source), what, data[size:]), job)
    except OSError as error:  # the file is where it belongs, and complete
        _log.warning("late_lines_not_noted", prompt_file=shown(job.source), reason=str(error))


def _device(folder: Path) -> int:
    """Return the device of a folder, or of the nearest one above it that exists."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.stat().st_dev


def _which(data: bytes, size: int) -> str:
    """Return which lines of a text came after its first `size` bytes; empty without a text."""
    if not data:
        return ""
    first = data.count(b"\n", 0, size) + 1
    last = first + data[size:].rstrip(b"\n").count(b"\n")
    is_cut = size > 0 and not data[:size].endswith(b"\n")
    beginning = "the end of line" if is_cut else "line"
    if last == first:
        return f"{beginning} {first} ("
    return f"{beginning} {first} to line {last} ("


def _note(name: str, what: str, late: bytes) -> str:
    lines = late.decode("utf-8", "backslashreplace").splitlines()
    listed = [f"    {shown(short(line))}" for line in lines[:MAX_LINES]]
    listed += [f"    and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return "\n".join(
        (
            f"{name} was still being written when its videos were made. This came later,",
            f"and was not rendered: {what}.",
            "",
            "To have it rendered, put it into a new prompt file in the inbox.",
            *(("", *listed) if listed else ()),
            "",
        )
    )
