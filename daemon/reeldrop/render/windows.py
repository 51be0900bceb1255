"""Render videos that are longer than their model can make: the denoiser sees windows of them.

At each step, the denoiser is called for each of several overlapping windows, and its predictions
are blended where the windows overlap. Scheduler, guidance and callbacks see only the whole video.
The method is that of MultiDiffusion (Bar-Tal and others, 2023, arXiv:2302.08113) along time, as in
Gen-L-Video (Wang and others, 2023, arXiv:2305.18264). All windows start from the same noise in a
different order, as in FreeNoise (Qiu and others, 2023, arXiv:2310.15169), so that they show the
same scene.

The device holds the activations of one window at a time, and the latents of the whole video, which
are small: 40 MB for 400 frames of 832x480 with Wan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.windows import LEAST, MOST, Windows
from reeldrop.render.classes import KINDS, kind_of
from reeldrop.speed.denoisers import NAMES

if TYPE_CHECKING:
    from reeldrop.base.job import Capabilities, Prompt
    from reeldrop.render.source import ModelSource

TIME = 2
"""The dimension of frames in the latents, (videos, channels, frames, height, width)."""


def check_class(kind: type, source: ModelSource) -> None:
    """Check that a class of pipelines can render in windows, if the profile asks for it.

    Raises:
        ConfigError: it can't.
    """
    if source.window is None or kind_of(kind).windows is not None:
        return
    problem = f"{kind.__name__} does not support windows"
    able = " and ".join(name for name, known in KINDS.items() if known.windows is not None)
    remedy = f"leave window and overlap out; they are for {able}"
    raise ConfigError(Mistake(problem, remedy, key=f"{source.key}.window"))


def with_windows(capabilities: Capabilities, pipe: Any, source: ModelSource) -> Capabilities:
    """Return the capabilities with the windows of the profile, if it has any.

    Raises:
        ConfigError: the class does not support windows, or not these.
    """
    check_class(type(pipe), source)
    known, key = kind_of(type(pipe)).windows, f"{source.key}.window"
    if source.window is None or known is None:
        return capabilities
    frames = known.frames if source.window == "auto" else int(source.window)
    grid = capabilities.grid("num_frames")
    if not grid.has(frames):
        problem = f"{type(pipe).__name__} makes {grid} frames, not {frames}"
        near = dataclasses.replace(grid, least=LEAST, most=MOST).near(frames)
        raise ConfigError(Mistake(problem, f"use {_any(near)}", key=key))
    ratio = capabilities.frames_multiple
    half = max(ratio, frames // 2 // ratio * ratio)
    overlap = half if source.overlap is None else source.overlap
    if overlap % ratio or not 0 < overlap < frames:
        problem = f"an overlap of {overlap} does not fit a window of {frames} frames"
        multiple = f"a multiple of {ratio}, " if ratio > 1 else ""
        remedy = f"use {multiple}less than {frames}"
        raise ConfigError(Mistake(problem, remedy, key=f"{source.key}.overlap"))
    return dataclasses.replace(capabilities, windows=Windows(frames, overlap, ratio))


def _any(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def are_guided_apart(pipe: Any) -> bool:
    """Return whether a guided pipeline goes over the windows twice in a step."""
    known = kind_of(type(pipe)).windows
    return known is not None and known.guided_apart


@contextlib.contextmanager
def cut(
    pipe: Any, windows: Windows, prompts: Sequence[Prompt], tell: Callable[[], None]
) -> Iterator[None]:
    """Let the denoisers see windows of the videos while the pipeline is called.

    Changes nothing for videos that fit into one window. `tell` is called after each window.
    """
    frames, known = prompts[0].argument("num_frames"), kind_of(type(pipe)).windows
    if known is None or not isinstance(frames, int) or windows.count(frames) == 1:
        yield
        return
    of_latents = windows.of_latents
    own = {name: vars(pipe)[name] for name in NAMES if vars(pipe).get(name) is not None}
    prepare, seeds = pipe.prepare_latents, [prompt.seed for prompt in prompts]

    def prepare_latents(*arguments: Any, **named: Any) -> torch.Tensor:
        return shared_noise(prepare(*arguments, **named), of_latents, seeds)

    stand_ins = {
        name: _StandIn(denoiser, known.argument, of_latents, tell) for name, denoiser in own.items()
    }
    vars(pipe).update(stand_ins, prepare_latents=prepare_latents)
    try:
        yield
    finally:
        vars(pipe).update(own)
        del pipe.prepare_latents


def shared_noise(noise: torch.Tensor, windows: Windows, seeds: Sequence[int]) -> torch.Tensor:
    """Return noise in which each window has the frames of the first window, in another order.

    noise: (videos, channels, frames, height, width)
    seeds: of the videos; they decide the order
    """
    step = windows.frames - windows.overlap
    shared = noise.clone()
    for video, seed in zip(shared, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        for start in range(windows.frames, noise.shape[TIME], step):
            count = min(step, noise.shape[TIME] - start)
            order = torch.randperm(count, generator=generator) + start - windows.frames
            video[:, start : start + count] = video[:, order]
    return shared


def blending(windows: Windows, frames: int) -> list[torch.Tensor]:
    """Return the weight of each window in each of its frames; those of a frame add up to one.

    Weights rise along the overlap with the window before, and fall along that with the next.
    """
    starts = windows.starts(frames)
    shares = torch.zeros(len(starts), frames)
    for number, start in enumerate(starts):
        share = torch.ones(windows.frames)
        if number:
            own = starts[number - 1] + windows.frames - start
            share[:own] = torch.minimum(share[:own], torch.arange(1, own + 1) / (own + 1))
        if number + 1 < len(starts):
            own = start + windows.frames - starts[number + 1]
            share[-own:] = torch.minimum(share[-own:], torch.arange(own, 0, -1) / (own + 1))
        shares[number, start : start + windows.frames] = share
    shares /= shares.sum(0)
    return [shares[number, start : start + windows.frames] for number, start in enumerate(starts)]


class _StandIn:
    """Replaces a denoiser in the pipeline, and calls it for each window.

    It does not wrap the denoiser's `forward`, so hooks, compiled forms and LoRAs of the denoiser
    see windows like any other videos.
    """

    def __init__(
        self, denoiser: Any, argument: str, windows: Windows, tell: Callable[[], None]
    ) -> None:
        self._own = denoiser
        self._argument = argument
        self._windows = windows
        self._tell = tell
        self._names = tuple(inspect.signature(type(denoiser).forward).parameters)[1:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, *arguments: Any, **named: Any) -> tuple[torch.Tensor]:
        given = {**dict(zip(self._names, arguments, strict=False)), **named}
        latents = given[self._argument]
        frames = latents.shape[TIME]
        blended = torch.zeros_like(latents, dtype=torch.float32)
        shares = blending(self._windows, frames)
        for start, share in zip(self._windows.starts(frames), shares, strict=True):
            part = slice(start, start + self._windows.frames)
            predicted = self._own(**{**given, **self._of_window(given, frames, part)})[0]
            blended[:, :, part] += predicted * share.to(predicted.device)[:, None, None]
            self._tell()
        return (blended.to(predicted.dtype),)

    def _of_window(self, given: Mapping[str, Any], frames: int, part: slice) -> dict[str, Any]:
        """Return the arguments that differ between windows."""
        found = {self._argument: given[self._argument][:, :, part]}
        timestep: torch.Tensor = given["timestep"]
        if timestep.dim() == 2:  # one for each token, as in Wan 2.2 with 5 billion parameters
            of_frames = timestep.reshape(len(timestep), frames, -1)
            found["timestep"] = of_frames[:, part].flatten(1)
        return found
