"""The records that pass between stages. They hold values, not behaviour, and import no library."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from reeldrop.base.escaping import shown as shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.uint8]  # (frames, height, width, 3)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a loaded pipeline can be asked for.

    `settings` are the call arguments that a prompt file may set, with their type; `defaults`
    their values where nobody sets them. Height and width are multiples of `size_multiple`;
    num_frames is a multiple of `frames_multiple` plus one (any number where that is 1).
    """

    settings: Mapping[str, type]
    defaults: Mapping[str, Scalar]
    size_multiple: int
    frames_multiple: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text and settings of one video, fully resolved.

    `number` counts the videos of one prompt file from 1. `arguments` are the pipeline's call
    arguments by diffusers' names, without prompt and generator.
    """

    number: int
    prompt: str
    model: str
    arguments: tuple[tuple[str, Scalar], ...]
    seed: int
    fps: float
    formats: tuple[str, ...]

    def argument(self, name: str) -> Scalar:
        """Return one call argument, None where it isn't set."""
        return dict(self.arguments).get(name)

    @property
    def steps(self) -> int:
        steps = self.argument("num_inference_steps")
        return steps if isinstance(steps, int) else 0

    @property
    def batch_key(self) -> tuple[object, ...]:
        """What has to be equal for two prompts to be rendered in one batch."""
        return (self.model, *(pair for pair in self.arguments if pair[0] != "negative_prompt"))

    @property
    def memory_key(self) -> tuple[object, ...]:
        """What has to be equal for two prompts to take the same memory."""
        sizes = (self.argument(name) for name in ("num_frames", "height", "width"))
        guidance = self.argument("guidance_scale")
        is_guided = isinstance(guidance, int | float) and guidance > 1  # then each comes twice
        return (self.model, *sizes, is_guided)

    def as_settings(self) -> dict[str, object]:
        """Return the settings as a prompt file that renders this very video would have them."""
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
    """A `_defaults.yaml` above a prompt file: its path in the inbox, and its bytes."""

    name: str
    data: bytes


class Cause(enum.StrEnum):
    """What may have ended a process, as far as the next one can tell."""

    WORK = "work"
    """What was in hand: a crash, a hang, or no memory left."""

    UNKNOWN = "unknown"
    """It was killed, and nobody knows by whom."""

    MACHINE = "machine"
    """A power cut or a reboot, which no prompt is to blame for."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What of a job was in hand at one time: the `numbers` of its prompts; none while loading.

    `began` is a time by ISO 8601; `ending` says how the process ended meanwhile, and is empty for
    as long as it has not; `cause` is what may have ended it. Where it `was_alone`, nothing else was
    in hand at that end, of no job. The `device_worked` if the process had rendered something else
    before, as far as there was anything.
    """

    began: str
    numbers: tuple[int, ...]
    ending: str = ""
    was_alone: bool = True
    cause: Cause = Cause.WORK
    device_worked: bool = True

    def is_of(self, number: int | None) -> bool:
        """Return whether a prompt was in hand; for None, whether the model was being loaded."""
        return number in self.numbers if number is not None else not self.numbers


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt file in hand.

    `source` is the prompt file's path in the inbox, `folder` the job's own folder in the spool;
    `attempts` are those in whose middle a process has ended. Where the record `is_damaged`, only
    the prompt file's name is known of all this.
    """

    id: str
    source: PurePosixPath
    folder: Path
    defaults: tuple[DefaultsFile, ...]
    attempts: tuple[Attempt, ...] = ()
    is_damaged: bool = False
    priority: int = 0

    @property
    def prompt_file(self) -> Path:
        """The claimed prompt file."""
        return self.folder / self.source.name

    def drawn_seed(self, number: int) -> int:
        """Return the seed, below 2**32, of a video for which none was given.

        It is drawn with the job's random id, so that it needs no record of its own to be the
        same when the job is resumed.
        """
        digest = hashlib.sha256(f"{self.id}:{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True, slots=True)
class Rendered:
    """How a video was rendered; stands in its sidecar.

    `seconds` is wall time and `peak_memory_mib` the device's peak (the process's on a CPU), both
    of the batch of `batch_size` prompts that the video was rendered in. `ignored_text` is the
    end of the prompt that was too long for the text encoder. `speed` are the ways of the fast path
    that were taken.
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


@dataclass(frozen=True, slots=True)
class Video:
    """A published video: `files` are its paths, one for each format."""

    job_id: str
    number: int
    files: tuple[Path, ...]
    sidecar: Path
    poster: Path


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt of a batch, with the job that it is of."""

    job_id: str
    prompt: Prompt


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Batch:
    """Prompts with equal settings that are rendered together, of one job or of several."""

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
    """How many prompts may be rendered together: fewer where it `is_measured` that not all fit."""

    most: int
    is_measured: bool = False


# What the stages tell the service. They put these on its one queue.


@dataclass(frozen=True, slots=True)
class Wake:
    """Something may have changed in the inbox."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asked the process to end."""

    signal_name: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Somebody asked to read config.yaml again."""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A profile's pipeline is resident."""

    model: str
    capabilities: Capabilities
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """A profile's pipeline can't be loaded; an operator has to act."""

    model: str
    error: Exception


@dataclass(frozen=True, slots=True)
class StepDone:
    """A denoising step is through. `step` counts from 1."""

    batch: Batch
    step: int


@dataclass(frozen=True, slots=True)
class BatchRendered:
    """Every prompt of a batch has its frames, in the batch's order.

    `fits` is how many prompts like these the device has room for at once.
    """

    batch: Batch
    frames: tuple[Frames, ...]
    rendered: tuple[Rendered, ...]
    fits: int


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """A batch has no frames: cancelled, or an error of the pipeline."""

    batch: Batch
    error: Exception


@dataclass(frozen=True, slots=True)
class RendererEnded:
    """The renderer can do no more; the process has to end, and another to begin."""

    error: Exception


@dataclass(frozen=True, slots=True)
class VideoPublished:
    """A video, its poster and its sidecar are in the results; it had so many bytes of frames."""

    video: Video
    bytes: int


@dataclass(frozen=True, slots=True)
class VideoFailed:
    """So many bytes of frames could not be encoded or published."""

    job_id: str
    prompt: Prompt
    error: Exception
    bytes: int


Event = (
    Wake
    | Stop
    | Reload
    | ModelLoaded
    | ModelFailed
    | StepDone
    | BatchRendered
    | BatchFailed
    | RendererEnded
    | VideoPublished
    | VideoFailed
)
