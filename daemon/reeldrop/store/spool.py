"""Jobs in hand: claim a prompt file, record attempts, finish or fail the job.

A job is a directory `active/<job_id>/` that contains the claimed prompt file; without one, the job
is not in hand. A job's state is read from its files. A prompt file with a damaged record is
a job, too, so that a person is told.
Does not know what a prompt file says or how videos are made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import operator
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import structlog

from reeldrop.base import durable
from reeldrop.base.beneath import Root, have_same_bytes
from reeldrop.base.errors import ConfigError, FileError, Mistake
from reeldrop.base.escaping import shown, shown_lines
from reeldrop.base.job import Attempt, Cause, DefaultsFile, Job
from reeldrop.base.names import ERROR_SUFFIX, LOG_SUFFIX, RETRIED_FOLDER, SIDECAR_SUFFIX, portable
from reeldrop.store import records, reports
from reeldrop.store.lock import DAEMON, Holder, Lock

_RECORD = "job.json"
_ATTEMPTS = "attempts.json"
_LOG = "job.log"
_CANCEL = "cancel"
_OWN = {_RECORD, _ATTEMPTS, _LOG, _CANCEL}

_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading one of our files that a broken disk or a person has damaged."""

_log = structlog.get_logger()


class Spool:
    """The jobs in hand of one daemon.

    folder: the spool, on the inbox's file system; never synced
    failed: where prompt files are set aside for a person, at the place that they had in the inbox
    """

    def __init__(self, folder: Path, inbox: Path, failed: Path) -> None:
        self.folder = folder
        self.active = folder / "active"
        self.root = Root(folder, beside=inbox, may_be_remade=True)
        self.inbox = Root(inbox, beside=folder)
        self.failed = Root(failed)
        self._lock = Lock(folder, self.active)
        self._untidy: dict[Path, str] = {}
        self._unwritten: dict[Path, list[Attempt]] = {}
        self._new: set[str] = set()

    def prepare(self) -> None:
        """Make the folders, and remove directories of jobs that never began or have ended.

        Only for the process that holds the lock.

        Raises:
            ConfigError: inbox and spool are on different file systems; a claim must be a rename.
        """
        self._make_active()
        if self.active.stat().st_dev != self.inbox.path.stat().st_dev:
            problem = f"{self.folder} and {self.inbox.path} are not on the same file system"
            remedy = "move the spool: taking a prompt file has to be one rename"
            raise ConfigError(Mistake(problem, remedy, key="spool"))
        self._untidy = dict.fromkeys(self._folders(), "")
        self.tidy()

    def tidy(self) -> None:
        """Remove what ended jobs and failed claims left.

        Only for the process that holds the lock. What can't be removed is tried again by the next
        call: nothing depends on it.
        """
        for folder, told in list(self._untidy.items()):
            try:
                if folder.exists() and self._job(folder) is None:
                    _remove_job(folder)
                    durable.fsync_folder(self.active)
                del self._untidy[folder]
                self._new.discard(folder.name)
            except OSError as error:
                if told != str(error):
                    _log.error("spool_untidy", reason=str(error), remedy="it is tried again")
                self._untidy[folder] = str(error)

    @contextlib.contextmanager
    def lock(
        self, is_patient: Callable[[str], bool] = lambda _problem: False, role: str = DAEMON
    ) -> Iterator[None]:
        """Hold the spool for this process alone; see `lock.Lock.held`."""
        with self._lock.held(is_patient, role):
            yield

    def keep(self) -> bool:
        """Return whether this process still holds the spool; recreate what somebody removed."""
        with contextlib.suppress(OSError):  # its share is not mounted; claims report the error
            if not self.active.exists():
                self._make_active()
        return self._lock.keep()

    def _make_active(self) -> None:
        with self.root.opened(PurePosixPath(self.active.name), make=True):
            pass

    def holder(self) -> Holder | None:
        """Return the process that holds the spool; None if there is none, or it is unknown."""
        return self._lock.holder()

    def is_locked(self) -> bool:
        """Return whether a process holds the spool."""
        return self._lock.is_held()

    def claim(
        self,
        source: PurePosixPath,
        defaults: Iterable[DefaultsFile],
        priority: int = 0,
        *,
        is_cancelled: bool = False,
        is_same: Callable[[os.stat_result], bool] = lambda _status: True,
    ) -> Job | None:
        """Claim a file of the inbox; return None if it is gone, or `is_same` returns False.

        The job's record, and with `is_cancelled` the mark of a cancelled job, is on the disk before
        the one rename that makes it a job.

        Raises:
            OSError: the file can't be moved. It is still in the inbox, or else an unfinished job.
        """
        defaults = tuple(defaults)
        now = datetime.now(UTC)
        job_id = f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        folder = self.active / job_id
        record = {
            "source": str(source),
            "priority": priority,
            "defaults": list(map(records.of_defaults, defaults)),
        }
        folder.mkdir()
        try:
            durable.write(folder / _RECORD, json.dumps(record).encode(), job_id)
            if is_cancelled:
                durable.write(folder / _CANCEL, b"", job_id)
            durable.fsync_folder(self.active)
            with self.inbox.opened(source.parent) as above:
                _take(above / source.name, folder / source.name, is_same)
        except OSError as error:
            self._untidy.setdefault(folder, "")
            self.tidy()
            # A share may have moved the file, but lost its reply: then it is a job all the same.
            if not os.path.lexists(folder / source.name):
                if isinstance(error, FileNotFoundError | NotADirectoryError):
                    return None
                raise
        owner = 0
        with contextlib.suppress(OSError):  # it is a job, though a power cut may undo it
            owner = (folder / source.name).lstat().st_uid
            durable.fsync_folder(folder)
            with self.inbox.opened(source.parent) as above:
                durable.fsync_folder(above)
        self._new.add(job_id)
        return Job(job_id, source, folder, defaults, priority=priority, owner=owner)

    def unfinished(self, without: Container[str] = ()) -> Iterator[Job]:
        """Return an iterator over the jobs in hand, oldest first; ids in `without` are not read."""
        folders = (folder for folder in self._folders() if folder.name not in without)
        return (job for folder in folders if (job := self._job(folder)) is not None)

    def ids(self) -> list[str]:
        """Return the ids of all possible jobs in hand, oldest first."""
        return [folder.name for folder in self._folders()]

    def find(self, job_id: str) -> Job | None:
        """Return a job in hand by its id; None if it has ended."""
        return self._job(self.active / job_id)

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self.active) as entries:
                return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _job(self, folder: Path) -> Job | None:
        """Return a folder's job; None without a prompt file: it never was a job, or has ended."""
        ended = tuple(attempt for attempt in self._attempts(folder) or () if attempt.ending)
        with contextlib.suppress(FileNotFoundError, *_DAMAGED):
            record = records.read(folder / _RECORD)
            source = _inside(PurePosixPath(record["source"]))
            with records.disk_or_damage():
                owner = (folder / source.name).lstat().st_uid
            defaults = tuple(records.defaults(*file) for file in record["defaults"])
            priority = operator.index(record.get("priority", 0))
            return Job(folder.name, source, folder, defaults, ended, priority=priority, owner=owner)
        for name in _others_files(folder):
            return Job(folder.name, PurePosixPath(name), folder, (), ended, is_damaged=True)
        return None

    def begin_attempt(
        self, job: Job, numbers: Iterable[int], *, device_worked: bool = True
    ) -> None:
        """Record which prompts of a job are in hand from now on; replaces the open attempt."""
        self._new.discard(job.id)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        attempt = Attempt(began, tuple(numbers), device_worked=device_worked)
        self._write_attempts(job.folder, (*job.attempts, attempt))

    def take_back_attempt(self, job: Job) -> None:
        """Remove the open attempt: it was ended on request, and says nothing about the job."""
        self._write_attempts(job.folder, job.attempts)

    def others_in_hand(self, source: PurePosixPath, job: Job) -> Iterator[Job]:
        """Yield the other jobs in hand whose prompt file had this path in the inbox."""
        for folder in self._folders():
            if folder != job.folder and os.path.lexists(folder / source.name):
                other = self._job(folder)
                if other is not None and other.source == source:
                    yield other

    def is_new(self, job: Job) -> bool:
        """Return whether a job was claimed by this process, and had no attempt yet.

        For other jobs this is unknown: after a restore, their record of attempts may be missing.
        """
        return job.id in self._new

    def is_in_hand(self, job: Job) -> bool:
        """Return whether a job has not ended."""
        try:
            job.prompt_file.lstat()
        except FileNotFoundError:
            return False
        return True

    def was_in_hand(self, job: Job) -> bool:
        """Return whether a job ever had an attempt; False lets callers skip expensive checks."""
        try:
            (job.folder / _ATTEMPTS).lstat()
        except FileNotFoundError:
            return False
        return True

    def note_ending(self, how: str, cause: Cause = Cause.WORK) -> None:
        """Record how the process ended that had prompts in hand. Not while one is at work.

        An empty `how` means a normal end: open attempts are removed. If writing fails, as on a full
        disk, the record is kept in memory until the next attempt is recorded; nothing is rendered
        before that.
        """
        found = dict(self._all_attempts())
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
                self._write_attempts(folder, known)
            except OSError:
                self._unwritten[folder] = known

    def _all_attempts(self) -> Iterator[tuple[Path, list[Attempt] | None]]:
        """Yield what is recorded of each job; one whose record can't be read holds up no other."""
        for folder in self._folders():
            try:
                yield folder, self._attempts(folder)
            except OSError as error:
                _log.error("attempts_unreadable", job_id=folder.name, reason=str(error))

    def _attempts(self, folder: Path) -> list[Attempt] | None:
        """Return a job's recorded attempts; None if the record is damaged."""
        if folder in self._unwritten:
            return self._unwritten[folder]
        with contextlib.suppress(*_DAMAGED):
            try:
                found = records.read(folder / _ATTEMPTS)
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
                )
                for a in found
            ]
        return None

    def _write_attempts(self, folder: Path, attempts: Iterable[Attempt]) -> None:
        records = [dataclasses.asdict(attempt) for attempt in attempts]
        durable.make_way(folder / _ATTEMPTS)
        durable.write(folder / _ATTEMPTS, json.dumps(records, indent=1).encode(), folder.name)
        self._unwritten.pop(folder, None)

    def log_file(self, job: Job) -> Path:
        """Return the path of the job's own log while it is in hand."""
        durable.make_way(job.folder / _LOG)
        return job.folder / _LOG

    def ask_to_cancel(self, job: Job) -> bool:
        """Mark a job for the daemon to cancel; return False if it has ended."""
        try:
            durable.write(job.folder / _CANCEL, b"", durable.command_owner())
        except FileNotFoundError:
            return False
        return os.path.lexists(job.prompt_file)

    def is_cancelled(self, job: Job) -> bool:
        """Return whether the job is marked to be cancelled; False if the disk does not answer."""
        return os.path.exists(job.folder / _CANCEL)

    def finish(self, job: Job, folder: Path) -> Path:
        """Move the job's log and, as the last step, its prompt file into the results folder."""
        self._untidy.setdefault(job.folder, "")
        self._publish_log(job, folder, _LOG)
        name = portable(job.source).name
        at = durable.move_to_free_name(job.prompt_file, folder, name, job.id, _is_for_a_video)
        self.tidy()
        return at

    def _publish_log(self, job: Job, folder: Path, name: str) -> None:
        """Move the job's log, if there is one, into a folder that people see."""
        log = self.log_file(job)
        if log.exists():
            durable.write(log, log.read_bytes(), job.id)  # again: an fsync may have failed
            durable.move_to_free_name(log, folder, name, job.id)

    def set_aside(
        self, job: Job, name: str, data: bytes, report: Callable[[PurePosixPath], str]
    ) -> Path:
        """Write a prompt file with the rest of a job, and a report, into `_failed/`.

        `report` gets the prompt file's path there. A repeated call replaces what the first wrote.
        """
        return self._put_aside(
            job, name, report, lambda target, _: durable.write_new(target, data, job.id)
        )

    def take_back_aside(self, job: Job, name: str) -> None:
        """Remove what an earlier attempt at this job wrote by `set_aside`, if anything."""
        missing = (FileNotFoundError, NotADirectoryError, PermissionError)
        with (
            contextlib.suppress(*missing),  # then nothing of ours is there
            self.failed.opened(_place_of(job, name).parent) as folder,
        ):
            target = self._own_place(job, folder, name)
            if target is not None:
                target.unlink(missing_ok=True)
                target.with_name(target.name + LOG_SUFFIX).unlink(missing_ok=True)
                reports.beside(target).unlink()

    def set_aside_earlier(self, source: PurePosixPath, job: Job) -> Iterator[PurePosixPath]:
        """Yield the paths in `_failed/` of what other jobs with this inbox path left there."""
        first, headline = portable(source), _encoded(_headline(source))
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError),
            self.failed.opened(first.parent) as folder,
        ):
            for name in durable.free_names(first.stem, first.suffix):
                if reports.is_free(folder / name):
                    return
                report = reports.beside(folder / name)
                is_about = first == source or reports.begins_with(report, headline)
                if is_about and not reports.is_on(report, job.id):
                    yield first.with_name(name)

    def taken_out(self, source: PurePosixPath) -> list[PurePosixPath]:
        """Return the paths in `_failed/` of files on their way back into the folder of `source`."""
        place = portable(source).with_name(RETRIED_FOLDER)
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError),
            self.failed.opened(place) as folder,
        ):
            return [place / name for name in os.listdir(folder)]
        return []

    def lay_upon(self, job: Job, twin: Path) -> None:
        """End a job whose prompt file was delivered before, as `twin`: keep only one of the two."""
        self._untidy.setdefault(job.folder, "")
        try:
            durable.replace(job.prompt_file, twin)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            durable.remove_temporaries(twin.parent, job.id)  # of a copy that was just made
            if not have_same_bytes(job.prompt_file, twin):
                raise OSError(errno.ESTALE, "it has changed meanwhile", str(twin)) from None
        # rename(2) keeps the old name if both are one file, as after a kill.
        job.prompt_file.unlink(missing_ok=True)
        self.tidy()

    def fail(self, job: Job, report: Callable[[PurePosixPath], str]) -> Path:
        """Move the job's prompt file into `_failed/`, with a report.

        `report` gets the prompt file's path there.
        """
        self._untidy.setdefault(job.folder, "")
        target = self._put_aside(
            job, job.source.name, report, lambda at, text: self._move_aside(job, at, text)
        )
        self.tidy()
        return target

    def _move_aside(self, job: Job, target: Path, report: bytes) -> None:
        self._publish_log(job, target.parent, target.name + LOG_SUFFIX)
        mode = job.prompt_file.lstat().st_mode
        try:
            if stat.S_ISREG(mode):
                durable.move(job.prompt_file, target, job.id)
            elif stat.S_ISLNK(mode):
                durable.rename_new(job.prompt_file, target)
            else:
                self._keep(job, target, report)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM):
                raise
            self._keep(job, target, report)

    def _keep(self, job: Job, target: Path, report: bytes) -> None:
        """Keep in the spool what can't be moved into `_failed/`, such as a pipe or a folder.

        Only reeldrop can enter that place: a folder's owner may write into it wherever it is.
        """
        refused = self.folder / "refused"
        durable.make_folder(refused / job.id)
        if stat.S_IMODE(refused.stat().st_mode) != 0o700:
            refused.chmod(0o700)
        told = report + _encoded(f"It is in {refused / job.id}.\n")
        durable.write(reports.beside(target), told, job.id)
        durable.rename_new(job.prompt_file, refused / job.id / job.source.name)

    def _put_aside(
        self,
        job: Job,
        name: str,
        report: Callable[[PurePosixPath], str],
        put: Callable[[Path, bytes], None],
    ) -> Path:
        """Write a report into `_failed/`, put a file beside it, and return the file's path."""
        first = _place_of(job, name)
        with self.failed.opened(first.parent, make=True) as folder:
            for target in self._places(job, folder, name):
                at = first.with_name(target.name)
                text = _encoded(report(at))
                if not reports.write(target, text, job.id):
                    continue  # another process took the place
                try:
                    put(target, text)
                except FileExistsError:
                    reports.beside(target).unlink()
                    if reports.is_free(target):
                        raise
                else:
                    return self.failed.path / at
        raise AssertionError("free_names never ends")

    def _places(self, job: Job, folder: Path, name: str) -> Iterator[Path]:
        """Yield the place in `_failed/` that an earlier try took, emptied; then free places."""
        durable.remove_temporaries(folder, job.id)  # left by a killed try
        own = self._own_place(job, folder, name)
        if own is not None:
            own.unlink(missing_ok=True)  # the job still has its content
            yield own
        first = _place_of(job, name)
        names = durable.free_names(first.stem, first.suffix)
        yield from filter(reports.is_free, (folder / candidate for candidate in names))

    def _own_place(self, job: Job, folder: Path, name: str) -> Path | None:
        """Return where an earlier try at this job put a file of this name; None if nowhere."""
        if job.is_damaged:  # its folder may have several files, which share the id
            return None
        first = _place_of(job, name)
        stem, suffix = map(re.escape, (first.stem, first.suffix))
        own = re.compile(f"{stem}(-[0-9]+)?{suffix}{re.escape(ERROR_SUFFIX)}")
        with contextlib.suppress(PermissionError):  # then nothing of ours is there
            for entry in filter(own.fullmatch, os.listdir(folder)):
                if reports.is_on(folder / entry, job.id):
                    return folder / entry.removesuffix(ERROR_SUFFIX)
        return None


