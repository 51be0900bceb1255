"""The file in the spool in which the daemon reports what it does now; `status` prints it.

Nothing depends on it.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated

import pydantic
from pydantic import Field

from reeldrop.base import durable, plain_files
from reeldrop.base.escaping import shown

FILE_NAME = "status.json"
MAX_BYTES = 16 << 20
"""More than the daemon writes: the paths of strangers may be long, and escapes make them longer."""

MAX_WAITING = 100

MAX_REASON = 500
"""Upper bound on the characters of an error in the last status: a library may say pages."""


class State(enum.StrEnum):
    """What the daemon does, or what keeps it from working."""

    LOADING = "loading"
    WARMING_UP = "warming up"
    IDLE = "idle"
    RENDERING = "rendering"
    STOPPING = "stopping"
    STOPPED = "stopped"

    PAUSED = "paused"
    """A file system has too little room, another folder is in the place of one of ours, or somebody
    has asked for a pause: then the reason is `by` whom."""

    HELD_UP = "held up"
    """A disk or a share is in trouble. The daemon tries again."""

    NO_INBOX = "no inbox"

    NO_RENDERER = "no renderer"
    """All are lost, or none has joined yet. The daemon waits for one."""

    NOT_RUNNING = "not running"

    TUNING = "tuning"
    """`reeldrop tune` has locked the spool, so no daemon runs."""

    UNKNOWN = "unknown"
    """Another version of the daemon reported a state that this version does not have."""

    @property
    def is_obstacle(self) -> bool:
        """Whether nothing is rendered until somebody acts, or something outside changes."""
        return self in _OBSTACLES


_OBSTACLES = {
    State.PAUSED,
    State.HELD_UP,
    State.NO_INBOX,
    State.NO_RENDERER,
    State.NOT_RUNNING,
    State.TUNING,
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prompt file that is not rendered yet, or a file that never is, and the reason."""

    prompt_file: str
    reason: str

    @classmethod
    def of(cls, path: PurePosixPath, reason: str) -> Waiting:
        """Return a prompt file by its path in the inbox, which is escaped."""
        return cls(shown(path), reason)


@dataclass(frozen=True, slots=True)
class Rendering:
    """The current render: video `number` of `count` of a prompt file.

    If nothing is rendered, it is the video that is being encoded.

    eta_seconds: until the last video of the prompt file is published; None if unknown
    together: number of videos that are rendered at once
    """

    job_id: str
    prompt_file: str
    prompt: str
    number: int
    count: int
    step: int
    steps: int
    eta_seconds: Annotated[float | None, Field(ge=0, le=1e9)]
    together: int = 1


@dataclass(frozen=True, slots=True)
class Model:
    """A profile that is loaded, or that can't be used.

    place: `device`, `memory` if it renders from there, `kept` if its weights are only kept there;
        empty if it is not loaded
    problem: why it can't be used for now; empty if it can
    """

    name: str
    place: str
    problem: str = ""

    @property
    def trouble(self) -> str:
        """Why it can't be used, in words; empty if it can."""
        return f"{self.name} can't be used: {self.problem}" if self.problem else ""


