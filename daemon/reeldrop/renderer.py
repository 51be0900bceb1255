"""Prompts to frames: the `Renderer` protocol and the one that renders in this process.

A renderer is told what to do and answers on the service's queue. Does not know files, jobs or
what becomes of the frames.
"""

from __future__ import annotations

import inspect
import queue
import resource
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from reeldrop import pipeline
from reeldrop.errors import (
    FileError,
    Mistake,
    ReeldropError,
    RenderCancelled,
    RendererDied,
    RenderError,
    Unavailable,
)
from reeldrop.job import (
    Batch,
    BatchFailed,
    BatchRendered,
    Event,
    ModelFailed,
    ModelLoaded,
    Prompt,
    Rendered,
    RendererEnded,
    StepDone,
)
from reeldrop.pipeline import LoadedPipeline, ModelSource

if TYPE_CHECKING:
    from reeldrop.job import Frames

FRAMES_DECODED_AT_ONCE = 32
"""Above this number the VAE decodes frame by frame: 200 at once would need tens of gigabytes."""


class Renderer(Protocol):
    """Renders one batch at a time and tells the service by events.

    `load` is answered by ModelLoaded or ModelFailed; `render` by StepDone for each step and
    then BatchRendered or BatchFailed (of RenderCancelled after `cancel`). Orders that come while
    it is busy wait. RendererEnded, at any time, means that it answers no more.
    """

    def load(self, model: str) -> None:
        """Make a profile's pipeline resident."""

    def render(self, batch: Batch) -> None:
        """Render a batch, loading its pipeline first where it isn't resident."""

    def cancel(self) -> None:
        """Stop the batch in hand, if there is one, at the end of its step."""

    def close(self) -> None:
        """End, once the order in hand has been answered."""


