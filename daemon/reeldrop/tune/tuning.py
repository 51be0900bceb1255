"""Find out with which settings a profile's prompts are rendered fastest on this machine.

Each optimization is tried with the profile's defaults, and kept if it is faster and the frames are
those of the plain pipeline. For the lossy ones of a profile, the difference is measured. Does not
know where the findings are kept.
"""

from __future__ import annotations

import dataclasses
import io
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reeldrop.base.errors import ReeldropError, RenderError
from reeldrop.base.job import Prompt
from reeldrop.base.trial import Trial, Tried, Tuned
from reeldrop.host import log
from reeldrop.render import measure, pipeline, placements, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import compiled, fast
from reeldrop.speed.lossy import NOTHING, Lossy
from reeldrop.tune.likeness import psnr_db, ssim

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

LEAST_PSNR_DB = 40.0
"""At this value or above, nobody sees a difference; below it, there is more than rounding."""

LEAST_GAIN = 1.02
"""By which factor an optimization has to be faster to be kept."""

CAME_TO_NOTHING = "the model could not be compiled, as the log says"
NOT_FASTER = "it is not faster"
NOT_HERE = "the model has no parts for it, or does not stay on the device"

BATCH_SIZES = (2, 4, 8, 16)
COMPARED = 2


@dataclass(slots=True)
class Tuner:
    """Tries one optimization after the other by rendering `sample` with several seeds.

    loaded: the pipeline of `source` without any; each trial removes those of the last one
    on_step: is called after each step of a render, but not while another process compiles
    """

    source: ModelSource
    loaded: LoadedPipeline
    sample: Prompt
    rounds: int
    speed: dict[str, bool | str] = field(default_factory=lambda: dict(fast.PLAIN))
    batch_size: int = 1
    on_step: Callable[[], None] = lambda: None
    _untouched: fast.Untouched = field(init=False)
    _expected: tuple[Frames, ...] = ()
    _plain_seconds: float = 0.0
    _seconds: float = 0.0

    def tell(self) -> Iterator[Tried | Tuned]:
        """Yield each trial when it is done, and then what is fastest; raises what `trials` does."""
        lossy = self.source.lossy
        batches = 0 if lossy.mixes_prompts else len(BATCH_SIZES)
        most = 1 + len(self._switches()) + bool(lossy.wanted) + batches  # the first is plain
        for trial in self.trials():
            yield Tried(trial, most)
        yield Tuned(self.speed, self.batch_size)

    def trials(self) -> Iterator[Trial]:
        """Yield each trial when it is done; at the end `speed` and `batch_size` are the fastest.

        Raises:
            RenderError: the plain pipeline can't render the sample.
        """
        yield self._try_plain()
        for name, value in self._switches():
            if name == "compile":
                yield self._try_compiled(value)
            else:
                yield self._try_speed(_in_words(name), {**self.speed, name: value})
        if self.source.lossy.wanted:
            yield self._try_lossy()
        if not self.source.lossy.mixes_prompts:
            yield from self._try_batches()
        # The profile's own switches are not findings.
        self.speed = {k: v for k, v in self.speed.items() if k not in self.source.speed}

    def _switches(self) -> list[tuple[str, bool | str]]:
        """Return the switches to try: those that the profile does not set to another value."""
        given, placement = dict(self.source.speed), self.loaded.placement
        if self.source.lossy.wanted or placement not in ("cpu", "cuda"):
            given["compile"] = "off"  # they exclude each other
        found = fast.worth_a_try("cpu" if placement == "cpu" else "cuda")
        return [(name, value) for name, value in found if given.get(name, value) == value]

    def _prompts(self, count: int) -> tuple[Prompt, ...]:
        return tuple(dataclasses.replace(self.sample, seed=seed) for seed in range(count))

    def _with(self, speed: dict[str, bool | str], lossy: Lossy = NOTHING) -> LoadedPipeline:
        """Return the pipeline with these optimizations in place of those of the last trial."""
        self.loaded.fast_path.let_go_of_forms()
        self._untouched.restore()
        measure.empty_cache()
        source = dataclasses.replace(self.source, speed=speed, lossy=lossy)
        self.loaded = pipeline.optimized(self.loaded, source)
        return self.loaded

    def _try_plain(self) -> Trial:
        self._untouched = fast.Untouched(self.loaded.pipe)
        loaded = self._with(self.speed)
        alone = [self._render(loaded, (prompt,))[0] for prompt in self._prompts(COMPARED)]
        self._expected = tuple(frames for one in alone for frames in one)
        self._plain_seconds = self._seconds = self._measure(loaded, self._prompts(1))
        return Trial("plain", True, "", self._seconds, 1.0)

    def _measure(self, loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> float:
        """Return the seconds per prompt of a batch."""
        return min(self._render(loaded, prompts)[1] for _ in range(self.rounds)) / len(prompts)

    def _render(
        self, loaded: LoadedPipeline, prompts: tuple[Prompt, ...]
    ) -> tuple[tuple[Frames, ...], float]:
        """Return the frames of a batch, and the seconds that it took."""
        began = time.monotonic()
        frames = rendering.render(loaded, prompts, lambda _step: self.on_step())
        return frames, time.monotonic() - began

    def _try_speed(self, what: str, speed: dict[str, bool | str]) -> Trial:
        loaded = self._with(speed)
        taken: dict[str, bool | str] = dataclasses.asdict(loaded.fast_path.options)
        if taken == self.speed:
            return Trial(what, False, NOT_HERE)
        trial, _frames = self._measured(what, loaded, 1)
        if trial.seconds is not None and loaded.fast_path.used != loaded.fast_path.taken:
            return Trial(what, False, CAME_TO_NOTHING)
        if trial.taken and trial.seconds is not None:
            self.speed, self._seconds = taken, trial.seconds
        return trial

    def _try_compiled(self, how: bool | str) -> Trial:
        """Compile first in another process, which may crash; it fills the cache for this one."""
        what, speed = f"compile {how}", {**self.speed, "compile": how}
        source = dataclasses.replace(self.source, speed=speed, lossy=NOTHING)
        placements.keep_in_host_memory(self.loaded)  # the other process needs the device
        measure.empty_cache()
        apart = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(1, mp_context=apart) as process:
                seconds = process.submit(_compile, source, self._prompts(1)).result()
        except (ReeldropError, RuntimeError, OSError) as error:
            return _failed(what, error)
        return dataclasses.replace(self._try_speed(what, speed), compiler_seconds=seconds)

    def _try_lossy(self) -> Trial:
        """Measure the profile's lossy optimizations; later trials use and are compared to them."""
        loaded = self._with(self.speed, self.source.lossy)
        what = _in_words(" and ".join(loaded.fast_path.lossy))
        if not what:
            return Trial("lossy", False, NOT_HERE)
        trial, frames = self._measured(what, loaded, 1)
        if trial.seconds is not None:
            slower = "" if trial.seconds < self._seconds else ", although it is slower"
            why = f"taken: the profile asks for it{slower}"
            self._seconds, self._expected = trial.seconds, frames
            trial = dataclasses.replace(trial, taken=True, why=why)
        return trial

    def _try_batches(self) -> Iterator[Trial]:
        loaded = self._with(self.speed, self.source.lossy)
        for size in BATCH_SIZES:
            if size > measure.how_many_fit(loaded, self._prompts(size // 2)):
                break
            trial, _frames = self._measured(f"{size} at once", loaded, size)
            yield trial
            if not trial.taken or trial.seconds is None:
                break
            self.batch_size, self._seconds = size, trial.seconds

    def _measured(
        self, what: str, loaded: LoadedPipeline, size: int
    ) -> tuple[Trial, tuple[Frames, ...]]:
        """Return the trial of a pipeline with `size` prompts at once, and its frames."""
        prompts = self._prompts(max(size, COMPARED))
        parts = [prompts[first : first + size] for first in range(0, len(prompts), size)]
        try:
            if loaded.fast_path.forms:
                self._render(loaded, parts[0])
                compiled.wait_for_compiler()
            frames = tuple(one for part in parts for one in self._render(loaded, part)[0])
            seconds = self._measure(loaded, parts[0])
        except (RenderError, RuntimeError) as error:  # e.g. out of memory
            return _failed(what, error), ()
        pairs = list(zip(frames, self._expected, strict=False))
        near = min(psnr_db(ours, expected) for ours, expected in pairs)
        trial = judged(what, seconds, near, self._plain_seconds, self._seconds)
        like = min(ssim(ours, expected) for ours, expected in pairs)
        return dataclasses.replace(trial, ssim=like), frames


def _compile(source: ModelSource, prompts: tuple[Prompt, ...]) -> float:
    """Compile a pipeline in this process and return the compiler's seconds.

    Nothing is logged: the calling process compiles the same again, and logs it.
    """
    log.configure(io.StringIO(), for_people=True)
    loaded = pipeline.load(source)
    rendering.render(loaded, prompts, lambda _step: None)
    compiled.wait_for_compiler()
    return loaded.fast_path.compiler_seconds


def _failed(what: str, error: Exception) -> Trial:
    return Trial(what, False, f"it fails: {' '.join(str(error).split())}")


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def judged(what: str, seconds: float, near: float, plain: float, best: float) -> Trial:
    """Return a trial; it is taken if its frames are like the plain ones and it is faster.

    seconds, plain, best: the times of this one, the plain pipeline, and the best one so far
    near: the PSNR to the plain frames, in dB
    """
    why = ""
    if near < LEAST_PSNR_DB:
        why = f"its frames differ too much (less than {LEAST_PSNR_DB:g} dB)"
    elif best / seconds < LEAST_GAIN:
        why = NOT_FASTER
    known = None if math.isinf(near) else near
    return Trial(what, not why, why, seconds, plain / seconds, known)
