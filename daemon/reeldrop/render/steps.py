"""Report the steps of a render, for all ways in which pipelines report theirs."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reeldrop.render.classes import kind_of

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt


@contextlib.contextmanager
def reported(
    pipe: Any,
    prompt: Prompt,
    on_step: Callable[[int], None],
    on_latents: Callable[[int, Any], None] | None = None,
    *,
    passes: int = 1,
) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Call `on_step` with each step's number while the pipeline is called.

    Yields arguments for the call, and a function to call after each window of a step; a step goes
    over the windows `passes` times. If a pipeline takes no callback, a replacement of its progress
    bar counts the steps. `on_latents` is called with the number of a step, without windows, and the
    latents, if the pipeline gives those of the whole video.
    """
    counter = _Counter(pipe, prompt, on_step, on_latents, passes)
    window_done = counter.count_window
    parameters = inspect.signature(pipe.__call__).parameters
    if "callback_on_step_end" in parameters:
        yield {"callback_on_step_end": counter.at_step_end}, window_done
    elif "callback" in parameters:
        at_step = {"callback": lambda *called: counter.count_step(called[-1]), "callback_steps": 1}
        yield at_step, window_done
    else:
        pipe.progress_bar = lambda *_arguments, **_named: _Bar(counter)
        try:
            yield {}, window_done
        finally:
            del pipe.progress_bar


class _Counter:
    """Counts the steps of a pipeline, and reports those of the prompt.

    They differ if a scheduler calls the denoiser twice in a step, or a video is made in chunks.
    """

    def __init__(
        self,
        pipe: Any,
        prompt: Prompt,
        on_step: Callable[[int], None],
        on_latents: Callable[[int, Any], None] | None,
        passes: int,
    ) -> None:
        self._scheduler = pipe.scheduler
        self._chunks = _chunks(pipe, prompt)
        self._windows = prompt.pieces
        self._passes = passes
        self._steps = prompt.steps // prompt.pieces
        self._on_step = on_step
        self._on_latents = on_latents if self._chunks == 1 else None
        self._counted = self._step = self._reported = self._seen = 0

    def count_step(self, latents: Any = None) -> None:
        """Count a step of the scheduler, and report how far the prompt is."""
        self._count(self._steps, latents)

    def at_step_end(
        self, _pipe: Any, _step: int, _t: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Count a call of the denoiser, as `callback_on_step_end` does."""
        self._count(len(self._scheduler.timesteps), tensors.get("latents"))
        return tensors

    def count_window(self) -> None:
        """Count a window of the current step, except the last one, which the step counts."""
        self._seen += 1
        done, is_between = divmod(self._seen, self._passes)
        if not is_between and done < self._windows:
            self._report(self._step * self._windows + done)

    def _report(self, step: int) -> None:
        self._reported = max(self._reported, step)
        self._on_step(self._reported)  # never lower: a step may call the denoiser twice

    def _count(self, of: int, latents: Any) -> None:
        """Count one of the `of` calls that each chunk takes."""
        self._counted += 1
        self._seen = 0
        step = math.ceil(self._counted * self._steps / (of * self._chunks)) if self._steps else 0
        self._step = min(step, self._steps) or self._counted
        if self._on_latents is not None and latents is not None:
            self._on_latents(self._step, latents)
        self._report(self._step * self._windows)


def _chunks(pipe: Any, prompt: Prompt) -> int:
    """Return how many times the pipeline goes through all steps."""
    grid, frames = kind_of(type(pipe)).grids(pipe).get("num_frames"), prompt.argument("num_frames")
    if grid is None or not grid.chunk or not isinstance(frames, int):
        return 1
    return math.ceil(frames / grid.chunk)


class _Bar:
    """Replaces tqdm's progress bar, with the methods that diffusers uses."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, steps: int = 1) -> None:
        for _ in range(steps):
            self._counter.count_step()
