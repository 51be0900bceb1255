"""The pictures that `reeldrop submit` puts into the inbox, with its prompt file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path, PurePosixPath

from reeldrop.base import durable, plain_files
from reeldrop.base.errors import WrongUsage
from reeldrop.base.names import PICTURE_SUFFIXES
from reeldrop.base.picture_files import MOST_BYTES

Pictures = Mapping[str, Path]
"""The files to copy, by key."""


def given(settings: Container[str], files: Mapping[str, Path | None]) -> Pictures:
    """Return the pictures that somebody named, after a look at the files.

    Raises:
        WrongUsage: one can't be a picture, or its key is among the settings, too.
    """
    found = {key: file.resolve() for key, file in files.items() if file is not None}
    for key, file in found.items():
        if key in settings:
            raise WrongUsage(f"{key} is given twice")
        if file.suffix.lower() not in PICTURE_SUFFIXES:
            endings = ", ".join(PICTURE_SUFFIXES)
            raise WrongUsage(f"{file} does not end like a picture: right are {endings}")
        try:
            os.close(plain_files.open_plain(file))
        except OSError as error:
            raise WrongUsage(f"{file} can't be read: {error.strerror}") from None
        if file.stat().st_size > MOST_BYTES:
            raise WrongUsage(f"{file} has more than {MOST_BYTES:,} bytes; make it smaller")
    return found


def names(source: PurePosixPath, pictures: Pictures) -> dict[str, str]:
    """Return the names of pictures beside a prompt file, by key."""
    return {
        key: f"{source.stem}{'' if key == 'image' else '-last'}{file.suffix.lower()}"
        for key, file in pictures.items()
    }


@contextlib.contextmanager
def put_beside(prompt_file: Path, pictures: Pictures, owner: str) -> Iterator[None]:
    """Copy pictures into the inbox for a prompt file; remove them if it can't be written.

    Raises:
        FileExistsError: a name is taken.
    """
    with contextlib.ExitStack() as undo:
        for key, name in names(PurePosixPath(prompt_file), pictures).items():
            data = plain_files.content(pictures[key], MOST_BYTES)
            durable.write_new(prompt_file.with_name(name), data, owner)
            undo.callback(prompt_file.with_name(name).unlink, missing_ok=True)
        yield
        undo.pop_all()
