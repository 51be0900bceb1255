"""Render prompts to frames: the `Renderer` protocol and the renderer in this process.

A renderer takes orders and answers on the service's queue. Does not know files, jobs, or what the
frames are used for.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
import torch

from reeldrop.base import trouble
from reeldrop.base.errors import (
    FileError,
    Mistake,
    ReeldropError,
    RenderCancelled,
    RendererDied,
    RenderError,
    Unavailable,
)
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Downloading,
    MemoryChanged,
    ModelFailed,
    ModelLoaded,
    ModelsReleased,
    Previewed,
    RendererEnded,
    RendererEvent,
)
from reeldrop.base.job import Batch, Cause, Rendered
from reeldrop.render import ahead, measure
from reeldrop.render.fitting import Fitting
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.previews import Previews
from reeldrop.render.residents import Residents
from reeldrop.render.source import ModelSource

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

_log = structlog.get_logger()

CLOSE_SECONDS = 10.0
"""How long `close` waits for each thread beside the renderer's own; they hold nothing."""


class Renderer(Protocol):
    """Renders one batch at a time and answers with events.

    `load` is answered by ModelLoaded or ModelFailed; `release` and `use` by ModelsReleased;
    `render` by StepDone for each step, Previewed if its profile asks for it, then BatchRendered or
    BatchFailed (with RenderCancelled after `cancel`, with a FileError if its model can't be
    loaded). Before each answer comes MemoryChanged. Orders are carried out in turn. RendererEnded
    may come at any time; no answer follows it.
    """

    def load(self, model: str) -> None:
        """Make a profile's pipeline ready to render. Others stay loaded."""

    def release(self, model: str, *, keeps: bool) -> None:
        """Remove a pipeline from the device; with `keeps`, its weights stay in host memory."""

    def use(self, sources: Mapping[str, ModelSource]) -> None:
        """Load from these sources from now on; release pipelines whose source differs."""

    def render(self, batch: Batch) -> None:
        """Render a batch; make its pipeline ready first if it is not."""

    def cancel(self, batch: Batch) -> None:
        """Stop a batch at the end of its step, unless it has been answered."""

    def close(self) -> None:
        """End after the answer to the current order."""


@dataclass(frozen=True, slots=True)
class _Release:
    """An order to remove a model from the device; see `Renderer.release`."""

    model: str
    keeps: bool


_Order = str | _Release | Mapping[str, ModelSource] | Batch
"""To load a model, to release one, to load from other sources, or to render."""


