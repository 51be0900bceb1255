"""Read the valid part of a config.yaml with mistakes, so that commands can still be used."""

from __future__ import annotations

import re
from pathlib import Path

from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, YamlError
from reeldrop.config import config
from reeldrop.config.schema import Config

_FOLDERS = frozenset({"inbox", "results", "spool", "failed"})
_ENTRY = re.compile(r"^(?=[^\s#])", re.MULTILINE)
"""The beginning of each entry at the top of a YAML text."""


def readable(path: Path) -> Config | None:
    """Return the valid settings, and defaults in place of the others.

    None if the file can't be read, or if an entry that names a folder is not valid.
    """
    try:
        entries = _entries(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    wrong = {key for key, text in entries.items() if not _is_yaml(text)}
    while not wrong & _FOLDERS:
        for key in wrong:
            del entries[key]
        try:
            return config.parse("".join(entries.values()) or "{}", path)
        except ConfigError as error:
            keys = {mistake.key.partition(".")[0] for mistake in error.mistakes}
            wrong = keys & entries.keys()
            if not wrong:
                return None
    return None


def _entries(text: str) -> dict[str, str]:
    """Return each entry at the top of a YAML text by its key; duplicates make one invalid entry."""
    entries: dict[str, str] = {}
    for entry in _ENTRY.split(text.removeprefix("\ufeff")):
        key = entry.partition(":")[0].strip()
        if not entry.startswith((" ", "#", "\n")) and key:
            entries[key] = entries.get(key, "") + f"{entry.rstrip()}\n"
    return entries


def _is_yaml(text: str) -> bool:
    try:
        return [dict] == [type(document.value) for document in strict_yaml.load_all(text)]
    except YamlError:
        return False
