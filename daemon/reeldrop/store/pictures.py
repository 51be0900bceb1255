"""The pictures of jobs: out of the inbox behind the prompt file, and on before it.

While a job is in hand, its pictures are in a folder inside the job's. A job takes what is still in
the inbox whenever it is opened, and its prompt file leaves last, so a kill at any moment leaves
each picture in one place, or copied, and where the next try looks for it.
Does not know what a picture shows, or which prompts use it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, moves, plain_files, temporaries
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.job import Job
from reeldrop.base.names import (
    PICTURE_SUFFIXES,
    POSTER_SUFFIX,
    folded,
    portable,
    spellings,
    unreserved,
)
from reeldrop.base.picture_files import MOST_BYTES
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.store.job_files import PICTURES


def place(job: Job, name: str) -> Path:
    """Return where a picture of a job is while the job is in hand."""
    return job.folder / PICTURES / name


def missing(job: Job) -> list[str]:
    """Return the pictures of a job that it has not taken."""
    return [name for name in job.pictures.names if not is_there(place(job, name))]


def take(job: Job, inbox: Root, shared: Container[str]) -> None:
    """Move the pictures of a job that are in the inbox into its folder; copy those in `shared`.

    What is no plain file, too large, or not to be read stays, as does a name that is taken in the
    job's folder.

    Raises:
        OSError: the disk is in trouble, or a picture can't be moved.
    """
    gone = (FileNotFoundError, NotADirectoryError)
    with contextlib.suppress(*gone), inbox.opened(job.source.parent) as folder:
        for name in missing(job):
            for spelling in spellings(name):
                with contextlib.suppress(*gone):
                    _take(job, folder / spelling, name, is_shared=name in shared)
                    break


def _take(job: Job, source: Path, name: str, *, is_shared: bool) -> None:
    if not _may_be_taken(source):
        return
    target = place(job, name)
    durable.make_folder(target.parent)
    if is_shared:
        _copy(source, target, job.id)
        return
    durable.fsync_untrusted(source)  # its author may not have done so
    try:
        durable.rename_new(source, target)
    except PermissionError:  # it is another user's, and the folder has the sticky bit
        _copy(source, target, job.id)
        return
    if not _may_be_taken(target):  # somebody has exchanged it meanwhile
        durable.rename_new(target, source)


def _copy(source: Path, target: Path, owner: str) -> None:
    """Copy a picture, unless it can't be read, or has become something else meanwhile."""
    try:
        moves.copy(source, target, owner)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise


