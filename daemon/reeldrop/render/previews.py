"""Small pictures of the video being rendered: a linear map from latents to colours.

The map is learned from the last latents and the frames of each finished video. So it needs no table
for each VAE and no call of the VAE, and works however a pipeline scales its latents. The first
video of a model without a warm-up has no previews. Does not know who shows them.
"""

from __future__ import annotations

import io
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from PIL import Image

if TYPE_CHECKING:
    from reeldrop.base.job import Batch, Frames, Prompt
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.source import ModelSource

SIDE = 160
"""Longest side, in pixels. At this size a JPEG has 16 kB at most, if it shows noise."""

PAUSE_SECONDS = 2.0
"""Least time between two previews: steps of small models take milliseconds."""

_RIDGE = 1e-2
"""Ridge penalty per learned cell: with few cells, some channels are undetermined. The values of
latents are about 1."""

_LAYOUTS = ((1, 2, 3, 4), (2, 1, 3, 4), (4, 1, 2, 3))
"""The dimensions of channels, frames, height and width in latents: the first is usual, CogVideoX
and Stable Video Diffusion have frames first, Kandinsky channels last."""

_log = structlog.get_logger()


class Colours:
    """The linear map from the latents of a model to colours, by least squares over its videos.

    Each cell of the latents becomes a square of pixels, with at most a third as many as channels.

    source: of the model; if it has changed, these colours are not valid any more
    """

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self._squares: Any = 0.0
        self._products: Any = 0.0
        self._cells = 0
        self._is_noted = False

    def learn(self, latents: np.ndarray, frame: np.ndarray) -> None:
        """Learn from the latents of one frame, (c, h, w), and the decoded frame, (h, w, 3)."""
        channels, height, width = latents.shape
        side = _pixels(channels)
        small = Image.fromarray(frame).resize((width * side, height * side), Image.Resampling.BOX)
        parts = np.asarray(small, np.float64).reshape(height, side, width, side, 3)
        colours = parts.transpose(0, 2, 1, 3, 4).reshape(height * width, -1)
        cells = _cells(latents)
        self._squares += cells.T @ cells
        self._products += cells.T @ colours
        self._cells += len(cells)

    def picture(self, latents: np.ndarray) -> Image.Image | None:
        """Return latents, (c, h, w), as a picture; None if nothing was learned yet."""
        if not self._cells:
            return None
        channels, height, width = latents.shape
        side = _pixels(channels)
        ridge = _RIDGE * self._cells * np.diag([1.0] * channels + [0.0])
        factors = np.linalg.solve(self._squares + ridge, self._products)
        parts = (_cells(latents) @ factors).reshape(height, width, side, side, 3)
        pixels = parts.transpose(0, 2, 1, 3, 4).reshape(height * side, width * side, 3)
        return Image.fromarray(np.nan_to_num(pixels).clip(0, 255).astype(np.uint8))

    def note(self, model: str, reason: str, log: Callable[..., None]) -> None:
        """Log, once, why there are no previews of a model."""
        if not self._is_noted:
            self._is_noted = True
            log("no_previews", model=model, reason=reason)


