"""The events: what the stages put on the service's one queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reeldrop.base.fleet import Device, Encoded
from reeldrop.base.job import Batch, Capabilities, Cause, Prompt, Rendered, Video
from reeldrop.base.residents import Memory
from reeldrop.base.trial import Tried, Tuned

if TYPE_CHECKING:
    from reeldrop.base.job import Frames


@dataclass(frozen=True, slots=True)
class Wake:
    """The inbox may have changed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asked the process to end."""

    signal_name: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Somebody asked to read config.yaml again."""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A profile's pipeline is loaded."""

    model: str
    capabilities: Capabilities
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelsReleased:
    """Models have left the device."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryChanged:
    """Which models are loaded now, and how much memory is free. Sent before each answer."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """A profile's pipeline can't be loaded; the operator has to act."""

    model: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Downloading:
    """A profile's files are being downloaded: `done` of `total` bytes are there."""

    model: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A denoising step is done; `step` counts from 1."""

    batch: Batch
    step: int


@dataclass(frozen=True, slots=True)
class Previewed:
    """What the first video of a batch looks like so far, as JPEG. It may come after the answer."""

    batch: Batch
    picture: bytes


@dataclass(frozen=True, slots=True)
class BatchRendered:
    """A batch is rendered; `frames` and `rendered` are in the order of its prompts.

    A renderer of another process encodes its frames: these never cross a network.

    `fits` is how many prompts like these fit on the device at once. `waited` is how many seconds
    passed since then, in which the warm-up waited for the compiler.
    """

    batch: Batch
    frames: tuple[Frames | Encoded, ...]
    rendered: tuple[Rendered, ...]
    fits: int
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """A batch is not rendered: it was cancelled, or the pipeline failed.

    `frames` and `rendered` are those of its first prompts, if some were rendered before.
    """

    batch: Batch
    error: Exception
    frames: tuple[Frames | Encoded, ...] = ()
    rendered: tuple[Rendered, ...] = ()


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A renderer of another process goes on reading or writing: `sign` changes then."""

    sign: int


@dataclass(frozen=True, slots=True)
class RendererEnded:
    """The renderer can't continue; its process has to be replaced by a new one.

    cause: what may be to blame; no prompt is if it is the machine
    """

    error: Exception
    cause: Cause = Cause.WORK


RendererEvent = (
    ModelLoaded
    | ModelFailed
    | ModelsReleased
    | MemoryChanged
    | Downloading
    | StepDone
    | Previewed
    | BatchRendered
    | BatchFailed
    | SignOfLife
    | RendererEnded
    | Tried
    | Tuned
)


@dataclass(frozen=True, slots=True)
class FromRenderer:
    """What one of the renderers tells."""

    id: str
    event: RendererEvent


@dataclass(frozen=True, slots=True)
class RendererJoined:
    """A renderer takes orders, with nothing loaded. No other has or had its id."""

    id: str
    device: Device


@dataclass(frozen=True, slots=True)
class RendererLeft:
    """A renderer is lost, with all that it had in hand.

    cause: `MACHINE` if that has nothing to do with what it had in hand
    """

    id: str
    reason: str
    cause: Cause = Cause.UNKNOWN


@dataclass(frozen=True, slots=True)
class FleetTrouble:
    """Why renderers are missing, in words; empty if none is any more.

    is_final: whether none will ever come
    """

    reason: str
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class FleetBroken:
    """A thread of a fleet has ended by a defect: nobody hears the renderers any more."""

    error: Exception


@dataclass(frozen=True, slots=True)
class FleetClosed:
    """All that came of a fleet before this is of one that is closed."""


@dataclass(frozen=True, slots=True)
class VideoPublished:
    """A video, its poster and its sidecar are in the results.

    `bytes` is the size of its frames and its sound.
    """

    video: Video
    bytes: int


@dataclass(frozen=True, slots=True)
class VideoFailed:
    """A video could not be encoded or published; `bytes` is the size of its frames and sound."""

    job_id: str
    prompt: Prompt
    error: Exception
    bytes: int


@dataclass(frozen=True, slots=True)
class SheetsMade:
    """The sheets of a sweep are in the results, by these names, or could not be made."""

    job_id: str
    names: tuple[str, ...]
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class TextsTranslated:
    """Prompts of a job with their translations, each with why it has none; None if it has.

    settings: the number of the translator's settings under which they were read
    """

    job_id: str
    results: tuple[tuple[Prompt, Exception | None], ...]
    settings: int


Event = (
    Wake
    | Stop
    | Reload
    | FromRenderer
    | RendererJoined
    | RendererLeft
    | FleetTrouble
    | FleetBroken
    | FleetClosed
    | VideoPublished
    | VideoFailed
    | SheetsMade
    | TextsTranslated
)
