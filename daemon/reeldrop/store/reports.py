"""The reports in `_failed/`: what they say, which job one is about, whether a place is free.

A prompt file with the name of a report may be set aside, too, so such a file may be anything. So
only plain files are read, and only up to the size of a report.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import unicodedata
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from reeldrop.base import durable
from reeldrop.base.errors import (
    FileError,
    Mistake,
    NeverPromptFile,
    PromptError,
    RenderCancelled,
    Unrenderable,
)
from reeldrop.base.escaping import shown, shown_lines
from reeldrop.base.names import ERROR_SUFFIX, MAX_NAME_BYTES, PICTURES_SUFFIX, portable
from reeldrop.base.names import SIDECAR_SUFFIX as YAML_SUFFIX
from reeldrop.base.plain_files import content, open_plain
from reeldrop.base.trouble import is_there

MAX_MISTAKES = 20
COULD_NOT_RENDER, NOT_RENDERED = "could not render", "has not rendered"
WHAT_IS_WRONG, WHAT_HAPPENED = "What is wrong", "What happened"

_HEADLINE = re.compile(f"reeldrop (?:{COULD_NOT_RENDER}|{NOT_RENDERED}) (?P<source>.+)\n")
_JOB = re.compile(r"^Job (\S+), ", re.MULTILINE)

_LONGEST = 1 << 20
"""Size limit of a report in bytes; the end of a larger file is searched for the id of its job."""

_LONGEST_PATH = 4096
"""In characters; Linux opens no longer one."""


def text(source: PurePosixPath, job_id: str, error: BaseException, then: str) -> str:
    """Return the text of a report: the mistakes, their places and remedies, and `then`.

    `job_id` is empty if the prompt file was never a job.
    """
    mistakes = _mistakes(error)
    is_cancelled = isinstance(error, RenderCancelled)
    lines = [_headline(source, NOT_RENDERED if is_cancelled else COULD_NOT_RENDER)]
    label = f"{WHAT_HAPPENED}: " if is_cancelled else f"{WHAT_IS_WRONG}: "
    for mistake in mistakes[:MAX_MISTAKES]:
        lines.append(f"{label} {shown(mistake.problem)}")
        lines += [f"Where:          {mistake.place}"] if mistake.place else []
        lines += [f"How to fix it:  {shown(mistake.remedy)}"] if mistake.remedy else []
        lines += ["", *mistake.example_lines] if mistake.example else []
        lines.append("")
    if len(mistakes) > MAX_MISTAKES:
        lines += [f"and {len(mistakes) - MAX_MISTAKES} more mistakes of this kind", ""]
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    job = f"Job {job_id}, " if job_id else ""
    return "\n".join([*lines, shown_lines(then), "", f"{job}{now}", ""])


def _mistakes(error: BaseException) -> Sequence[Mistake]:
    if isinstance(error, FileError):
        return error.mistakes
    if isinstance(error, Unrenderable):
        return [Mistake(error.problem, error.remedy)]
    return [Mistake(str(error))]


def advice(
    source: PurePosixPath,
    error: BaseException,
    name: PurePosixPath,
    pictures: Collection[Path] = (),
) -> str:
    """Return what a person can do about a prompt file in `_failed/`, first without a shell.

    source: its path in the inbox
    name: its path in `_failed/`
    pictures: those that are set aside with it
    """
    if isinstance(error, NeverPromptFile):  # put back as it is, it would be refused again
        return _advice_on_another(source)
    here, folder = shown(name.name), shown(source.parent)
    into = f"into {folder}/ in the inbox" if source.parent.parts else "into the inbox"
    beside = f", with the pictures in {here}{PICTURES_SUFFIX}" if pictures else ""
    is_renamed = name.name != source.name and not pictures
    move = f"move {here} from here {into}{f', as {shown(source.name)}' if is_renamed else beside}"
    anew = f"Put a corrected {shown(source)}{', with its pictures,' if pictures else ''}"
    anew += " into the inbox: when it is rendered, this report goes; under another name, it stays."
    if isinstance(error, RenderCancelled):
        steps = [f"To render it after all, {move}."]
    elif isinstance(error, PromptError) and source.suffix.lower() == ".mp4":
        steps = [f"Write a .txt or .yaml file in its place, and delete {here} and this report."]
    elif isinstance(error, PromptError) and all(mistake.file for mistake in error.mistakes):
        steps = [f"Mend what is named above, then {move}."]
    elif isinstance(error, PromptError) or (isinstance(error, Unrenderable) and error.remedy):
        steps = [anew, f"Or correct it here, and {move}."]
    else:
        steps = [f"If nothing is wrong with the file, {move}.", anew]
    if yaml := _yaml_for(source, error):
        steps.append(_leaves_for(shown(yaml)))
    said = f"{'./' * shown(name).startswith('-')}{shown(name)}"  # a dash begins an option
    steps.append(f"In a shell, `reeldrop retry {shlex.quote(said)}` moves it.")
    return "\n".join(steps)


def _advice_on_another(source: PurePosixPath) -> str:
    if is_reserved(source):
        place = "a place in the inbox where no name begins with an underscore"
        but = ", but for `_defaults.yaml`"
        return f"Move it to {place}{but}, and delete this report, which would stay."
    return f"When a file {shown(source)} is rendered, this report goes."


def is_reserved(source: PurePosixPath) -> bool:
    """Return whether a path in the inbox has a name that only reeldrop may give."""
    return any(part.startswith("_") for part in source.parts)


def _yaml_for(source: PurePosixPath, error: BaseException) -> PurePosixPath | None:
    """Return the YAML file that a person is told to write in place of a text; None if not told."""
    mistakes = error.mistakes if isinstance(error, PromptError) else ()
    if source.suffix.lower() != ".txt" or not any("yaml" in m.remedy.lower() for m in mistakes):
        return None
    inner = source.with_suffix("")
    has_two = inner.suffix.lower() in (".yaml", ".yml", ".json")  # a program has added the last
    return (inner if has_two else source).with_suffix(YAML_SUFFIX)


def _leaves_for(other: str) -> str:
    return f"When {other} is rendered in its place, this report goes, too."


def leaves_for(report: Path, other: str) -> bool:
    """Return whether a report says that it goes when another file is rendered.

    other: its path in the inbox, as `shown` words it, with composed accents
    """
    return _leaves_for(other) in unicodedata.normalize("NFC", read(report)).split("\n")


def _headline(source: PurePosixPath, what: str) -> str:
    return f"reeldrop {what} {shown(source)}\n"


def encoded(text: str) -> bytes:
    """Return the bytes of a report; bytes of file names that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def beside(target: Path) -> Path:
    """Return the path of the report on a file in `_failed/`."""
    return target.with_name(target.name + ERROR_SUFFIX)


