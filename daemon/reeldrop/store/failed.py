"""`_failed/`: prompt files that are set aside for a person, each with a report.

A prompt file keeps the place that it had in the inbox. If its name differs from another one here
only in upper and lower case, it gets a number, and a folder gets a mark. An attempt to set it aside
that was killed may have left a part; the next attempt replaces that. Does not know why a job
failed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, inbox_folders, moves, temporaries
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.base.names import (
    CLEARED_FOLDER,
    ERROR_SUFFIX,
    LOG_SUFFIX,
    PICTURES_SUFFIX,
    RETRIED_FOLDER,
    aside,
)
from reeldrop.base.roots import NOTHING_THERE, Root
from reeldrop.base.trouble import is_there
from reeldrop.store import cleared, job_files, pictures, reports
from reeldrop.store.folded import Names
from reeldrop.store.retried import is_put_back

Report = Callable[[PurePosixPath], str]
"""Returns the text of a report, given the path in `_failed/` of the file that it is about."""


class Failed:
    """The folder `_failed/`.

    refused: the folder for prompt files that can't be moved there, such as pipes and folders
    """

    def __init__(self, folder: Path, refused: Path) -> None:
        self.root = Root(folder)
        self._names = Names(folder)
        self._refused = refused

    def write(
        self, job: Job, name: str, data: bytes, report: Report, needed: Iterable[Path] = ()
    ) -> Path:
        """Write a prompt file with the rest of a job, and a report; return the file's path.

        The pictures that it needs are copied. A repeated call replaces what the first wrote.
        """
        kept = list(needed)

        def put(target: Path, _report: bytes) -> None:
            if kept:
                with self._pictures(job, target, make=True) as folder:
                    pictures.copy_aside(kept, folder, job.id)
            durable.write(job_files.remainder(job), data, job.id)
            durable.write_new(target, data, job.id)

        return self._put(job, name, report, put)

    def take(self, job: Job, report: Report) -> Path:
        """Move a job's prompt file here, with log, pictures and a report; return its path."""
        return self._put(
            job, job.source.name, report, lambda target, text: self._move(job, target, text)
        )

    def _move(self, job: Job, target: Path, report: bytes) -> None:
        job_files.publish_log(job, target.parent, target.name + LOG_SUFFIX)
        if pictures.of(job):
            with self._pictures(job, target, make=True) as folder:
                pictures.set_aside(job, folder, target.name)
        mode = job.prompt_file.lstat().st_mode
        try:
            if stat.S_ISREG(mode):
                moves.move(job.prompt_file, target, job.id)
            elif stat.S_ISLNK(mode):
                durable.rename_new(job.prompt_file, target)
            else:
                self._keep(job, target, report)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM):
                raise
            self._keep(job, target, report)

    def _pictures(
        self, job: Job, target: Path, *, make: bool = False
    ) -> contextlib.AbstractContextManager[Path]:
        """Hold the folder of a prompt file's pictures open, and yield a path to it."""
        place = self._place_for(job.source).with_name(target.name + PICTURES_SUFFIX)
        return self.root.opened(place, make=make)

    def _keep(self, job: Job, target: Path, report: bytes) -> None:
        """Keep in the spool what can't be moved here, and say so in the report.

        Only reeldrop can enter the place, because a folder's owner may write into it anywhere.
        """
        kept = self._refused / job.id
        durable.make_folder(kept)
        if stat.S_IMODE(self._refused.stat().st_mode) != 0o700:
            self._refused.chmod(0o700)
        text = report + reports.encoded(f"It is in {kept}.\n")
        durable.write(reports.beside(target), text, job.id)
        durable.rename_new(job.prompt_file, kept / job.source.name)

    def _put(self, job: Job, name: str, report: Report, put: Callable[[Path, bytes], None]) -> Path:
        """Write a report, put a file beside it, and return the file's path."""
        first = self._place_for(job.source.with_name(name))
        with self.root.opened(first.parent, make=True) as folder:
            for target in self._places(job, folder, first):
                at = first.with_name(target.name)
                text = reports.encoded(report(at))
                if not reports.write(target, text, job.id):
                    continue  # another process took the place
                try:
                    put(target, text)
                except FileExistsError:
                    reports.beside(target).unlink()
                    if reports.is_free(target):
                        raise
                else:
                    return self.root.path / at
        raise AssertionError("free_names never ends")

    def take_back(self, job: Job, name: str) -> None:
        """Remove what an earlier call of `write` for this job wrote, if anything.

        What a person has made of it is cleared.
        """
        first = self._place_for(job.source.with_name(name))
        with contextlib.suppress(*NOTHING_THERE), self.root.opened(first.parent) as folder:
            target = _own_place(job, folder, first)
            if target is not None and self._remove_own(job, target, first):
                target.with_name(target.name + LOG_SUFFIX).unlink(missing_ok=True)
                with contextlib.suppress(*NOTHING_THERE), self._pictures(job, target) as kept:
                    pictures.remove_copies(job, kept)
                with contextlib.suppress(OSError):  # it is missing, or has others' files, too
                    os.rmdir(target.with_name(target.name + PICTURES_SUFFIX))
                reports.beside(target).unlink(missing_ok=True)

    def _remove_own(self, job: Job, own: Path, first: PurePosixPath) -> bool:
        """Remove a file that an earlier attempt put here; clear what a person has made of it.

        Return False if it stays, because `_cleared/` is closed, or no folder.
        """
        ours = job.prompt_file, job_files.remainder(job)
        if not is_there(own) or any(pictures.is_same(own, file) for file in ours):
            own.unlink(missing_ok=True)
            return True
        try:
            with self.root.opened(CLEARED_FOLDER / first.parent, make=True) as into:
                if job.pictures.names:
                    with self._pictures(job, own, make=True) as folder:
                        pictures.leave_copies(job, folder, own.name)
                suffixes = ("", PICTURES_SUFFIX, ERROR_SUFFIX)
                there = [s for s in suffixes if is_there(own.with_name(own.name + s))]
                cleared.move(own, there, into)
        except NOTHING_THERE:
            return False
        return True

    def take_pictures_back(self, job: Job) -> None:
        """Give a job the pictures again that an earlier try at setting it aside moved here."""
        first = self._place_for(job.source)
        with contextlib.suppress(*NOTHING_THERE), self.root.opened(first.parent) as folder:
            target = _own_place(job, folder, first)
            if target is not None:
                with self._pictures(job, target) as kept:
                    pictures.take_back(job, kept, target.name)
                os.rmdir(target.with_name(target.name + PICTURES_SUFFIX))

    def clear(self, job: Job) -> list[PurePosixPath]:
        """Move what earlier jobs left of a prompt file that is rendered now into `_cleared/`.

        Return the paths of the prompt files there.
        """
        sources = inbox_folders.alike(job.source)
        return [place for source in sources for place in self._clear(job, source)]

    def _clear(self, job: Job, source: PurePosixPath) -> Iterator[PurePosixPath]:
        first = self._place_for(source)
        with contextlib.suppress(*NOTHING_THERE), self.root.opened(first.parent) as folder:
            if found := cleared.superseded(job, source, folder, first):
                place = CLEARED_FOLDER / first.parent
                with self.root.opened(place, make=True) as into:
                    for name, suffixes in found.items():
                        yield place / cleared.move(folder / name, suffixes, into)

    def earlier(
        self, source: PurePosixPath, job: Job, is_like: Callable[[os.stat_result], bool]
    ) -> Iterator[PurePosixPath]:
        """Yield the paths here of the files that other jobs with the inbox path `source` left.

        is_like: returns whether a file may be wanted; of the others nothing is read
        """
        first = self._place_for(source)
        for place in (first, CLEARED_FOLDER / first):
            with contextlib.suppress(*NOTHING_THERE), self.root.opened(place.parent) as folder:
                for name in durable.free_names(place.name):
                    try:
                        is_wanted = is_like(os.lstat(f"{folder}/{name}"))
                    except OSError:
                        is_wanted = False
                        if self._is_free(folder / name, place):
                            break
                    if not is_wanted:
                        continue
                    report = reports.beside(folder / name)
                    is_about = first == source or reports.about(report) == shown(source)
                    if is_about and not reports.is_on(report, job.id):
                        yield place.with_name(name)

    def ends_retry(self, job: Job) -> bool:
        """Return whether a retry moved a job's file out of here, and remove its name here.

        The command removes that name, too, unless it is killed before.
        """
        place = self._place_for(job.source).with_name(RETRIED_FOLDER)
        with contextlib.suppress(*NOTHING_THERE), self.root.opened(place) as folder:
            for taken in map(folder.joinpath, os.listdir(folder)):
                if is_put_back(taken, job.prompt_file):
                    taken.unlink(missing_ok=True)
                    return True
        return False

    def _place_for(self, source: PurePosixPath) -> PurePosixPath:
        """Return where a prompt file is put here if the place is free."""
        return self._names.within(aside(source))

    def _is_free(self, target: Path, first: PurePosixPath) -> bool:
        """Return whether a place beside `first` is free, also on clients that fold case."""
        names = (target.name + suffix for suffix in ("", ERROR_SUFFIX, PICTURES_SUFFIX))
        clashes = (self._names.clashes(first.with_name(name)) for name in names)
        return reports.is_free(target) and not any(clashes)

    def _places(self, job: Job, folder: Path, first: PurePosixPath) -> Iterator[Path]:
        """Yield the place that an earlier attempt took, emptied; then free places."""
        temporaries.remove(folder, job.id)  # left by an attempt that was killed
        own = _own_place(job, folder, first)
        if own is not None and self._remove_own(job, own, first):
            yield own
        for name in durable.free_names(first.name):
            if self._is_free(folder / name, first):
                yield folder / name


def _own_place(job: Job, folder: Path, first: PurePosixPath) -> Path | None:
    """Return where an earlier attempt put this job's file for a place; None if nowhere."""
    if job.is_damaged:  # its folder may have several files, which share the id
        return None
    stem, suffix = map(re.escape, (first.stem, first.suffix))
    own = re.compile(f"{stem}(-[0-9]+)?{suffix}{re.escape(ERROR_SUFFIX)}")
    with contextlib.suppress(PermissionError):  # then nothing of ours is there
        for entry in filter(own.fullmatch, os.listdir(folder)):
            if reports.is_on(folder / entry, job.id):
                return folder / entry.removesuffix(ERROR_SUFFIX)
    return None
