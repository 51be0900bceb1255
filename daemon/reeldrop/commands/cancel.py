"""`reeldrop cancel`: set prompt files aside, whether they wait or are being rendered."""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base import inbox_folders
from reeldrop.base.errors import DISK_ERRORS, NoSuchPromptFile, RenderCancelled, SpoolLocked
from reeldrop.base.roots import Root
from reeldrop.commands import folders
from reeldrop.commands.moved import Moved, below, meant
from reeldrop.store import job_files, reports, withdrawn
from reeldrop.store.lock import COMMAND

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.store.spool import Spool


def cancel_files(config: Config, names: Iterable[str]) -> Iterator[Moved]:
    """Cancel prompt files that wait or are being rendered, by their path in the inbox.

    Yields what was done with each one, when it is done.

    Raises:
        NoSuchPromptFile: a name doesn't exist; no file is cancelled then.
    """
    in_hand, waiting = in_hand_and_waiting(config)
    chosen = [_chosen(below(config.inbox, name), in_hand, waiting) for name in names]
    return (
        cancel_file(config, PurePosixPath(name), waits=name not in in_hand)
        for name in dict.fromkeys(chosen)
    )


def _chosen(name: str, in_hand: list[str], waiting: list[str]) -> str:
    """Return the path that a name means: maybe that of the job that a file was taken for."""
    try:
        return meant(name, [*in_hand, *waiting], "that waits or is rendered")
    except NoSuchPromptFile:
        path = PurePosixPath(name)
        if len(path.parts) > 1:  # a bare name may mean several
            for alike in map(str, inbox_folders.alike(path)):
                if alike in in_hand:
                    return alike
        raise


def in_hand_and_waiting(config: Config) -> tuple[list[str], list[str]]:
    """Return the paths of the prompt files in the spool, and of those in the inbox."""
    in_hand = [str(job.source) for job in folders.spool_of(config).unfinished()]
    waiting = [str(path) for path in folders.prompt_files(folders.scanned_inbox(config))]
    return in_hand, waiting


def cancel_file(config: Config, source: PurePosixPath, *, waits: bool) -> Moved:
    """Cancel one prompt file, which may wait in the inbox or only be in hand."""
    try:
        return _cancelled(config, source, waits=waits)
    except OSError as error:  # of this file's place; the others are still cancelled
        if error.errno in DISK_ERRORS:
            raise
        problem = f"can't be cancelled: {error.strerror}: {error.filename}"
        return Moved(str(source), problem, is_failure=True)


def _cancelled(config: Config, source: PurePosixPath, *, waits: bool) -> Moved:
    """Cancel one prompt file; it may be claimed, or its job may end, at any moment meanwhile."""
    name = str(source)
    jobs = folders.spool_of(config)
    if waits and (at := _withdraw(config, source, jobs)):
        return Moved(name, "is cancelled and set aside", at)
    for job in jobs.unfinished():
        if job.source == source and job_files.ask_to_cancel(job):
            when = "after this step" if jobs.lock.is_held() else "at the next start"
            return Moved(name, f"is cancelled {when}")
    return Moved(name, "has ended or left before it could be cancelled")


def _withdraw(config: Config, source: PurePosixPath, jobs: Spool) -> Path | None:
    """Set aside a prompt file that no daemon has claimed yet, and return where it is now.

    None if it is claimed. If it is not a regular file, or `_failed/` is on another file system
    while a daemon runs, which could claim it during the copy, it is claimed here as cancelled, and
    the daemon sets it aside.
    """

    def report(name: PurePosixPath) -> str:
        cancelled = RenderCancelled()
        return reports.text(source, "", cancelled, reports.advice(source, cancelled, name))

    withdraw = functools.partial(
        withdrawn.withdraw, Root(config.inbox), Root(config.failed), source, report
    )
    try:
        return withdraw()
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    try:
        with jobs.lock.held(role=COMMAND):
            return withdraw(across=True)
    except SpoolLocked:
        pass
    except OSError as error:  # not a regular file: only the daemon sets it aside
        if error.errno != errno.EXDEV:
            raise
    jobs.claim(source, (), is_cancelled=True)
    return None
