"""What the renderer has in hand, how far that is, and whether it makes no progress any more.

The service's side of the renderer. Does not know where batches come from or frames go.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch, Job
from reeldrop.base.residents import Memory
from reeldrop.host import ending
from reeldrop.host.ending import StallWatch
from reeldrop.schedule.view import RendererView
from reeldrop.service.forecast import Forecast
from reeldrop.store.status import State

if TYPE_CHECKING:
    from reeldrop.render.renderer import Renderer
    from reeldrop.render.source import ModelSource


_UNKNOWN = Device("")

_SEEN = frozenset({"batch", "coming", "warm_up", "loading", "releasing", "memory", "step"})
"""What a renderer is seen to have; no change of these can be forgotten to be told."""


class Workbench:
    """One renderer, and what it has in hand: a model, the warm-up or a batch.

    id, device, kind: of the renderer: its id, what it computes on, and the kind of that
    place: where it is, as `Device.place`; else its id
    is_own: whether it works in this process, which can't go on without it
    batch, coming: the batch in hand, and the one after it
    warm_up: the batch of the warm-up
    loading: the model that is being loaded
    downloading: the bytes of it that are downloaded, and all bytes; None if nothing is missing
    loads_for: the job that asked for the model; None if it is the daemon's own
    releasing: the model that leaves the device, or words for several
    memory: the models that are loaded, and what is free beside them
    began: when the batch in hand was begun
    step: the last step done
    preview: what the batch in hand looks like so far; empty if that is unknown
    sign: changes while a renderer of another process reads or writes
    changed: called with this workbench when what `view` returns may have changed
    """

    def __init__(
        self,
        renderer: Renderer,
        stall_seconds: float,
        forecast: Forecast,
        id: str = "",
        device: Device = _UNKNOWN,
        *,
        is_own: bool = True,
        changed: Callable[[Workbench], None] = lambda _bench: None,
    ) -> None:
        self._changed = changed
        self.id = id
        self.device = device
        self.kind = device.kind
        self.place = device.place or id
        self.is_own = is_own
        self._renderer = renderer
        self._forecast = forecast
        self._stall = StallWatch(stall_seconds)
        self.batch: Batch | None = None
        self.coming: Batch | None = None
        self.warm_up: Batch | None = None
        self.loading: str | None = None
        self.loads_for: Job | None = None
        self.downloading: tuple[int, int] | None = None
        self.releasing = ""
        self.memory = Memory()
        self.step = 0
        self.preview = b""
        self.sign = 0
        self.began = 0.0
        self._cancelled: weakref.WeakSet[Batch] = weakref.WeakSet()
        self._idle_since = math.inf

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in _SEEN:
            self._changed(self)

    @property
    def is_busy(self) -> bool:
        return bool(self.batch or self.warm_up or self.loading or self.releasing)

    def has(self, model: str) -> bool:
        """Return whether a model is loaded, or its weights are kept."""
        return any(resident.model == model for resident in self.memory.residents)

    def has_in_hand(self, batch: Batch) -> bool:
        """Return whether a batch, or the warm-up, is what is rendered now."""
        return batch is self.batch or batch is self.warm_up

    @property
    def batches(self) -> tuple[Batch, ...]:
        return tuple(batch for batch in (self.batch, self.coming) if batch)

    def load(self, model: str, job: Job | None = None) -> None:
        """Load a profile's pipeline, for a job or as the daemon's own."""
        self.loading, self.loads_for, self.step, self.downloading = model, job, 0, None
        self._renderer.load(model)

    def release(self, model: str, *, keeps: bool) -> None:
        """Let a model leave the device; if it `keeps` the weights, they stay in host memory."""
        self.releasing = model
        self._renderer.release(model, keeps=keeps)

    def use(self, sources: Mapping[str, ModelSource], stall_seconds: float) -> None:
        """Apply other settings; let models leave that were loaded by other ones."""
        self.releasing = "models with other settings"
        self._stall = StallWatch(stall_seconds)
        self._renderer.use(sources)

    def try_out(self, batch: Batch, now: float) -> None:
        """Render the warm-up. `now` is monotonic, as in all methods."""
        self.warm_up, self.step = batch, 0
        self._forecast.begin(batch, now, self.id)
        self._renderer.render(batch)

    def render(self, batch: Batch, now: float) -> None:
        """Render a batch after the one in hand."""
        if self.batch is None:
            self._begin(batch, now)
        else:
            self.coming = batch
        self._renderer.render(batch)

    def _begin(self, batch: Batch | None, now: float) -> None:
        self.batch, self.coming, self.step, self.began = batch, None, 0, now
        self.preview = b""
        self._stall.progress()
        self._forecast.begin(batch, now, self.id)

    def downloaded(self, done: int, total: int) -> None:
        """Record how many bytes of the model that is being loaded are downloaded."""
        self.downloading = None if done >= total else (done, total)
        if not self.is_own:
            self._stall.progress()

    @property
    def where(self) -> dict[str, str]:
        """The renderer, for a line of the log; nothing if it is the only one."""
        return {} if self.is_own else {"renderer": self.id}

    @property
    def share_downloaded(self) -> float | None:
        """The share of the model's files that is downloaded; None if none are being downloaded."""
        return None if self.downloading is None else self.downloading[0] / self.downloading[1]

    def _downloaded(self) -> str:
        if self.downloading is None:
            return ""
        done, total = self.downloading
        size, unit = (1e9, "GB") if total >= 1e9 else (1e6, "MB")
        return f", {done / size:.1f} of {total / size:.1f} {unit} downloaded"

    def step_done(self, step: int, now: float) -> None:
        """Record a step. Another process tells the last one again while it encodes."""
        self._stall.progress()
        if self.is_own or step != self.step:
            self.step = step
            self._forecast.step_done(step, now, self.id)

    def clear(self) -> None:
        """Record that the model or the warm-up in hand is done or has failed."""
        self.warm_up = self.loading = None
        self.releasing = ""

    def batch_done(self, now: float) -> None:
        """Record that the batch is done or has failed; the next one is in hand, if there is one."""
        self._begin(self.coming, now)

    def view(self, now: float, unusable: frozenset[str] = frozenset()) -> RendererView:
        """Return whether the renderer is busy, for how long at least, and what it has loaded.

        unusable: the models that it can't use for now
        """
        seconds_left = 0.0
        is_idle = not (self.batch or self.warm_up or self.loading)  # also while a model leaves
        self._idle_since = min(self._idle_since, now) if is_idle else math.inf
        if self.is_busy:
            seconds_left = math.inf
            if self.batch is not None and self.coming is None and self.step:
                steps_left = max(0, self.batch.steps - self.step)
                seconds_left = steps_left * self._seconds_per_step(now)
        is_rendering = self.batch is not None or self.warm_up is not None
        forecast = self._forecast
        return RendererView(
            self.is_busy,
            seconds_left,
            self._idle_since,
            self.memory,
            self.kind,
            self.loading or "",
            unusable,
            forecast.free_at(self.id, self.coming, now) if is_rendering else math.inf,
            self.place,
        )

    def _seconds_per_step(self, now: float) -> float:
        return (now - self.began) / self.step

    def cancel(self, batch: Batch) -> None:
        """Stop a batch at the end of its current step. Told once: the order may cross a network."""
        if batch not in self._cancelled:
            self._cancelled.add(batch)
            self._renderer.cancel(batch)

    def cancel_all(self) -> None:
        """Stop everything in hand at the end of its current step."""
        for batch in (self.warm_up, *self.batches):
            if batch is not None:
                self.cancel(batch)

    def cut_warm_up_short(self) -> None:
        """Let the warm-up wait for nothing once it is rendered, as for the compiler."""
        if self.warm_up is not None and self.step >= self.warm_up.steps:
            self.cancel(self.warm_up)

    def close(self) -> None:
        """Close the renderer, unless it is busy with something that can't be waited for."""
        if not self.is_busy:
            self._renderer.close()

    def hangs(self, now: float) -> bool:
        """Return whether what is in hand makes no progress any more.

        Until the first step is done, a model may have to be read: then I/O counts as progress.
        """
        if self.is_own and self.is_busy and not self.step:
            self.sign = ending.mebibytes_moved()
        sign = 0 if self.step else self.sign
        return self._stall.is_stalled(now, busy=self.is_busy, sign=sign)

    def doing(self) -> tuple[State, str] | None:
        """Return what is in hand, with the model that it loads or warms up; None if nothing is."""
        if self.loading:
            return State.LOADING, self.loading + self._downloaded()
        if self.warm_up:
            return State.WARMING_UP, self.warm_up.model
        return (State.RENDERING, "") if self.batch else None
