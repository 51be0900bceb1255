"""The sheets of a sweep in the results, and their record in the job's folder.

A name is recorded before its files are published under it, so that another process neither makes
a sheet again nor gives it a second name. Does not know what a sheet shows.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, plain_files, temporaries
from reeldrop.base.job import Job
from reeldrop.base.names import SHEET_NAME
from reeldrop.base.roots import NOTHING_THERE, Root
from reeldrop.store import job_files
from reeldrop.store.job_files import DAMAGE, SHEETS
from reeldrop.store.results import Results, taken_stems

MAX_TRIES = 2
"""So often a process may end while sheets are made; then the job ends without them."""

_LEFT = PurePosixPath("sheets-left")
"""A folder in the spool: the ids of jobs that ended while a thread hung with their sheets."""

Write = Callable[[Path], bool]
"""Writes a file; returns False if there is nothing to write."""


class SheetsOf:
    """The sheets of one job."""

    def __init__(self, job: Job, results: Results) -> None:
        self._job = job
        self._results = results
        self._tries, self._names = _read(job)

    def begin(self) -> bool:
        """Record a try; return False if there have been too many."""
        if self._tries >= MAX_TRIES:
            return False
        self._tries += 1
        self._write()
        return True

    def take_back(self) -> None:
        """Remove the record of this try: its end was requested."""
        self._tries -= 1
        self._write()

    def publish(self, number: int, writers: Mapping[str, Write], check: Callable[[], None]) -> str:
        """Publish the sheet with a number, from 0, and return its name, without suffix.

        writers: what writes its file, by suffix; those that are published already are left out
        check: called right before a file is published; an error that it raises prevents that

        Raises:
            OSError: it can't be published; FileExistsError if a stranger took its name meanwhile.
        """
        with self._results.opened(self._job.source) as folder:
            name = self._name(number, folder)
            for suffix, write in writers.items():
                path = folder / f"{name}{suffix}"
                if path.exists():
                    continue
                unfinished = temporaries.fresh(path, f"{self._job.id}-sheet{suffix}")
                try:
                    if write(unfinished):
                        durable.fsync_file(unfinished)
                        check()
                        durable.rename_new(unfinished, path)
                finally:
                    unfinished.unlink(missing_ok=True)
        return name

    def _name(self, number: int, folder: Path) -> str:
        """Return the name of a sheet, which nothing else in the folder has."""
        if number < len(self._names):
            return self._names[number]
        taken = taken_stems(folder)
        taken.update(self._names)
        name = next(name for name in durable.free_names(SHEET_NAME) if name not in taken)
        self._names.append(name)
        self._write()
        return name

    def _write(self) -> None:
        record = {"tries": self._tries, "names": self._names}
        durable.make_way(self._job.folder / SHEETS)
        durable.write(self._job.folder / SHEETS, json.dumps(record).encode(), self._job.id)


def note_left_sheets(spool: Root, job: Job) -> None:
    """Record that a hanging thread may leave a temporary file of a job in the results."""
    with spool.opened(_LEFT, make=True) as folder:
        durable.write(folder / job.id, os.fsencode(str(job.source)), job.id)


def remove_left_sheets(spool: Root, results: Results) -> None:
    """Remove the temporary files that such threads of earlier processes have left.

    What can't be removed is tried again at the next start.
    """
    with contextlib.suppress(OSError), spool.opened(_LEFT) as folder:
        for name in os.listdir(folder):
            with contextlib.suppress(OSError, *DAMAGE):
                source = os.fsdecode(plain_files.content(folder / name, job_files.MAX_BYTES))
                _remove_temporaries(results, PurePosixPath(source), name)
                os.unlink(folder / name)


def _remove_temporaries(results: Results, source: PurePosixPath, job_id: str) -> None:
    with contextlib.suppress(*NOTHING_THERE), results.opened(source) as folder:
        temporaries.remove(folder, f"{job_id}-sheet")


def _read(job: Job) -> tuple[int, list[str]]:
    """Return how often sheets were begun, and their names; as if never if the record is damaged."""
    with contextlib.suppress(FileNotFoundError, *DAMAGE):
        found = job_files.read(job.folder / SHEETS)
        names = [name for name in found["names"] if Path(name).name == name]
        return int(found["tries"]), names
    return 0, []