def _pixels(channels: int) -> int:
    """Return the side of a cell's square, in pixels."""
    return max(1, math.isqrt(channels // 3))


def _cells(latents: np.ndarray) -> np.ndarray:
    """Return the cells of (c, h, w) latents as rows, (h w, c + 1), with a 1 for the offset."""
    rows = np.nan_to_num(latents.astype(np.float64)).reshape(len(latents), -1).T
    return np.hstack([rows, np.ones((len(rows), 1))])


@dataclass(frozen=True, slots=True)
class _Task:
    """Show latents of a batch; or learn from them, if there is a frame.

    latents: waits for their copy, and returns them, (c, h, w)
    """

    colours: Colours
    batch: Batch
    latents: Callable[[], np.ndarray]
    frame: np.ndarray | None = None


@dataclass(slots=True)
class Preview:
    """The previews of one render, which show the middle frame of its first video."""

    loaded: LoadedPipeline
    batch: Batch
    steps: int
    colours: Colours
    do: Callable[[_Task], None]
    _due: float = -math.inf
    _last: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    _share: float = 0.0

    def at_step(self, step: int, latents: Any) -> None:
        """Take the latents of a batch after a step. Used if a preview is due, and at the last."""
        found = _first_video(self.loaded.pipe, self.batch.prompts[0], latents)
        is_due = step % self.loaded.source.preview_steps == 0 and time.monotonic() >= self._due
        if found is None or not (is_due or step >= self.steps):
            return
        middle = found.shape[1] // 2
        self._last = _copied(found[:, middle])
        self._share = middle / max(1, found.shape[1] - 1)
        if step < self.steps:
            self._due = time.monotonic() + PAUSE_SECONDS
            self.do(_Task(self.colours, self.batch, self._last))

    def learn(self, frames: Frames) -> None:
        """Learn from the last latents and their decoded frames."""
        if self._last is not None:
            frame = frames[round(self._share * (len(frames) - 1))]
            self.do(_Task(self.colours, self.batch, self._last, frame))
        else:
            reason = f"{type(self.loaded.pipe).__name__} gives no latents in the form of frames"
            self.colours.note(self.batch.model, reason, _log.info)


def _first_video(pipe: Any, prompt: Prompt, latents: Any) -> torch.Tensor | None:
    """Return the latents of the first video, (c, f, h, w); None if packed or in unknown order."""
    config = getattr(getattr(pipe, "vae", None), "config", {})
    channels = config.get("latent_channels") or config.get("z_dim")
    if not isinstance(latents, torch.Tensor) or latents.dim() != 5:
        return None
    height, width = prompt.argument("height"), prompt.argument("width")
    if not (isinstance(height, int) and isinstance(width, int)):
        return None
    for c, f, h, w in _LAYOUTS:
        is_upright = latents.shape[h] * width == latents.shape[w] * height
        if latents.shape[c] == channels and is_upright:
            return latents.permute(0, c, f, h, w)[0]
    return None


def _copied(latents: torch.Tensor) -> Callable[[], np.ndarray]:
    """Start to copy latents into host memory; return a function that waits for the copy.

    Does not wait for the device. The pipeline may change its latents as soon as this returns.
    """
    own = latents.to(torch.float32, copy=True)
    if not own.is_cuda:
        return own.numpy
    host = torch.empty(own.shape, pin_memory=True)
    host.copy_(own, non_blocking=True)
    event: Any = torch.cuda.Event
    done = event(blocking=True)
    done.record()

    def wait() -> np.ndarray:
        done.synchronize()
        copied: np.ndarray = host.numpy()
        return copied

    return wait


class Previews:
    """Makes previews in a thread of its own, so that the renderer only starts copies of latents.

    tell: called in that thread with each preview, as JPEG
    """

    def __init__(self, tell: Callable[[Batch, bytes], None]) -> None:
        self._tell = tell
        self._colours: dict[str, Colours] = {}
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="previews", daemon=True)

    def of(self, loaded: LoadedPipeline, batch: Batch) -> Preview | None:
        """Return the previews of a render; None if its profile asks for none."""
        if not loaded.source.preview_steps:
            return None
        if not self._thread.ident:
            self._thread.start()
        colours = self._colours.get(batch.model)
        if colours is None or colours.source != loaded.source:
            colours = self._colours[batch.model] = Colours(loaded.source)
        first = batch.prompts[0]
        return Preview(loaded, batch, first.steps // first.pieces, colours, self._tasks.put)

    def close(self, seconds: float) -> None:
        """End the thread, and wait for that so long at most."""
        self._tasks.put(None)
        if self._thread.ident:
            self._thread.join(seconds)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._do(task)
            except Exception as error:  # latents of a model may be anything; no render is to fail
                reason = f"{type(error).__name__}: {error}"
                task.colours.note(task.batch.model, reason, _log.warning)

    def _do(self, task: _Task) -> None:
        if task.frame is not None:
            task.colours.learn(task.latents(), task.frame)
        elif picture := task.colours.picture(task.latents()):
            self._tell(task.batch, jpeg(picture))


def jpeg(picture: Image.Image) -> bytes:
    """Return a picture as JPEG; its longest side is at most `SIDE`."""
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=75)
    return data.getvalue()
