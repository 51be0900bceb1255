"""Which pictures of the inbox belong to a job."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BYTES = 24 << 20
"""A larger picture is refused."""


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """The pictures that a job takes out of the folder of its prompt file.

    shared: those of `names` that other prompt files wait for, too; they are copied
    pair: the picture that has the prompt file's name, also if no prompt starts from it; empty if
        there is none, or the prompt file names it
    """

    names: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    pair: str = ""


NO_PICTURES = PictureFiles()
