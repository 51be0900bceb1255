"""Read records in the spool that a broken disk or a person may have damaged.

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
"""More than any record has: the size of `_defaults.yaml` files is limited."""


def of_defaults(file: DefaultsFile) -> list[str]:
    """Return a defaults file as stored in a job's record: base64, so that its size is bounded."""
    return [file.name, base64.b64encode(file.data).decode(), "base64"]


def defaults(name: str, text: str, encoding: str = "latin-1") -> DefaultsFile:
    """Return a defaults file from a record, also from one that an older version wrote."""
    is_ours = encoding == "base64"
    data = base64.b64decode(text, validate=True) if is_ours else text.encode("latin-1")
    return DefaultsFile("" + name, data)


def read(path: Path) -> Any:
    """Return the content of a record.

    Raises:
        ValueError: it is no valid record, or too large.
        OSError: it does not exist, or the disk is in trouble.
    """
    with disk_or_damage():
        return json.loads(beneath.content(path, MAX_BYTES))


@contextlib.contextmanager
def disk_or_damage() -> Iterator[None]:
    """Raise ValueError for errors that mean a damaged record.

    Missing files and a disk in trouble, which may pass, still raise OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise ValueError(str(error)) from None
