"""The commit of each repository that is used: that of its first download, in a file in the spool.

The file may be edited or deleted. A repository without an entry gets one for its newest commit.
"""

from __future__ import annotations

from pathlib import Path

import pydantic

from reeldrop.base import durable, owners, plain_files, temporaries

FILE_NAME = "pinned.json"
MAX_BYTES = 1 << 20

_ADAPTER = pydantic.TypeAdapter(dict[str, str])


def read(file: Path | None) -> dict[str, str]:
    """Return the commits by repository; none if the file can't be read."""
    if file is None:
        return {}
    try:
        return _ADAPTER.validate_json(plain_files.content(file, MAX_BYTES))
    except (OSError, pydantic.ValidationError):
        return {}


def note(file: Path, repository: str, commit: str) -> None:
    """Note the commit of a repository, and replace an earlier one.

    Raises:
        OSError: the file can't be written.
    """
    known = read(file)
    if known.get(repository) != commit:
        durable.make_way(file)
        content = _ADAPTER.dump_json({**known, repository: commit}, indent=1)
        durable.write(file, content, temporaries.command_owner())
        owners.give_to_owner(file)
