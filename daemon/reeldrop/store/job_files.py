"""reeldrop's own files in a job's folder: the record of its claim, its log, the mark of a cancel.

A broken disk or a person may have damaged them. A folder with a prompt file but without a valid
record is a job, too, so that its failure is reported. Does not know where the folders are, nor what
happens to a job whose record is damaged.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math
import operator
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from reeldrop.base import durable, moves, plain_files, temporaries
from reeldrop.base.errors import DISK_ERRORS, Mistake
from reeldrop.base.job import Attempt, DefaultsFile, Job
from reeldrop.base.names import PROMPT_SUFFIXES
from reeldrop.base.picture_files import PictureFiles
from reeldrop.base.trouble import is_there

ATTEMPTS = "attempts.json"
_RECORD = "job.json"
_LOG = "job.log"
_CANCEL = "cancel"
PICTURES = "pictures"
"""The folder of the job's pictures."""
_REMAINDER = "remainder"
SHEETS = "sheets.json"
"""The record of the sheets of a sweep."""
_OWN = {_RECORD, ATTEMPTS, "attempts.tmp", _LOG, _CANCEL, PICTURES, _REMAINDER, SHEETS}

ID_TIME = "%Y%m%d-%H%M%S-%f"
"""How the id of a job begins: the time of its claim in UTC, so that ids are in its order."""

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Errors of reading a damaged file."""

MAX_BYTES = 8 << 20
"""More than the size of any of these files: that of `_defaults.yaml` files is limited."""


def write_record(job: Job, *, is_cancelled: bool) -> None:
    """Write what was known at the claim, and with `is_cancelled` the mark of a cancelled job."""
    record = {
        "source": str(job.source),
        "priority": job.priority,
        "defaults": list(map(_of_defaults, job.defaults)),
        "refusal": list(map(dataclasses.asdict, job.refusal)),
        "pictures": dataclasses.asdict(job.pictures),
    }
    durable.write(job.folder / _RECORD, json.dumps(record).encode(), job.id)
    if is_cancelled:
        durable.write(job.folder / _CANCEL, b"", job.id)


def new_id() -> str:
    """Return the id of a job that is claimed now."""
    return f"{datetime.now(UTC):{ID_TIME}}-{secrets.token_hex(3)}"


def read_job(folder: Path, attempts: tuple[Attempt, ...]) -> Job | None:
    """Return the job of a folder; None without a prompt file: it has ended, or never was a job.

    Raises:
        OSError: the disk is in trouble.
    """
    with contextlib.suppress(FileNotFoundError, *DAMAGE):
        record = read(folder / _RECORD)
        source = _inside(PurePosixPath(record["source"]))
        with _disk_or_damage():
            owner = (folder / source.name).lstat().st_uid
        defaults = tuple(_defaults(*file) for file in record["defaults"])
        priority = operator.index(record.get("priority", 0))
        refusal = tuple(Mistake(**mistake) for mistake in record.get("refusal", ()))
        pictures = _pictures(**record.get("pictures", {}))
        return Job(
            folder.name,
            source,
            folder,
            defaults,
            attempts,
            priority=priority,
            refusal=refusal,
            owner=owner,
            pictures=pictures,
        )
    for name in _prompt_files(folder):
        return Job(folder.name, PurePosixPath(name), folder, (), attempts, is_damaged=True)
    return None


def read(file: Path) -> Any:
    """Return the content of a file in JSON.

    Raises:
        ValueError: it is damaged, or too large.
        OSError: it does not exist, or the disk is in trouble.
    """
    with _disk_or_damage():
        return json.loads(plain_files.content(file, MAX_BYTES))


@contextlib.contextmanager
def _disk_or_damage() -> Iterator[None]:
    """Raise ValueError in place of an OSError that means a damaged file.

    A missing file, and a disk in trouble, which may recover, still raise OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise ValueError(str(error)) from None


def _of_defaults(file: DefaultsFile) -> list[str]:
    """Return a defaults file as stored in a record: base64, so that its size is bounded."""
    return [file.name, base64.b64encode(file.data).decode(), "base64"]


