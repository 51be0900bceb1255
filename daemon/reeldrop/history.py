"""Read the results back: which videos there are, what failed and why.

Derived from the files alone, newest first.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reeldrop import strict_yaml
from reeldrop.errors import YamlError
from reeldrop.names import ERROR_SUFFIX, NOTE_SUFFIX, POSTER_SUFFIX, SIDECAR_SUFFIX

NO_REPORT = "there is no report: a command was interrupted, or somebody has removed it"


@dataclass(frozen=True, slots=True)
class PastVideo:
    """A video in the results: a file in each of its formats.

    `seconds` is the wall time of its render, `finished` an ISO 8601 time in UTC.
    """

    files: tuple[Path, ...]
    prompt: str
    prompt_file: str
    job_id: str
    model: str
    seed: int
    seconds: float
    finished: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A prompt file in `_failed/`; `name` is what `reeldrop retry` takes.

    `failed` is an ISO 8601 time in UTC.
    """

    name: str
    reason: str
    failed: str


def videos(results: Path, failed: Path, limit: int) -> list[PastVideo]:
    """Return the newest videos, at most `limit`."""
    newest_first = sorted(_files(results, SIDECAR_SUFFIX, skip=failed), reverse=True)
    found = (video for _, path in newest_first if (video := _video(path)) is not None)
    return list(itertools.islice(found, limit))


def count(results: Path, failed: Path) -> int:
    """Return how many videos there are, without reading a file: each has a poster."""
    sidecars = (path for _, path in _files(results, SIDECAR_SUFFIX, skip=failed))
    return sum(sidecar.with_suffix(POSTER_SUFFIX).exists() for sidecar in sidecars)


def _files(folder: Path, suffix: str, skip: Path | None = None) -> Iterator[tuple[float, Path]]:
    """Yield the files below a folder that end so, each with its mtime in seconds."""
    try:
        entries = os.scandir(folder)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if Path(entry.path) != skip:
                    yield from _files(Path(entry.path), suffix, skip)
            elif entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # it went away meanwhile
                    yield entry.stat().st_mtime, Path(entry.path)


def _video(sidecar: Path) -> PastVideo | None:
    """Return the video of a sidecar; None for a YAML file that is none, or has lost its video."""
    try:
        settings: Any = strict_yaml.plain(strict_yaml.load_all(sidecar.read_bytes().decode())[0])
        rendered, formats = settings["rendered"], settings["format"]
        formats = [formats] if isinstance(formats, str) else formats
        named = (sidecar.with_suffix(f".{suffix}") for suffix in formats)
        files = tuple(file for file in named if file.exists())
        if not files:
            return None
        return PastVideo(
            files=files,
            prompt=settings["prompt"],
            prompt_file=rendered["prompt_file"],
            job_id=rendered["job"],
            model=settings["model"],
            seed=settings["seed"],
            seconds=rendered["seconds"],
            finished=rendered["finished"],
        )
    except (OSError, YamlError, ValueError, LookupError, TypeError):
        return None


def failures(failed: Path, is_prompt_file: Callable[[str], bool]) -> list[Failure]:
    """Return what stands in `_failed/`, newest first: by its report, or without one.

    `is_prompt_file` says of a file's name whether it may be one; other files are not listed.
    """
    times = {str(path.relative_to(failed)): mtime for mtime, path in _files(failed, "")}
    reported = {
        name.removesuffix(ERROR_SUFFIX): mtime
        for name, mtime in times.items()
        if name.endswith(ERROR_SUFFIX)
    }
    in_folders = tuple(f"{name}/" for name in reported)  # what was no file is kept as it was
    alone = {
        name: mtime
        for name, mtime in times.items()
        if name not in reported
        and not name.endswith((ERROR_SUFFIX, NOTE_SUFFIX))
        and is_prompt_file(os.path.basename(name))
        and not name.startswith(in_folders)
    }
    found = sorted(((mtime, name) for name, mtime in (reported | alone).items()), reverse=True)
    return [
        Failure(
            name=name,
            reason=_reason(failed / f"{name}{ERROR_SUFFIX}"),
            failed=datetime.fromtimestamp(mtime, UTC).isoformat(timespec="seconds"),
        )
        for mtime, name in found
    ]


def _reason(report: Path) -> str:
    """Return the first mistake of an error text, in a line."""
    try:
        lines = report.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return NO_REPORT
    except OSError:
        return ""
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith("What is wrong:")]
    return stated[0] if stated else next((line for line in lines if line), "")
