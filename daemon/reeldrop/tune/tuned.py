"""The findings of `reeldrop tune`, by profile and device, in a file in the spool.

The file may be deleted: then the defaults are used. Does not know how they were found.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from reeldrop.base import durable, plain_files

FILE_NAME = "tuned.json"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """The fastest settings: the switches of the fast path, and how many prompts at once.

    basis: a digest of what was tuned and on which device; for others the finding is not valid
    """

    basis: str
    speed: dict[str, bool | str]
    max_batch_size: int


_FILE = pydantic.TypeAdapter(dict[str, Any])
_OF_PROFILE = pydantic.TypeAdapter(dict[str, Finding])


def read(spool: Path) -> dict[str, dict[str, Finding]]:
    """Return the findings by profile and the device's name; none if the file can't be read.

    A profile whose record is damaged, or of another version, was tuned, but has none.
    """
    with contextlib.suppress(OSError, pydantic.ValidationError):
        records = _FILE.validate_json(plain_files.content(spool / FILE_NAME, MAX_BYTES))
        return {name: _of_profile(record) for name, record in records.items()}
    return {}


def _of_profile(record: object) -> dict[str, Finding]:
    with contextlib.suppress(pydantic.ValidationError):
        return _OF_PROFILE.validate_python(record)
    return {}


def note(spool: Path, name: str, device: str, finding: Finding) -> Path:
    """Add a finding, or replace the earlier one of the profile on that device; return the file.

    Raises:
        OSError: the file can't be written.
    """
    path = spool / FILE_NAME
    durable.make_way(path)
    found = read(spool)
    found.setdefault(name, {})[device] = finding
    durable.write(path, _FILE.dump_json(found, indent=1), "tune")
    return path
