"""Find events in the results and in `_failed/`: videos, ended jobs, failures.

A folder is read again when its modification time has changed, so a look costs one call for each
folder. Only complete videos count. What people have cancelled is not a failure, and cleared
failures were told before.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reeldrop.base import plain_files
from reeldrop.base.names import CLEARED_FOLDER, ERROR_SUFFIX, POSTER_SUFFIX, SIDECAR_SUFFIX
from reeldrop.notices.happenings import FAILED, JOB, VIDEO, Happening
from reeldrop.store import history, reports

_UNSURE_SECONDS = 3.0
"""How long a folder that has changed may change again with the same modification time: FAT keeps
two seconds. By our own clock, since the time was first seen: that of a share may be wrong."""

_COPIED_SECONDS = 3600.0
"""A sidecar or log is a copy, not news, if it is younger by more than this than the time in it."""

_JOB_LOG = re.compile(r"job(-[0-9]+)?\.log")
_LONGEST_LOG = 1 << 24
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""Errors of reading a log, which may be any file."""

_SUFFIXES = (SIDECAR_SUFFIX, ".log")


@dataclass(slots=True)
class _Folder:
    """A folder as it was read last.

    changed_ns: its modification time then; -1 to read it again
    seen_ns, seen: its modification time, and when it was first seen, by the monotonic clock
    below: its subfolders by name
    told: the modification times of files that gave events, by name
    """

    changed_ns: int = -1
    seen_ns: int = -1
    seen: float = 0.0
    below: dict[str, _Folder] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)


class Tree:
    """The folders of the results and of `_failed/`, as each was read last."""

    def __init__(self, results: Path, failed: Path) -> None:
        self._failed = str(failed)
        self._skipped = {str(failed), str(failed / CLEARED_FOLDER)}
        self._since = float("inf")
        self._roots = {str(results): _Folder(), self._failed: _Folder()}

    def look(self, since: float) -> list[Happening]:
        """Return new events, the oldest first; files from before `since` are not read.

        since: in seconds since 1970
        """
        if since < self._since:
            self._roots = {root: _Folder() for root in self._roots}
        self._since = since
        found: list[Happening] = []
        for path, root in self._roots.items():
            self._look_below(path, root, 0, found)
        return sorted(found, key=lambda happening: happening.at)

    def _look_below(self, path: str, folder: _Folder, depth: int, found: list[Happening]) -> bool:
        """Append new events to `found`; return whether this is still a folder."""
        try:
            seen = os.stat(path, follow_symlinks=depth == 0)
            if not stat.S_ISDIR(seen.st_mode):
                return False
            if folder.changed_ns != seen.st_mtime_ns:
                self._read(path, folder, seen, found)
        except OSError:  # it is gone, or not ours to read
            folder.changed_ns = -1
            return False
        if 0 <= folder.changed_ns < self._since * 1e9:
            folder.told = {}  # these files are too old to be told again
        if depth < history.MAX_DEPTH:
            for name, below in list(folder.below.items()):
                if not self._look_below(f"{path}/{name}", below, depth + 1, found):
                    del folder.below[name]
                    folder.changed_ns = -1
        return True

    def _read(
        self, path: str, folder: _Folder, seen: os.stat_result, found: list[Happening]
    ) -> None:
        """Read a folder: its new events and its subfolders."""
        now = time.monotonic()
        if folder.seen_ns != seen.st_mtime_ns:
            folder.seen_ns, folder.seen = seen.st_mtime_ns, now
        is_sure = now - folder.seen > _UNSURE_SECONDS
        told, below = dict[str, int](), dict[str, _Folder]()
        is_failed = f"{path}/".startswith(f"{self._failed}/")
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.path not in self._skipped:
                        below[entry.name] = folder.below.get(entry.name) or _Folder()
                    continue
                if not entry.name.endswith(ERROR_SUFFIX if is_failed else _SUFFIXES):
                    continue
                status = entry.stat(follow_symlinks=False)
                is_old = status.st_mtime < self._since
                if is_old or status.st_uid != seen.st_uid:  # the latter are prompt files
                    continue
                if folder.told.get(entry.name) != status.st_mtime_ns:
                    file = Path(entry.path)
                    happening = self._failure(file) if is_failed else self._result(file)
                    if happening is None:
                        continue
                    found.append(happening)
                told[entry.name] = status.st_mtime_ns
        folder.changed_ns = seen.st_mtime_ns if is_sure else -1
        folder.below, folder.told = below, told

    def _result(self, path: Path) -> Happening | None:
        """Return the event of a sidecar or a log; None if the file is neither."""
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
        at = _at(path, video.finished)
        return Happening(VIDEO, f"video {video.job_id} {video.number}", at, facts, poster)

    def _failure(self, path: Path) -> Happening | None:
        """Return the event of a report on a failure; None if the file is none."""
        if not path.name.endswith(ERROR_SUFFIX):
            return None
        name = str(path.relative_to(self._failed)).removesuffix(ERROR_SUFFIX)
        text, status = reports.read(path), path.stat()
        if text.startswith(f"reeldrop {reports.NOT_RENDERED} "):
            return None
        reason = history.reason(path)
        facts = {"prompt_file": name, "reason": reason, "report": str(path)}
        which = reports.job_of(path) or status.st_mtime_ns  # a copy has the same job
        return Happening(FAILED, f"failed {name} {which}", status.st_mtime, facts)


def _at(path: Path, said: str) -> float:
    """Return when a file was written; of a copy, by the time in it."""
    written = path.stat().st_mtime
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return min(written, datetime.fromisoformat(said).timestamp() + _COPIED_SECONDS)
    return written


def _job(log: Path) -> Happening | None:
    """Return the event of a log; None if it can't be read."""
    with contextlib.suppress(*_UNREADABLE):
        events = [json.loads(line) for line in plain_files.content(log, _LONGEST_LOG).splitlines()]
        job_id, *_ = [str(event["job_id"]) for event in events if "job_id" in event]
        named = (str(event["prompt_file"]) for event in events if "prompt_file" in event)
        facts = {"job_id": job_id, "prompt_file": next(named, ""), "folder": str(log.parent)}
        at = _at(log, str(events[-1].get("timestamp")))
        return Happening(JOB, f"job {job_id}", at, facts)
    return None