class InProcessRenderer:
    """Renders in a thread of this process; a second thread encodes the texts of the next batch."""

    def __init__(
        self, sources: Mapping[str, ModelSource], tell: Callable[[RendererEvent], None]
    ) -> None:
        self._tell = tell
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._cancelled: weakref.WeakSet[Batch] = weakref.WeakSet()
        self._has_ended, self._told_download = False, 0.0
        self._residents = Residents(sources, self._on_download, self._end)
        self._previews = Previews(lambda batch, picture: tell(Previewed(batch, picture)))
        self._fitting = Fitting(self._residents, self._previews, self._cancelled, tell)
        self._coming: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        # Daemon threads: a render that hangs must not keep the process from ending.
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("renderer", self._work), ("texts", self._read_ahead))
        ]
        for thread in self._threads:
            thread.start()

    def load(self, model: str) -> None:
        self._orders.put(model)

    def release(self, model: str, *, keeps: bool) -> None:
        self._orders.put(_Release(model, keeps))

    def use(self, sources: Mapping[str, ModelSource]) -> None:
        self._orders.put(sources)

    def render(self, batch: Batch) -> None:
        self._orders.put(batch)
        self._coming.put(batch)

    def cancel(self, batch: Batch) -> None:
        self._cancelled.add(batch)

    def close(self) -> None:
        self._orders.put(None)
        self._coming.put(None)
        renderer, texts = self._threads
        renderer.join()
        texts.join(CLOSE_SECONDS)
        self._previews.close(CLOSE_SECONDS)
        if texts.is_alive():  # it has the models, so the memory can't be freed
            _log.warning("texts_hang", next="left to itself")
        else:
            self._residents.close()

    def _work(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                answer = self._use(order) if isinstance(order, Mapping) else self._answer(order)
                try:
                    found = tuple(sorted(self._fitting.shortages.items()))
                    memory = dataclasses.replace(self._residents.memory(), shortages=found)
                    self._tell(MemoryChanged(memory))
                finally:
                    self._tell(answer)
        except (RendererDied, RuntimeError) as error:  # torch raises RuntimeErrors
            self._end(error if isinstance(error, RendererDied) else RendererDied(repr(error)))
        except OSError as error:  # none of what is in hand opens files here
            self._end(Unavailable(trouble.mistake(error)), Cause.MACHINE)
        except BaseException as error:  # nobody else would tell it
            self._end(RendererDied(f"a defect of the renderer: {error!r}"))
            raise

    def _end(self, error: ReeldropError, cause: Cause = Cause.WORK) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._tell(RendererEnded(error, cause))

    def _use(self, sources: Mapping[str, ModelSource]) -> ModelsReleased:
        released = self._residents.use(sources)
        self._fitting.forget(released)
        return ModelsReleased(released)

    def _read_ahead(self) -> None:
        """Encode the texts of the next batches while a batch is rendered."""
        while (batch := self._coming.get()) is not None:
            with self._residents.stays:
                try:
                    ahead.encode(self._residents.ready(batch.model), batch)
                except Exception as error:  # the render meets the same error and reports it
                    _log.debug("not_encoded_ahead", reason=str(error))

    def _answer(self, order: str | _Release | Batch) -> RendererEvent:
        model = order if isinstance(order, str) else order.model
        loaded: LoadedPipeline | None = None
        began = time.monotonic()
        try:
            if isinstance(order, _Release):
                self._residents.release(model, keeps=order.keeps)
                return ModelsReleased((model,))
            loaded = self._residents.make_ready(model)
            if isinstance(order, Batch):
                answer = self._render(loaded, order)
                if isinstance(answer, BatchRendered) and not order.members[0].job_id:  # warm-up
                    path = loaded.fast_path
                    waited = path.wait_for_what_is_on_disk(lambda: order in self._cancelled)
                    return dataclasses.replace(answer, waited=waited)
                return answer
            return ModelLoaded(model, loaded.capabilities, time.monotonic() - began)
        except RendererDied:
            raise
        except (FileError, RenderError) as error:
            # Without the traceback, which would keep the tensors of the failed render alive.
            failure: Exception = error.with_traceback(None)
            failure.__cause__ = failure.__context__ = None
        except Exception as error:  # a model or a library may raise anything
            text = "".join(traceback.format_exception_only(error)).strip()
            if isinstance(error, torch.AcceleratorError):
                raise RendererDied(f"the device is broken: {text}") from None
            failure = RenderError(text)
            if (of_machine := trouble.of(error)) is not None:  # no prompt is to blame
                failure = OSError(*of_machine.args[:2], of_machine.filename)
        if isinstance(order, _Release):  # host memory had too little room
            self._residents.release(model, keeps=False)
            return ModelsReleased((model,))
        if loaded is None and not isinstance(failure, FileError):  # usually too little free memory
            failure = _not_loaded(model, failure)
        measure.empty_cache()
        if isinstance(order, Batch):
            return BatchFailed(order, failure)
        return ModelFailed(model, failure)

    def _on_download(self, model: str, done: int, total: int) -> None:
        """Tell how far a download is, each second and at its end."""
        if done >= total or time.monotonic() >= self._told_download + 1:
            self._told_download = time.monotonic()
            self._tell(Downloading(model, done, total))

    def _render(self, loaded: LoadedPipeline, batch: Batch) -> BatchRendered | BatchFailed:
        """Render a batch. If it is cancelled, the answer has the videos rendered before."""
        frames: list[Frames] = []
        rendered: list[Rendered] = []
        try:
            fits = self._fitting.render(loaded, batch, frames, rendered)
        except RenderCancelled as error:
            failure = RenderCancelled(str(error))  # without the traceback, which holds tensors
        else:
            return BatchRendered(batch, tuple(frames), tuple(rendered), fits)
        measure.empty_cache()
        return BatchFailed(batch, failure, tuple(frames), tuple(rendered))


def _not_loaded(model: str, error: Exception) -> Unavailable:
    found = trouble.mistake(error) if isinstance(error, OSError) else Mistake(str(error))
    problem = f"the model can't be loaded: {found.problem}"
    return Unavailable(Mistake(problem, found.remedy, key=model))
