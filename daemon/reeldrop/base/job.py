"""The records that pass between stages. They hold values, not behaviour, and import no library."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from reeldrop.base.errors import Mistake

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.uint8]  # (frames, height, width, 3)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a loaded pipeline accepts.

    settings: call arguments that a prompt file may set, with their types
    defaults: their default values
    size_multiple: height and width are multiples of it
    frames_multiple: num_frames is a multiple of it, plus one (any number if it is 1)
    """

    settings: Mapping[str, type]
    defaults: Mapping[str, Scalar]
    size_multiple: int
    frames_multiple: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text and settings of one video, fully resolved.

    number: counts the videos of one prompt file from 1
    arguments: the pipeline's call arguments by diffusers' names, without prompt and generator
    notes: what its author should know about how the prompt file was read; the video is the same
    """

    number: int
    prompt: str
    model: str
    arguments: tuple[tuple[str, Scalar], ...]
    seed: int
    fps: float
    formats: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def argument(self, name: str) -> Scalar:
        """Return a call argument, None if it is not set."""
        return dict(self.arguments).get(name)

    @property
    def steps(self) -> int:
        steps = self.argument("num_inference_steps")
        return steps if isinstance(steps, int) else 0

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Prompts with equal keys may be rendered in one batch."""
        return (self.model, *(pair for pair in self.arguments if pair[0] != "negative_prompt"))

    @property
    def memory_key(self) -> tuple[object, ...]:
        """Prompts with equal keys take the same memory."""
        sizes = (self.argument(name) for name in ("num_frames", "height", "width"))
        guidance = self.argument("guidance_scale")
        is_guided = isinstance(guidance, int | float) and guidance > 1  # doubles the batch
        return (self.model, *sizes, is_guided)

    def as_settings(self) -> dict[str, object]:
        """Return the settings of a prompt file that renders this video again."""
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        formats = self.formats[0] if len(self.formats) == 1 else list(self.formats)
        return {
            "prompt": self.prompt,
            **dict(self.arguments),
            "seed": self.seed,
            "fps": fps,
            "format": formats,
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class DefaultsFile:
    """A `_defaults.yaml` above a prompt file: its path in the inbox, and its content."""

    name: str
    data: bytes


class Cause(enum.StrEnum):
    """What may have ended a process, as far as the next process can tell."""

    WORK = "work"
    """The work in hand: a crash, a hang, or out of memory."""

    UNKNOWN = "unknown"
    """A kill by an unknown process or person."""

    MACHINE = "machine"
    """A power cut or a reboot; no prompt is to blame."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: which of its prompts were in hand at one time.

    began: ISO 8601 time
    numbers: numbers of the prompts in hand; empty while the model was loading
    ending: how the process ended during the attempt; empty if it has not
    was_alone: nothing else was in hand at that end, of this job or another
    cause: what may have ended the process
    device_worked: the process had rendered something else before, if there was anything else
    """

    began: str
    numbers: tuple[int, ...]
    ending: str = ""
    was_alone: bool = True
    cause: Cause = Cause.WORK
    device_worked: bool = True

    def is_of(self, number: int | None) -> bool:
        """Return whether a prompt was in hand; for None, whether the model was loading."""
        return number in self.numbers if number is not None else not self.numbers


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed prompt file.

    source: the prompt file's path in the inbox
    folder: the job's folder in the spool
    owner: the user id of the prompt file's owner
    refusal: what is wrong with the `_defaults.yaml` files above it, so that it can't be rendered
    attempts: attempts cut short when the process died
    is_damaged: the record is damaged; `source` is only the file's name, and neither defaults nor
        priority are known
    """

    id: str
    source: PurePosixPath
    folder: Path
    defaults: tuple[DefaultsFile, ...]
    attempts: tuple[Attempt, ...] = ()
    is_damaged: bool = False
    priority: int = 0
    refusal: tuple[Mistake, ...] = ()
    owner: int = 0

    @property
    def prompt_file(self) -> Path:
        """The claimed prompt file."""
        return self.folder / self.source.name

    def drawn_seed(self, number: int) -> int:
        """Return the seed, below 2**32, of a video for which none was given.

        Derived from the job's random id, so a resumed job gets the same seed without a record.
        """
        digest = hashlib.sha256(f"{self.id}:{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True, slots=True)
class Rendered:
    """How a video was rendered; written into its sidecar.

    seconds: wall time of the video's batch
    peak_memory_mib: peak memory of the device (of the process on a CPU) during the batch
    batch_size: number of prompts in the batch
    ignored_text: the end of a prompt that was too long for the text encoder
    ignored_negative_text: the same of its negative prompt
    speed: the ways of the fast path that were used
    """

    model: str
    revision: str | None
    pipeline: str
    scheduler: str
    device: str
    dtype: str
    versions: tuple[tuple[str, str], ...]
    seconds: float
    peak_memory_mib: int
    batch_size: int = 1
    ignored_text: str = ""
    speed: tuple[str, ...] = ()
    ignored_negative_text: str = ""


@dataclass(frozen=True, slots=True)
class Video:
    """A video in the results; `files` has one path for each format."""

    job_id: str
    number: int
    files: tuple[Path, ...]
    sidecar: Path
    poster: Path


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt of a batch, with the id of its job."""

    job_id: str
    prompt: Prompt


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Batch:
    """Prompts of one or more jobs, with equal settings, that are rendered together."""

    members: tuple[Member, ...]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return tuple(member.prompt for member in self.members)

    @property
    def model(self) -> str:
        return self.members[0].prompt.model

    @property
    def steps(self) -> int:
        return self.members[0].prompt.steps


class BatchLimit(NamedTuple):
    """How many prompts may be rendered together; if `is_measured`, only as many as fit."""

    most: int
    is_measured: bool = False
