"""`reeldrop status`: what is being rendered, what waits and why.

It is read from the daemon's report; without a daemon, from the folders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base import durations
from reeldrop.commands import folders, output
from reeldrop.store import status as reports
from reeldrop.store.lock import TUNER
from reeldrop.store.status import State, Status, Waiting

if TYPE_CHECKING:
    from reeldrop.config.config import Config
    from reeldrop.intake.inbox import Inbox

STALE_SECONDS = 60.0
"""A daemon's report is stale if it is older than two scans by more than this."""


def show_status(config: Config, *, as_json: bool) -> None:
    """Print the daemon's status."""
    now = current(config)
    if as_json:
        output.print_json(dataclasses.asdict(now))
        return
    print(output.printable(now.said()))
    doubt = doubts(config, reports.read(config.spool / reports.FILE_NAME))
    if doubt:
        print(f"  {output.printable(doubt)}")
    if now.refused:
        refused = output.printable(now.refused)
        print(f"  config.yaml was refused, and the settings stay as they were: {refused}")
    for model in now.models:
        if model.problem:
            name, problem = output.printable(model.name), output.printable(model.problem)
            print(f"  {name} can't be used, and is tried again: {problem}")
    if now.missing:
        print(f"  renderers are missing: {output.printable(now.missing)}")
    print_rendering(now)
    rows = [(r.id, r.device, r.said()) for r in now.renderers]
    output.print_rows(rows, ("renderer", "device", "does"))
    _print_waiting(now)


def print_rendering(now: Status) -> None:
    """Print the current render: the time left, the step, and the prompt."""
    if now.rendering is not None:
        r = now.rendering
        left = "" if r.eta_seconds is None else f"about {durations.in_words(r.eta_seconds)} left, "
        print(f"  {left}step {r.step}/{r.steps}")
        print(output.cut(f"  {r.prompt_file} {r.number}/{r.count}: {r.prompt}"))


def _print_waiting(now: Status) -> None:
    output.print_rows([(w.prompt_file, w.reason) for w in now.waiting], ("waiting", "why"))
    if now.waiting_seconds >= 60:
        since = durations.in_words(now.waiting_seconds)
        output.note(f"the first has been in the inbox for {since}")
    if now.waiting_count > len(now.waiting):
        output.note(f"{now.waiting_count - len(now.waiting)} more are waiting")
    output.print_rows([(p.prompt_file, p.reason) for p in now.unrecognised], ("not taken", "why"))
    if now.unrecognised_count > len(now.unrecognised):
        output.note(f"{now.unrecognised_count - len(now.unrecognised)} more are not taken")


def current(config: Config) -> Status:
    """Return the daemon's status; without its report, one with what waits in the folders."""
    found = reports.read(config.spool / reports.FILE_NAME)
    is_at_work = folders.is_at_work(config)
    if found is not None and is_at_work:
        return found
    holder = folders.spool_of(config).lock.holder()
    state, reason = State.NOT_RUNNING, folders.problem_of_inbox(config)
    if not reason and found is not None and found.state == State.STOPPED and found.reason:
        reason = f"it ended because of an error: {found.reason}"
    if is_at_work:
        state = State.UNKNOWN
        reason = f"a daemon is at work, but has no report in {config.spool} that can be read"
    elif holder is not None and holder.role == TUNER:
        state, reason = State.TUNING, f"process {holder.pid} has the spool until it is done"
    inbox = folders.scanned_inbox(config)
    waiting = _waiting(config, inbox, is_at_work=is_at_work)
    unrecognised = _shown(inbox.strays())
    return dataclasses.replace(
        bare(config, state, reason),
        waiting=tuple(waiting[: reports.MAX_WAITING]),
        waiting_count=len(waiting),
        unrecognised=tuple(unrecognised[: reports.MAX_WAITING]),
        unrecognised_count=len(unrecognised),
        waiting_seconds=_seconds_in_inbox(inbox),
    )


def bare(config: Config, state: State, reason: str) -> Status:
    """Return a status of which only the state is known."""
    updated = datetime.now(UTC).isoformat(timespec="seconds")
    return Status(0, state, config.model, updated, reason=reason)


def doubts(config: Config, found: Status | None) -> str:
    """Return, in words, what the daemon's last report suggests is wrong; empty if nothing."""
    if found is None or found.state == State.STOPPED:
        return ""
    reported = datetime.fromisoformat(found.updated)
    if not folders.spool_of(config).lock.is_held():
        at = f"{reported.astimezone():%Y-%m-%d %H:%M:%S}"
        return f"it was ended in the middle of its work; its last report, at {at}: {found.line()}"
    seconds = (datetime.now(UTC) - reported).total_seconds()
    if seconds < STALE_SECONDS + 2 * config.scan_seconds:
        return ""
    return f"it has not reported for {seconds:.0f} s; it may hang, or its disk may be full"


def _seconds_in_inbox(inbox: Inbox) -> int:
    """Return how long the oldest prompt file has been in the inbox, by the times of the files.

    A file's ctime is the time of its last rename or change.
    """
    oldest = min((c.fingerprint[2] for c in inbox.settled(0.0)), default=None)
    return 0 if oldest is None else max(0, int(time.time() - oldest / 1e9))


def _waiting(config: Config, inbox: Inbox, *, is_at_work: bool) -> list[Waiting]:
    begun, new = "begun, goes on when the daemon runs", "the daemon is not running"
    if is_at_work:
        begun, new = "begun", "only the daemon knows why"
    in_hand = list[PurePosixPath]()
    with contextlib.suppress(OSError) if is_at_work else contextlib.nullcontext():
        in_hand += (job.source for job in folders.spool_of(config).unfinished())
    waiting = [
        *((path, begun) for path in in_hand),
        *((path, new) for path in folders.prompt_files(inbox)),
        *inbox.waiting(0.0),
    ]
    return _shown(waiting)


def _shown(found: Iterable[tuple[PurePosixPath, str]]) -> list[Waiting]:
    return [Waiting.of(path, reason) for path, reason in found]
