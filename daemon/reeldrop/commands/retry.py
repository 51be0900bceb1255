"""`reeldrop retry`: put prompt files that failed back into the inbox."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import DISK_ERRORS, NoSuchPromptFile
from reeldrop.base.names import ERROR_SUFFIX
from reeldrop.base.roots import Root
from reeldrop.commands import folders
from reeldrop.commands.moved import Moved, below, meant
from reeldrop.store import aside

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def put_back(config: Config, names: Iterable[str] | None) -> list[Moved]:
    """Move prompt files from `_failed/` back into the inbox; all of them if `names` is None.

    Raises:
        NoSuchPromptFile: a name doesn't exist; no file is moved then.
        Unavailable: there is no inbox, or another retry is at work in a folder of `_failed/`. Files
            that come before those of that folder have been moved then.
    """
    folders.require_inbox(config)
    known = [failure.name for failure in folders.failures(config.failed, config)]
    there = [name for name in known if os.path.lexists(config.failed / name)]
    if names is None:
        return [put_file_back(config, PurePosixPath(name)) for name in there]
    paths = [below(config.inbox, below(config.failed, name)) for name in names]
    chosen = dict.fromkeys([meant(path, known, f"in {config.failed}") for path in paths])
    for name in chosen:
        if name not in there:
            problem = f"{name} is not in {config.failed} any more; only the report on it is"
            raise NoSuchPromptFile(f"{problem}: {config.failed / name}{ERROR_SUFFIX}")
    return [put_file_back(config, PurePosixPath(name)) for name in chosen]


def put_file_back(config: Config, name: PurePosixPath) -> Moved:
    """Move one prompt file from `_failed/` back into the inbox."""
    try:
        at = aside.put_back(Root(config.failed), Root(config.inbox), name)
    except OSError as error:  # of this file's place; the others still go back
        if error.errno in DISK_ERRORS:
            raise
        problem = f"can't be put back: {error.strerror}: {error.filename}"
        return Moved(str(name), problem, config.failed / name, is_failure=True)
    return Moved(str(name), "is back in the inbox" if at else "has left meanwhile", at)