def _place_of(job: Job, name: str) -> PurePosixPath:
    """Return the place in `_failed/` where a prompt file is put if the place is free."""
    return portable(job.source.with_name(name))


def _take(source: Path, target: Path, is_same: Callable[[os.stat_result], bool]) -> None:
    """Move a file out of the inbox, unless another file has taken its name.

    Another file that was moved by mistake goes back; if its name is taken again, it stays at the
    target, so that nothing is lost.

    Raises:
        FileNotFoundError: the file is gone, or another one has its name.
        FileExistsError: another file can't go back.
    """
    durable.fsync_untrusted(source)  # its author may not have done so
    other = FileNotFoundError(errno.ENOENT, "another file has its name", str(source))
    if not is_same(source.lstat()):
        raise other
    os.rename(source, target)
    if not is_same(target.lstat()):
        durable.rename_new(target, source)
        raise other


def _encoded(report: str) -> bytes:
    return report.encode("utf-8", "backslashreplace")


def _inside(source: PurePosixPath) -> PurePosixPath:
    """Return a path below a folder unchanged.

    Raises:
        ValueError: it leads out of the folder, or its name is one of our own files'.
    """
    if source.is_absolute() or ".." in source.parts or source.name in ("", *_OWN):
        raise ValueError(source)
    return source


