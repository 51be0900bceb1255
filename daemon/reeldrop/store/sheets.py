"""The sheets of a sweep in the results, and their record in the job's folder.

A name is recorded before its files are published under it, so that another process neither makes
a sheet again nor gives it a second name. Does not know what a sheet shows.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, plain_files, temporaries
from reeldrop.base.job import Cause, Job
from reeldrop.base.names import SHEET_NAME
from reeldrop.base.roots import NOTHING_THERE, Root
from reeldrop.store import job_files
from reeldrop.store.job_files import DAMAGE, SHEETS
from reeldrop.store.results import Results
from reeldrop.store.stems import taken_stems

MAX_SIGNS = 2
"""So often a process may crash while sheets are made; then the job ends without them.

With a third, prompts would fail that were in hand beside them.
"""

_THIRDS = {Cause.WORK: 3, Cause.UNKNOWN: 1, Cause.MACHINE: 0}
"""What an end of the process counts, in thirds of a sign, by its cause."""

_LEFT = PurePosixPath("sheets-left")
"""A folder in the spool: the ids of jobs that ended while a thread hung with their sheets."""

Write = Callable[[Path], bool]
"""Writes a file; returns False if there is nothing to write."""


class SheetsOf:
    """The sheets of one job."""

    def __init__(self, job: Job, results: Results) -> None:
        self._job = job
        self._results = results
        self._record = _read(job.folder)

    def begin(self) -> bool:
        """Record a try; return False if too many have ended the process."""
        if self._record.thirds >= MAX_SIGNS * _THIRDS[Cause.WORK]:
            return False
        self._record.is_open = True
        self._record.thirds += _THIRDS[Cause.WORK]
        self._write()
        return True

    def take_back(self) -> None:
        """Remove the record of this try: its end was requested."""
        self._record.end(Cause.MACHINE)
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
        names = self._record.names
        if number < len(names):
            return names[number]
        taken = taken_stems(folder)
        taken.update(names)
        name = durable.free_name(SHEET_NAME, taken.__contains__)
        names.append(name)
        self._write()
        return name

    def _write(self) -> None:
        _write(self._job.folder, self._record)


@dataclass(slots=True)
class _Record:
    """What is recorded of the sheets of a job.

    thirds: what the ends of processes count; an open try counts as a crash
    is_open: whether there is a try whose end is not known
    names: of the sheets, without suffix
    """

    thirds: int = 0
    is_open: bool = False
    names: list[str] = field(default_factory=list)

    def end(self, cause: Cause) -> None:
        """Let the open try count what its end does."""
        self.is_open = False
        self.thirds += _THIRDS[cause] - _THIRDS[Cause.WORK]


def note_ending(folders: Iterable[Path], cause: Cause) -> None:
    """Record in the folders of jobs why the last process ended, where it made sheets."""
    for folder in folders:
        with contextlib.suppress(OSError):  # then it counts as a crash
            record = _read(folder)
            if record.is_open:
                record.end(cause)
                _write(folder, record)


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


def _read(folder: Path) -> _Record:
    """Return what is recorded in the folder of a job; nothing if it is damaged."""
    with contextlib.suppress(FileNotFoundError, *DAMAGE):
        found = job_files.read(folder / SHEETS)
        names = [name for name in found["names"] if Path(name).name == name]
        return _Record(int(found["thirds"]), bool(found["is_open"]), names)
    return _Record()


def _write(folder: Path, record: _Record) -> None:
    data, owner = json.dumps(asdict(record)).encode(), f"{folder.name}-sheets"
    durable.make_way(folder / SHEETS)
    durable.write(folder / SHEETS, data, owner)  # other threads write beside it
