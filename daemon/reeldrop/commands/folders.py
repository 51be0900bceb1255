"""config.yaml and the folders that it names, as commands see them beside a running daemon."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.commands import output
from reeldrop.config import config as configuration
from reeldrop.config import salvage
from reeldrop.store import history
from reeldrop.store.lock import DAEMON
from reeldrop.store.spool import Spool

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.intake.inbox import Inbox


def load(path: Path | None) -> Config:
    """Return the settings of the config.yaml `path`; None for the one that is found.

    Raises:
        ConfigError: it has mistakes.
    """
    return configuration.load(configuration.find(path))


def load_beside_daemon(path: Path | None) -> tuple[Config, bool]:
    """Return the settings, and whether they are whole.

    While a daemon works with settings that it read before, mistakes are only noted, and the valid
    settings are returned: enough to see what the daemon does, and to talk to it.

    Raises:
        ConfigError: it has mistakes, and no daemon works, or its folders are not known.
    """
    file = configuration.find(path)
    try:
        return configuration.load(file), True
    except ConfigError as error:
        found = salvage.readable(file)
        if found is None or not is_at_work(found):
            raise
        for mistake in error.mistakes:
            output.note(f"reeldrop: {mistake}")
        output.note("the daemon still uses the settings that it read before this mistake")
        return found, False


def spool_of(config: Config) -> Spool:
    """Return the spool."""
    return Spool(config.spool, config.inbox, config.failed)


def is_at_work(config: Config) -> bool:
    """Return whether a daemon works on the spool; a holder whose record can't be read is one."""
    jobs = spool_of(config)
    holder = jobs.lock.holder()
    return holder.role == DAEMON if holder is not None else jobs.lock.is_held()


def require_inbox(config: Config) -> None:
    """Raise Unavailable if the inbox is missing; it is not made: the share may be unmounted."""
    if not config.inbox.is_dir():
        raise Unavailable(Mistake(_missing(config), key="inbox"))


def problem_of_inbox(config: Config) -> str:
    """Return in words that the inbox is missing or can't be read; empty if neither."""
    if not config.inbox.is_dir():
        return _missing(config)
    is_readable = os.access(config.inbox, os.R_OK | os.X_OK)
    return "" if is_readable else f"you have no permission to read {config.inbox}"


def _missing(config: Config) -> str:
    return f"there is no folder {config.inbox}; is the share mounted? If it is on none, make it"


def scanned_inbox(config: Config) -> Inbox:
    """Return the scanned inbox, in which every complete file counts as settled."""
    from reeldrop.intake.ignored import Ignored
    from reeldrop.intake.inbox import Inbox
    from reeldrop.prompts import parsing

    ignored = Ignored(config.ignore)
    inbox = Inbox(
        config.inbox,
        parsing.SUFFIXES,
        0,
        parsing.DEFAULTS_NAME,
        patient=False,
        ignored=ignored,
        has_controls=config.controls,
    )
    with contextlib.suppress(OSError):
        inbox.scan(0.0)
    return inbox


def prompt_files(inbox: Inbox) -> list[PurePosixPath]:
    """Return the prompt files of a scanned inbox, in the order in which they would be rendered."""
    settled = sorted(inbox.settled(0.0), key=lambda c: (c.first_seen, str(c.path)))
    return [candidate.path for candidate in settled]


def failures(folder: Path, config: Config, limit: int | None = None) -> list[history.Failure]:
    """Return the prompt files and reports in `_failed/`, or another such folder, newest first.

    limit: how many are returned at most; all if it is None
    """
    from reeldrop.intake.ignored import Ignored
    from reeldrop.intake.scan import Names
    from reeldrop.prompts import parsing

    names = Names(parsing.SUFFIXES, parsing.DEFAULTS_NAME, Ignored(config.ignore))
    return history.failures(folder, names.is_read, limit)