def _may_be_taken(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES


def of(job: Job) -> list[Path]:
    """Return the pictures in a job's folder, sorted by name."""
    folder = job.folder / PICTURES
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(os.listdir(folder))
        return [folder / name for name in names if not temporaries.is_temporary(name)]
    return []


# Into the results


def published_name(source: PurePosixPath, name: str) -> str:
    """Return the name of a picture in the results if it is free; a sidecar may name it.

    Pictures there never end as posters do: with a YAML file of its name, one would be a video.
    """
    safe = PurePosixPath(portable(source.with_name(name)).name)
    is_as_a_poster = safe.suffix.lower() == POSTER_SUFFIX
    return unreserved(safe.stem) + (".jpeg" if is_as_a_poster else safe.suffix)


def publish(picture: Path, folder: Path, name: str, owner: str) -> str:
    """Copy a picture into a folder of the results, unless it is there; return its name there."""
    for target, has_it in _apart(_places(picture, folder, name)):
        with contextlib.suppress(FileExistsError):
            if not has_it:
                moves.copy(picture, target, owner)
            return target.name
    raise AssertionError("free_names never ends")


def file_away(job: Job, folder: Path) -> None:
    """Move a job's pictures into the folder of its videos, unless the same are already there."""
    for picture in of(job):
        durable.make_folder(folder)
        name = published_name(job.source, picture.name)
        _move(picture, _apart(_places(picture, folder, name)), job.id)


def _move(picture: Path, places: Iterable[tuple[Path, bool]], owner: str) -> None:
    for target, has_it in places:
        with contextlib.suppress(FileExistsError):
            if has_it:
                _drop(picture)
            else:
                moves.move(picture, target, owner)
            return


def _places(picture: Path, folder: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """Yield the places that are free or have the picture's bytes, and whether they have them."""
    for candidate in durable.free_names(name):
        target = folder / candidate
        if not is_there(target):
            yield target, False
        elif is_same(picture, target):
            yield target, True


def _apart(places: Iterable[tuple[Path, bool]]) -> Iterator[tuple[Path, bool]]:
    """Yield the places whose names differ from others there not only in upper and lower case."""
    for target, has_it in places:
        if has_it or folded(target.name) not in map(folded, os.listdir(target.parent)):
            yield target, has_it


def is_same(one: Path, other: Path) -> bool:
    """Return whether two plain files have the same bytes; False if one is missing or none."""
    try:
        return plain_files.have_same_bytes(one, other)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        return False


def _drop(picture: Path) -> None:
    picture.unlink(missing_ok=True)
    durable.fsync_folder(picture.parent)


# Into `_failed/` and back


def set_aside(job: Job, folder: Path, prompt_file: str) -> None:
    """Move a job's pictures into a folder of `_failed/` that belongs to its prompt file alone.

    prompt_file: the name of the prompt file there; a picture that has its name changes with it
    """
    for picture in of(job):
        name = _name_aside(job, picture.name, prompt_file)
        _move(picture, _places(picture, folder, name), job.id)


def copy_aside(pictures: Iterable[Path], folder: Path, owner: str) -> None:
    """Copy pictures into a folder of `_failed/`; an earlier try may have copied some."""
    for picture in pictures:
        if not is_same(picture, folder / picture.name):
            moves.copy(picture, folder / picture.name, owner)


def take_back(job: Job, folder: Path, prompt_file: str) -> None:
    """Move pictures that `set_aside` has moved back to their job, which has not ended."""
    for name in missing(job):
        with contextlib.suppress(FileNotFoundError):
            durable.make_folder(place(job, name).parent)
            moves.move(folder / _name_aside(job, name, prompt_file), place(job, name), job.id)


def leave_copies(job: Job, folder: Path, prompt_file: str) -> None:
    """Copy a job's pictures into a folder of `_failed/`; first take back those that are there.

    What has the name of one there stays.
    """
    take_back(job, folder, prompt_file)
    for picture in of(job):
        name = _name_aside(job, picture.name, prompt_file)
        if not is_same(picture, folder / picture.name):
            with contextlib.suppress(FileExistsError):
                moves.copy(picture, folder / name, job.id)


def _name_aside(job: Job, name: str, prompt_file: str) -> str:
    is_pair = name == job.pictures.pair
    return PurePosixPath(prompt_file).stem + PurePosixPath(name).suffix if is_pair else name


def remove_copies(job: Job, folder: Path) -> None:
    """Remove the copies that `copy_aside` made; the job still has all of its pictures."""
    temporaries.remove(folder, job.id)  # left by a copy that was killed
    for picture in of(job):
        if is_same(picture, folder / picture.name):
            (folder / picture.name).unlink()


def put_back(aside: Path, inbox: Path, prompt_file: str, owner: str) -> list[str]:
    """Move the pictures of a prompt file that failed into its folder of the inbox.

    What a client or a NAS has put beside them, such as its own thumbnails, stays. So do those of
    which the inbox has the same; return their names.

    Raises:
        FileExistsError: other files have the names there, also that of the prompt file, whose
            pictures may be known by its name. Nothing was moved.
    """
    temporaries.remove(aside, "")  # left by a copy that was killed
    names = sorted(name for name in os.listdir(aside) if _is_picture(aside / name))
    kept = [name for name in names if is_same(aside / name, inbox / name)]
    for name in (*sorted({*names} - {*kept}), *([prompt_file] if names else [])):
        if is_there(inbox / name):
            raise FileExistsError(errno.EEXIST, "another file has that name", str(inbox / name))
    for name in names:
        if name not in kept:
            moves.move(aside / name, inbox / name, owner)
    return kept


def put_copies_back(aside: Path, inbox: Path, names: Iterable[str], owner: str) -> None:
    """Move what `put_back` has left, if the inbox has lost it; remove it if not."""
    for name in names:
        try:
            moves.move(aside / name, inbox / name, owner)
        except FileExistsError:
            if is_same(aside / name, inbox / name):  # else it is another one, which came just now
                _drop(aside / name)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and stat.S_ISREG(path.lstat().st_mode)


def drop(job: Job) -> None:
    """Remove the pictures of a job whose twin has the same."""
    for picture in of(job):
        _drop(picture)