@dataclass(frozen=True, slots=True)
class RendererNow:
    """What one of several renderers does.

    device: on what it computes, and on which machine
    state: as of the daemon: loading, warming up, rendering or idle
    what: the prompt file of its batch, or the model that it loads; else empty
    number, count: of the first video of the batch in that prompt file; 0 without a batch
    step, steps: of the batch; 0 without one
    together: the number of videos of the batch
    models: the loaded ones
    problem: why models can't be used on it; empty if all can
    """

    id: str
    device: str
    state: State
    what: str = ""
    number: int = 0
    count: int = 0
    step: int = 0
    steps: int = 0
    together: int = 0
    models: tuple[str, ...] = ()
    problem: str = ""

    def said(self) -> str:
        """Return what it does, in words."""
        doing = f"{self.state} {self.what}".strip()
        if self.steps:
            beside = f" and {self.together - 1} beside it" if self.together > 1 else ""
            doing = f"{doing} {self.number}/{self.count}{beside}, step {self.step}/{self.steps}"
        return f"{doing}; {self.problem}" if self.problem else doing


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is counted since this process of the daemon began.

    began: when, as an ISO 8601 time
    last_end: how the process before it ended: normal, error, killed, memory or machine
    busy_seconds: how long batches were in hand, of all renderers together
    shortages: how often the memory of the device ran out, by what was done about it
    device_free, device_total: bytes of the devices; None without one
    """

    began: str = ""
    last_end: str = ""
    busy_seconds: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    shortages: tuple[tuple[str, Annotated[int, Field(ge=0, lt=1 << 62)]], ...] = ()
    device_free: Annotated[int, Field(ge=0, lt=1 << 62)] | None = None
    device_total: Annotated[int, Field(ge=0, lt=1 << 62)] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The daemon's state at one moment.

    reason: the model that it loads or warms up, or what keeps it from working; else empty
    waiting: the first MAX_WAITING of the waiting prompt files
    waiting_count: number of waiting prompt files
    waiting_seconds: how long the oldest of them has been in the inbox
    readings: how often config.yaml was read again
    models: the loaded ones, the least recently used first, and those that can't be used
    refused: what was wrong with config.yaml when it was last read; empty if nothing
    downloaded: the share of a model's files that is downloaded; None if none are being downloaded
    unrecognised: the first MAX_WAITING of those in the inbox that are never taken as they are
    unrecognised_count: number of these
    renderers: what each does, if there may be several
    missing: why renderers are missing; empty if that is not known
    numbers: for metrics
    """

    pid: Annotated[int, Field(ge=0, lt=1 << 31)]
    state: State
    model: str
    updated: str
    rendering: Rendering | None = None
    waiting: tuple[Waiting, ...] = ()
    waiting_count: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    waiting_seconds: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    readings: int = 0
    refused: str = ""
    reason: str = ""
    models: tuple[Model, ...] = ()
    downloaded: Annotated[float | None, Field(ge=0, le=1)] = None
    unrecognised: tuple[Waiting, ...] = ()
    unrecognised_count: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    renderers: tuple[RendererNow, ...] = ()
    missing: str = ""
    numbers: Numbers = Numbers()

    def said(self) -> str:
        """Return the state and its reason, in words."""
        match self.state:
            case State.LOADING | State.WARMING_UP:
                return f"{self.state} {self.reason}"
            case State.UNKNOWN:
                return self.reason
            case State.PAUSED if self.reason.startswith("by "):
                return f"{self.state} {self.reason}"
        return f"{self.state}: {self.reason}" if self.reason else self.state

    def trouble_of_model(self, prompt_file: str) -> str:
        """Return why the model of a prompt file that waits can't be used; empty if it can."""
        reason = next((w.reason for w in self.waiting if w.prompt_file == prompt_file), "")
        troubles = (model.trouble for model in self.models)
        return next((trouble for trouble in troubles if trouble and trouble in reason), "")

    def line(self) -> str:
        """Return the status as one line for systemctl and process lists."""
        parts = [self.said()]
        if self.rendering is not None:
            r = self.rendering
            what = f"rendering {r.prompt_file} {r.number}/{r.count}"
            beside = f" and {r.together - 1} beside it" if r.together > 1 else ""
            parts = [what + beside, f"step {r.step}/{r.steps}"]
        if self.renderers:
            busy = sum(renderer.state is State.RENDERING for renderer in self.renderers)
            parts.append(f"{busy} of {len(self.renderers)} renderers render")
        parts += [f"{model.name} can't be used" for model in self.models if model.problem]
        if self.waiting_count:
            parts.append(f"{self.waiting_count} waiting")
        if self.rendering is not None and self.rendering.eta_seconds is not None:
            done = datetime.fromisoformat(self.updated).astimezone()
            done += timedelta(seconds=self.rendering.eta_seconds)
            parts.append(f"done about {done:%H:%M}")
        return shown(", ".join(parts))


def _of_any_version(values: object) -> object:
    """Accept a state that only another version has; earlier versions wrote the reason into it."""
    if isinstance(values, dict) and isinstance(state := values.get("state"), str):
        is_known = state in frozenset(map(str, State))
        return values if is_known else {**values, "state": State.UNKNOWN, "reason": state}
    return values


_ADAPTER = pydantic.TypeAdapter(Annotated[Status, pydantic.BeforeValidator(_of_any_version)])


def write(path: Path, status: Status) -> None:
    """Replace the report; after a power cut nobody needs it."""
    durable.write_unsynced(path, _ADAPTER.dump_json(status))


def read(path: Path) -> Status | None:
    """Return the last report; None if it is missing, unreadable or invalid."""
    with contextlib.suppress(OSError, ValueError, OverflowError):
        found = _ADAPTER.validate_json(plain_files.content(path, MAX_BYTES))
        found.line()  # raises if its times are invalid
        datetime.fromisoformat(found.updated).astimezone(UTC)
        return found if datetime.fromisoformat(found.updated).tzinfo else None
    return None
