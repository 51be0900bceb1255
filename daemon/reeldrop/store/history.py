"""Read the results back: which videos there are, what failed and why.

Derived from the files alone, newest first. Only files of the daemon count: they have the owner of
their folder, and beside them what only the daemon writes. Bad content raises no error: such a video
is left out, and such a failure has no reason or no time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reeldrop.base import plain_files, strict_yaml
from reeldrop.base.errors import YamlError
from reeldrop.base.names import (
    CLEARED_FOLDER,
    ERROR_SUFFIX,
    NOTE_SUFFIX,
    POSTER_SUFFIX,
    SIDECAR_SUFFIX,
)
from reeldrop.store import reports

NO_REPORT = "there is no report: a command was interrupted, or somebody has removed it"


@dataclass(frozen=True, slots=True)
class PastVideo:
    """A video in the results: a file in each of its formats.

    seconds: wall time of the render
    finished: ISO 8601 time in UTC
    number: of the video in its prompt file
    is_whole: whether it is there in all its formats
    batch_size: how many videos were rendered in these seconds
    """

    files: tuple[Path, ...]
    prompt: str
    prompt_file: str
    job_id: str
    model: str
    seed: int
    seconds: float
    finished: str
    number: int
    is_whole: bool
    batch_size: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A prompt file in `_failed/`.

    name: as `reeldrop retry` takes it
    failed: ISO 8601 time in UTC; empty if the file's time is out of range
    """

    name: str
    reason: str
    failed: str


MAX_BYTES = 1 << 20
MAX_DEPTH = 64


def videos(results: Path, failed: Path, limit: int) -> list[PastVideo]:
    """Return the newest videos, at most `limit`."""
    newest_first = sorted(sidecars(results, failed), reverse=True)
    found = (read for _, path in newest_first if (read := video(path)) is not None)
    return list(itertools.islice(found, limit))


def sidecars(results: Path, failed: Path) -> Iterator[tuple[float, Path]]:
    """Yield mtime (in seconds) and path of what may be sidecars, unsorted, without reading them.

    A prompt file may look like a sidecar and lie beside a video of its name. So a sidecar needs a
    poster, too: no prompt file is a picture.
    """
    for mtime, path in _files(results, SIDECAR_SUFFIX, skip=failed):
        if is_plain(path.with_suffix(POSTER_SUFFIX)):
            yield mtime, path


def count(results: Path, failed: Path) -> int:
    """Return the number of videos, without reading a file."""
    return sum(1 for _ in sidecars(results, failed))


def _files(
    folder: Path,
    suffix: str,
    skip: Path | None = None,
    *,
    of_all: bool = False,
    depth: int = MAX_DEPTH,
) -> Iterator[tuple[float, Path]]:
    """Yield mtime (in seconds) and path of the daemon's files with this suffix below a folder.

    The daemon also made the folders, so a file whose owner is not its folder's was moved there, as
    prompt files are. With `of_all`, these files are yielded, too.
    """
    try:
        owner = folder.stat().st_uid
        entries = os.scandir(folder)
    except OSError:
        return
    with entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # it was removed meanwhile
                if entry.is_dir(follow_symlinks=False):
                    if depth and Path(entry.path) != skip:
                        below = Path(entry.path)
                        yield from _files(below, suffix, skip, of_all=of_all, depth=depth - 1)
                elif entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if of_all or status.st_uid == owner:
                        yield status.st_mtime, Path(entry.path)


def is_plain(path: Path) -> bool:
    """Return whether a path is that of a file, and not of a link to one."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def video(sidecar: Path) -> PastVideo | None:
    """Return the video of what may be a sidecar; None if it is none, or the video is gone."""
    with contextlib.suppress(OSError, YamlError, ValueError, LookupError, TypeError):
        data = plain_files.content(sidecar, MAX_BYTES)
        settings: Any = strict_yaml.plain(strict_yaml.load_all(data.decode())[0])
        rendered, formats = settings["rendered"], settings["format"]
        formats = [formats] if isinstance(formats, str) else formats
        files = tuple(filter(is_plain, (sidecar.with_suffix(f".{f}") for f in formats)))
        if files:
            return PastVideo(
                files=files,
                prompt=_text(settings["prompt"]),
                prompt_file=_text(rendered["prompt_file"]),
                job_id=_text(rendered["job"]),
                model=_text(settings["model"]),
                seed=_whole(settings["seed"]),
                seconds=_seconds(rendered["seconds"]),
                finished=_text(rendered["finished"]),
                number=_whole(rendered["number"]),
                is_whole=len(files) == len(formats),
                batch_size=max(1, _whole(rendered.get("batch_size", 1))),
            )
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(value)
    return float(value)


def failures(
    failed: Path, is_prompt_file: Callable[[str], bool], limit: int | None = None
) -> list[Failure]:
    """Return the prompt files in `_failed/`, newest first, also those without a report.

    is_prompt_file: returns whether a prompt file may have a name; other files are listed only if
        they have a report
    limit: how many are returned at most; all if it is None
    """
    cleared = failed / CLEARED_FOLDER
    reports = _by_name(failed, _files(failed, ERROR_SUFFIX, cleared))
    reported = {name.removesuffix(ERROR_SUFFIX): mtime for name, mtime in reports.items()}
    in_folders = tuple(f"{name}/" for name in reported)  # folders set aside are one entry
    alone = {
        name: mtime
        for name, mtime in _by_name(failed, _files(failed, "", cleared, of_all=True)).items()
        if name not in reported
        and not name.endswith((ERROR_SUFFIX, NOTE_SUFFIX))
        and is_prompt_file(os.path.basename(name))
        and not name.startswith(in_folders)
    }
    found = sorted(((mtime, name) for name, mtime in (reported | alone).items()), reverse=True)
    # A report on what has the name of a report: that is a prompt file.
    found = [(mtime, name) for mtime, name in found if f"{name}{ERROR_SUFFIX}" not in reported]
    return [
        Failure(
            name=name,
            reason=NO_REPORT if name in alone else reason(failed / f"{name}{ERROR_SUFFIX}"),
            failed=_time(mtime),
        )
        for mtime, name in found[:limit]
    ]


def _by_name(folder: Path, found: Iterator[tuple[float, Path]]) -> dict[str, float]:
    return {str(path.relative_to(folder)): mtime for mtime, path in found}


def _time(mtime: float) -> str:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(mtime, UTC).isoformat(timespec="seconds")
    return ""


def reason(report: Path) -> str:
    """Return the first mistake of a report, as one line; empty if it can't be read."""
    try:
        lines = plain_files.content(report, MAX_BYTES).decode(errors="replace").split("\n")
    except OSError:
        return ""
    labels = (f"{reports.WHAT_IS_WRONG}:", f"{reports.WHAT_HAPPENED}:")
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith(labels)]
    return stated[0] if stated else next((line for line in lines if line), "")
