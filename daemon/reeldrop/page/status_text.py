"""STATUS.txt: what the daemon does, for people who see only the results. Pure: no I/O.

Its lines are in the order in which somebody asks: does it work, what does it render, when is my
file next, why is it not. Strangers' texts are escaped and cut, so that its size is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from reeldrop.base.durations import in_words
from reeldrop.base.escaping import shown
from reeldrop.store.history import Failure
from reeldrop.store.status import Rendering, State, Status, Waiting

LOOK_SECONDS = 10.0
"""How often the status is looked at: news is written after so long at the latest."""

PROGRESS_SECONDS = 60.0
"""How old the text gets while nothing but its numbers change, such as steps and times."""

HEARTBEAT_SECONDS = 300.0
"""How old it gets while nothing changes."""

OUTDATED_SECONDS = 900.0
"""A text older than this was not followed by another: nobody writes any more."""

MAX_LISTED = 30
"""Most files of a list."""

_LONGEST = 200
"""Most characters of a stranger's text."""

START = "reeldrop: "
"""How it begins, by which it is known."""


def text(status: Status, failures: Sequence[Failure], aside: str, free_bytes: int) -> str:
    """Return all that is said, but for the time.

    failures: the newest of those in `_failed/`, newest first
    aside: where they are
    free_bytes: the room for results
    """
    failed = f"FAILED OR CANCELLED, the last first; each is in {aside}, with a report"
    parts = (
        [f"{START}{cut(status.said())}"],
        _rendering(status.rendering) if status.rendering is not None else [],
        _listed("RENDERERS", [(f"{r.id}, {r.device}", r.said()) for r in status.renderers]),
        _trouble(status),
        _queue(status),
        _listed("NOT RECOGNISED, and so not rendered", _files(status.unrecognised)),
        _listed(failed, _failed(failures)),
        ["ROOM", f"  {_size(free_bytes)} free for results"],
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def dated(status: Status, said: str) -> str:
    """Return the whole text: in `said`, below the state, the time at which it was true."""
    state, _, rest = said.partition("\n\n")
    at = datetime.fromisoformat(status.updated).astimezone()
    written = f"Written {at:%Y-%m-%d %H:%M:%S} (UTC{at:%z})."
    if status.state is State.STOPPED:
        then = "The service has stopped. What is in the inbox waits until it is started again."
    else:
        often, late = HEARTBEAT_SECONDS / 60, OUTDATED_SECONDS / 60
        then = (
            f"It is updated every {often:g} minutes, or sooner. If that was more than\n"
            f"{late:g} minutes ago, the service does not run, or this folder is not synced."
        )
    return f"{state}\n\n{written}\n{then}\n\n{rest}"


def patience(before: str, now: str) -> float:
    """Return how old one text may get before another one follows it."""
    if before == now:
        return HEARTBEAT_SECONDS
    return PROGRESS_SECONDS if _words(before) == _words(now) else 0.0


def _words(said: str) -> str:
    return re.sub(r"\d+", "", said)


def _rendering(now: Rendering) -> list[str]:
    others, left = now.together - 1, now.eta_seconds
    beside = f", together with {others} other{'s' * (others > 1)}" if others else ""
    lines = [
        "RENDERING",
        f"  {cut(now.prompt_file)}",
        f"      {cut(now.prompt)}",
        f"      video {now.number} of {now.count}{beside}, step {now.step} of {now.steps}",
    ]
    if left is not None:
        lines.append(f"      about {in_words(left)} until the whole file is done")
    return lines


def _trouble(status: Status) -> list[str]:
    troubles = [
        f"  {cut(model.name)} can't be used, and is tried again: {cut(model.problem)}"
        for model in status.models
        if model.problem
    ]
    if status.missing:
        troubles.append(f"  renderers are missing: {cut(status.missing)}")
    if status.refused:
        refused = cut(status.refused)
        troubles.append(f"  config.yaml was refused, and the settings stay as they were: {refused}")
    return ["TROUBLE", *troubles] if troubles else []


def _queue(status: Status) -> list[str]:
    title = f"WAITING: {status.waiting_count}, the next first"
    return _listed(title, _files(status.waiting)) or ["WAITING", "  nothing"]


def _files(found: Iterable[Waiting]) -> list[tuple[str, str]]:
    return [(waiting.prompt_file, waiting.reason) for waiting in found]


def _failed(failures: Iterable[Failure]) -> list[tuple[str, str]]:
    return [(failure.name, failure.reason) for failure in failures]


def _listed(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of a list; none if there is nothing in it."""
    more = ["  and more"] if len(rows) > MAX_LISTED else []
    return [title, *_rows(rows[:MAX_LISTED]), *more] if rows else []


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, reason in rows:
        yield f"  {cut(name)}"
        if reason:
            yield f"      {cut(reason)}"


def cut(found: str) -> str:
    """Return a stranger's text on one line, and not too long."""
    line = shown(found)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _size(free_bytes: int) -> str:
    """Return a size with two digits, so that it seldom changes."""
    gigabytes = float(f"{free_bytes / 1e9:.2g}")
    return f"{gigabytes:,g} GB" if gigabytes >= 1 else f"{free_bytes // 10**6:,} MB"
