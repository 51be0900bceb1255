"""The exceptions of reeldrop, distinguished by who has to act."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reeldrop.base.escaping import short, shown

DISK_ERRORS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV,
        errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EMFILE,
        errno.ENFILE, errno.ENOMEM,
    }
)  # fmt: skip
"""Errors of a disk, a share or the machine, which affect every job; others concern one file."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class ReeldropError(Exception):
    """Base of every error that reeldrop raises on purpose.

    Each survives pickling as it is, as renderers on other machines tell of errors.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[ReeldropError], args: tuple[object, ...], fields: dict[str, object]
) -> ReeldropError:
    """Return a pickled error; `kind` itself may not take `args`, as they are what it has made."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file: the problem, the remedy, and the place.

    line, column: from 1; None if unknown
    key: the setting concerned
    file: the file's name, if a reader of the message can't know it: a `_defaults.yaml` above a
        prompt file, or config.yaml
    example: lines that would be right
    """

    problem: str
    remedy: str = ""
    line: int | None = None
    column: int | None = None
    key: str = ""
    file: str = ""
    example: str = ""

    @property
    def place(self) -> str:
        """The place of the mistake in words; empty for the whole file."""
        parts = [shown(self.file)] if self.file else []
        if self.line is not None:
            parts.append(f"line {self.line}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.key:
            parts.append(f"key '{shown(short(self.key))}'")
        return ", ".join(parts)

    @property
    def example_lines(self) -> list[str]:
        """The lines of the example, indented."""
        return [f"    {shown(line)}" for line in self.example.rstrip().split("\n") if self.example]

    def __str__(self) -> str:
        """Return the mistake on one line, without the example."""
        text = f"{self.place}: {self.problem}" if self.place else self.problem
        remedy = self.remedy.removesuffix(":")  # after which the example would follow
        return shown(f"{text} ({remedy})" if remedy else text)


class FileError(ReeldropError):
    """A file that somebody wrote is not usable as it is; carries every mistake found."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("; ".join(str(mistake) for mistake in mistakes))
        self.mistakes: Sequence[Mistake] = mistakes

    def in_file(self, name: object) -> Iterator[Mistake]:
        """Yield the mistakes with the name of the file that they are in."""
        return (dataclasses.replace(mistake, file=str(name)) for mistake in self.mistakes)


class YamlError(FileError):
    """A text is not the kind of YAML that reeldrop reads."""


class PromptError(FileError):
    """A prompt file can't be rendered until its author changes it; never retried.

    pictures: the names of pictures that it asks for, in the part that was read
    is_paired: whether it asks for that of its own name, which it does not name
    """

    pictures: tuple[str, ...] = ()
    is_paired: bool = False


class NeverPromptFile(PromptError):
    """What has the name of a prompt file can't be one, whatever is in it."""


class DefaultsRefused(PromptError):
    """A `_defaults.yaml` above a prompt file can't be read; so its settings are not known."""


class UnfinishedError(PromptError):
    """A prompt file looks incomplete; it may be complete when read again."""


class NeedsPicture(PromptError):
    """A prompt file needs a picture of its own name beside it, and there is none so far."""


class ConfigError(FileError):
    """config.yaml, a folder or a model is not usable; the operator has to act."""


class PlaceError(FileError):
    """A job's output can't be written to its place; this says nothing about other jobs."""


class RenderError(ReeldropError):
    """The pipeline failed to render a prompt; a retry may succeed."""


class Unrenderable(RenderError):
    """A render failed, and would fail again in the same way; never retried.

    remedy: what the author of the prompt can do; empty if that isn't known
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} ({remedy})" if remedy else problem)
        self.problem, self.remedy = problem, remedy


class TooLarge(Unrenderable):
    """The memory of a device does not suffice for a single prompt; that of another one may."""


class RenderCancelled(ReeldropError):
    """A render was cancelled on request, between two steps."""

    def __init__(self, text: str = "it was cancelled on request") -> None:
        super().__init__(text)


class Unavailable(FileError):
    """A resource is missing, but may be back soon: a share, a download, a GPU's memory."""


class SpoolLocked(ReeldropError):
    """Another process holds the same spool."""


class RendererDied(ReeldropError):
    """This process can't render any more: its CUDA context is broken."""


class WrongUsage(ReeldropError):
    """A command was called with arguments that it can't use."""


class NoSuchPromptFile(WrongUsage):
    """A command names a prompt file that does not exist."""


def is_shortage(error: Exception) -> bool:
    """Return whether an error reports that memory ran out, on the GPU or on the host."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)
