"""What the processes that render a video together say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from reeldrop.base.job import Prompt
from reeldrop.render.source import ModelSource

# Rank 0 to the others


@dataclass(frozen=True, slots=True)
class Seat:
    """What a process is started with: its rank, where all meet, and the model."""

    rank: int
    place: str
    source: ModelSource


@dataclass(frozen=True, slots=True)
class Render:
    """Call the pipeline for these prompts. Each call of a denoiser waits for a `Call`."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Call a denoiser, as all do now that all are ready; or, if not `goes_on`, end the render."""

    goes_on: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Move the pipeline to another placement."""

    placement: str


Order = Render | Call | Place

# The others to rank 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has come to a call of a denoiser, and waits for a `Call`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The process fails, and why. It answers when its device has done what it was given before.

    in_call: in a call of a denoiser, in which all wait for each other
    """

    error: str
    in_call: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an order but `Call`, or of reading or placing the model; and why it failed."""

    error: str = ""


Said = Ready | Failed | Answer
