"""Inbox files that ask for no render: prompt files that came back, and conflict copies.

A sync tool that missed a deletion may restore the file. It then has the bytes and the modification
time of the prompt file beside its videos, or in `_failed/`, and nobody wants it rendered again. An
edit changes the bytes, a save or `touch` the time; either asks for a new render, and so does
another picture. A conflict copy whose bytes and defaults are those of its original asks for none,
either; any other is a prompt file of its own. The same file in `NOW/` or `NIGHT/` is the same
order, too; if it would be rendered sooner there, that holds for its twin in hand. If the twin is
being cancelled, it is a new order.

No content is lost: a file that came back replaces its twin, a copy is moved beside its original.
Compares files; does not parse them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import PurePath, PurePosixPath

import structlog

from reeldrop.base import durable, inbox_folders, moves, plain_files
from reeldrop.base.errors import DISK_ERRORS, PromptError
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.base.names import ORDER_FOLDER, PICTURES_SUFFIX, is_video, portable
from reeldrop.intake import reading
from reeldrop.intake.conflicts import conflict_copy
from reeldrop.intake.pictures import sha256
from reeldrop.intake.places import Place
from reeldrop.prompts import parsing
from reeldrop.schedule import turns
from reeldrop.store import job_files, pictures
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool

_log = structlog.get_logger()


class Repeats:
    """Ends jobs whose files order nothing. A call that raised OSError may be repeated.

    hurry: called with a job in hand as it is recorded now, if it is to be rendered sooner
    """

    def __init__(
        self, spool: Spool, results: Results, hurry: Callable[[Job], None] = lambda _job: None
    ) -> None:
        self._spool = spool
        self._results = results
        self._hurry = hurry

    def is_order(self, job: Job) -> bool:
        """Return whether a job orders anything. If not, the job has been ended."""
        if self._spool.attempts.was_in_hand(job) or job.is_damaged:
            return True
        if self._spool.failed.ends_retry(job):
            return True
        twin = self._twin(job)
        if twin is not None:
            self._replace_twin(job, twin)
            return False
        return not self._is_needless_copy(job)

    # Prompt files that came back

    def _twin(self, job: Job) -> Place | None:
        """Return where the same prompt file lies from an earlier delivery; None if it does not."""
        places = self._places(job.source, job, as_old=True)
        return next((place for place in places if self._is_twin(job, place)), None)

    def _is_twin(self, job: Job, place: Place) -> bool:
        """Return whether an earlier order lies at a place, with the pictures that this one has."""
        is_as_old = _is_same(job, place) and _is_as_old(job, place)
        return is_as_old and self._has_pictures(place, job)

    def _has_pictures(self, place: Place, job: Job) -> bool:
        """Return whether the pictures of a job are also those of a prompt file at a place.

        Each file is read once: strangers can make many of one size that differ in their last byte.
        """
        ours = pictures.of(job)
        if not ours:
            return True
        sizes = {one.lstat().st_size for one in ours}
        gone = (FileNotFoundError, NotADirectoryError)
        with contextlib.suppress(*gone), place.root.opened(self._pictures_of(place)) as there:
            found = (there / name for name in os.listdir(there))
            theirs = {sha256(other) for other in found if other.lstat().st_size in sizes}
            return {sha256(one) for one in ours} <= theirs - {""}
        return False

    def _pictures_of(self, place: Place) -> PurePath:
        """Return the folder that the pictures of a prompt file at a place are in."""
        if place.root is self._spool.root:
            return place.below.with_name(job_files.PICTURES)
        if place.root is self._spool.failed.root:
            return place.below.with_name(place.below.name + PICTURES_SUFFIX)
        folder = place.below.parent
        return folder.parent if folder.name == ORDER_FOLDER else folder

    def _places(self, source: PurePosixPath, job: Job, *, as_old: bool) -> Iterator[Place]:
        """Yield where prompt files lie that had this path in the inbox: in hand, done or failed.

        Of those that are done or failed, only the ones that are as long as a job's and, if
        `as_old`, have its time: there are thousands if a program always writes the same name.
        """
        alike, is_like = inbox_folders.alike(source), _like(job, as_old=as_old)
        for other in self._spool.others_in_hand(alike, job):
            if other.source != source and job_files.is_cancelled(other):
                continue
            below = other.prompt_file.relative_to(self._spool.folder)
            yield Place(self._spool.root, below)
        if _keeps_its_name(source):
            yield from _named(self._place_in_results(source, source), is_like)
            if is_video(source):  # older versions kept it beside its videos
                videos = self._results.place_for(source)
                first = Place(self._results.root, videos / portable(source).name)
                yield from _named(first, is_like)
        for one in alike:
            for aside in self._spool.failed.earlier(one, job, is_like):
                yield Place(self._spool.failed.root, aside)

    def _place_in_results(self, source: PurePosixPath, original: PurePosixPath) -> Place:
        """Return the place of the prompt file `source` beside the videos of `original`."""
        return Place(self._results.root, self._results.order_place(source, original))

    def _replace_twin(self, job: Job, twin: Place) -> None:
        name = shown(job.source)
        if twin.root is not self._spool.root:
            note = (
                f"{name} was delivered again, with the same content and the same\n"
                "modification time, as by a sync tool that has missed a deletion.\n"
                "So it has not been rendered again.\n\n"
                "To have it rendered again, save it again, or `touch` it in the inbox.\n"
            )
            twin.write_note(note, job)
        elif (other := self._spool.find(twin.below.parent.name)) is not None:
            self._hurry_as(job, other)
        with twin.opened() as file:
            self._spool.lay_upon(job, file)
        _log.info("came_back", job_id=job.id, prompt_file=name, same_as=str(twin))

    def _hurry_as(self, job: Job, other: Job) -> None:
        """Record that a job in hand is rendered as soon as the same order elsewhere would be."""
        leaves_night = turns.is_of_night(other.source) and not turns.is_of_night(job.source)
        if job.source == other.source or not (job.priority > other.priority or leaves_night):
            return
        self._spool.take_pictures(other)  # they lie beside its source
        priority = max(job.priority, other.priority)
        source = job.source if leaves_night else other.source
        sooner = dataclasses.replace(other, source=source, priority=priority)
        job_files.write_record(sooner, is_cancelled=False)
        self._hurry(sooner)
        _log.info("rendered_sooner", job_id=other.id, because_of=shown(job.source))

    # Conflict copies

    def _is_needless_copy(self, job: Job) -> bool:
        """Return whether a job is a conflict copy that equals its original; if so, end it."""
        tool, originals = _copied(job.source)
        for original in originals:
            if not self._has_same_defaults(job, original):
                continue
            others = self._places(original, job, as_old=False)
            places = [Place(self._spool.inbox, original), *others]
            same = next((place for place in places if _is_same(job, place)), None)
            if same is not None and self._has_pictures(same, job):
                self._move_beside(job, original, same)
                return True
        if tool:
            _log.info("conflict_copy", job_id=job.id, prompt_file=shown(job.source), made_by=tool)
        return False

    def _has_same_defaults(self, job: Job, original: PurePosixPath) -> bool:
        """Return whether a file in a copy of a folder has the defaults of its original now."""
        if original.name != job.source.name:
            return True  # it is in the same folder
        limits = parsing.DEFAULTS_NAME, parsing.MAX_DEFAULTS_BYTES
        try:
            found = reading.defaults_above(self._spool.inbox, original, *limits)
        except PromptError:
            return False
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            return False
        return [file.data for file in found] == [file.data for file in job.defaults]

    def _move_beside(self, job: Job, original: PurePosixPath, same: Place) -> None:
        """Move a conflict copy to where its original is or will be.

        A file in a copy of a folder goes to a place of its own: it has the original's name.
        """
        is_of_folder = original.name == job.source.name
        place = self._place_in_results(job.source, job.source if is_of_folder else original)
        if same.root not in (self._spool.inbox, self._spool.root) and not is_of_folder:
            place = same.beside(place.below.name)
        note = (
            f"{shown(job.source)} is the copy that a sync tool made of {shown(original)}\n"
            "when it was changed in two places. Both have the same content, so the copy has not\n"
            "been rendered.\n"
        )
        place.write_note(note, job)
        _log.info("needless_copy", job_id=job.id, prompt_file=shown(job.source), same_as=str(same))
        for taken in _named(place, _like(job, as_old=True)):
            if self._is_twin(job, taken):
                with taken.opened() as file:
                    self._spool.lay_upon(job, file)
                return
        with place.opened(make=True) as file:
            self._spool.finish(job, file.parent)


def _copied(source: PurePosixPath) -> tuple[str, list[PurePosixPath]]:
    """Return the tool that made a conflict copy, and its possible originals; empty if it is none.

    The copy may be the file or a folder above it; the last part of the path so named counts.
    """
    parts = source.parts
    for at in reversed(range(len(parts))):
        copy = conflict_copy(parts[at])
        if copy is not None:
            names = copy.originals
            return copy.tool, [PurePosixPath(*parts[:at], n, *parts[at + 1 :]) for n in names]
    return "", []


def _like(job: Job, *, as_old: bool) -> Callable[[os.stat_result], bool]:
    """Return whether a file is as long as the prompt file of a job; `as_old`: and has its time."""
    try:
        ours = job.prompt_file.lstat()
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        return lambda _theirs: False

    def is_like(theirs: os.stat_result) -> bool:
        return theirs.st_size == ours.st_size and (not as_old or _are_as_old(ours, theirs))

    return is_like


def _named(first: Place, is_like: Callable[[os.stat_result], bool]) -> Iterator[Place]:
    """Yield such files under a name and its numbered variants, up to the first free one."""
    try:
        with first.opened() as file:
            folder = file.parent
            for name in durable.free_names(file.name):
                if is_like(os.lstat(f"{folder}/{name}")):
                    yield first.beside(name)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise


def _keeps_its_name(source: PurePosixPath) -> bool:
    """Return whether no other path in the inbox maps to the same folder of the results."""
    same = PurePosixPath(unicodedata.normalize("NFC", str(source)))
    return portable(source) == same and not any(part.startswith("_") for part in same.parts)


def _is_same(job: Job, place: Place) -> bool:
    """Return whether a plain file has the prompt file's bytes; False if it is missing."""
    try:
        with place.opened() as file:
            is_as_long = job.prompt_file.lstat().st_size == file.lstat().st_size
            return is_as_long and plain_files.have_same_bytes(job.prompt_file, file)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        return False


def _is_as_old(job: Job, place: Place) -> bool:
    with place.opened() as file:
        return _are_as_old(job.prompt_file.lstat(), file.lstat())


def _are_as_old(ours: os.stat_result, theirs: os.stat_result) -> bool:
    return moves.is_same_time(ours.st_mtime_ns, theirs.st_mtime_ns)
