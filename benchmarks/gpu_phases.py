"""The measurements of `on_a_gpu.py`: each phase yields its figures as soon as they are known."""

from __future__ import annotations

import functools
import gc
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compiling
import device
import full_size_model
import full_size_transformers
import numpy as np
import order
import resident
import script_loop
import throughput
import torch
from order import Order
from reeldrop.base.job import Prompt
from reeldrop.render import pipeline, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import channels_last, compiled, fast

if TYPE_CHECKING:
    from reeldrop.base.job import Frames

BATCH_SIZES = (1, 4, 8, 16)
DAEMON_BATCH = 8
LONG_FRAMES = 200
TRANSFORMER_STEPS = 6
KERNELS = 24
"""How many of the kernels that take longest are listed."""

Figure = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What the phases measure with.

    folder: where models, frames and caches are kept between the phases
    asked: the order for the text-to-video model of the script
    """

    folder: Path
    asked: Order

    @property
    def frames(self) -> Path:
        """The file with the script's frames, by seed."""
        return self.folder / "script-frames.npz"


def trial_in(folder: Path) -> Trial:
    """Return the trial of this machine's device."""
    if not torch.cuda.is_available():
        return Trial(folder, order.of_bundled(16))
    return Trial(folder, order.of_folder(folder / "model", 16))


def model(trial: Trial) -> Iterator[Figure]:
    """Make the full-size model of the script, on the device, where that takes seconds."""
    if torch.cuda.is_available():
        with torch.device("cuda"):
            full_size_model.save(trial.asked.folder)
    files = [path for path in trial.asked.folder.rglob("*") if path.is_file()]
    yield {"model_gb": sum(path.stat().st_size for path in files) / 1e9}


def peak(trial: Trial) -> Iterator[Figure]:
    """Measure the device's matrix products, and count the work of a video."""
    yield {"peak_tflops": device.peak_tflops()}
    yield {"video_tflop": device.render_tflop(trial.asked)}


def script(trial: Trial) -> Iterator[Figure]:
    """Time the script's renders without its export, and keep its frames for comparison."""
    asked = replace(trial.asked, videos=4)
    for offloads in (False, True):
        pipe = script_loop.load(asked, offloads=offloads)
        pipe.set_progress_bar_config(disable=True)
        script_loop.render(pipe, *asked.prompts[0], asked.settings)
        frames, seconds = {}, []
        for text, seed in asked.prompts:
            made, took = _timed(script_loop.render, pipe, text, seed, asked.settings)
            frames[str(seed)] = (made * 255).round().astype(np.uint8)
            seconds.append(round(took, 3))
        if not offloads:
            np.savez(trial.frames, **frames)
        yield {"offloads": offloads, "seconds": seconds, "peak_mib": script_loop.peak_memory_mib()}
        del pipe
        _free()


def frames(trial: Trial) -> Iterator[Figure]:
    """Compare frames with the script's, and time renders without the compiler."""
    ways = {"plain": (fast.PLAIN, BATCH_SIZES[:1]), "fast": ({}, BATCH_SIZES)}
    for way, (speed, sizes) in ways.items():
        loaded = compiling.load(trial.asked, speed)
        for size in sizes:
            yield {"way": way, **_of_batch(trial, loaded, size), "used": loaded.fast_path.used}
        del loaded
        _free()


def daemon(trial: Trial) -> Iterator[Figure]:
    """Time a daemon with a full inbox, and the device's idle share."""
    asked = throughput.in_batches(trial.asked, DAEMON_BATCH)
    asked.profile["speed"] = {"compile": "off"}

    def way(folder: Path) -> resident.Run:
        return resident.by_daemon(resident.make_site(folder / "site", asked), asked)

    run, idle = throughput.measured(way, torch.cuda.is_available())
    yield {
        "seconds_per_video": run.seconds / run.videos,
        "idle_share": idle,
        "peak_mib": run.peak_memory_mib,
    }


