"""What comes into the inbox and orders nothing: files that came back, and copies of conflicts.

A deletion may be undone by a sync tool that was not there when it happened. What then comes back
has the bytes and the modification time of the prompt file that lies beside its videos, or in
`_failed/`: rendering it again is what nobody asked for. Who edits a file changes its bytes, who
saves or touches it changes its time, and both order it anew. A conflict copy with the bytes of its
original orders nothing either; with others it is a prompt file of its own.

No file is deleted: one that came back is laid upon its twin, a copy is laid beside its original.
"""

from __future__ import annotations

import filecmp
import os
import stat
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import structlog

from reeldrop import durable
from reeldrop.ignored import conflict_copy
from reeldrop.job import Job, shown
from reeldrop.names import NOTE_SUFFIX, portable
from reeldrop.results import Results
from reeldrop.spool import Spool

_log = structlog.get_logger()


class Deliveries:
    """Tells orders from what only came along. What raises OSError may be called again."""

    def __init__(self, place: Spool, tree: Results) -> None:
        self._spool = place
        self._results = tree

    def is_order(self, job: Job) -> bool:
        """Tell whether a job asks for something. One that does not has ended."""
        if self._spool.was_in_hand(job) or job.is_damaged:
            return True
        if self._ends_a_retry(job):
            return True
        twin = self._twin(job)
        if twin is not None:
            self._lay_upon(job, twin)
            return False
        return not self._is_needless_copy(job)

    def _ends_a_retry(self, job: Job) -> bool:
        """Return whether a file comes from `_failed/`, and remove the name that it still has there.

        The command is about to, or was killed before it could.
        """
        for taken in self._spool.taken_out(job.source):
            if _is_same(job.prompt_file, taken) and _is_as_old(job.prompt_file, taken):
                taken.unlink(missing_ok=True)
                return True
        return False

    # Files that came back

    def _twin(self, job: Job) -> Path | None:
        """Return the same prompt file from an earlier delivery."""
        for place in self._places(job.source, job):
            if _is_same(job.prompt_file, place) and _is_as_old(job.prompt_file, place):
                return place
        return None

    def _places(self, source: PurePosixPath, job: Job) -> Iterator[Path]:
        """Yield where prompt files lie that had this path in the inbox, in hand or at their end."""
        yield from (other.prompt_file for other in self._spool.others_in_hand(source, job))
        if _keeps_its_name(source):
            yield from _named(self._results.folder_for(source), portable(source).name)
        yield from self._spool.set_aside_earlier(source, job)

    def _lay_upon(self, job: Job, twin: Path) -> None:
        name = shown(job.source)
        if not twin.is_relative_to(self._spool.folder):
            note = (
                f"{name} was delivered once more, with the same content and the same\n"
                f"modification time. Sync tools do so when they did not hear of a deletion, so\n"
                "it has not been rendered again.\n\n"
                "To have it rendered again, save it anew, or `touch` it in the inbox.\n"
            )
            self._write_note(twin, note, job)
        self._spool.lay_upon(job, twin)
        _log.info("came_back", job_id=job.id, prompt_file=name, same_as=str(twin))

    # Copies of conflicts

    def _is_needless_copy(self, job: Job) -> bool:
        """Lay a conflict copy aside that has the bytes of its original; tell whether it is one."""
        copy = conflict_copy(job.source.name)
        if copy is None:
            return False
        for name in copy.originals:
            original = job.source.with_name(name)
            places = [self._spool.inbox / original, *self._places(original, job)]
            same = next((place for place in places if _is_same(job.prompt_file, place)), None)
            if same is not None:
                self._lay_beside(job, original, same)
                return True
        _log.info("conflict_copy", job_id=job.id, prompt_file=shown(job.source), made_by=copy.tool)
        return False

    def _lay_beside(self, job: Job, original: PurePosixPath, same: Path) -> None:
        """Move a conflict copy to where its original is or will be."""
        folder = self._results.folder_for(original)
        lies_open = same.is_relative_to(self._spool.inbox) or same.is_relative_to(
            self._spool.folder
        )
        if not lies_open:
            folder = same.parent
        note = (
            f"{shown(job.source)} is the copy that a sync tool made of {shown(original)}\n"
            "when it was changed in two places. Both have the same content, so the copy has not\n"
            "been rendered.\n"
        )
        name = portable(job.source).name
        self._write_note(folder / name, note, job)
        _log.info("needless_copy", job_id=job.id, prompt_file=shown(job.source), same_as=str(same))
        for place in _named(folder, name):
            if _is_same(job.prompt_file, place) and _is_as_old(job.prompt_file, place):
                self._spool.lay_upon(job, place)
                return
        self._spool.finish(job, folder)

    def _write_note(self, file: Path, text: str, job: Job) -> None:
        """Leave a text beside a file; the next note on it replaces this one."""
        durable.make_folder(file.parent)
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        path = file.with_name(file.name + NOTE_SUFFIX)
        durable.write(path, f"{text}\n{now}\n".encode("utf-8", "backslashreplace"), job.id)


def _named(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files in a folder that were moved there under a name, up to the first free one."""
    for candidate in durable.free_names(*durable.split_name(name)):
        if not os.path.lexists(folder / candidate):
            return
        yield folder / candidate


def _keeps_its_name(source: PurePosixPath) -> bool:
    """Tell whether no other path in the inbox leads to the same folder of the results."""
    same = PurePosixPath(unicodedata.normalize("NFC", str(source)))
    return portable(source) == same and not any(part.startswith("_") for part in same.parts)


def _is_same(ours: Path, theirs: Path) -> bool:
    """Tell whether two plain files have the same bytes. What is missing is the same as nothing."""
    try:
        one, other = ours.lstat(), theirs.lstat()
        plain = stat.S_ISREG(one.st_mode) and stat.S_ISREG(other.st_mode)
        return plain and one.st_size == other.st_size and filecmp.cmp(ours, theirs, shallow=False)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


def _is_as_old(ours: Path, theirs: Path) -> bool:
    return durable.is_same_time(ours.lstat().st_mtime_ns, theirs.lstat().st_mtime_ns)
