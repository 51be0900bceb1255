"""`reeldrop retry`: put prompt files that failed back into the inbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import DISK_ERRORS, NoSuchPromptFile, Unavailable
from reeldrop.base.names import ERROR_SUFFIX
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.commands import folders
from reeldrop.commands.moved import Moved, below, meant
from reeldrop.store import retried

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def put_back(config: Config, names: Iterable[str] | None) -> Iterator[Moved]:
    """Move prompt files from `_failed/` back into the inbox; all of them if `names` is None.

    Yields what was done with each one, when it is done. Those of a folder in which another retry is
    at work stay, and come last; then the iterator raises `Unavailable`.

    Raises:
        NoSuchPromptFile: a name doesn't exist; no file is moved then.
        Unavailable: there is no inbox.
    """
    folders.require_inbox(config)
    known = [failure.name for failure in folders.failures(config.failed, config)]
    there = [name for name in known if is_there(config.failed / name)]
    if names is None:
        return _each_put_back(config, there)
    paths = [below(config.inbox, below(config.failed, name)) for name in names]
    chosen = dict.fromkeys([meant(path, known, f"in {config.failed}") for path in paths])
    for name in chosen:
        if name not in there:
            problem = f"{name} is not in {config.failed} any more; only the report on it is"
            raise NoSuchPromptFile(f"{problem}: {config.failed / name}{ERROR_SUFFIX}")
    return _each_put_back(config, chosen)


def _each_put_back(config: Config, names: Iterable[str]) -> Iterator[Moved]:
    held: dict[PurePosixPath, Unavailable] = {}
    left: list[str] = []
    for name in names:
        folder = PurePosixPath(name).parent
        if folder not in held:  # each is waited for once, for seconds
            try:
                yield put_file_back(config, PurePosixPath(name))
                continue
            except Unavailable as error:
                held[folder] = error
        left.append(name)
    for name in left:
        reason = held[PurePosixPath(name).parent].mistakes[0].problem
        problem = f"can't be put back now: {reason}"
        yield Moved(name, problem, config.failed / name, is_failure=True)
    if held:
        raise Unavailable(*(mistake for error in held.values() for mistake in error.mistakes))


def put_file_back(config: Config, name: PurePosixPath) -> Moved:
    """Move one prompt file from `_failed/` back into the inbox.

    Raises:
        Unavailable: another retry is at work in its folder.
    """
    try:
        at = retried.put_back(Root(config.failed), Root(config.inbox), name)
    except OSError as error:  # of this file's place; the others still go back
        if error.errno in DISK_ERRORS:
            raise
        problem = f"can't be put back: {error.strerror}: {error.filename}"
        return Moved(str(name), problem, config.failed / name, is_failure=True)
    return Moved(str(name), "is back in the inbox" if at else "has left meanwhile", at)
