"""Records of our own in the spool, which a broken disk or a person may have spoilt.

Does not know where they are, or what becomes of a job whose record is damaged.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reeldrop.base import beneath
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.base.job import DefaultsFile

MAX_BYTES = 8 << 20
"""More than any has: `_defaults.yaml` are bounded."""


def of_defaults(file: DefaultsFile) -> list[str]:
    """Return defaults as they stand in a job's record, where no byte takes much more than one."""
    return [file.name, base64.b64encode(file.data).decode(), "base64"]


def defaults(name: str, text: str, encoding: str = "latin-1") -> DefaultsFile:
    """Return defaults from a record, also from one that an older version has written."""
    is_ours = encoding == "base64"
    data = base64.b64decode(text, validate=True) if is_ours else text.encode("latin-1")
    return DefaultsFile("" + name, data)


def read(path: Path) -> Any:
    """Return what a record of our own says.

    Raises:
        ValueError: it is none, or too large.
        OSError: it is not there, or the disk is in trouble.
    """
    with disk_or_damage():
        return json.loads(beneath.content(path, MAX_BYTES))


@contextlib.contextmanager
def disk_or_damage() -> Iterator[None]:
    """Tell a disk in trouble, which may pass, and what is missing from what a record spoils."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise ValueError(str(error)) from None
