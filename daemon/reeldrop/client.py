"""What the commands do with the folders while a daemon may be at work on them.

The folders are the whole interface: nothing here talks to the daemon's process.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from reeldrop import durable, history, spool, strict_yaml
from reeldrop import status as daemon_status
from reeldrop.config import Config
from reeldrop.errors import Mistake, NoSuchPromptFile, RenderCancelled, Unavailable
from reeldrop.job import shown
from reeldrop.names import ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX, folder_name, portable, video_name
from reeldrop.results import Results
from reeldrop.spool import Holder, Spool
from reeldrop.status import Status, Waiting

POLL_SECONDS = 0.2
RELOAD_SECONDS = 30.0
"""So long the daemon has time to say that it has read config.yaml again."""

STALE_SECONDS = 60.0
"""A daemon's report that is so much older than two scans is no longer what it does."""

_OWNER = f"command-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Order:
    """A prompt file that was put into the inbox, and where its first video will be."""

    source: PurePosixPath
    prompt_file: Path
    video: Path


@dataclass(frozen=True, slots=True)
class End:
    """What became of an order: the files of its videos, and what is wrong if something is."""

    videos: tuple[Path, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What a command did with the prompt file `name`: in words, and where it is now if it knows."""

    name: str
    what: str
    file: Path | None = None


def _spool(config: Config) -> Spool:
    return Spool(config.spool, config.inbox, config.failed)


def submit(config: Config, prompt: str, settings: Mapping[str, object]) -> Order:
    """Write a prompt file into the inbox, whole at once, under a name that nothing has yet.

    Raises:
        Unavailable: there is no inbox.
    """
    _require_inbox(config)
    text = strict_yaml.dump({"prompt": prompt, **settings})
    tree = Results(config.results)
    in_hand = {job.source for job in _spool(config).unfinished()}
    for name in durable.free_names(folder_name(video_name(prompt)), ".yaml"):
        source = portable(PurePosixPath(name))
        folder = tree.folder_for(source)
        if source in in_hand or folder.exists() or (config.failed / source).exists():
            continue
        try:
            durable.write_renamed(config.inbox / source, text.encode(), _OWNER)
        except FileExistsError:
            continue
        formats = settings.get("format", "mp4")
        suffix = formats[0] if isinstance(formats, list) and formats else formats
        video = folder / f"{tree.video_name(source, prompt)}.{suffix}"
        return Order(source, config.inbox / source, video)
    raise AssertionError("free_names never ends")


def _require_inbox(config: Config) -> None:
    """Refuse to make an inbox: where it is missing, a share is probably not mounted."""
    if not config.inbox.is_dir():
        problem = f"there is no folder {config.inbox}; is the share mounted?"
        raise Unavailable(Mistake(problem, key="inbox"))


def wait(config: Config, order: Order, observe: Callable[[Status], None]) -> End:
    """Follow an order until it has ended; `observe` is told the daemon's status meanwhile."""
    while not _has_ended(config, order):
        observe(status(config))
        time.sleep(POLL_SECONDS)
    report = config.failed / f"{order.source}{ERROR_SUFFIX}"
    folder = Results(config.results).folder_for(order.source)
    newest_first = history.videos(folder, config.failed, limit=1000)
    videos = tuple(file for video in reversed(newest_first) for file in video.files)
    error = report.read_text(errors="replace") if report.exists() else ""
    if not videos and not error:
        error = f"{order.source} went away before it was rendered"
    return End(videos, error)


def _has_ended(config: Config, order: Order) -> bool:
    """Tell whether a prompt file has left first the inbox and then the spool."""
    if order.prompt_file.exists():
        return False
    return all(job.source != order.source for job in _spool(config).unfinished())


def status(config: Config) -> Status:
    """Return what the daemon is doing; what waits is looked up here if there is none."""
    found = daemon_status.read(config.spool / daemon_status.FILE_NAME)
    if found is not None and _spool(config).is_locked():
        return found
    waiting = _waiting_without_daemon(config)
    return Status(
        pid=0,
        state=daemon_status.NOT_RUNNING,
        model=config.model,
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        waiting=tuple(waiting[: daemon_status.MAX_WAITING]),
        waiting_count=len(waiting),
    )


def doubt(config: Config) -> str:
    """Return in words what is odd about the daemon's last report; empty if nothing is."""
    found = daemon_status.read(config.spool / daemon_status.FILE_NAME)
    if found is None or found.state == "stopped":
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
    unfinished = [shown(job.source) for job in _spool(config).unfinished()]
    names = [shown(name) for name in _prompt_files(config)]
    return [
        *(Waiting(name, "begun, goes on when the daemon runs") for name in unfinished),
        *(Waiting(name, "the daemon is not running") for name in names),
    ]


def _prompt_files(config: Config) -> list[PurePosixPath]:
    from reeldrop import prompts
    from reeldrop.ignored import Ignored
    from reeldrop.inbox import Inbox, rank

    ignored = Ignored(config.ignore)
    folder = Inbox(
        config.inbox, prompts.SUFFIXES, 0, prompts.DEFAULTS_NAME, patient=False, ignored=ignored
    )
    try:
        folder.scan(0.0)
    except OSError:
        return []
    return [candidate.path for candidate in sorted(folder.settled(0.0), key=rank)]


def retry(config: Config, names: Iterable[str] | None) -> list[Moved]:
    """Move prompt files from `_failed/` back into the inbox; all of them for None.

    Raises:
        NoSuchPromptFile: there is none of a name; then none is moved.
        Unavailable: there is no inbox.
    """
    _require_inbox(config)
    known = [failure.name for failure in history.failures(config.failed)]
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
    source = config.failed / name
    with contextlib.suppress(PermissionError):  # so that it counts as ordered anew
        os.utime(source, follow_symlinks=False)
    at = durable.move_to_free_name(source, config.inbox / name.parent, name.name, _OWNER)
    for suffix in (ERROR_SUFFIX, LOG_SUFFIX, NOTE_SUFFIX):
        source.with_name(source.name + suffix).unlink(missing_ok=True)
    return Moved(str(name), "is back in the inbox", at)


def cancel(config: Config, names: Iterable[str]) -> list[Moved]:
    """Cancel prompt files by their path in the inbox, whether they wait or are being rendered.

    Raises:
        NoSuchPromptFile: there is none of a name; then none is cancelled.
    """
    jobs = {str(job.source): job for job in _spool(config).unfinished()}
    waiting = [str(path) for path in _prompt_files(config)]
    done = []
    for name in dict.fromkeys(
        [_named(name, [*jobs, *waiting], "that waits or is rendered") for name in names]
    ):
        if name in jobs:
            _spool(config).ask_to_cancel(jobs[name])
            when = "after this step" if _spool(config).is_locked() else "at the next start"
            done.append(Moved(name, f"is cancelled {when}"))
        else:
            at = _withdraw(config, PurePosixPath(name))
            done.append(Moved(name, "is cancelled and set aside", at))
    return done


def _withdraw(config: Config, source: PurePosixPath) -> Path:
    """Set a prompt file aside that no daemon has claimed yet."""
    first = config.failed / portable(source)
    target = durable.move_to_free_name(config.inbox / source, first.parent, first.name, _OWNER)
    then = f"Run `reeldrop retry {shlex.quote(str(source))}` to render it after all."
    text = spool.error_text(source, "", RenderCancelled("it was cancelled on request"), then)
    report = target.with_name(target.name + ERROR_SUFFIX)
    durable.write(report, text.encode("utf-8", "backslashreplace"), _OWNER)
    return target


def _named(name: str, known: list[str], where: str) -> str:
    """Return the prompt file that is meant: its path, or its name if there is one such."""
    for path in known:
        if name in (path, shown(PurePosixPath(path))):
            return path
    same_name = [path for path in known if PurePosixPath(path).name == name]
    same_stem = [path for path in known if PurePosixPath(path).stem == name]
    for found in (same_name, same_stem):
        if len(found) == 1:
            return found[0]
    near = same_name or same_stem or difflib.get_close_matches(name, known) or known[:5]
    names = ", ".join(shown(PurePosixPath(path)) for path in near)
    raise NoSuchPromptFile(f"no prompt file {where} is called {name}; there is {names or 'none'}")


def reload(config: Config) -> str:
    """Let the daemon read config.yaml again, and return what it refuses; empty if nothing.

    Raises:
        Unavailable: there is no daemon on this spool, or it does not answer.
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
    """Refuse to send a signal to who would end by it, or to another process of the same number."""
    if holder.role != spool.DAEMON:
        problem = f"the {holder.role} {holder.pid} works on {folder}, and no daemon"
        raise Unavailable(Mistake(problem, "the daemon reads config.yaml when it starts"))
    if not holder.is_here:
        problem = f"the daemon at work on {folder} is on another machine or in a container"
        raise Unavailable(Mistake(problem, "run this command there"))
