"""`reeldrop pull`: download a model before it is needed, and say whether there is a newer one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from reeldrop.base import durable, owners
from reeldrop.base.errors import FileError, WrongUsage
from reeldrop.commands import models, output
from reeldrop.config import builtin
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render import downloads, repository

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.render.repository import Repository


def pull_model(config: Config, name: str, *, newest: bool) -> None:
    """Download a model's files, print their folder, and note a newer commit if there is one.

    If root downloads into the cache of a service, the files are the service's.

    newest: take the commit of today instead of the one of the first download

    Raises:
        WrongUsage: there is no such model, or it needs no download.
        ConfigError, Unavailable: it can't be downloaded.
    """
    wanted = _wanted(config, name)
    _make_spool(config.spool)
    was_pinned = wanted.revision is None and repository.pinned(wanted) is not None
    with owners.given_to_owner(downloads.cache()), _bar(sys.stdout.isatty(), name) as tell:
        folder = downloads.fetch(wanted, tell, newest=newest)
    print(output.printable(folder))
    if was_pinned and not newest:
        _note_newer(wanted)


def _make_spool(spool: Path) -> None:
    if not spool.exists():  # what is in it keeps its owners
        with owners.given_to_owner(spool):
            durable.make_folder(spool)


def _wanted(config: Config, name: str) -> Repository:
    known = list(dict.fromkeys([*config.models, *builtin.profiles()]))
    if name not in known:
        raise WrongUsage(f"there is no profile '{name}': {did_you_mean(name, known)}")
    profile = config.models.get(name) or builtin.profile(name)
    wanted = models.repository(name, profile, config)
    if wanted is None:
        raise WrongUsage(f"{name} is on this machine already: there is nothing to download")
    return wanted


def _note_newer(wanted: Repository) -> None:
    if downloads.is_offline():
        return
    with contextlib.suppress(FileError):  # the files are there anyway
        commit = downloads.newest(wanted)
        if commit != repository.pinned(wanted):
            text = f"{wanted.location} has a newer commit, {commit}; "
            output.note(f"{text}`reeldrop pull --newest {wanted.name}` downloads it")


@contextlib.contextmanager
def _bar(for_people: bool, name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a download bar; yield the function that updates it with the bytes there and in all."""
    if not for_people:
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(f"downloading {name}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