def kernels(trial: Trial) -> Iterator[Figure]:
    """List the kernels that take longest in two steps and the decoding of a batch."""
    size = DAEMON_BATCH if torch.cuda.is_available() else 1
    prompts = prompts_of(trial.asked, size, num_inference_steps=2)
    for way, speed in (("plain", fast.PLAIN), ("fast", {})):
        loaded = compiling.load(trial.asked, speed)
        milliseconds = _profiled(loaded, prompts)
        total = round(sum(took for _, took, _ in milliseconds), 1)
        yield {"way": way, "total_ms": total, "kernels": milliseconds[:KERNELS]}
        del loaded
        _free()


def layout(trial: Trial) -> Iterator[Figure]:
    """Compare group norms without the compiler: frames, seconds, and what moves between layouts.

    Of "torch's norm", each copies its input and its output, as all did before `channels_last`.
    """
    ways = {
        "plain": (fast.PLAIN, math.inf),
        "torch's norm": ({}, math.inf),
        "by channels": ({}, 0),
        "shipped": ({}, channels_last.LARGE),
    }
    for way, (speed, large) in ways.items():
        channels_last.LARGE = large
        loaded = compiling.load(trial.asked, speed)
        for size in (1, DAEMON_BATCH) if torch.cuda.is_available() else (1,):
            figure = _of_batch(trial, loaded, size)
            found = _profiled(loaded, prompts_of(trial.asked, size, num_inference_steps=2))
            moved = [(took, n) for name, took, n in found if re.search("copy_|nchwTo|nhwcTo", name)]
            yield {
                "way": way,
                **figure,
                "total_ms": round(sum(took for _, took, _ in found), 1),
                "layouts_ms": round(sum(took for took, _ in moved), 1),
                "layouts": sum(count for _, count in moved),
            }
        del loaded
        _free()


def long(trial: Trial) -> Iterator[Figure]:
    """Time a long video, of the renderer and of the script with its offload."""
    given = {"num_frames": LONG_FRAMES if torch.cuda.is_available() else 32}
    loaded = compiling.load(trial.asked, {})
    render(loaded, prompts_of(trial.asked, 1, **given, num_inference_steps=2))
    _, seconds = render(loaded, prompts_of(trial.asked, 1, **given))
    yield {"who": "renderer", "seconds": seconds, "peak_mib": script_loop.peak_memory_mib()}
    del loaded
    _free()
    pipe, settings = script_loop.load(trial.asked), {**trial.asked.settings, **given}
    pipe.set_progress_bar_config(disable=True)
    text, seed = trial.asked.prompts[0]
    script_loop.render(pipe, text, seed, {**settings, "num_inference_steps": 2})
    _, seconds = _timed(script_loop.render, pipe, text, seed, settings)
    yield {"who": "script", "seconds": seconds, "peak_mib": script_loop.peak_memory_mib()}


def compiler(trial: Trial, form: str) -> Iterator[Figure]:
    """Compile the denoiser from nothing or from what is on disk, and time renders with it."""
    os.environ[compiled.CACHE] = str(trial.folder / f"cache-{form}")
    loaded = compiling.load(trial.asked, {"compile": form})
    for size in (1, DAEMON_BATCH) if torch.cuda.is_available() else (1,):
        before = loaded.fast_path.compiler_seconds
        render(loaded, prompts_of(trial.asked, size, num_inference_steps=3))
        compiled.wait_for_compiler()
        took = loaded.fast_path.compiler_seconds - before
        yield {"form": form, "compiler_seconds": took, **_of_batch(trial, loaded, size)}


