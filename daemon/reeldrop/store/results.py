"""Names, sidecars, publishing: how a video gets into the results, whole and once.

A video is a file for each format, a poster and a sidecar, all with one stem. The sidecar comes
first: it holds the job's id and the video's number, and so reserves the stem. A video counts as
published when all its files are there. Does not know how frames are made or encoded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath

from reeldrop.base import durable, strict_yaml
from reeldrop.base.beneath import Root, open_plain
from reeldrop.base.errors import Mistake, PlaceError, YamlError
from reeldrop.base.job import Job, Prompt, Rendered, Video, shown
from reeldrop.base.names import POSTER_SUFFIX, SIDECAR_SUFFIX, folder_name, portable, video_name

_USUAL_NAME = 100
"""Temporary names are not longer, and not much shorter."""

_MISSING = (FileNotFoundError, NotADirectoryError, PermissionError)
"""What folders say in which nothing of ours can be."""


class Results:
    """The results tree: for each prompt file of the inbox a folder, in the same place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Root(folder)

    def place_for(self, source: PurePosixPath) -> PurePath:
        """Return where below the results a prompt file's videos are published."""
        return PurePath(*map(folder_name, portable(source).with_suffix("").parts))

    def folder_for(self, source: PurePosixPath) -> Path:
        """Return the folder in which a prompt file's videos are published."""
        return self.root.path / self.place_for(source)

    def video_name(self, source: PurePosixPath, prompt: str) -> str:
        """Return the name, without suffix, of a prompt's video in its folder, where it is free."""
        return video_name(prompt, str(self.place_for(source)))

    @contextlib.contextmanager
    def opened(self, source: PurePosixPath, *, make: bool = False) -> Iterator[Path]:
        """Give a path to this folder that leads nowhere else meanwhile.

        Raises:
            OSError: it is not there, or a link, or no folder.
        """
        with self.root.opened(self.place_for(source), make=make) as folder:
            yield folder

    def check_place(self, source: PurePosixPath) -> None:
        """Find out whether a prompt file's videos can be put into their folder; make nothing.

        Raises:
            PlaceError: they can't, for a reason that is only theirs.
            OSError: nothing can be put into the results; or it can't be found out.
        """
        self.root.check()
        folder = self.folder_for(source)
        place = self._nearest(folder)
        if os.access(place, os.R_OK | os.W_OK | os.X_OK) or not os.path.lexists(place):
            return
        if place == self.folder or not os.access(self.folder, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(self.folder).f_flag & os.ST_RDONLY
            problem = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
            # Of the errors that meet every job, whatever the reason.
            raise OSError(errno.EROFS, problem, str(self.folder))
        raise _place_error(folder, f"{place} can't be written to", "let reeldrop write there")

    def _nearest(self, folder: Path) -> Path:
        """Return the folder of the results that is to be written to first."""
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                folder.joinpath("x" * _USUAL_NAME).lstat()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise _place_error(folder, "the path is too long", "use a shorter one") from None
        place = self.folder
        for part in folder.relative_to(place).parts:
            if not os.path.lexists(place / part):
                break
            place /= part
            if place.is_symlink() or not place.is_dir():
                what = "link" if place.is_symlink() else "file"
                raise _place_error(folder, f"{place} is a {what}, not a folder", "move it away")
        return place

    def reserved(self, job: Job) -> dict[int, Video]:
        """Return the videos that a job has reserved names for, by their number.

        They have a sidecar; whether the rest is there, too, `is_published` tells.
        """
        with contextlib.suppress(*_MISSING), self.opened(job.source) as folder:
            return self._reserved(job, folder)
        return {}

    def _reserved(self, job: Job, folder: Path) -> dict[int, Video]:
        videos = {}
        for found in _sidecars(folder):
            read = _read_sidecar(found, job)
            if read is not None:
                number, formats = read
                sidecar = self.folder_for(job.source) / found.name
                videos[number] = self._video(job, sidecar, number, formats)
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
        """Publish one video, and return where it is.

        `earlier` is the same video, begun before; its names are used again.
        `encode(path, format, settings)` writes the video to the path: in one of the prompt's
        formats, or as a poster where the format is "jpg"; `settings` is the sidecar's text.
        """
        settings = sidecar_text(job, prompt, rendered)
        with self._opened_to_publish(job) as folder:
            stem = self.video_name(job.source, prompt.prompt)
            sidecar = _reserve(folder, job, stem, settings, earlier)
            lasting = self.folder_for(job.source) / sidecar.name
            video = self._video(job, lasting, prompt.number, list(prompt.formats))
            into_place = durable.rename_new if earlier is None else durable.replace
            published = [sidecar]
            for path in (folder / file.name for file in (video.poster, *video.files)):
                unfinished = durable.temporary(path, f"{job.id}-{prompt.number}{path.suffix}")
                unfinished.unlink(missing_ok=True)  # a kill may have left it as its second name
                try:
                    encode(unfinished, path.suffix[1:], settings)
                    durable.fsync_file(unfinished)
                    published.append(path)  # it may be there also where the next call fails
                    into_place(unfinished, path)
                except FileExistsError:  # somebody has put a file of that name beside our sidecar
                    _remove(unfinished, *(ours for ours in reversed(published) if ours != path))
                    return self.publish(job, prompt, rendered, encode)
                except BaseException:
                    with contextlib.suppress(OSError):  # what is left is found by `reserved`
                        _remove(unfinished, *reversed(published if earlier is None else []))
                    raise
        return video

    @contextlib.contextmanager
    def _opened_to_publish(self, job: Job) -> Iterator[Path]:
        with contextlib.ExitStack() as held:
            try:
                folder = held.enter_context(self.opened(job.source, make=True))
            except NotADirectoryError as error:
                problem = f"{error.filename} is a link or a file, not a folder"
                raise _place_error(self.folder_for(job.source), problem, "move it away") from None
            yield folder

    def clean(self, job: Job) -> list[int]:
        """Remove what is not a whole video, when nothing of the job will be rendered any more.

        Return the numbers of those that are whole.
        """
        with contextlib.suppress(*_MISSING), self.opened(job.source) as folder:
            reserved = self._reserved(job, folder)
            for video in reserved.values():
                if not is_published(video):
                    files = (*video.files, video.poster, video.sidecar)
                    _remove(*(folder / file.name for file in files))
            durable.remove_temporaries(folder, job.id)
            return sorted(number for number, video in reserved.items() if is_published(video))
        return []


def _reserve(folder: Path, job: Job, stem: str, settings: str, earlier: Video | None) -> Path:
    """Write the sidecar under a stem that nothing else has, or that this video had before."""
    if earlier is not None:
        durable.write(folder / earlier.sidecar.name, settings.encode(), job.id)
        return folder / earlier.sidecar.name
    taken = {_folded(entry) for entry in os.listdir(folder)}
    for name in durable.free_names(stem, SIDECAR_SUFFIX):
        if _folded(name) not in taken:
            with contextlib.suppress(FileExistsError):
                durable.write_new(folder / name, settings.encode(), job.id)
                return folder / name
    raise AssertionError("free_names never ends")


def is_published(video: Video) -> bool:
    """Return whether every file of a video is there."""
    return all(path.exists() for path in (*video.files, video.poster))


def _place_error(folder: Path, problem: str | None, remedy: str) -> PlaceError:
    return PlaceError(Mistake(f"its videos can't be put into {folder}: {problem}", remedy))


def _sidecars(folder: Path) -> list[Path]:
    """Return what may be a sidecar, in order."""
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.name.endswith(SIDECAR_SUFFIX) and entry.is_file(follow_symlinks=False)
        )
    return []


