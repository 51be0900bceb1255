"""`_failed/_cleared/`: what was rendered after it had failed, in the place that it had before.

Which failures a rendered prompt file clears, and how they are moved. Nothing is removed, and a
repeated move goes on where a killed one ended. Does not know where the folders are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from reeldrop.base import durable
from reeldrop.base.escaping import shown
from reeldrop.base.job import Job
from reeldrop.base.names import ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX, PICTURES_SUFFIX
from reeldrop.base.names import SIDECAR_SUFFIX as REMAINDER_SUFFIX
from reeldrop.base.trouble import is_there
from reeldrop.store import job_files, reports

_LOG = re.escape(LOG_SUFFIX).replace("job", "job(?:-[0-9]+)?")
_OTHERS = (_LOG, *map(re.escape, (NOTE_SUFFIX, PICTURES_SUFFIX, ERROR_SUFFIX)))
_FILES = re.compile(f"(?P<name>.+?)(?P<suffix>(?:{'|'.join(_OTHERS)})?)", re.DOTALL)
"""The files of a failure: the prompt file, which has no further suffix, and those beside it."""


def superseded(
    job: Job, source: PurePosixPath, folder: Path, first: PurePosixPath
) -> dict[str, list[str]]:
    """Return the failures that a rendered job clears, by name, with the suffixes of their files.

    source: the path in the inbox of the files that failed
    folder: the one of `first`, the place in `_failed/` that such a file has if it is free
    """
    entries = sorted(entry for entry in os.listdir(folder) if entry.startswith(first.stem))
    if not entries:
        return {}
    suffix = "|".join(map(re.escape, (first.suffix, REMAINDER_SUFFIX)))
    of_a_text = r"(\.[a-z]+)?(-[0-9]+)?\.txt"  # whose report may name the file that is rendered
    others = rf"(-[0-9]+)?({suffix})|{of_a_text}"
    numbered = re.compile(f"{re.escape(first.stem)}({others})", re.IGNORECASE)
    found: dict[str, list[str]] = {}
    for entry in entries:
        file = _FILES.fullmatch(entry)
        if file is None or not numbered.fullmatch(file["name"]):
            continue
        if file["suffix"] or not _is_folder(folder / entry):
            found.setdefault(file["name"], []).append(file["suffix"])
    return {
        name: suffixes
        for name, suffixes in found.items()
        if _is_failure(suffixes)
        and _is_of(source, folder / name, first)
        and _is_earlier(job, folder / name, suffixes)
    }


def _is_failure(suffixes: Sequence[str]) -> bool:
    """Return whether it has a prompt file or a report: else it is a folder of an odd name."""
    return "" in suffixes or ERROR_SUFFIX in suffixes


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder: one of the inbox, with failures of its own."""
    return path.is_dir() and not path.is_symlink()


def _is_of(source: PurePosixPath, failed: Path, first: PurePosixPath) -> bool:
    """Return whether a failure is one of a prompt file, by its place and name.

    It is what its report says; one with the prompts that failed counts by the name that it was
    given, too. A text that had to be written as YAML was, when the YAML is rendered. A file that
    somebody has moved back has left the report of the name that it had here.
    """
    about, named = _composed(reports.about(reports.beside(failed))), _composed(str(source))
    if about == named or reports.leaves_for(reports.beside(failed), named):
        return True
    is_remainder = about.rpartition(".")[0] == named.removesuffix(REMAINDER_SUFFIX)
    if is_remainder and failed.suffix == REMAINDER_SUFFIX:
        return True
    is_name = _composed(str(first)) == named and failed.name == first.name
    return is_name and (not about or not is_there(failed))


def _composed(name: str) -> str:
    """Return a name as reports word it, whichever way Macs and others write its accents."""
    return unicodedata.normalize("NFC", shown(name))


def _is_earlier(job: Job, failed: Path, suffixes: Sequence[str]) -> bool:
    """Return whether a failure is of a file that was taken before the job's."""
    if earlier := reports.job_of(reports.beside(failed)):
        return earlier < job.id
    times = (failed.with_name(failed.name + suffix).lstat().st_ctime for suffix in suffixes)
    return max(times) < job_files.claimed(job)


def move(failed: Path, suffixes: Sequence[str], into: Path) -> str:
    """Move the files of a failure into another folder, and return its name there.

    The report is last: while it is here, the failure is listed, and the next try finds the rest.
    """
    in_order = sorted(suffixes, key=lambda suffix: (suffix == ERROR_SUFFIX, suffix == ""))
    for name in durable.free_names(failed.name):
        pairs = {
            suffix: (failed.with_name(failed.name + suffix), into / (name + suffix))
            for suffix in (*in_order, ERROR_SUFFIX)
        }
        if all(_may_be_moved(*pair) for pair in pairs.values()):
            for suffix in in_order:
                durable.rename_new(*pairs[suffix])
            return name
    raise AssertionError("free_names never ends")


def _may_be_moved(source: Path, target: Path) -> bool:
    """Return whether a name is free; a move by links that was killed leaves a file both names."""
    if not is_there(target):
        return True
    return is_there(source) and os.path.samestat(source.lstat(), target.lstat())
