"""The attempts at jobs: which prompts were in hand, and how the process ended meanwhile.

An attempt is recorded before its prompts are rendered. It has no ending until a later process finds
it and records one. Until then only a kill must not lose it: none is blamed for a power cut. That a
job had an attempt is on the disk before its first video is (`flush`). Does not know which prompt is
to blame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import operator
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from reeldrop.base import durable
from reeldrop.base.job import Attempt, Cause, Job
from reeldrop.store import job_files
from reeldrop.store.job_files import ATTEMPTS, DAMAGE

_FIELDS = [field.name for field in dataclasses.fields(Attempt)]

_log = structlog.get_logger()


class Attempts:
    """The records of attempts in the folders of jobs."""

    def __init__(self) -> None:
        self._unwritten: dict[Path, list[Attempt]] = {}
        self._new: set[str] = set()
        self._flushed: set[str] = set()

    def ended(self, folder: Path) -> tuple[Attempt, ...]:
        """Return the attempts at a job that were cut short; none if the record is damaged."""
        return tuple(attempt for attempt in self._read(folder) or () if attempt.ending)

    def begin(self, job: Job, numbers: Iterable[int], *, device_worked: bool = True) -> None:
        """Record which prompts of a job are in hand from now on; replaces the open attempt."""
        self._new.discard(job.id)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        attempt = Attempt(began, tuple(numbers), device_worked=device_worked)
        self._write(job.folder, (*job.attempts, attempt))

    def take_back(self, job: Job) -> None:
        """Remove the open attempt: its end was requested, and says nothing about the job."""
        self._write(job.folder, job.attempts)

    def flush(self, job: Job) -> None:
        """Make durable that a job had an attempt, before it has a video. Threads may call it."""
        if job.id not in self._flushed:
            durable.fsync_folder(job.folder)
            self._flushed.add(job.id)

    def note_claim(self, job_id: str) -> None:
        """Record that this process has just claimed a job."""
        self._new.add(job_id)

    def forget(self, job_id: str) -> None:
        """Drop what is remembered of a job that has ended."""
        self._new.discard(job_id)
        self._flushed.discard(job_id)

    def is_new(self, job: Job) -> bool:
        """Return whether a job was claimed by this process, and had no attempt yet.

        For other jobs this is unknown: after a restore, their record of attempts may be missing.
        """
        return job.id in self._new

    def was_in_hand(self, job: Job) -> bool:
        """Return whether a job ever had an attempt; if not, expensive checks can be skipped."""
        try:
            (job.folder / ATTEMPTS).lstat()
        except FileNotFoundError:
            return False
        return True

    def note_ending(self, folders: Iterable[Path], how: str, cause: Cause = Cause.WORK) -> None:
        """Record how the last process ended, which may have had prompts in hand.

        Call it only while no process works on the spool.

        An empty `how` means a normal end: open attempts are removed. If writing fails, as on a full
        disk, the record is kept in memory until the next attempt is recorded; nothing is rendered
        before that.
        """
        found = dict(self._read_all(folders))
        open_ones = [a for attempts in found.values() for a in attempts or () if not a.ending]
        was_alone = sum(max(1, len(attempt.numbers)) for attempt in open_ones) == 1
        for folder, attempts in found.items():
            if attempts is None:
                _log.error("attempts_damaged", job_id=folder.name, remedy="none is counted")
                attempts = []
            elif all(attempt.ending for attempt in attempts):
                continue
            known = [attempt for attempt in attempts if attempt.ending]
            if how:
                known += [
                    dataclasses.replace(attempt, ending=how, was_alone=was_alone, cause=cause)
                    for attempt in attempts
                    if not attempt.ending
                ]
            try:
                self._write(folder, known)
            except OSError:
                self._unwritten[folder] = known

    def _read_all(self, folders: Iterable[Path]) -> Iterator[tuple[Path, list[Attempt] | None]]:
        """Yield what is recorded of each job; skip one whose record can't be read."""
        for folder in folders:
            try:
                yield folder, self._read(folder)
            except OSError as error:
                _log.error("attempts_unreadable", job_id=folder.name, reason=str(error))

    def _read(self, folder: Path) -> list[Attempt] | None:
        """Return a job's recorded attempts; None if the record is damaged."""
        if folder in self._unwritten:
            return self._unwritten[folder]
        with contextlib.suppress(*DAMAGE):
            file = folder / ATTEMPTS
            try:
                status = file.lstat()
                if stat.S_ISREG(status.st_mode) and not status.st_size:
                    return []  # after a power cut
                found = job_files.read(file)
            except FileNotFoundError:
                return []
            return [
                Attempt(
                    str(a["began"]),
                    tuple(map(operator.index, a["numbers"])),
                    str(a["ending"]),
                    bool(a.get("was_alone", True)),
                    Cause(a.get("cause", _cause_of_old(str(a["ending"])))),
                    bool(a.get("device_worked", True)),
                    str(a.get("renderer", "")),
                    str(a.get("place", "")),
                )
                for a in found
            ]
        return None

    def _write(self, folder: Path, attempts: Sequence[Attempt]) -> None:
        records = [{name: getattr(attempt, name) for name in _FIELDS} for attempt in attempts]
        data, file = json.dumps(records).encode(), folder / ATTEMPTS
        if any(attempt.ending for attempt in attempts):
            durable.make_way(file)
            durable.write(file, data, folder.name)
        else:
            durable.write_unsynced(file, data)
        self._unwritten.pop(folder, None)


def _cause_of_old(ending: str) -> Cause:
    """Return the cause of an ending recorded by a version that did not record causes."""
    return Cause.UNKNOWN if ending.startswith("without a trace") else Cause.WORK
