"""The errors that reeldrop tells apart, by who has to act on them."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from reeldrop.base.escaping import short, shown

DISK_ERRORS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV,
        errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EMFILE,
        errno.ENFILE,
    }
)  # fmt: skip
"""Errors of a disk or a share, which meet every job; others are of one file or folder."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class ReeldropError(Exception):
    """Base of every error that reeldrop raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a file: what, what would be right, and where.

    `line` and `column` count from 1; `key` is the setting concerned; `file` is named where it
    is another one than the file that was read (a `_defaults.yaml` above a prompt file).
    """

    problem: str
    remedy: str = ""
    line: int | None = None
    column: int | None = None
    key: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """Where the mistake stands, in words; empty for the file as a whole."""
        parts = [shown(self.file)] if self.file else []
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.key:
            parts.append(f"key '{shown(short(self.key))}'")
        return ", ".join(parts)

    def __str__(self) -> str:
        text = f"{self.place}: {self.problem}" if self.place else self.problem
        return shown(f"{text} ({self.remedy})" if self.remedy else text)


class FileError(ReeldropError):
    """A file that somebody wrote can't be used as it is; carries every mistake found in it."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("; ".join(str(mistake) for mistake in mistakes))
        self.mistakes: Sequence[Mistake] = mistakes


class YamlError(FileError):
    """A text is not the kind of YAML that reeldrop reads."""


class PromptError(FileError):
    """A prompt file can't be rendered until its author changes it; never retried."""


class UnfinishedError(PromptError):
    """A prompt file looks as if not all of it were there yet; it may be when looked at again."""


class ConfigError(FileError):
    """The operator has to act: config.yaml, a folder or a model is not usable."""


class PlaceError(FileError):
    """What a job makes can't be put where it belongs, which says nothing about other jobs."""


class RenderError(ReeldropError):
    """The pipeline could not make a video of a prompt; it may when it is tried again."""


class Unrenderable(RenderError):
    """A video that can't be made would fail again in the same way; never retried."""


class RenderCancelled(ReeldropError):
    """A render was stopped on request, between two steps."""


class Unavailable(FileError):
    """What is needed is not there now, but may be soon: a share, a download, a GPU's memory."""


class SpoolLocked(ReeldropError):
    """Another daemon works on the same spool."""


class RendererDied(ReeldropError):
    """Nothing can be rendered any more by this process: its CUDA context is broken."""


class NoSuchPromptFile(ReeldropError):
    """A command names a prompt file that there isn't."""


def is_shortage(error: Exception) -> bool:
    """Return whether an error says that memory ran out, on the GPU or on the host."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)
