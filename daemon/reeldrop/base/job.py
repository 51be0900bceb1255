"""The records that pass between stages: values, and what follows from them. Imports no library."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reeldrop.base.errors import Mistake
from reeldrop.base.grid import Grid as Grid
from reeldrop.base.loras import Loras, UsedLora
from reeldrop.base.picture_files import NO_PICTURES, PictureFiles
from reeldrop.base.sound import Sound
from reeldrop.base.sweeps import Swept
from reeldrop.base.translated import KEYS, NOTHING_TRANSLATED, SECOND, Translated
from reeldrop.base.windows import Windows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.uint8]  # (frames, height, width, 3)

Scalar = str | int | float | bool | None
PRIORITIES = (-10, 10)  # the lowest and the highest of a prompt file


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a loaded pipeline accepts.

    settings: call arguments that a prompt file may set, with their types
    defaults: their default values
    size_multiple: height and width are multiples of it
    frames_multiple: num_frames is a multiple of it, plus one (any number if it is 1)
    grids: the numbers of settings with other rules; they override these two
    pictures: call arguments that are pictures, such as `image`, and whether the pipeline needs them
    windows: what its profile makes longer videos of
    """

    settings: Mapping[str, type]
    defaults: Mapping[str, Scalar]
    size_multiple: int
    frames_multiple: int
    grids: Mapping[str, Grid] = field(default_factory=dict)
    pictures: Mapping[str, bool] = field(default_factory=dict)
    windows: Windows = field(default_factory=Windows)

    def grid(self, name: str) -> Grid:
        """Return the numbers that a setting can have."""
        if name in self.grids:
            return self.grids[name]
        if name in ("height", "width"):
            return Grid(self.size_multiple)
        return Grid(self.frames_multiple, 1) if name == "num_frames" else Grid()


IMAGE_FIT = "image_fit"
"""The setting that says how a picture gets the size of its video."""