def _remove(*paths: Path) -> None:
    """Remove files in this order: the sidecar, which tells of the others, has to be the last."""
    for path in paths:
        path.unlink(missing_ok=True)


def _read_sidecar(path: Path, job: Job) -> tuple[int, list[str]] | None:
    """Return number and formats of a video of this job; None for anybody else's YAML file.

    Raises:
        OSError: it can't be read, so nobody knows: the video might be rendered twice.
    """
    known = (FileNotFoundError, PermissionError, YamlError, ValueError, LookupError, TypeError)
    with contextlib.suppress(*known):
        with open(open_plain(path), "rb") as file:
            data = file.read()
        if job.id.encode() in data:
            settings = strict_yaml.plain(strict_yaml.load_all(data.decode())[0])
            if settings["rendered"]["job"] == job.id:
                number, formats = settings["rendered"]["number"], settings["format"]
                formats = [formats] if isinstance(formats, str) else formats
                if type(number) is int and formats and all(map(_is_suffix, formats)):
                    return number, formats
    return None


def _is_suffix(format: object) -> bool:
    return isinstance(format, str) and format.isalnum()


def _folded(name: str) -> str:
    """Return the stem as file systems see it that don't tell upper from lower case."""
    return unicodedata.normalize("NFC", name.rpartition(".")[0] or name).casefold()


def sidecar_text(job: Job, prompt: Prompt, rendered: Rendered) -> str:
    """Return the prompt file that renders this video again, with how it was rendered."""
    block = {
        "job": job.id,
        "prompt_file": shown(job.source),
        "number": prompt.number,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": rendered.model,
        "revision": rendered.revision,
        "pipeline": rendered.pipeline,
        "scheduler": rendered.scheduler,
        "device": rendered.device,
        "dtype": rendered.dtype,
        "speed": list(rendered.speed),
        "versions": dict(rendered.versions),
        "seconds": round(rendered.seconds, 3),
        "peak_memory_mib": rendered.peak_memory_mib,
        "batch_size": rendered.batch_size,
    }
    if rendered.ignored_text:
        block["ignored_text"] = rendered.ignored_text
    return strict_yaml.dump({**prompt.as_settings(), "rendered": block})


def remainder_text(prompts: list[Prompt]) -> str:
    """Return a prompt file with just these prompts, ready to be dropped again."""
    return "---\n".join(strict_yaml.dump(prompt.as_settings()) for prompt in prompts)
