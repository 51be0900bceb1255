"""`reeldrop` with a pipeline that breaks on certain prompts; everything else is real.

A prompt with the word `segfault` crashes the process in C code; one with `hang` never returns. The
page in the results, if there is one, is updated without pauses. The first argument may cause
another fault:

- `--read-only-inbox`: no .txt file can be renamed.
- `--clock=FILE`: the wall clock is wrong by the number of days in the file.
- `--hang-loading=PATH`: the model of that folder does not finish loading while PATH.hangs exists.
- `--memory=BYTES`: this much host memory is available for models.
- `--hang-compiling=FILE`: the compiler creates the file and hangs, as if its cache had the code,
  and the warm-up would wait for it for an hour.
- `--hang-encoding`: no video is ever encoded, two jobs may be open, and steps are slow.
- `--hang-sheets`: the sheets of prompt files with `hang` in their names are never made.
- `--hang-once=FILE`: the main thread creates the file and hangs at the first step for a prompt
  file, unless the file exists.
- `--hold=FILE`: while the file exists, the render of a prompt that contains the file's text stays
  in its step.
- `--several=FILE`: the same as `--hold`, with two renderers.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
import threading
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from reeldrop.host import process

process.quiet_torchao()  # what is logged is read line by line

import diffusers
import torch
from reeldrop.base.events import FromRenderer, ModelLoaded, RendererJoined
from reeldrop.base.fleet import Device
from reeldrop.base.job import Batch
from reeldrop.base.residents import Memory
from reeldrop.commands import cli
from reeldrop.page.page import Page
from reeldrop.render import fleet
from reeldrop.render.fitting import Fitting
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.residents import Residents
from reeldrop.schedule import schedule
from reeldrop.service import report, workbench
from reeldrop.speed import fast
from reeldrop.speed.compiled import Forms
from reeldrop.store import attempts, job_files, reports, sidecars
from reeldrop.video import encoder
from reeldrop.video.assembling import Assembler

PIPELINE = diffusers.TextToVideoSDPipeline


def _break(prompts: list[str]) -> None:
    text = " ".join(prompts)
    if "segfault" in text:
        ctypes.string_at(0)
    if "hang" in text:
        threading.Event().wait()


def _breaking(encode: Any) -> Any:
    @functools.wraps(encode)  # reeldrop reads from the signature whether it may cache texts
    def wrapper(self: Any, prompt: list[str] | None, *rest: Any, **arguments: Any) -> Any:
        _break(prompt or [])
        return encode(self, prompt, *rest, **arguments)

    return wrapper


def _stuck(rename: Any) -> Any:
    def wrapper(source: Any, target: Any) -> None:
        if str(source).endswith(".txt"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(source))
        rename(source, target)

    return wrapper


class _Jumping(datetime):
    """A wrong wall clock. As on a real machine, the clock for durations is not affected."""

    file: Path

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=int(cls.file.read_text()))


def _jump(file: Path) -> None:
    _Jumping.file = file
    for module in (attempts, job_files, report, reports, sidecars):
        module.datetime = _Jumping  # type: ignore[attr-defined]
    real = time.time
    time.time = lambda: real() + 86_400 * int(file.read_text())


def _hang_loading(folder: str) -> None:
    load, sign = diffusers.DiffusionPipeline.from_pretrained, Path(f"{folder}.hangs")

    def hanging(location: str, **arguments: Any) -> Any:
        while location == folder and sign.exists():
            torch.ones(1 << 10).sin()  # as a load, which calls torch all the time
            time.sleep(0.01)
        return load(location, **arguments)

    diffusers.DiffusionPipeline.from_pretrained = hanging


def _limit_memory(limit: int) -> None:
    measured = Residents.memory

    def limited(residents: Residents) -> Memory:
        found = measured(residents).residents
        return Memory(found, None, limit - sum(resident.host_bytes for resident in found))

    Residents.memory = limited  # type: ignore[method-assign]


def _hang_encoding() -> None:
    encoder.encode = lambda *_: threading.Event().wait()
    schedule.MAX_OPEN_JOBS = 2
    step_done = Fitting._step_done

    def slow(fitting: Fitting, batch: Batch, *counts: int) -> None:
        time.sleep(0.1)  # rendering goes on, and takes little of the processor
        step_done(fitting, batch, *counts)

    Fitting._step_done = slow  # type: ignore[method-assign]


def _hang_compiling(sign: Path) -> None:
    def hanging(*_: Any) -> None:
        sign.touch()
        threading.Event().wait()

    Forms._make_ready = hanging  # type: ignore[method-assign]
    Forms._mark = lambda _, _shape: sign.parent  # type: ignore[method-assign]
    fast.READY_SECONDS = 3600.0


def _hang_sheets() -> None:
    make = Assembler._make_all

    def hanging(assembler: Assembler, making: Any, sheets: Any) -> list[str]:
        if "hang" in making.job.source.name:
            threading.Event().wait()
        return make(assembler, making, sheets)

    Assembler._make_all = hanging  # type: ignore[method-assign]


def _hang_once(sign: Path) -> None:
    step_done = workbench.Workbench.step_done

    def hanging(bench: workbench.Workbench, step: int, now: float) -> None:
        if bench.warm_up is None and not sign.exists():
            sign.touch()
            threading.Event().wait()
        step_done(bench, step, now)

    workbench.Workbench.step_done = hanging  # type: ignore[method-assign]


def _hold(sign: Path) -> None:
    step_done = Fitting._step_done

    def is_held(batch: Batch) -> bool:
        with contextlib.suppress(FileNotFoundError):
            text = sign.read_text()
            return any(text in m.prompt.prompt for m in batch.members if m.job_id)
        return False

    def holding(fitting: Fitting, batch: Batch, *counts: int) -> None:
        if is_held(batch):
            time.sleep(1.0)  # a quick render would be given the next batch as its neighbour now
        step_done(fitting, batch, *counts)
        while is_held(batch):
            time.sleep(0.01)
            fitting._go_on(batch, counts[-1])

    Fitting._step_done = holding  # type: ignore[method-assign]


class _Two:
    """Two renderers of this process. The second one joins when the first has loaded its model."""

    can_lose = True

    def __init__(self, sources: Any, tell: Any) -> None:
        self._tell = tell
        self._renderers = {
            name: InProcessRenderer(sources, functools.partial(self._take, name)) for name in "ab"
        }
        self._has_joined = False

    def _take(self, name: str, event: Any) -> None:
        self._tell(FromRenderer(name, event))
        if isinstance(event, ModelLoaded) and not self._has_joined:
            self._has_joined = True
            self._tell(RendererJoined("b", Device("second cpu", "here")))

    def begin(self) -> list[RendererJoined]:
        return [RendererJoined("a", Device("first cpu", "here"))]

    def renderer(self, name: str) -> InProcessRenderer:
        return self._renderers[name]

    def end(self, name: str, reason: str, _pause: float = 0.0) -> None: ...

    def close(self) -> None: ...


Page.__init__.__defaults__ = (0.2,)  # how often it looks, in seconds

# All texts pass here, whether the pipeline encodes them or reeldrop does for its cache.
PIPELINE.encode_prompt = _breaking(PIPELINE.encode_prompt)

if __name__ == "__main__":
    if sys.argv[1] == "--read-only-inbox":
        del sys.argv[1]
        os.rename = _stuck(os.rename)
    elif sys.argv[1].startswith("--hang-loading="):
        _hang_loading(sys.argv.pop(1).removeprefix("--hang-loading="))
    elif sys.argv[1].startswith("--memory="):
        _limit_memory(int(sys.argv.pop(1).removeprefix("--memory=")))
    elif sys.argv[1] == "--hang-encoding":
        del sys.argv[1]
        _hang_encoding()
    elif sys.argv[1].startswith("--hang-compiling="):
        _hang_compiling(Path(sys.argv.pop(1).removeprefix("--hang-compiling=")))
    elif sys.argv[1] == "--hang-sheets":
        del sys.argv[1]
        _hang_sheets()
    elif sys.argv[1].startswith("--hang-once="):
        _hang_once(Path(sys.argv.pop(1).removeprefix("--hang-once=")))
    elif sys.argv[1].startswith("--hold="):
        _hold(Path(sys.argv.pop(1).removeprefix("--hold=")))
    elif sys.argv[1].startswith("--several="):
        fleet.OwnRenderer = _Two  # type: ignore[misc, assignment]
        _hold(Path(sys.argv.pop(1).removeprefix("--several=")))
    elif sys.argv[1].startswith("--clock="):
        _jump(Path(sys.argv.pop(1).removeprefix("--clock=")))
    cli.main()
