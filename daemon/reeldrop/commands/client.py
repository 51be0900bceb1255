"""What submit, status, retry, cancel and reload do in the folders, beside a running daemon.

The folders are the interface to the daemon; only `reload` sends its process a signal.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base import durable, strict_yaml
from reeldrop.base.beneath import Root
from reeldrop.base.errors import (
    DISK_ERRORS,
    Mistake,
    NoSuchPromptFile,
    RenderCancelled,
    SpoolLocked,
    Unavailable,
)
from reeldrop.base.job import shown
from reeldrop.base.names import ERROR_SUFFIX, folder_name, portable, video_name
from reeldrop.config.config import Config
from reeldrop.store import aside, history, spool
from reeldrop.store import status as daemon_status
from reeldrop.store.lock import COMMAND, DAEMON, TUNER, Holder
from reeldrop.store.results import Results
from reeldrop.store.spool import Spool
from reeldrop.store.status import State, Status, Waiting

if TYPE_CHECKING:
    from reeldrop.intake.inbox import Inbox

POLL_SECONDS = 0.2
RELOAD_SECONDS = 30.0
"""How long the daemon has to report that it has read config.yaml again."""

STALE_SECONDS = 60.0
"""A daemon's report is stale if it is older than two scans by more than this."""


@dataclass(frozen=True, slots=True)
class Order:
    """A prompt file that `submit` put into the inbox, and where its first video will be."""

    source: PurePosixPath
    prompt_file: Path
    video: Path


