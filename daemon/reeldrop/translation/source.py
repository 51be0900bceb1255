"""Find and download the files of a translator. Imports no torch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.render import downloads, hub_cache

NEEDED = ("config.json", "tokenizer_config.json", "vocab.json", "source.spm", "target.spm")
USEFUL = ("generation_config.json",)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""One of these is needed. Most translators on the hub have only the second; it is read with
`weights_only`, so that it can't run code."""

_FORM = "a translator is a MarianMT model in transformers' format, such as those of Helsinki-NLP"


@dataclass(frozen=True, slots=True)
class TranslatorSource:
    """Where the translator from a language into English comes from.

    location: a repository of the hub, or a folder
    pins: the file with the commits of the first downloads; None for none
    """

    language: str
    location: str
    is_folder: bool = False
    revision: str | None = None
    pins: Path | None = None

    variant = None
    """Of weights, as `downloads.Wanted` asks for it; translators have none."""

    @property
    def name(self) -> str:
        return f"translate.{self.language}"

    @property
    def what(self) -> str:
        return f"the translator from {self.language}"

    @property
    def key(self) -> str:
        return self.name


def folder(
    source: TranslatorSource, tell: downloads.Tell | None = None, *, newest: bool = False
) -> Path:
    """Return the folder of a translator; download its missing files first.

    newest: take the newest commit instead of the one of the first download

    Raises:
        ConfigError: it is not there, or is no MarianMT model.
        Unavailable: it can't be downloaded now.
    """
    found = _folder(source, tell, newest=newest)
    missing = [name for name in NEEDED if not (found / name).is_file()]
    if not missing and not any((found / name).is_file() for name in WEIGHTS):
        missing = [" or ".join(WEIGHTS)]
    if missing:
        problem = f"{source.location} has no {missing[0]}"
        raise ConfigError(Mistake(problem, _FORM, key=source.key))
    return found


def not_loaded(source: TranslatorSource, reason: str) -> ConfigError:
    """Return the error that a translator can't be loaded, though all of its files are there."""
    problem = f"{source.what} can't be loaded from {source.location}: {reason}"
    return ConfigError(Mistake(problem, _FORM, key=source.key))


def is_there(source: TranslatorSource) -> bool:
    """Return whether a translator needs no download."""
    if source.is_folder:
        return True
    there = [hub_cache.file_there(source, name) for name in (*NEEDED, *WEIGHTS)]
    return all(there[: len(NEEDED)]) and any(there[len(NEEDED) :])


def _folder(source: TranslatorSource, tell: downloads.Tell | None, *, newest: bool) -> Path:
    if source.is_folder:
        return Path(source.location)
    first = downloads.fetch_file(source, NEEDED[0], tell, newest=newest).parent
    if is_there(source):
        return first
    with contextlib.suppress(ConfigError):  # `folder` reports missing files
        for name in NEEDED[1:]:
            downloads.fetch_file(source, name, tell)
        for name in USEFUL:
            with contextlib.suppress(ConfigError):
                downloads.fetch_file(source, name, tell)
        try:
            downloads.fetch_file(source, WEIGHTS[0], tell)
        except ConfigError:
            downloads.fetch_file(source, WEIGHTS[1], tell)
    return first


def by(source: TranslatorSource, found: Path) -> str:
    """Return a translator's name for sidecars: repository and commit, or the folder's name."""
    if source.is_folder:
        return found.name
    return f"{source.location}@{hub_cache.commit_of(found) or 'unknown'}"
