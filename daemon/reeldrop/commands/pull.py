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
from reeldrop.config import builtin, translators
from reeldrop.prompts.wording import did_you_mean
from reeldrop.render import downloads, hub_cache, repository
from reeldrop.translation import source

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.config.profile_keys import Profile
    from reeldrop.render.repository import Repository


def pull_model(config: Config, name: str, *, newest: bool) -> None:
    """Download a model's files and its LoRAs, print where they are, and note newer commits.

    `translate.zh` names the translator from that language.

    If root downloads into the cache of a service, the files are the service's.

    newest: take the commit of today instead of the one of the first download

    Raises:
        WrongUsage: there is no such model.
        ConfigError, Unavailable: it can't be downloaded.
    """
    if name in {one.name for one in translators.sources(config).values()}:
        _pull_translator(config, name, newest=newest)
        return
    profile = _profile(config, name)
    model, loras = models.repository(name, profile, config), models.loras(name, profile, config)
    if model is None and not loras:
        output.note(f"{name} is on this machine already: there is nothing to download")
        return
    _make_spool(config.spool)
    wanted = [one for one in (model, *(lora for lora, _ in loras)) if one is not None]
    free = {one.location: one for one in wanted if one.revision is None}
    pinned = [one for one in free.values() if repository.pinned(one) is not None]
    with owners.given_to_owner(hub_cache.folder()), _bar(sys.stdout.isatty(), name) as tell:
        found = []
        if model is not None:
            found.append(downloads.fetch(model, tell, newest=newest, beside=loras))
        found += [downloads.fetch_file(*lora, tell, newest=newest) for lora in loras]
    for path in found:
        print(output.printable(path))
    if not newest:
        for one in pinned:
            _note_newer(one)


def _pull_translator(config: Config, name: str, *, newest: bool) -> None:
    wanted = translators.sources(config)[name.partition(".")[2]]
    _make_spool(config.spool)
    with owners.given_to_owner(hub_cache.folder()), _bar(sys.stdout.isatty(), name) as tell:
        print(output.printable(source.folder(wanted, tell, newest=newest)))


def _make_spool(spool: Path) -> None:
    if not spool.exists():  # what is in it keeps its owners
        with owners.given_to_owner(spool):
            durable.make_folder(spool)


def _profile(config: Config, name: str) -> Profile:
    known = list(dict.fromkeys([*config.models, *builtin.profiles()]))
    language = name.removeprefix("translate.")
    if name not in known and language != name:
        example = f"`translate: {{{language}: Helsinki-NLP/opus-mt-{language}-en}}`"
        raise WrongUsage(f"no translator from {language} is named in config.yaml, as {example}")
    if name not in known:
        raise WrongUsage(f"there is no profile '{name}': {did_you_mean(name, known)}")
    return config.models.get(name) or builtin.profile(name)


def _note_newer(wanted: Repository) -> None:
    if hub_cache.is_offline():
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
