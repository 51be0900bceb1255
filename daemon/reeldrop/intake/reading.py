"""Read what strangers have put into the inbox: a prompt file, and the defaults above it.

Opens nothing but plain files. Does not know what has settled, nor which file is next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import structlog

from reeldrop.base import inbox_folders, plain_files
from reeldrop.base.errors import DISK_ERRORS, DefaultsRefused, Mistake, NeverPromptFile, PromptError
from reeldrop.base.job import DefaultsFile, Job, Prompt
from reeldrop.base.roots import Root
from reeldrop.base.trouble import is_there
from reeldrop.intake import pictures
from reeldrop.intake.parses import Given, Parses
from reeldrop.intake.scan import is_interrupted
from reeldrop.prompts import parsing
from reeldrop.prompts.parsing import NotDescribed
from reeldrop.prompts.rules import ModelRules
from reeldrop.video import mp4_index

_PLAIN_FILE = "put a plain, readable file there"
_NO_FOLDER = (FileNotFoundError, NotADirectoryError)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Content:
    """What a prompt file said when it was read.

    size: how many bytes it had
    is_paired: whether prompts start from the picture that has its name
    """

    prompts: tuple[Prompt, ...]
    priority: int
    size: int
    is_paired: bool

    @property
    def pictures(self) -> tuple[str, ...]:
        """The names of the pictures that its prompts need."""
        found = (picture.name for prompt in self.prompts for picture in prompt.pictures)
        return tuple(dict.fromkeys(found))


class Reader:
    """Reads prompt files.

    rules, model: as for `parsing.parse`
    foresee: is called with the prompts of each file that was read
    """

    def __init__(
        self,
        rules: Mapping[str, ModelRules | None],
        model: str,
        foresee: Callable[[Sequence[Prompt]], None] = lambda _prompts: None,
    ) -> None:
        self._rules = rules
        self._model = model
        self._foresee = foresee
        self._parses = Parses()

    def read_job(self, job: Job) -> Content:
        """Return the content of a claimed file, with its pictures; see `read`.

        Raises:
            PromptError: also if its record in the spool is damaged, or its defaults were refused.
        """
        if job.is_damaged:
            problem = "its record in the spool is damaged: its place in the inbox is not known"
            remedy = "put it into the inbox again, into the folder whose defaults it needs"
            raise PromptError(Mistake(problem, remedy))
        if job.refusal:
            raise DefaultsRefused(*job.refusal)
        pair = job.pictures.pair
        found = self.read(job.source, job.prompt_file, job.defaults, job.drawn_seed, pair)
        return dataclasses.replace(found, prompts=pictures.resolved(job, found.prompts))

    def reads_as(self, other: Reader) -> bool:
        """Return whether another reader reads all files like this one."""
        return (self._model, dict(self._rules)) == (other._model, dict(other._rules))

    def knows(self, model: str) -> bool:
        """Return whether files can be read that ask for a model."""
        return self._rules.get(model) is not None

    def read(
        self,
        source: PurePosixPath,
        file: Path,
        defaults: tuple[DefaultsFile, ...],
        draw_seed: Callable[[int], int] | None = None,
        pair: str = "",
    ) -> Content:
        """Return the content of a file that had the path `source` in the inbox.

        `draw_seed` is as for `parsing.parse`, None before its claim; `pair` is the picture of its
        name. The places of pictures are not known yet.

        Raises:
            PromptError: it can't be rendered; also if reading it raised an unexpected error.
            NotDescribed: it has to be read again when a model has been loaded.
            OSError: the disk is in trouble, or the file is gone.
        """
        status = file.lstat()
        refused = refusal(source, status.st_mode, status.st_mtime_ns)
        if refused is not None:
            raise refused
        try:
            if source.suffix.lower() == ".mp4":
                data, size = mp4_index.embedded_settings(file), status.st_size
            else:
                data = read_plain(file, parsing.MAX_BYTES)
                size = len(data)
            parse = partial(
                parsing.parse,
                source.name,
                data,
                defaults,
                self._rules,
                self._model,
                pair=pair,
                keeps_seeds=inbox_folders.wish(source) != inbox_folders.AGAIN,
            )
            given = Given(data, defaults, pair, tuple(self._rules.items()))
            found = self._parses.of(source, given, draw_seed, lambda draw: parse(draw_seed=draw))
            self._foresee(found.prompts)
            return Content(found.prompts, found.priority, size, found.is_paired)
        except (PromptError, NotDescribed):
            raise
        except OSError as error:
            if error.errno in DISK_ERRORS or error.errno == errno.ENOENT:
                raise
            problem = f"can't read it: {error.strerror}"
            raise PromptError(Mistake(problem, _PLAIN_FILE)) from None
        except Exception as error:
            _log.exception("unexpected_error", prompt_file=str(source))
            problem = f"reading it failed unexpectedly: {type(error).__name__}: {error}"
            raise PromptError(Mistake(problem, "please report this")) from error


def refusal(path: PurePosixPath, mode: int, mtime_ns: int = -1) -> PromptError | None:
    """Return why a file can't be a prompt file, whatever its content; None if it can."""
    kinds: Sequence[tuple[Callable[[int], bool], str]] = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    for is_kind, kind in kinds:
        if is_kind(mode):
            problem = f"this is {kind}, not a file; it has not been opened"
            return NeverPromptFile(Mistake(problem, "put the file itself into the inbox"))
    for part in path.parts:
        if part.startswith("_"):
            problem = f"'{part}' begins with an underscore; such names are reserved for reeldrop"
            remedy = "give it another name"
            if part.lower().startswith(f"{PurePosixPath(parsing.DEFAULTS_NAME).stem}."):
                remedy += f", or, if it has the defaults of its folder, {parsing.DEFAULTS_NAME}"
            return NeverPromptFile(Mistake(problem, remedy))
    if is_interrupted(mtime_ns):
        problem = "its modification time is 0, as rsync leaves a file that it has sent only in part"
        return PromptError(Mistake(problem, "send it again, or `touch` it if it is complete"))
    return None


