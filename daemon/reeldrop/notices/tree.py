"""What is new in the results and in `_failed/`: videos, ended jobs, failures.

A folder is read again when its modification time has changed, so a look costs one call a folder.
Only whole videos count, and what people cancelled is no failure. What was cleared was told before.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reeldrop.base import plain_files
from reeldrop.base.names import CLEARED_FOLDER, ERROR_SUFFIX, POSTER_SUFFIX, SIDECAR_SUFFIX
from reeldrop.notices.happenings import FAILED, JOB, VIDEO, Happening
from reeldrop.store import history, reports

_UNSURE_SECONDS = 3.0
"""A folder that has just changed may change again and keep its modification time."""

_JOB_LOG = re.compile(r"job(-[0-9]+)?\.log")
_LONGEST_LOG = 1 << 24


@dataclass(slots=True)
class _Folder:
    changed_ns: int
    below: list[Path]


class Tree:
    """The folders of the results, each with its modification time when it was read last."""

    def __init__(self, results: Path, failed: Path, since: float) -> None:
        """Look for what happened after `since`, in seconds since 1970; the rest is not read."""
        self._results = results
        self._failed = failed
        self._since = since
        self._folders: dict[Path, _Folder] = {}
        self._told: dict[Path, int] = {}

    def look(self) -> list[Happening]:
        """Return what was not returned before, the oldest first."""
        found = [h for root in (self._results, self._failed) for h in self._below(root, 0)]
        return sorted(found, key=lambda happening: happening.at)

    def _below(self, folder: Path, depth: int) -> Iterator[Happening]:
        try:
            seen = folder.stat(follow_symlinks=depth == 0)
            if not stat.S_ISDIR(seen.st_mode):
                raise NotADirectoryError
            known = self._folders.get(folder)
            if known is None or known.changed_ns != seen.st_mtime_ns:
                yield from self._read(folder, seen)
        except OSError:  # it is gone, or not ours to read
            self._folders.pop(folder, None)
            return
        if depth < history.MAX_DEPTH:
            for below in self._folders[folder].below:
                yield from self._below(below, depth + 1)

    def _read(self, folder: Path, seen: os.stat_result) -> Iterator[Happening]:
        """Read a folder, and remember its subfolders."""
        is_sure = time.time() - seen.st_mtime > _UNSURE_SECONDS
        remembered = _Folder(seen.st_mtime_ns if is_sure else -1, [])
        is_failed = folder.is_relative_to(self._failed)
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path not in (self._failed, self._failed / CLEARED_FOLDER):
                        remembered.below.append(path)
                    continue
                status = entry.stat(follow_symlinks=False)
                is_old = status.st_mtime < self._since
                if is_old or status.st_uid != seen.st_uid:  # the latter are prompt files
                    continue
                if self._told.get(path) == status.st_mtime_ns:
                    continue
                happening = self._failure(path) if is_failed else self._result(path)
                if happening is not None:
                    self._told[path] = status.st_mtime_ns
                    yield happening
        self._folders[folder] = remembered

    def _result(self, path: Path) -> Happening | None:
        """Return the video of a sidecar, or the job of a log; None if the file is neither."""
        if _JOB_LOG.fullmatch(path.name):
            return _job(path)
        poster = path.with_suffix(POSTER_SUFFIX)
        if path.suffix != SIDECAR_SUFFIX or not history.is_plain(poster):
            return None
        video = history.video(path)
        if video is None or not video.is_whole:
            return None
        facts = {
            "prompt": video.prompt,
            "prompt_file": video.prompt_file,
            "model": video.model,
            "seed": str(video.seed),
            "seconds": f"{video.seconds:.1f}",
            "batch_size": str(video.batch_size),
            "video": str(video.files[0]),
            "files": "\n".join(map(str, video.files)),
            "sidecar": str(path),
            "job_id": video.job_id,
        }
        at = path.stat().st_mtime
        return Happening(VIDEO, f"video {video.job_id} {video.number}", at, facts, poster)

    def _failure(self, path: Path) -> Happening | None:
        """Return the failure that a report is about; None if the file is no report on one."""
        if not path.name.endswith(ERROR_SUFFIX):
            return None
        name = str(path.relative_to(self._failed)).removesuffix(ERROR_SUFFIX)
        text, status = reports.read(path), path.stat()
        if reports.NOT_RENDERED in text.partition("\n")[0]:
            return None
        reason = history.reason(path)
        facts = {"prompt_file": name, "reason": reason, "report": str(path)}
        return Happening(FAILED, f"failed {name} {status.st_mtime_ns}", status.st_mtime, facts)


def _job(log: Path) -> Happening | None:
    """Return the job of a log; None if it can't be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        events = [json.loads(line) for line in plain_files.content(log, _LONGEST_LOG).splitlines()]
        job_id = next(str(event["job_id"]) for event in events if "job_id" in event)
        named = (str(event["prompt_file"]) for event in events if "prompt_file" in event)
        facts = {"job_id": job_id, "prompt_file": next(named, ""), "folder": str(log.parent)}
        return Happening(JOB, f"job {job_id}", log.stat().st_mtime, facts)
    return None
