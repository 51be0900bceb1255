"""Reads the files of pictures: whether they can be taken, and their hashes. Decodes none.

Strangers put them there, so no link is followed and no pipe waited for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from reeldrop.base import plain_files
from reeldrop.base.errors import DISK_ERRORS, Mistake, PromptError
from reeldrop.base.escaping import short
from reeldrop.base.job import Job, Picture, Prompt
from reeldrop.base.names import spellings
from reeldrop.base.picture_files import MOST_BYTES
from reeldrop.store import pictures

MAX_TOGETHER = 256 << 20
"""Bytes of all pictures of a prompt file: they are hashed when it is opened."""

_SMALLER = "make it smaller; models see a few hundred pixels each way"


def problems(folder: Path, names: Iterable[str]) -> list[Mistake]:
    """Return why pictures in a folder can't be taken; those that are missing may still come."""
    found, together = [], 0
    for name in names:
        status = _status(folder, name)
        if status is None:
            continue
        said, size = f"the picture {short(name)}", status.st_size
        if not stat.S_ISREG(status.st_mode):
            what = "a link" if stat.S_ISLNK(status.st_mode) else "no plain file"
            remedy = "put the picture itself beside the prompt file"
            found.append(Mistake(f"{said} is {what}; it has not been opened", remedy))
        elif size > MOST_BYTES:
            most = MOST_BYTES
            found.append(Mistake(f"{said} has {size:,} bytes, more than {most:,}", _SMALLER))
        together += size
    if together > MAX_TOGETHER and not found:
        problem = f"its pictures have {together:,} bytes together, more than {MAX_TOGETHER:,}"
        found.append(Mistake(problem, "split it into several files, or make them smaller"))
    return found


def _status(folder: Path, name: str) -> os.stat_result | None:
    for spelling in spellings(name):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (folder / spelling).lstat()
    return None


def not_come(names: Mapping[str, str]) -> PromptError:
    """Return the error of a prompt file whose pictures have not come.

    names: what is there in place of each, in words
    """
    remedy = "put it beside the prompt file, and both into the inbox again"
    found = names.items()
    problems = (f"the picture {short(name)} has not come{instead}" for name, instead in found)
    return PromptError(*(Mistake(problem, remedy) for problem in problems))


def resolved(job: Job, prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """Return the prompts of a claimed file with the places and hashes of their pictures.

    The hash of one that is gone is empty. It may lie beside a video that it was for: a kill may
    have come between the end of its job and that of the prompt file.

    Raises:
        OSError: the disk is in trouble.
    """
    hashes: dict[str, str] = {}
    found = []
    for prompt in prompts:
        for picture in prompt.pictures:
            if picture.name not in hashes:
                hashes[picture.name] = sha256(pictures.place(job, picture.name))
        found.append(_with_hashes(job, prompt, hashes))
    return tuple(found)


def _with_hashes(job: Job, prompt: Prompt, hashes: Mapping[str, str]) -> Prompt:
    if not prompt.pictures:
        return prompt
    known = (p for p in prompt.pictures if p.sha256 and hashes[p.name])
    changed = [p.name for p in known if p.sha256 != hashes[p.name]]
    notes = (f"{name} is not the picture that the sidecar was made with" for name in changed)
    placed = (
        Picture(p.key, p.name, pictures.place(job, p.name), hashes[p.name]) for p in prompt.pictures
    )
    return dataclasses.replace(
        prompt, pictures=tuple(placed), notes=(*prompt.notes, *dict.fromkeys(notes))
    )


def sha256(picture: Path) -> str:
    """Return the SHA-256 of a picture, in hexadecimal; empty if it can't be read."""
    try:
        with open(plain_files.open_plain(picture), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        return ""


def problem_of(prompt: Prompt) -> PromptError | None:
    """Return why a prompt of a claimed file can't be rendered: a picture is gone; else None."""
    gone = [picture.name for picture in prompt.pictures if not picture.sha256]
    if not gone:
        return None
    problem = "the picture {} was there when the prompt file was taken, and can't be read any more"
    remedy = "put both into the inbox again, readable for the service"
    return PromptError(*(Mistake(problem.format(short(name)), remedy) for name in gone))