def read_plain(path: Path, max_bytes: int) -> bytes:
    """Return the content of a plain file, without following a link or waiting for a pipe.

    Raises:
        PromptError: it is not a plain file, can't be read, or is larger than `max_bytes`.
        OSError: the disk is to blame, not the file.
    """
    try:
        with open(plain_files.open_plain(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                problem = f"this file has {size:,} bytes, more than {max_bytes:,}"
                raise PromptError(Mistake(problem, "split it into several files"))
            return file.read(max_bytes)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise PromptError(Mistake(f"can't read it: {error.strerror}", _PLAIN_FILE)) from None


def defaults_above(
    root: Root, path: PurePosixPath, defaults_name: str, max_bytes: int
) -> tuple[DefaultsFile, ...]:
    """Return the `_defaults.yaml` files above a path in the inbox, the outermost first.

    A file in `NOW/poems/` also has those of `poems/`.

    Raises:
        DefaultsRefused: one of them is not a plain file, or they are too large together.
        OSError: a folder above the path is no folder any more, or can't be read.
    """
    files = []
    for above in inbox_folders.folders_above(path):
        name = above / defaults_name
        # The file is gone with its folder; and it may have no folder but one in `NOW/`.
        gone = (FileNotFoundError,) if above in path.parents else _NO_FOLDER
        with contextlib.suppress(*gone), root.opened(above) as folder:
            if is_there(folder / defaults_name):
                data = _read_defaults(name, folder / defaults_name, max_bytes)
                files.append(DefaultsFile(str(name), data))
        if sum(len(file.data) for file in files) > max_bytes:
            problem = f"the defaults for this folder have more than {max_bytes:,} bytes together"
            raise DefaultsRefused(Mistake(problem, "make them smaller", file=str(name)))
    return tuple(files)


def _read_defaults(name: PurePosixPath, file: Path, max_bytes: int) -> bytes:
    try:
        return read_plain(file, max_bytes)
    except PromptError as error:
        raise DefaultsRefused(*error.in_file(name)) from None