def transformers(trial: Trial, name: str) -> Iterator[Figure]:
    """Time a transformer of true shape: plain diffusers, then with the compiler."""
    if not torch.cuda.is_available():
        return
    with torch.device("cuda"):
        folder = full_size_transformers.save(name, trial.folder / name)
    asked = {**full_size_transformers.SHAPES[name][1], "num_inference_steps": TRANSFORMER_STEPS}
    prompt = Prompt(1, "a horse", name, tuple(asked.items()), 0, 16, ("mp4",))
    plain = None
    for way, speed in (("plain", fast.PLAIN), ("shipped", {})):
        source = ModelSource(name, str(folder), dtype="bfloat16", placement="cuda", speed=speed)
        loaded = pipeline.load(source)
        render(loaded, (prompt,))
        compiled.wait_for_compiler()
        made, seconds = render(loaded, (prompt,))
        plain = made[0] if plain is None else plain
        yield {
            "model": name,
            "way": way,
            "seconds": seconds,
            "psnr_db": resident.psnr(made[0], plain),
            "compiler_seconds": loaded.fast_path.compiler_seconds,
            "peak_mib": script_loop.peak_memory_mib(),
        }
        del loaded
        _free()


Phase = Callable[[Trial], Iterator[Figure]]
PHASES: dict[str, tuple[Phase, float]] = {
    "model": (model, 60),
    "peak": (peak, 40),
    "script": (script, 70),
    "frames": (frames, 100),
    "daemon": (daemon, 90),
    "kernels": (kernels, 60),
    "layout": (layout, 100),
    "long": (long, 70),
    "wan": (functools.partial(transformers, name="wan2.1-1.3b"), 120),
    "ltx": (functools.partial(transformers, name="ltx-video"), 90),
    "blocks": (functools.partial(compiler, form="blocks"), 120),
    "blocks-again": (functools.partial(compiler, form="blocks"), 60),
    "whole": (functools.partial(compiler, form="whole"), 300),
    "whole-again": (functools.partial(compiler, form="whole"), 60),
}
"""The phases in their order, each with its time limit in seconds."""


def prompts_of(asked: Order, count: int, **changes: int) -> tuple[Prompt, ...]:
    """Return the first prompts of an order; `changes` are to its settings."""
    arguments = tuple({**asked.settings, **changes}.items())
    return tuple(
        Prompt(number, text, "m", arguments, seed, 8, ("mp4",))
        for number, (text, seed) in enumerate(replace(asked, videos=count).prompts, start=1)
    )


def render(loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> tuple[tuple[Frames, ...], float]:
    """Return the frames of a batch, and the seconds that they took."""
    return _timed(rendering.render, loaded, prompts, lambda _step: None)


def _of_batch(trial: Trial, loaded: LoadedPipeline, size: int) -> Figure:
    """Render a batch once more after a short first one, and return what it took."""
    render(loaded, prompts_of(trial.asked, size, num_inference_steps=4))
    made, seconds = render(loaded, prompts_of(trial.asked, size))
    figure = {"batch": size, "seconds_per_video": round(seconds / size, 3)}
    if trial.frames.exists():
        theirs = np.load(trial.frames)
        likeness = [resident.psnr(made[int(seed)], theirs[seed]) for seed in theirs.files[:size]]
        figure["psnr_db"] = round(min(likeness), 1)
    return {**figure, "peak_mib": script_loop.peak_memory_mib()}


def _profiled(loaded: LoadedPipeline, prompts: tuple[Prompt, ...]) -> list[tuple[str, float, int]]:
    """Render, and return each kernel with its milliseconds and its count, the longest first."""
    render(loaded, prompts)
    on_cuda = torch.cuda.is_available()
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA if on_cuda else activity.CPU]) as of:
        render(loaded, prompts)
    name = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    found = sorted(of.key_averages(), key=lambda event: -getattr(event, name))
    return [(e.key[:160], round(getattr(e, name) / 1e3, 1), e.count) for e in found]


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return what a call returns, and the seconds until the device was done with it."""
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    result = work(*arguments)
    if on_cuda:
        torch.cuda.synchronize()
    return result, round(time.monotonic() - began, 3)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