def _others_files(folder: Path) -> list[str]:
    """Return the names in a job's folder, sorted, without reeldrop's own and hidden files."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        return sorted(name for name in os.listdir(folder) if not _is_own(name))
    return []


def _remove_job(folder: Path) -> None:
    """Remove a job's folder with reeldrop's own files; a prompt file that came late stays.

    Raises:
        OSError: ENOTEMPTY, a claim has put a prompt file there meanwhile.
    """
    with os.scandir(folder) as entries:
        own = [entry for entry in entries if _is_own(entry.name)]
    for entry in own:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(folder)


def _is_for_a_video(place: Path) -> bool:
    """Return whether a sidecar reserves the name that an mp4, as a prompt file, could get."""
    return place.suffix.lower() == ".mp4" and os.path.lexists(place.with_suffix(SIDECAR_SUFFIX))


def _is_own(name: str) -> bool:
    return name in _OWN or name.startswith(".") or durable.is_temporary(name)


def _cause_of_old(ending: str) -> Cause:
    """Return the cause of an ending recorded by a version that did not record causes."""
    return Cause.UNKNOWN if ending.startswith("without a trace") else Cause.WORK


def error_text(source: PurePosixPath, job_id: str, error: BaseException, then: str) -> str:
    """Return the text of an `.error.txt`: the mistakes, their places and remedies, and `then`.

    `job_id` is empty if the prompt file was never a job.
    """
    mistakes = error.mistakes if isinstance(error, FileError) else [Mistake(str(error))]
    lines = [_headline(source)]
    for mistake in mistakes[:20]:
        lines.append(f"What is wrong:  {shown(mistake.problem)}")
        lines += [f"Where:          {mistake.place}"] if mistake.place else []
        lines += [f"What is right:  {shown(mistake.remedy)}"] if mistake.remedy else []
        lines.append("")
    if len(mistakes) > 20:
        lines += [f"and {len(mistakes) - 20} more mistakes of this kind", ""]
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    job = f"Job {job_id}, " if job_id else ""
    return "\n".join([*lines, shown_lines(then), "", f"{job}{now}", ""])


def _headline(source: PurePosixPath) -> str:
    return f"reeldrop could not render {shown(source)}\n"
