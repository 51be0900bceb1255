"""The jobs in hand: claim a prompt file, read a job back, and end it.

A job is a directory `active/<job_id>/` that contains the claimed prompt file; without one, the job
is not in hand. A job's state is read from its files.
Does not know what a prompt file says or how videos are made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import structlog

from reeldrop.base import durable, moves, temporaries
from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.job import Cause, DefaultsFile, Job
from reeldrop.base.names import portable
from reeldrop.base.picture_files import NO_PICTURES, PictureFiles
from reeldrop.base.plain_files import have_same_bytes
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.store import job_files, pictures, sheets
from reeldrop.store.attempts import Attempts
from reeldrop.store.failed import Failed, Report
from reeldrop.store.lock import Lock

_log = structlog.get_logger()


class Spool:
    """The jobs in hand of one daemon, and the ways in which a job ends.

    folder: the spool, on the inbox's file system; never synced
    failed: the folder for prompt files that are set aside for a person
    """

    def __init__(self, folder: Path, inbox: Path, failed: Path) -> None:
        self.folder = folder
        self.active = folder / "active"
        self.root = Root(folder, beside=inbox, may_be_remade=True)
        self.inbox = Root(inbox, beside=folder)
        self.failed = Failed(failed, refused=folder / "refused")
        self.attempts = Attempts()
        self.lock = Lock(folder, self.active)
        self._untidy: dict[Path, str] = {}
        self._claimed: dict[str, str] = {}

    def prepare(self) -> None:
        """Make the folders, and remove directories of jobs that never began or have ended.

        Only for the process that holds the lock.

        Raises:
            ConfigError: a claim could not be a rename, as inbox and spool are too far apart.
        """
        self._make_active()
        if not self._can_take_files():
            folders = f"{self.folder} and {self.inbox.path}"
            problem = f"{folders} are not on the same file system, or not in the same mount"
            remedy = "move the spool: taking a prompt file has to be one rename"
            raise ConfigError(Mistake(problem, remedy, key="spool"))
        self._untidy = dict.fromkeys(self._folders(), "")
        self.tidy()

    def _can_take_files(self) -> bool:
        """Return whether a file of the inbox can be renamed into the spool.

        Two mounts of one file system have the same device. The kernel compares mounts before it
        looks for the file, so none is needed.
        """
        if self.active.stat().st_dev != self.inbox.path.stat().st_dev:
            return False
        nothing = temporaries.beside(self.active / "x", temporaries.command_owner())
        try:
            os.rename(self.inbox.path / nothing.name, nothing)
        except OSError as error:
            return error.errno != errno.EXDEV
        return True

    def tidy(self) -> None:
        """Remove what ended jobs and failed claims left.

        Only for the process that holds the lock. The next call tries again what can't be removed:
        nothing depends on it, so a power cut may bring it back.
        """
        for folder in list(self._untidy):
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        logged = self._untidy.get(folder, "")
        try:
            if folder.exists() and self._job(folder) is None:
                job_files.remove(folder)
            self._untidy.pop(folder, None)
            self._claimed.pop(folder.name, None)
            self.attempts.forget(folder.name)
        except OSError as error:
            if logged != str(error):
                _log.error("spool_untidy", reason=str(error), remedy="it is tried again")
            self._untidy[folder] = str(error)

    def keep(self) -> bool:
        """Return whether this process still holds the spool; recreate what somebody removed."""
        with contextlib.suppress(OSError):  # its share is not mounted; claims report the error
            if not self.active.exists():
                self._make_active()
        return self.lock.keep()

    def _make_active(self) -> None:
        with self.root.opened(PurePosixPath(self.active.name), make=True):
            pass

    def claim(
        self,
        source: PurePosixPath,
        defaults: Iterable[DefaultsFile],
        priority: int = 0,
        *,
        refusal: Iterable[Mistake] = (),
        beside: PictureFiles = NO_PICTURES,
        is_cancelled: bool = False,
        is_same: Callable[[os.stat_result], bool] = lambda _status: True,
        job_id: str = "",
    ) -> Job | None:
        """Claim a file of the inbox; return None if it is gone, or `is_same` returns False.

        job_id: a new id; empty to make one

        The job's record, and with `is_cancelled` the mark of a cancelled job, is on the disk before
        the one rename that makes it a job. Its pictures, `beside`, follow.

        Raises:
            OSError: the file can't be moved. It is still in the inbox, or else an unfinished job.
        """
        job_id = job_id or job_files.new_id()
        folder, faults = self.active / job_id, tuple(refusal)
        job = Job(job_id, source, folder, tuple(defaults), priority=priority, refusal=faults)
        job = dataclasses.replace(job, pictures=beside)
        self._make_folder_of(job)
        try:
            job_files.write_record(job, is_cancelled=is_cancelled)
            durable.fsync_folder(self.active)
            with self.inbox.opened(source.parent) as above:
                _take(above / source.name, job.prompt_file, is_same)
        except OSError as error:
            self._remove(job.folder)
            # A share may have moved the file, but lost its reply: then it is a job anyway.
            if not is_there(job.prompt_file):
                if isinstance(error, FileNotFoundError | NotADirectoryError):
                    return None
                raise
        with contextlib.suppress(OSError):  # it is a job, but a power cut may undo the claim
            job = dataclasses.replace(job, owner=job.prompt_file.lstat().st_uid)
            durable.fsync_folder(job.folder)
            with self.inbox.opened(source.parent) as above:
                durable.fsync_folder(above)
        self.attempts.note_claim(job_id)
        self._claimed[job_id] = source.name
        with contextlib.suppress(OSError):  # they are taken again when it is opened
            self.take_pictures(job)
        return job

    def take_pictures(self, job: Job) -> None:
        """Take the pictures of a job that are in the inbox; copy what others still have to take.

        First those that are in `_failed/`, where a killed try at setting it aside has put them. A
        job that was rendered has had all: what has their names in the inbox now is another file's.
        """
        if not pictures.missing(job):
            return
        if not self.attempts.is_new(job):
            with contextlib.suppress(OSError):  # the job fails, and says which is missing
                self.failed.take_pictures_back(job)
        if self.attempts.was_in_hand(job) or not pictures.missing(job):
            return
        beside = (other for other in self.unfinished() if other.source.parent == job.source.parent)
        wanted = {name for o in beside if o.id != job.id for name in pictures.missing(o)}
        pictures.take(job, self.inbox, wanted.union(job.pictures.shared))

    def _make_folder_of(self, job: Job) -> None:
        try:
            job.folder.mkdir()
        except FileNotFoundError:  # a command claims before the first daemon
            self._make_active()
            job.folder.mkdir()

    def unfinished(self, without: Container[str] = ()) -> Iterator[Job]:
        """Return an iterator over the jobs in hand, oldest first; ids in `without` are not read."""
        folders = (folder for folder in self._folders() if folder.name not in without)
        return (job for folder in folders if (job := self._job(folder)) is not None)

    def ids(self) -> list[str]:
        """Return the ids of all possible jobs in hand, oldest first."""
        return self._names()

    def find(self, job_id: str) -> Job | None:
        """Return a job in hand by its id; None if it has ended."""
        return self._job(self.active / job_id)

    def others_in_hand(self, sources: Sequence[PurePosixPath], job: Job) -> Iterator[Job]:
        """Yield the other jobs in hand whose prompt file had one of these paths in the inbox.

        All have the same name.
        """
        name = sources[0].name
        for job_id in self._names():
            if self._claimed.get(job_id, name) != name:  # of hundreds, most are others
                continue
            if job_id != job.id and is_there(self.active / job_id / name):
                other = self.find(job_id)
                if other is not None and other.source in sources:
                    yield other

    def _folders(self) -> list[Path]:
        return [self.active / name for name in self._names()]

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.active) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _job(self, folder: Path) -> Job | None:
        return job_files.read_job(folder, self.attempts.ended(folder))

    def note_ending(self, how: str, cause: Cause = Cause.WORK) -> None:
        """Record how the last process ended; see `Attempts.note_ending`."""
        self.attempts.note_ending(self._folders(), how, cause)
        if how or cause is Cause.MACHINE:
            sheets.note_ending(self._folders(), cause)

    @contextlib.contextmanager
    def _ending(self, job: Job) -> Iterator[None]:
        """Remove a job's folder after the block has moved its prompt file out of it."""
        self._untidy.setdefault(job.folder, "")
        yield
        self._remove(job.folder)

    def finish(self, job: Job, folder: Path, order_folder: Path | None = None) -> Path:
        """Move the job's log and pictures into the results folder and, last, its prompt file.

        order_folder: the folder for the prompt file, if it is another one
        """
        with self._ending(job):
            job_files.publish_log(job, folder)
            pictures.file_away(job, folder)
            name = portable(job.source).name
            return moves.move_to_free_name(job.prompt_file, order_folder or folder, name, job.id)

    def fail(self, job: Job, report: Report) -> Path:
        """Move the job's prompt file into `_failed/`, with its pictures and a report."""
        with self._ending(job):
            return self.failed.take(job, report)

    def lay_upon(self, job: Job, twin: Path) -> None:
        """End a job whose prompt file was delivered before, as `twin`: it replaces the twin.

        Its pictures are removed: the twin has the same.
        """
        with self._ending(job):
            if is_there(twin):
                _require_same_bytes(job.prompt_file, twin)
            pictures.drop(job)
            try:
                durable.replace(job.prompt_file, twin)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                temporaries.remove(twin.parent, job.id)  # of a copy that was just made
                _require_same_bytes(job.prompt_file, twin)
            # rename(2) keeps the old name if both are one file, as after a kill.
            if is_there(job.prompt_file):
                job.prompt_file.unlink()
                durable.fsync_folder(job.folder)


def _require_same_bytes(file: Path, twin: Path) -> None:
    """Raise ESTALE if a person has just changed a file's twin, which would then be lost."""
    if not have_same_bytes(file, twin):
        raise OSError(errno.ESTALE, "it has changed meanwhile", str(twin))


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