class InProcessRenderer:
    """Renders in a thread of this process, the only one that touches the pipeline."""

    def __init__(self, sources: Mapping[str, ModelSource], tell: Callable[[Event], None]) -> None:
        self._sources = sources
        self._tell = tell
        self._orders: queue.SimpleQueue[str | Batch | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._loaded: LoadedPipeline | None = None
        # A daemon thread: a render that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="renderer", daemon=True)
        self._thread.start()

    def load(self, model: str) -> None:
        self._orders.put(model)

    def render(self, batch: Batch) -> None:
        self._cancelled.clear()
        self._orders.put(batch)

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                self._tell(self._answer(order))
        except RendererDied as error:
            self._tell(RendererEnded(error))

    def _answer(self, order: str | Batch) -> Event:
        try:
            if isinstance(order, Batch):
                return self._render(self._resident(order.model), order)
            began = time.monotonic()
            capabilities = self._resident(order).capabilities
            return ModelLoaded(order, capabilities, time.monotonic() - began)
        except (RenderCancelled, FileError) as error:
            failure: ReeldropError = error
        except Exception as error:
            # The text only: a traceback would keep the tensors of the failed render alive.
            text = "".join(traceback.format_exception_only(error)).strip()
            if isinstance(error, torch.AcceleratorError):
                raise RendererDied(f"the device is broken: {text}") from None
            failure = RenderError(text)
        _empty_cache()
        if isinstance(order, Batch):
            return BatchFailed(order, failure)
        if not isinstance(failure, FileError):  # mostly: no room on the device for now
            failure = Unavailable(Mistake(f"the model can't be loaded: {failure}", key=order))
        return ModelFailed(order, failure)

    def _resident(self, model: str) -> LoadedPipeline:
        if self._loaded is None or self._loaded.source.name != model:
            self._loaded = None  # the old weights go before the new ones come
            _empty_cache()
            self._loaded = pipeline.load(self._sources[model])
        return self._loaded

    def _render(self, loaded: LoadedPipeline, batch: Batch) -> BatchRendered:
        began = time.monotonic()
        _reset_peak_memory()
        frames = render(loaded, batch.prompts, lambda step: self._step_done(batch, step))
        rendered = tuple(
            Rendered(
                model=loaded.source.location,
                revision=loaded.revision,
                pipeline=type(loaded.pipe).__name__,
                scheduler=type(loaded.pipe.scheduler).__name__,
                device=loaded.device,
                dtype=loaded.dtype,
                versions=pipeline.versions(),
                seconds=time.monotonic() - began,
                peak_memory_mib=_peak_memory_mib(),
                batch_size=len(batch.prompts),
                ignored_text=ignored_text(loaded.pipe, prompt.prompt),
            )
            for prompt in batch.prompts
        )
        return BatchRendered(batch, frames, rendered)

    def _step_done(self, batch: Batch, step: int) -> None:
        if self._cancelled.is_set():
            raise RenderCancelled(f"it was cancelled on request, in step {step}")
        self._tell(StepDone(batch, step))


@torch.inference_mode()
def render(
    loaded: LoadedPipeline, prompts: tuple[Prompt, ...], on_step: Callable[[int], None]
) -> tuple[Frames, ...]:
    """Return the frames, (frames, height, width, 3) uint8, of each prompt of one batch.

    `on_step` is called with the number of the step, from 1, when it is through; what it raises
    ends the render.
    """
    pipe = loaded.pipe
    arguments = dict(prompts[0].arguments)
    if "negative_prompt" in loaded.capabilities.settings:
        arguments["negative_prompt"] = [  # type: ignore[assignment]
            prompt.argument("negative_prompt") or "" for prompt in prompts
        ]
    _slice_decoding(pipe, int(prompts[0].argument("num_frames") or 0))
    try:
        output = pipe(
            prompt=[prompt.prompt for prompt in prompts],
            # On the CPU, a seed gives the same noise whatever device renders.
            generator=[torch.Generator("cpu").manual_seed(prompt.seed) for prompt in prompts],
            output_type="pt",
            **arguments,
            **_step_callback(pipe, on_step),
        )
    finally:
        pipe.maybe_free_model_hooks()
    return tuple(to_uint8(video) for video in output.frames)


def to_uint8(video: torch.Tensor) -> Frames:
    """Return (frames, 3, height, width) floats in 0..1 as (frames, height, width, 3) uint8."""
    video = (video.float() * 255).round().clamp(0, 255).to(torch.uint8)
    frames: Frames = video.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames


def _step_callback(pipe: Any, on_step: Callable[[int], None]) -> dict[str, Any]:
    """Return the call arguments that make a pipeline, of the older or the newer kind, report."""
    if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:

        def at_step_end(_pipe: Any, step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return tensors

        return {"callback_on_step_end": at_step_end}
    return {"callback": lambda step, _t, _latents: on_step(step + 1), "callback_steps": 1}


def _slice_decoding(pipe: Any, num_frames: int) -> None:
    vae: Any = getattr(pipe, "vae", None)
    if hasattr(vae, "enable_slicing"):
        if num_frames > FRAMES_DECODED_AT_ONCE:
            vae.enable_slicing()
        else:
            vae.disable_slicing()


def ignored_text(pipe: Any, prompt: str) -> str:
    """Return the end of a prompt that is beyond what the pipeline's text encoder reads."""
    tokenizer = getattr(pipe, "tokenizer", None)
    longest = getattr(tokenizer, "model_max_length", None)
    if tokenizer is None or longest is None or longest > 100_000:  # transformers' "no limit"
        return ""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    # The last place belongs to the end mark, so the text's own tokens end one before it.
    ignored: str = tokenizer.decode(ids[longest - 1 : -1]) if len(ids) > longest else ""
    return ignored.strip()


def _reset_peak_memory() -> None:
    if pipeline.cuda_is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory_mib() -> int:
    if pipeline.cuda_is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _empty_cache() -> None:
    """Give memory back to the device.

    Raises:
        RendererDied: the device does not answer any more.
    """
    if pipeline.cuda_is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise RendererDied(f"the device is broken: {error}") from None