CROP, PAD = "crop", "pad"
"""Its values: what is too much is cut off, or bars are added. A picture is never stretched."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture from which a video starts, or with which it ends.

    key: the pipeline's call argument, such as `image`
    name: the name of the file, in the folder of the prompt file
    path: where the file is while its job is in hand
    sha256: of the file's bytes, in hexadecimal
    """

    key: str
    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text and settings of one video, fully resolved.

    number: counts the videos of one prompt file from 1
    arguments: the pipeline's call arguments by diffusers' names, without prompt and generator
    notes: what its author should know about how the prompt file was read; no effect on the video
    pictures: the pictures that the pipeline is given, at most one for each key
    loras: those that it asks for, beside those that its profile always has; None if that has none
    swept: what a sweep chose for it, by key; told with the video, no effect on it
    windows: what its profile makes longer videos of
    translated: what the text encoder reads in place of its texts
    """

    number: int
    prompt: str
    model: str
    arguments: tuple[tuple[str, Scalar], ...]
    seed: int
    fps: float
    formats: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    pictures: tuple[Picture, ...] = ()
    loras: Loras | None = None
    swept: Swept = field(default=(), compare=False)
    windows: Windows = field(default_factory=Windows, compare=False)
    translated: Translated = NOTHING_TRANSLATED

    def argument(self, name: str) -> Scalar:
        """Return a call argument, None if it is not set."""
        return dict(self.arguments).get(name)

    @property
    def originals(self) -> dict[str, str]:
        """The texts as they were written, by their keys in `translated.KEYS`; no empty ones."""
        found = {**dict(self.arguments), "prompt": self.prompt}
        return {key: str(found[key]) for key in KEYS if found.get(key)}

    @property
    def read(self) -> dict[str, str]:
        """The same as the text encoders read them."""
        return {**self.originals, **dict(self.translated.texts)}

    @property
    def texts(self) -> tuple[str, str]:
        """The prompt and the negative prompt, as the text encoder reads them."""
        return self.read.get("prompt", ""), self.read.get("negative_prompt", "")

    @property
    def second(self) -> dict[str, str]:
        """The texts that a second text encoder reads; an empty one is not the same as none."""
        return {k: str(v) for k, v in (dict(self.arguments) | self.read).items() if k in SECOND}

    @property
    def steps(self) -> int:
        """The number of steps; each window of a video has its own."""
        steps = self.argument("num_inference_steps")
        return steps * self.pieces if isinstance(steps, int) else 0

    @property
    def pieces(self) -> int:
        """The number of windows that its video is made of."""
        return self.windows.count(self.argument("num_frames"))

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Prompts with equal keys may be rendered in one batch.

        It has `fps` because some models read it. Pictures may differ, but not their keys.
        """
        shared = (pair for pair in self.arguments if pair[0] not in KEYS)
        pictures = (picture.key for picture in self.pictures)
        return (self.model, self.fps, self.loras or (), *pictures, *shared, *self.second.items())

    @property
    def memory_key(self) -> tuple[object, ...]:
        """Prompts with equal keys take the same memory."""
        sizes = (self.argument(name) for name in ("num_frames", "height", "width"))
        guidance = self.argument("guidance_scale")
        is_guided = isinstance(guidance, int | float) and guidance > 1  # doubles the batch
        return (self.model, *sizes, is_guided, bool(self.loras))

    def as_settings(self) -> dict[str, object]:
        """Return the settings of a prompt file that renders this video again."""
        formats = self.formats[0] if len(self.formats) == 1 else list(self.formats)
        return {
            "prompt": self.prompt,
            **self.translated.as_settings(),
            **{picture.key: picture.name for picture in self.pictures},
            **dict(self.arguments),
            **({} if self.loras is None else {"loras": dict(self.loras)}),
            "seed": self.seed,
            "fps": int(self.fps) if self.fps == int(self.fps) else self.fps,
            "format": formats,
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class DefaultsFile:
    """A `_defaults.yaml` above a prompt file: its path in the inbox, and its content."""

    name: str
    data: bytes


class Cause(enum.StrEnum):
    """What may have ended a process, as the next process finds it."""

    WORK = "work"
    """The work in hand: a crash, a hang, or out of memory."""

    UNKNOWN = "unknown"
    """A kill by an unknown process or person."""

    MACHINE = "machine"
    """A power cut, a reboot, or trouble such as a full disk; no prompt is to blame."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: which of its prompts were in hand at one time.

    began: ISO 8601 time
    numbers: numbers of the prompts in hand; empty while the model was loading
    ending: how the process ended during the attempt; empty if it has not
    was_alone: nothing else was in hand at that end, of this job or another
    cause: what may have ended the process
    device_worked: the process had rendered something else before, if there was anything else
    renderer: the one that ended, if the process went on; else empty
    place: where that was; see `Device`
    """

    began: str
    numbers: tuple[int, ...]
    ending: str = ""
    was_alone: bool = True
    cause: Cause = Cause.WORK
    device_worked: bool = True
    renderer: str = ""
    place: str = ""

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
    is_damaged: its record is damaged, and only the name of `source` is known
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
    pictures: PictureFiles = NO_PICTURES

    @property
    def prompt_file(self) -> Path:
        """The claimed prompt file."""
        return self.folder / self.source.name

    def drawn_seed(self, number: int) -> int:
        """Return the seed, below 2**32, of a video without one; a resumed job's stays the same."""
        digest = hashlib.sha256(f"{self.id}:{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True, slots=True)
class Rendered:
    """How a video was rendered; written into its sidecar.

    seconds: wall time of the video's batch
    peak_memory_mib: peak memory of the device (of the process on a CPU) during the batch
    batch_size: number of prompts in the batch
    ignored: the ends of texts that were too long for a text encoder, by their keys in
        `translated.KEYS`
    speed: the optimizations of the fast path that were used
    tiling: the VAE decoded in tiles, which are blended at their edges
    made: number of frames, height and width; zeros where they are not known
    profile: what the profile changes of how the model renders, by the names in config.yaml
    not_kept: what else the pipeline made that is in no file, and why
    loras: all that were used, those that the profile always has too
    sound: what is heard with the frames; None if the pipeline made no sound
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
    ignored: Mapping[str, str] = field(default_factory=dict)
    speed: tuple[str, ...] = ()
    tiling: bool = False
    made: tuple[int, int, int] = (0, 0, 0)
    profile: Mapping[str, object] = field(default_factory=dict)
    not_kept: str = ""
    loras: tuple[UsedLora, ...] = ()
    sound: Sound | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Video:
    """A video in the results.

    files: one for each format
    settings: what its sidecar says of the prompt, if that was read
    """

    job_id: str
    number: int
    files: tuple[Path, ...]
    sidecar: Path
    poster: Path
    settings: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt of a batch, with the id of its job."""

    job_id: str
    prompt: Prompt


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Batch:
    """Prompts of one or more jobs, with equal settings, that are rendered together.

    steps: those of each video; kept, as it is asked at each step of hundreds of batches
    """

    members: tuple[Member, ...]
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        steps = self.members[0].prompt.steps if self.members else 0
        object.__setattr__(self, "steps", steps)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return tuple(member.prompt for member in self.members)

    @property
    def model(self) -> str:
        return self.members[0].prompt.model
