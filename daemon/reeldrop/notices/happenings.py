"""Events that are told to others: a video, the end of a job, a failure, a state of the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VIDEO, JOB, FAILED, IDLE, TROUBLE, DOWN = "video", "job", "failed", "idle", "trouble", "down"
KINDS = (VIDEO, JOB, FAILED, IDLE, TROUBLE, DOWN)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that is told once.

    id: the same after a restart
    at: when it happened, in seconds since 1970
    facts: its details, by name; untrusted texts are not escaped
    poster: a picture of it; None if there is none
    """

    kind: str
    id: str
    at: float
    facts: Mapping[str, str] = field(default_factory=dict)
    poster: Path | None = None
