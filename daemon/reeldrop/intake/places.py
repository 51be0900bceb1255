"""Files in the spool, in the results and in `_failed/`, and notes for people beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath

from reeldrop.base import durable
from reeldrop.base.job import Job
from reeldrop.base.names import NOTE_SUFFIX
from reeldrop.base.roots import Root


@dataclass(frozen=True, slots=True)
class Place:
    """The path of a file below a root, where no link is followed. The file may be missing."""

    root: Root
    below: PurePath

    def __str__(self) -> str:
        return str(self.root.path / self.below)

    def beside(self, name: str) -> Place:
        return Place(self.root, self.below.with_name(name))

    @contextlib.contextmanager
    def opened(self, *, make: bool = False) -> Iterator[Path]:
        """Yield a path to the file that stays valid while the context is open."""
        with self.root.opened(self.below.parent, make=make) as folder:
            yield folder / self.below.name

    def write_note(self, text: str, job: Job) -> None:
        """Write a note beside the file; the next note on it replaces this one."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        note = f"{text}\n{now}\n".encode("utf-8", "backslashreplace")
        with self.opened(make=True) as file:
            durable.write(file.with_name(file.name + NOTE_SUFFIX), note, job.id)