def _defaults(name: str, text: str, encoding: str = "latin-1") -> DefaultsFile:
    """Return a defaults file from a record, also from one that an older version wrote."""
    is_ours = encoding == "base64"
    data = base64.b64decode(text, validate=True) if is_ours else text.encode("latin-1")
    return DefaultsFile("" + name, data)


def _pictures(
    names: Iterable[str] = (), shared: Iterable[str] = (), pair: str = ""
) -> PictureFiles:
    """Return the pictures of a record, without those that lead out of a folder."""
    return PictureFiles(
        tuple(name for name in names if _inside(PurePosixPath(name)).name == name),
        tuple("" + name for name in shared),
        "" + pair,
    )


def _inside(source: PurePosixPath) -> PurePosixPath:
    """Return a path below a folder unchanged.

    Raises:
        ValueError: it leads out of the folder, or its name is one of our own files'.
    """
    if source.is_absolute() or ".." in source.parts or source.name in ("", *_OWN):
        raise ValueError(source)
    return source


def _prompt_files(folder: Path) -> list[str]:
    """Return the names of a job folder's prompt files, sorted."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        return sorted(name for name in os.listdir(folder) if not _is_own(name))
    return []


def _is_own(name: str) -> bool:
    """Return whether a file is reeldrop's: all but prompt files, also records of other versions."""
    is_prompt_file = PurePosixPath(name).suffix.lower() in PROMPT_SUFFIXES
    return not is_prompt_file or name.startswith(".") or temporaries.is_temporary(name)


def remove(folder: Path) -> None:
    """Remove a job's folder with reeldrop's own files; what came late stays.

    Raises:
        OSError: ENOTEMPTY: a late claim has put a prompt file or a picture there.
    """
    with contextlib.suppress(FileNotFoundError):
        temporaries.remove(folder / PICTURES, "")
        os.rmdir(folder / PICTURES)
    with os.scandir(folder) as entries:
        own = [entry for entry in entries if _is_own(entry.name)]
    for entry in own:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(folder)


def log_of(job: Job) -> Path:
    """Return the path of the log of a job in hand."""
    durable.make_way(job.folder / _LOG)
    return job.folder / _LOG


def publish_log(job: Job, folder: Path, name: str = _LOG) -> None:
    """Move the job's log, if there is one, into a folder that people see."""
    log = log_of(job)
    if log.exists():
        durable.write(log, log.read_bytes(), job.id)  # again: an fsync may have failed
        moves.move_to_free_name(log, folder, name, job.id)


def ask_to_cancel(job: Job) -> bool:
    """Mark a job for the daemon to cancel; return False if it has ended."""
    try:
        durable.write(job.folder / _CANCEL, b"", temporaries.command_owner())
    except FileNotFoundError:
        return False
    return is_there(job.prompt_file)


def is_cancelled(job: Job) -> bool:
    """Return whether a job is marked to be cancelled; False if the disk can't be read."""
    return is_marked(job.folder)


def is_marked(folder: Path) -> bool:
    """Return whether the job of a folder is marked to be cancelled."""
    return os.path.exists(folder / _CANCEL)


def claimed(job: Job) -> float:
    """Return the time of a job's claim, in seconds since 1970; -inf if its id does not say it."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(f"{job.id[:22]}+0000", f"{ID_TIME}%z").timestamp()
    return -math.inf


def is_claimed_by(job: Job, time_ns: int) -> bool:
    """Return whether a job was claimed before a time in ns of its file system's clock.

    Nothing in its folder is older than its claim. A backup's links and changed rights give the
    prompt file a new ctime, another priority the record a new mtime.
    """
    with contextlib.suppress(FileNotFoundError):
        record, prompt_file = (job.folder / _RECORD).lstat(), job.prompt_file.lstat()
        return min(record.st_mtime_ns, prompt_file.st_ctime_ns) <= time_ns
    return False


def remainder(job: Job) -> Path:
    """Return the path of what was last written into `_failed/` of the job's prompts."""
    return job.folder / _REMAINDER


def is_in_hand(job: Job) -> bool:
    """Return whether a job has not ended."""
    try:
        job.prompt_file.lstat()
    except FileNotFoundError:
        return False
    return True
