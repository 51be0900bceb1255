"""The results tree: where videos are published, and under which names.

A video has a file for each format, a poster and a sidecar, all with one stem. The sidecar is
written first: it has the job's id and the video's number, and so reserves the stem. A video counts
as published when its last file exists. Does not know how frames are made or encoded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path, PurePath, PurePosixPath

from reeldrop.base import durable, inbox_folders, temporaries
from reeldrop.base.errors import Mistake, PlaceError
from reeldrop.base.job import Job, Prompt, Rendered, Video
from reeldrop.base.names import (
    POSTER_SUFFIX,
    folded,
    folder_name,
    order_folder,
    portable,
    video_name,
)
from reeldrop.base.roots import NOTHING_THERE, Root
from reeldrop.base.sweeps import Swept, ending
from reeldrop.base.trouble import is_there
from reeldrop.store import pictures, sidecars
from reeldrop.store.folded import Names
from reeldrop.store.stems import Stems, folded_stem

_USUAL_NAME = 100
"""About the length of temporary names, and not less."""


class Results:
    """The results tree: a folder for each prompt file, at the place that it has in the inbox.

    Folders such as `NOW/` are no part of that place. Threads may publish at once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Root(folder)
        self._names = Names(folder)
        self._making = threading.Lock()
        self._stems = Stems()
        self._picturing = threading.Lock()

    def place_for(self, source: PurePosixPath) -> PurePath:
        """Return the folder of a prompt file's videos, relative to the results.

        Two folders whose names differ only in upper and lower case would be one on clients that
        do not tell them apart, so the later one gets a mark.
        """
        place = PurePath()
        for part in _plain_place(source).parts:
            place = self._names.apart(place / folder_name(part))
        return place

    @staticmethod
    def key_for(source: PurePosixPath) -> str:
        """Return what is equal for prompt files whose videos may share a folder. Asks no disk."""
        return folded(str(_plain_place(source)))

    def order_place(self, source: PurePosixPath, beside: PurePosixPath) -> PurePath:
        """Return where the prompt file `source` is kept beside the videos of `beside`."""
        return self.place_for(beside) / order_folder(source) / portable(source).name

    def folder_for(self, source: PurePosixPath) -> Path:
        """Return the folder of a prompt file's videos."""
        return self.root.path / self.place_for(source)

    def video_name(self, source: PurePosixPath, prompt: str, swept: Swept = ()) -> str:
        """Return the name, without suffix, that a prompt's video has if it is free.

        swept: what a sweep has chosen; what it chose for braces is in the prompt already
        """
        return video_name(prompt, str(self.place_for(source)), ending(swept))

    @contextlib.contextmanager
    def opened(self, source: PurePosixPath, *, make: bool = False) -> Iterator[Path]:
        """Hold the folder of a prompt file's videos open, and yield a path to it.

        Raises:
            OSError: it does not exist, or is a link or no folder.
        """
        with self._placed(source, make=make) as (_, folder):
            yield folder

    @contextlib.contextmanager
    def _placed(self, source: PurePosixPath, *, make: bool) -> Iterator[tuple[PurePath, Path]]:
        """As `opened`, but also yield the folder's place in the results."""
        with contextlib.ExitStack() as held:
            place = self.place_for(source)
            if make and not os.path.isdir(self.root.path / place):
                with self._making:  # two made at once could differ only in upper and lower case
                    place = self.place_for(source)
                    folder = held.enter_context(self.root.opened(place, make=True))
            else:
                folder = held.enter_context(self.root.opened(place, make=make))
            yield place, folder

    @contextlib.contextmanager
    def opened_for_order(self, source: PurePosixPath) -> Iterator[Path]:
        """Hold the folder open, made if missing, in which a prompt file is kept."""
        with self.root.opened(self.order_place(source, source).parent, make=True) as folder:
            yield folder

    def check_place(self, source: PurePosixPath) -> None:
        """Check that a prompt file's videos can be written to their folder; create nothing.

        Raises:
            PlaceError: they can't, for a reason that concerns only this folder.
            OSError: nothing can be written to the results, or the check failed.
        """
        self.root.check()
        folder = self.folder_for(source)
        place = self._nearest(folder)
        if os.access(place, os.R_OK | os.W_OK | os.X_OK) or not is_there(place):
            return
        if place == self.folder or not os.access(self.folder, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(self.folder).f_flag & os.ST_RDONLY
            problem = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
            # Always EROFS: it is one of DISK_ERRORS, which affect every job.
            raise OSError(errno.EROFS, problem, str(self.folder))
        raise _place_error(folder, f"{place} can't be written to", "let reeldrop write there")

    def _nearest(self, folder: Path) -> Path:
        """Return the deepest existing folder on the path to a folder: it is written to first."""
        try:
            with contextlib.suppress(*NOTHING_THERE):
                folder.joinpath("x" * _USUAL_NAME).lstat()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise _place_error(folder, "the path is too long", "use a shorter one") from None
        place = self.folder
        for part in folder.relative_to(place).parts:
            if not is_there(place / part):
                break
            place /= part
            if place.is_symlink() or not place.is_dir():
                what = "link" if place.is_symlink() else "file"
                raise _place_error(folder, f"{place} is a {what}, not a folder", "move it away")
        return place

    def reserved(self, job: Job) -> dict[int, Video]:
        """Return the videos for which a job has reserved names, by number.

        They have a sidecar; `is_published` returns whether they are complete.
        """
        with contextlib.suppress(*NOTHING_THERE), self.opened(job.source) as folder:
            return self._reserved(job, folder)
        return {}

    def _reserved(self, job: Job, folder: Path) -> dict[int, Video]:
        """Read the sidecars of a job. Of two, that of a complete video counts, else the first.

        A copy of a sidecar is a prompt file, and may have been filed away in this folder.
        """
        videos: dict[int, Video] = {}
        for found in sidecars.found_in(folder):
            read = sidecars.read(found, job)
            if read is not None:
                number, sidecar = read.number, self.folder_for(job.source) / found.name
                video = self._video(job, sidecar, number, read.formats)
                if number not in videos or is_published(video) > is_published(videos[number]):
                    videos[number] = dataclasses.replace(video, settings=read.settings)
        return videos

    def _video(self, job: Job, sidecar: Path, number: int, formats: list[str]) -> Video:
        files = tuple(sidecar.with_suffix(f".{suffix}") for suffix in formats)
        return Video(job.id, number, files, sidecar, sidecar.with_suffix(POSTER_SUFFIX))

    def publish(
        self,
        job: Job,
        prompt: Prompt,
        rendered: Rendered,
        encode: Callable[[Path, str, str], None],
        earlier: Video | None = None,
    ) -> Video:
        """Publish one video, and return its paths.

        Its pictures are put beside it first, so that the sidecar is an order at once.

        earlier: the same video, begun by an earlier attempt; its names are used again if its
            sidecar is still there
        encode(path, format, settings): writes the video to the path, in one of the prompt's
            formats, or as a poster if the format is "jpg"; `settings` is the sidecar's text
        """
        with contextlib.ExitStack() as held:
            place, folder = held.enter_context(self._opened_to_publish(job))
            settings = sidecars.text(job, self._with_pictures(job, prompt, folder), rendered)
            if earlier is not None and not _is_there(folder, job, earlier):
                earlier = None
            stem = video_name(prompt.prompt, str(place), ending(prompt.swept))
            owner = f"{job.id}-{prompt.number}"
            sidecar = held.enter_context(self._reserve(folder, stem, settings, owner, earlier))
            lasting = self.root.path / place / sidecar.name
            video = self._video(job, lasting, prompt.number, list(prompt.formats))
            into_place = durable.rename_unsynced if earlier is None else os.replace
            published, unfinished = [sidecar], dict[Path, Path]()
            try:
                for path in (folder / file.name for file in (video.poster, *video.files)):
                    made = temporaries.fresh(path, owner + path.suffix)
                    unfinished[path] = made
                    encode(made, path.suffix[1:], settings)
                    durable.fsync_file(made)
                for path, made in unfinished.items():
                    published.append(path)  # the next call may fail after the rename
                    into_place(made, path)
                durable.fsync_folder(folder)  # once: a cut before it leaves an incomplete video
            except FileExistsError:  # a stranger's file has that name
                _remove(*unfinished.values(), *(p for p in reversed(published) if p != path))
                return self.publish(job, prompt, rendered, encode)
            except BaseException:
                with contextlib.suppress(OSError):  # `reserved` finds what remains
                    _remove(*unfinished.values(), *reversed(published if earlier is None else []))
                raise
        return video

    def _with_pictures(self, job: Job, prompt: Prompt, folder: Path) -> Prompt:
        """Put a prompt's pictures beside its video, and return it with their names there."""
        if not prompt.pictures:
            return prompt
        published = []
        with self._picturing:  # several prompts may have the same
            for picture in prompt.pictures:
                name = pictures.published_name(job.source, picture.name)
                name = pictures.publish(picture.path, folder, name, job.id)
                published.append(dataclasses.replace(picture, name=name))
        return dataclasses.replace(prompt, pictures=tuple(published))

    @contextlib.contextmanager
    def _reserve(
        self, folder: Path, stem: str, settings: str, owner: str, earlier: Video | None
    ) -> Iterator[Path]:
        """Write the sidecar under a free stem like this one, or under the one that it had before.

        Other threads are not given the stem until the video is published, even if a person removes
        the sidecar meanwhile.
        """
        before = earlier.sidecar.name if earlier is not None else ""
        write = durable.write_new if earlier is None else durable.write
        refused: set[str] = set()
        while True:
            with self._stems.chosen(folder, before, stem, refused) as name:
                try:
                    write(folder / name, settings.encode(), owner)
                except FileExistsError:  # just taken by a stranger, or not listed by the share
                    refused.add(folded_stem(name))
                else:
                    yield folder / name
                    return

    @contextlib.contextmanager
    def _opened_to_publish(self, job: Job) -> Iterator[tuple[PurePath, Path]]:
        with contextlib.ExitStack() as held:
            try:
                placed = held.enter_context(self._placed(job.source, make=True))
            except NotADirectoryError as error:
                problem = f"{error.filename} is a link or a file, not a folder"
                raise _place_error(self.folder_for(job.source), problem, "move it away") from None
            yield placed

    def clean(self, job: Job, failed: Container[int] | None = None) -> list[int]:
        """Remove what is left of videos that will not be rendered; return the other numbers.

        If one has a whole file, all of it stays: a person may have removed the others.

        failed: the numbers of the prompts without a video; None if they are not known
        """
        with contextlib.suppress(*NOTHING_THERE), self.opened(job.source) as folder:
            reserved = self._reserved(job, folder)
            left = {n for n in reserved if failed is None or n in failed}
            left -= {n for n, video in reserved.items() if any(f.exists() for f in video.files)}
            for video in map(reserved.__getitem__, left):
                _remove(folder / video.poster.name, folder / video.sidecar.name)
            temporaries.remove(folder, job.id)
            return sorted(reserved.keys() - left)
        return []


def is_published(video: Video) -> bool:
    """Return whether the last file of a video exists.

    They come in order, so if others are missing, somebody has taken them away.
    """
    return video.files[-1].exists()


def is_whole(video: Video) -> bool:
    """Return whether every file of a video exists."""
    return all(path.exists() for path in (*video.files, video.poster))


def _plain_place(source: PurePosixPath) -> PurePosixPath:
    """Return the place of a prompt file's videos as if there were no others."""
    return portable(inbox_folders.home(source)).with_suffix("")


def _is_there(folder: Path, job: Job, video: Video) -> bool:
    """Return whether a video still has its sidecar."""
    found = sidecars.read(folder / video.sidecar.name, job)
    return found is not None and found.number == video.number


def _place_error(folder: Path, problem: str | None, remedy: str) -> PlaceError:
    return PlaceError(Mistake(f"its videos can't be put into {folder}: {problem}", remedy))


def _remove(*paths: Path) -> None:
    """Remove files in this order: the sidecar, by which the others are found, has to be last."""
    for path in paths:
        path.unlink(missing_ok=True)
