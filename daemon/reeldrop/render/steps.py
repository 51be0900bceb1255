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
    parameters = inspect.signature(pipe.__call__).parameters
    at_each_call = "callback_on_step_end" in parameters
    counter = _Counter(pipe, prompt, on_step, on_latents, passes, at_each_call=at_each_call)
    window_done = counter.count_window
    if at_each_call:
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

    at_each_call: each call of the denoiser for the whole video is counted, not each step
    """

    def __init__(
        self,
        pipe: Any,
        prompt: Prompt,
        on_step: Callable[[int], None],
        on_latents: Callable[[int, Any], None] | None,
        passes: int,
        *,
        at_each_call: bool,
    ) -> None:
        self._scheduler = pipe.scheduler
        self._at_each_call = at_each_call
        self._chunks = _chunks(pipe, prompt)
        self._windows = prompt.pieces
        self._passes = passes
        self._steps = prompt.steps // prompt.pieces
        self._on_step = on_step
        self._on_latents = on_latents if self._chunks == 1 else None
        self._counted = self._reported = self._seen = 0

    def count_step(self, latents: Any = None) -> None:
        """Count a step, or a call of the denoiser, and report how far the prompt is."""
        self._counted += 1
        self._seen = 0
        if self._on_latents is not None and latents is not None:
            self._on_latents(self._steps_through(self._counted), latents)
        self._report(0)

    def at_step_end(
        self, _pipe: Any, _step: int, _t: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Count a call of the denoiser, as `callback_on_step_end` does."""
        self.count_step(tensors.get("latents"))
        return tensors

    def count_window(self) -> None:
        """Count a window of the current step, except the last one, which the step counts.

        Those of a second call of the denoiser change nothing, unless that is counted itself.
        """
        self._seen += 1
        done, is_between = divmod(self._seen, self._passes)
        if not is_between and done % self._windows:
            self._report(min(done, self._windows - 1))

    def _report(self, windows: int) -> None:
        """Report the steps of all windows; `windows` are done of the current step."""
        step = self._steps_through(self._counted * self._windows + windows, self._windows)
        self._reported = max(self._reported, step)
        self._on_step(self._reported)

    def _steps_through(self, counted: int, windows: int = 1) -> int:
        """Return how many steps are done, each counted for each of some windows."""
        if not self._steps:
            return counted
        of = len(self._scheduler.timesteps) if self._at_each_call else self._steps
        return min(math.ceil(counted * self._steps / (of * self._chunks)), self._steps * windows)


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