@dataclass(frozen=True, slots=True)
class End:
    """The outcome of an order: the files of its videos, and the error; empty if there is none."""

    videos: tuple[Path, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What a command did with the prompt file `name`, in words.

    file: where it is now; None if that is unknown or it is still in hand.
    is_failure: whether the command could not do it
    """

    name: str
    what: str
    file: Path | None = None
    is_failure: bool = False


def _spool(config: Config) -> Spool:
    return Spool(config.spool, config.inbox, config.failed)


def submit(config: Config, prompt: str, settings: Mapping[str, object]) -> Order:
    """Write a prompt file into the inbox atomically, under an unused name.

    Raises:
        Unavailable: there is no inbox.
    """
    _require_inbox(config)
    text = strict_yaml.dump({"prompt": prompt, **settings})
    tree = Results(config.results)
    for source in _unused_names(config, folder_name(video_name(prompt))):
        prompt_file = config.inbox / source
        try:
            durable.write_new(prompt_file, text.encode(), durable.command_owner())
        except FileExistsError:
            continue
        durable.remove_left(config.inbox, prompt_file)
        formats = settings.get("format", "mp4")
        suffix = formats[0] if isinstance(formats, list) and formats else formats
        video = tree.folder_for(source) / f"{tree.video_name(source, prompt)}.{suffix}"
        return Order(source, prompt_file, video)
    raise AssertionError("free_names never ends")


def _unused_names(config: Config, stem: str) -> Iterator[PurePosixPath]:
    """Yield names for a prompt file that no job, result or entry in `_failed/` has."""
    in_hand = {job.source for job in _spool(config).unfinished()}
    for name in durable.free_names(stem, ".yaml"):
        source = portable(PurePosixPath(name))
        left = (
            Results(config.results).folder_for(source),
            config.failed / source,
            config.failed / f"{source}{ERROR_SUFFIX}",
        )
        if source not in in_hand and not any(map(os.path.lexists, left)):
            yield source


def _require_inbox(config: Config) -> None:
    """Raise Unavailable if the inbox is missing; it is not made: the share may be unmounted."""
    if not config.inbox.is_dir():
        problem = f"there is no folder {config.inbox}; is the share mounted?"
        raise Unavailable(Mistake(problem, key="inbox"))


def wait(config: Config, order: Order, observe: Callable[[Status], None]) -> End:
    """Wait until an order has ended; call `observe` with the daemon's status at each poll."""
    own = set[str]()
    while not _has_ended(config, order, own):
        observe(status(config))
        time.sleep(POLL_SECONDS)
    folder = Results(config.results).folder_for(order.source)
    newest_first = history.videos(folder, config.failed, limit=1000)
    if own:
        newest_first = [video for video in newest_first if video.job_id in own]
    videos = tuple(file for video in reversed(newest_first) for file in video.files)
    error = _report(config, order, own)
    if not videos and not error:
        error = f"{order.source} went away before it was rendered"
    return End(videos, error)


def _has_ended(config: Config, order: Order, own: set[str]) -> bool:
    """Return whether a prompt file has left the inbox and then the spool.

    Adds the ids of its jobs to `own`.
    """
    if order.prompt_file.exists():
        return False
    jobs = [job.id for job in _spool(config).unfinished() if job.source == order.source]
    own.update(jobs)
    return not jobs


def _report(config: Config, order: Order, own: set[str]) -> str:
    """Return the text of the `.error.txt` of an order; empty if there is none.

    No report had this name when the order was made. If the order's jobs are known, only their
    reports count: another file of that name may have been dropped since.
    """
    for name in durable.free_names(*durable.split_name(order.source.name)):
        try:
            text = (config.failed / f"{name}{ERROR_SUFFIX}").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        if not own or any(f"Job {job_id}" in text for job_id in own):
            return text
    raise AssertionError("free_names never ends")


def status(config: Config) -> Status:
    """Return the daemon's status; without a daemon, one with what waits in the folders."""
    found = daemon_status.read(config.spool / daemon_status.FILE_NAME)
    place = _spool(config)
    holder = place.holder()
    is_daemon = holder.role == DAEMON if holder is not None else place.is_locked()
    if found is not None and is_daemon:
        return found
    tunes = holder is not None and holder.role == TUNER
    waiting = _waiting_without_daemon(config)
    return Status(
        pid=0,
        state=State.TUNING if tunes else State.NOT_RUNNING,
        reason=f"process {holder.pid} has the spool until it is done" if tunes and holder else "",
        model=config.model,
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        waiting=tuple(waiting[: daemon_status.MAX_WAITING]),
        waiting_count=len(waiting),
    )


def doubt(config: Config) -> str:
    """Return, in words, what the daemon's last report suggests is wrong; empty if nothing."""
    found = daemon_status.read(config.spool / daemon_status.FILE_NAME)
    if found is None or found.state == State.STOPPED:
        return ""
    reported = datetime.fromisoformat(found.updated)
    if not _spool(config).is_locked():
        at = f"{reported.astimezone():%Y-%m-%d %H:%M:%S}"
        return f"it was ended in the middle of its work; its last report, at {at}: {found.line()}"
    seconds = (datetime.now(UTC) - reported).total_seconds()
    if seconds < STALE_SECONDS + 2 * config.scan_seconds:
        return ""
    return f"it has not reported for {seconds:.0f} s; it may hang, or its disk may be full"


def _waiting_without_daemon(config: Config) -> list[Waiting]:
    unfinished = [job.source for job in _spool(config).unfinished()]
    inbox = _scanned(config)
    waiting = [
        *((path, "begun, goes on when the daemon runs") for path in unfinished),
        *((path, "the daemon is not running") for path in _prompt_files(inbox)),
        *inbox.waiting(0.0),
    ]
    return [Waiting(shown(path), reason) for path, reason in waiting]


def failures(config: Config) -> list[history.Failure]:
    """Return the prompt files and reports in `_failed/`, newest first."""
    from reeldrop.intake.ignored import Ignored
    from reeldrop.prompts import parsing

    ignored = Ignored(config.ignore)
    return history.failures(
        config.failed,
        lambda name: PurePosixPath(name).suffix.lower() in parsing.SUFFIXES and name not in ignored,
    )


def _prompt_files(inbox: Inbox) -> list[PurePosixPath]:
    settled = sorted(inbox.settled(0.0), key=lambda c: (c.first_seen, str(c.path)))
    return [candidate.path for candidate in settled]


def _scanned(config: Config) -> Inbox:
    """Return the scanned inbox, in which every complete file counts as settled."""
    from reeldrop.intake.ignored import Ignored
    from reeldrop.intake.inbox import Inbox
    from reeldrop.prompts import parsing

    ignored = Ignored(config.ignore)
    inbox = Inbox(
        config.inbox, parsing.SUFFIXES, 0, parsing.DEFAULTS_NAME, patient=False, ignored=ignored
    )
    with contextlib.suppress(OSError):
        inbox.scan(0.0)
    return inbox


def retry(config: Config, names: Iterable[str] | None) -> list[Moved]:
    """Move prompt files from `_failed/` back into the inbox; all of them if `names` is None.

    Raises:
        NoSuchPromptFile: a name doesn't exist; no file is moved then.
        Unavailable: there is no inbox.
    """
    _require_inbox(config)
    known = [failure.name for failure in failures(config)]
    there = [name for name in known if os.path.lexists(config.failed / name)]
    if names is None:
        return [_put_back(config, PurePosixPath(name)) for name in there]
    chosen = dict.fromkeys([_named(name, known, f"in {config.failed}") for name in names])
    for name in chosen:
        if name not in there:
            problem = f"{name} is not in {config.failed} any more; only the report on it is"
            raise NoSuchPromptFile(f"{problem}: {config.failed / name}{ERROR_SUFFIX}")
    return [_put_back(config, PurePosixPath(name)) for name in chosen]


def _put_back(config: Config, name: PurePosixPath) -> Moved:
    try:
        at = aside.put_back(Root(config.failed), Root(config.inbox), name)
    except OSError as error:  # of this file's place; the others go back all the same
        if error.errno in DISK_ERRORS:
            raise
        problem = f"can't be put back: {error.strerror}: {error.filename}"
        return Moved(str(name), problem, config.failed / name, is_failure=True)
    return Moved(str(name), "is back in the inbox" if at else "has left meanwhile", at)


def cancel(config: Config, names: Iterable[str]) -> list[Moved]:
    """Cancel prompt files that wait or are being rendered, by their path in the inbox.

    Raises:
        NoSuchPromptFile: a name doesn't exist; no file is cancelled then.
    """
    in_hand = [str(job.source) for job in _spool(config).unfinished()]
    waiting = [str(path) for path in _prompt_files(_scanned(config))]
    chosen = [_named(name, [*in_hand, *waiting], "that waits or is rendered") for name in names]
    return [
        _cancel(config, PurePosixPath(name), waits=name not in in_hand)
        for name in dict.fromkeys(chosen)
    ]


def _cancel(config: Config, source: PurePosixPath, *, waits: bool) -> Moved:
    """Cancel one prompt file; it may be claimed, or its job may end, at any moment meanwhile."""
    name = str(source)
    place = _spool(config)
    if waits and (at := _withdraw(config, source, place)):
        return Moved(name, "is cancelled and set aside", at)
    for job in place.unfinished():
        if job.source == source and place.ask_to_cancel(job):
            when = "after this step" if place.is_locked() else "at the next start"
            return Moved(name, f"is cancelled {when}")
    return Moved(name, "has ended or left before it could be cancelled")


def _withdraw(config: Config, source: PurePosixPath, place: Spool) -> Path | None:
    """Set aside a prompt file that no daemon has claimed yet, and return where it is now.

    None if it is claimed. If it is not a regular file, or `_failed/` is on another file system
    while a daemon runs, which could claim it during the copy, it is claimed here as cancelled, and
    the daemon sets it aside.
    """

    def report(name: str) -> str:
        then = f"Run `reeldrop retry {shlex.quote(name)}` to render it after all."
        return spool.error_text(source, "", RenderCancelled("it was cancelled on request"), then)

    withdraw = functools.partial(
        aside.withdraw, Root(config.inbox), Root(config.failed), source, report
    )
    try:
        return withdraw()
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    try:
        with place.lock(role=COMMAND):
            return withdraw(across=True)
    except SpoolLocked:
        pass
    except OSError as error:  # not a regular file: only the daemon sets it aside
        if error.errno != errno.EXDEV:
            raise
    place.claim(source, (), is_cancelled=True)
    return None


def _named(name: str, known: list[str], where: str) -> str:
    """Return the path in `known` that `name` means: a path, or a file name or stem of only one.

    A path in the inbox also means its portable form, which the file has in `_failed/`.

    Raises:
        NoSuchPromptFile: `name` means none of them, or several.
    """
    for path in known:
        if name in (path, shown(PurePosixPath(path))):
            return path
    if (moved := str(portable(PurePosixPath(name)))) in known:
        return moved
    same_name = [path for path in known if PurePosixPath(path).name == name]
    same_stem = [path for path in known if PurePosixPath(path).stem == name]
    for found in (same_name, same_stem):
        if len(found) == 1:
            return found[0]
    near = same_name or same_stem or difflib.get_close_matches(name, known) or known[:5]
    names = ", ".join(shown(PurePosixPath(path)) for path in near)
    raise NoSuchPromptFile(f"no prompt file {where} is called {name}; there is {names or 'none'}")


def reload(config: Config) -> str:
    """Let the daemon read config.yaml again, and return why it refuses it; empty if it doesn't.

    Raises:
        Unavailable: no daemon works on this spool, it is on another machine, or doesn't answer.
    """
    holder = _spool(config).holder()
    file = config.spool / daemon_status.FILE_NAME
    before = daemon_status.read(file)
    if holder is None:
        problem = f"no daemon is at work on {config.spool}"
        raise Unavailable(Mistake(problem, "start it; if `spool:` was changed, restart it"))
    _require_daemon_here(holder, config.spool)
    pid = holder.pid
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        now = daemon_status.read(file)
        earlier = before.readings if before is not None and before.pid == pid else 0
        if now is not None and now.pid == pid and now.readings > earlier:
            return now.refused
        time.sleep(POLL_SECONDS)
    raise Unavailable(Mistake(f"process {pid} has not answered", "see its log"))


def _require_daemon_here(holder: Holder, folder: Path) -> None:
    """Raise Unavailable if SIGHUP would end the lock's holder, or hit another process by its pid.

    Only the daemon handles SIGHUP, and the pid is meaningful only on its own machine.
    """
    if holder.role != DAEMON:
        problem = f"the {holder.role} {holder.pid} works on {folder}, and no daemon"
        raise Unavailable(Mistake(problem, "the daemon reads config.yaml when it starts"))
    if not holder.is_here:
        problem = f"the daemon at work on {folder} is on another machine or in a container"
        raise Unavailable(Mistake(problem, "run this command there"))
