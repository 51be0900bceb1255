"""Render a batch within the memory that there is: in parts, and more frugally when it runs out.

Remembers for each kind of prompt what fitted. Does not know orders, nor what becomes of frames.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import structlog

from reeldrop.base.errors import RenderCancelled, TooLarge, is_shortage
from reeldrop.base.events import RendererEvent, StepDone
from reeldrop.render import measure, recording, rendering
from reeldrop.render.memory import Fit
from reeldrop.speed.compiled import is_compiling, wait_for_compiler

if TYPE_CHECKING:
    from reeldrop.base.job import Batch, Frames, Prompt, Rendered
    from reeldrop.render.loaded import LoadedPipeline
    from reeldrop.render.previews import Previews
    from reeldrop.render.rendering import Footage
    from reeldrop.render.residents import Residents

_log = structlog.get_logger()

COMPILER_SECONDS = 300.0
"""How long a render that ran out of memory waits at most for a running compiler."""


class Fitting:
    """Renders batches.

    shortages: how often memory ran out, by what was changed then
    """

    def __init__(
        self,
        residents: Residents,
        previews: Previews,
        cancelled: Collection[Batch],
        tell: Callable[[RendererEvent], None],
    ) -> None:
        self.shortages: Counter[str] = Counter()
        self._residents = residents
        self._previews = previews
        self._cancelled = cancelled
        self._tell = tell
        self._fits: dict[tuple[object, ...], Fit] = {}
        self._shortage = ""

    def forget(self, models: Collection[str]) -> None:
        """Forget what fitted of these models."""
        self._fits = {key: fit for key, fit in self._fits.items() if key[0] not in models}

    def render(
        self, loaded: LoadedPipeline, batch: Batch, frames: list[Frames], rendered: list[Rendered]
    ) -> int:
        """Render a batch, in parts if the device has too little memory for all of it.

        Appends to `frames` and `rendered`. Returns how many such prompts fit at once.

        Raises:
            TooLarge: the memory does not suffice even for one prompt.
            RenderCancelled: the batch was cancelled.
        """
        key = batch.prompts[0].memory_key
        most = 1 if loaded.renders_alone(batch.prompts[0]) else len(batch.prompts)
        fit = dataclasses.replace(self._fits.get(key) or Fit(most, ""), placement=loaded.placement)
        self._go_on(batch, 0)
        is_alone = True
        while left := batch.prompts[len(frames) :]:
            if fit.placement != loaded.placement:
                loaded = self._residents.place_again(loaded, fit.placement)
            part = rendering.alike(loaded, left[: fit.batch_size])
            is_alone &= not is_compiling()
            done = self._try(loaded, batch, len(frames), part, fit)
            if done is None:
                if not self._release_others(loaded):
                    fit = self._fits[key] = self._more_frugal(fit)
                continue
            made, seconds = done
            frames += made.frames
            rendered += recording.records(loaded, part, made, seconds)
        learned = self._fits.get(key)
        measured = measure.how_many_fit(loaded, part) if is_alone else len(part)
        return learned.batch_size if learned else measured

    def _try(
        self, loaded: LoadedPipeline, batch: Batch, before: int, part: tuple[Prompt, ...], fit: Fit
    ) -> tuple[Footage, float] | None:
        """Return the footage of a part of a batch, and the seconds that it took.

        `before` is how many prompts of the batch precede the part. None if memory ran out even
        without the compiler.
        """
        was_compiling = is_compiling()  # asked first: the shortage may end the compiler, too
        done = self._try_once(loaded, batch, before, part, fit)
        if done is None and was_compiling:
            measure.empty_cache()
            wait_for_compiler(COMPILER_SECONDS, lambda: batch in self._cancelled)
            done = self._try_once(loaded, batch, before, part, fit)
        return done

    def _try_once(
        self, loaded: LoadedPipeline, batch: Batch, before: int, part: tuple[Prompt, ...], fit: Fit
    ) -> tuple[Footage, float] | None:
        began = time.monotonic()
        try:
            footage = rendering.with_sound(
                loaded,
                part,
                lambda step: self._step_done(batch, before, len(part), step),
                decodes_in_parts=fit.decodes_in_parts,
                preview=None if before else self._previews.of(loaded, batch),
            )
        except RuntimeError as error:
            if not is_shortage(error):
                raise
            self._shortage = " ".join(str(error).split())
            return None
        return footage, time.monotonic() - began

    def _release_others(self, loaded: LoadedPipeline) -> bool:
        """Release the other models, and return whether there were any."""
        measure.empty_cache()  # not earlier: the traceback held the tensors
        if is_done := self._residents.release_others(loaded.source.name):
            self.shortages["other models released"] += 1
            _log.warning("other_models_released", reason=self._shortage)
        return is_done

    def _more_frugal(self, fit: Fit) -> Fit:
        """Return the settings to try next after memory ran out.

        Raises:
            TooLarge: there are none.
        """
        measure.empty_cache()  # not earlier: the traceback held the tensors
        frugal = fit.more_frugal()
        _log.warning(
            "out_of_memory", tried=str(fit), next=str(frugal or "none"), reason=self._shortage
        )
        self.shortages[fit.step_to(frugal)] += 1
        if frugal is None:
            raise TooLarge(f"the memory does not suffice even for {fit}: {self._shortage}")
        return frugal

    def _step_done(self, batch: Batch, before: int, together: int, step: int) -> None:
        """Report a step of a part as the step of its whole batch, of which `before` are done."""
        self._go_on(batch, step)
        through = before * batch.steps + together * step
        self._tell(StepDone(batch, math.ceil(through / len(batch.prompts))))

    def _go_on(self, batch: Batch, step: int) -> None:
        if batch in self._cancelled:
            raise RenderCancelled(f"it was cancelled on request, in step {step}")