def is_free(target: Path) -> bool:
    """Return whether a place in `_failed/` has no prompt file, no report and no pictures."""
    pictures = target.with_name(target.name + PICTURES_SUFFIX)
    return not any(map(is_there, (target, beside(target), pictures)))


def read(report: Path) -> str:
    """Return the text of a report; empty if the path has no plain file of a report's size."""
    with contextlib.suppress(OSError):
        return content(report, _LONGEST).decode(errors="replace")
    return ""


def is_on(report: Path, job_id: str) -> bool:
    """Return whether a report is about a job."""
    with contextlib.suppress(OSError), open(open_plain(report), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST))
        return f"Job {job_id}".encode() in file.read(_LONGEST)
    return False


def about(report: Path) -> str:
    """Return the path that the prompt file of a report had in the inbox, as `shown` words it.

    Empty if there is no report, or another text.
    """
    with contextlib.suppress(OSError), open(open_plain(report), "rb") as file:
        found = _HEADLINE.fullmatch(file.readline(_LONGEST).decode(errors="replace"))
        return found["source"] if found is not None else ""
    return ""


def name_before(place: Path) -> str:
    """Return the name that a file in `_failed/` had in the inbox; empty if it is the same.

    Told by its report, which strangers may write: only a name that becomes this one here counts.
    """
    source = about(beside(place))
    name = PurePosixPath(source).name
    is_short = len(os.fsencode(name)) <= MAX_NAME_BYTES  # with what a retry puts before it
    is_whole = "\\" not in name and len(source) <= _LONGEST_PATH  # escaped, it is not known
    if name == place.name or not (is_short and is_whole):
        return ""
    return name if portable(PurePosixPath(source)).name == place.name else ""


def job_of(report: Path) -> str:
    """Return the id of the job that a report is about; empty if the file was never one."""
    found: list[str] = _JOB.findall(read(report))
    return found[-1] if found else ""


def write(target: Path, text: bytes, job_id: str) -> bool:
    """Write a report for a place in `_failed/`; return False if the place is taken."""
    path = beside(target)
    into_place = durable.write if is_on(path, job_id) else durable.write_new
    try:
        into_place(path, text, job_id)
    except FileExistsError:
        return False
    return True
