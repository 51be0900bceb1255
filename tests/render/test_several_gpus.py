"""One video on several GPUs: processes that each have a part of the tokens. Here on the CPU."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import lora_maker, models, picture_models
from harness.models import TINY, save
from harness.picture_models import TINY_WITH_PICTURES
from harness.processes import DEADLINE_SECONDS, await_that, start, start_with_files
from harness.tiny_renderer import Model, like
from harness.zygote import Zygote
from reeldrop.base.errors import ConfigError, RenderCancelled, RendererDied, Unavailable
from reeldrop.base.events import BatchFailed, BatchRendered, Event, RendererEnded
from reeldrop.base.job import Batch, Member
from reeldrop.config import profiles
from reeldrop.render import pipeline, ranks, rendering, split
from reeldrop.render.source import LoraSource, ModelSource
from torch import nn

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def forks(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Let the processes that render with this one be forks, which need not import torch.

    Their zygote is there before: it would inherit the signals that are blocked at their start.
    """
    known = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
    monkeypatch.setattr(ranks, "subprocess", types.SimpleNamespace(Popen=start_with_files, **known))


@contextlib.contextmanager
def tokens() -> Iterator[list[int]]:
    """Collect how many tokens this process has of a video, in each layer after attention."""
    seen: list[int] = []

    def note(module: nn.Module, arguments: tuple[object, ...]) -> None:
        if type(module).__name__ == "FeedForward" and isinstance(arguments[0], torch.Tensor):
            seen.append(arguments[0].shape[1])

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    yield seen
    hook.remove()


def other(model: Model) -> subprocess.Popen[bytes]:
    """Return the process that renders with this one."""
    loaded = model.renderer._residents.ready(model.rules.name)
    assert loaded is not None
    assert loaded.ranks is not None
    [process] = loaded.ranks._processes
    return process


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize("name", ["Wan 2.1", "Wan 2.2 A14B"])
def test_two_processes_render_what_one_does(name: str, tmp_path: Path) -> None:
    """Each has the half of the tokens. A stop at a step, and an error, keep both in step."""
    folder = save(name, tmp_path / "m")
    alone = Model(name, TINY[name], folder)
    with tokens() as of_one:
        expected = alone.render(alone.prompt(), alone.prompt("a cow", 2)).frames
    alone.renderer.close()
    both = Model(name, TINY[name], folder, gpus=2)
    with tokens() as of_two:
        done = both.render(both.prompt(), both.prompt("a cow", 2))
    assert [count // 2 for count in of_one] == of_two
    assert all(map(like, expected, done.frames))
    assert "2 x cpu" == done.rendered[0].device
    steps = both.prompt(num_inference_steps=5)
    stopped = both.answer(steps, cancel_at=2)
    assert isinstance(stopped, BatchFailed)
    assert isinstance(stopped.error, RenderCancelled)
    assert [1, 2] == both.steps
    odd = dataclasses.replace(steps, arguments=(*steps.arguments, ("height", 33)))
    assert isinstance(both.answer(odd), BatchFailed)
    assert like(expected[0], both.render(both.prompt()).frames[0])
    process = other(both)
    both.renderer.close()
    assert 0 == process.poll()


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    ("name", "of"), [("Wan 2.2 5B", models), ("Wan 2.1 first and last", picture_models)]
)
def test_other_forms_of_the_transformer_can_be_split(name: str, of: Any, tmp_path: Path) -> None:
    """With a level of noise for each token, and with pictures that attention reads."""
    folder, found = of.save(name, tmp_path / "m"), []
    tiny = {**TINY_WITH_PICTURES, **TINY}[name]
    for gpus in (1, 2):
        model = Model(name, tiny, folder, gpus=gpus)
        shown = profiles.sample_pictures(model.rules.capabilities)
        found.append(model.render(model.prompt(pictures=shown)).frames[0])
        model.renderer.close()
    assert like(*found)


@pytest.mark.usefixtures("forks")
def test_windows_and_loras_are_the_same_in_all_processes(tmp_path: Path) -> None:
    """What a profile and a prompt add to the model is not left out in one of them."""
    folder = save("Wan 2.1", tmp_path / "m")
    plain = pipeline.load(ModelSource("m", str(folder))).pipe
    layers = lora_maker.tensors(plain.transformer, r".*\.to_q", seed=1)
    file = lora_maker.save(type(plain), tmp_path, layers, "q")
    settings = {"window": 9, "loras": (LoraSource("q", str(file)),)}
    found = []
    for gpus in (1, 2):
        model = Model("Wan 2.1", TINY["Wan 2.1"], folder, gpus=gpus, **settings)
        asked = dataclasses.replace(model.prompt(num_frames=17), loras=(("q", 4.0),))
        asked = dataclasses.replace(asked, windows=model.rules.capabilities.windows)
        found.append(model.render(asked).frames[0])
        model.renderer.close()
    assert like(*found)


@pytest.mark.usefixtures("forks")
def test_the_loss_of_a_process_is_the_loss_of_the_renderer(tmp_path: Path) -> None:
    """Killed in the middle of a render: nothing waits for it, and the loss is told once."""
    model = Model("Wan 2.1", TINY["Wan 2.1"], save("Wan 2.1", tmp_path / "m"), gpus=2)
    batch = Batch((Member("job", model.prompt(num_inference_steps=900)),))
    model.renderer.render(batch)
    await_that(lambda: len(model.steps) > 1, "the second step")
    other(model).kill()
    ended = model.events.get(timeout=DEADLINE_SECONDS)
    assert isinstance(ended, RendererEnded)
    assert "the process of rank 1 has ended (signal 9)" in str(ended.error)
    model.renderer.close()
    assert model.events.empty()
    split.part()  # else the end of the process would do it


@pytest.mark.usefixtures("forks")
def test_an_error_of_rank_0_alone_costs_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step, between two, or after the last: the others end that render, too.

    When the model leaves the device, they end, and keep nothing in host memory.
    """
    model = Model("Wan 2.1", TINY["Wan 2.1"], save("Wan 2.1", tmp_path / "m"), gpus=2)
    process, residents = other(model), model.renderer._residents
    loaded = residents.ready(model.rules.name)
    assert loaded is not None
    pipe = loaded.pipe

    def failing(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("here alone")

    for place, name in ((rendering, "texts"), (pipe.scheduler, "step"), (pipe.vae, "decode")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, failing)
            failed = model.answer(model.prompt())
        assert isinstance(failed, BatchFailed)
        assert "here alone" in str(failed.error)
    frames = model.render(model.prompt()).frames[0]
    assert process is other(model)
    residents.release(model.rules.name, keeps=True)
    assert 0 == process.poll()
    assert () == residents.memory().residents
    assert like(frames, model.render(model.prompt()).frames[0])
    model.renderer.close()


_FAILING = """
import os
from pathlib import Path
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from reeldrop.render import rank, rendering
def fail(where, name, word):
    real = getattr(where, name)
    def act(*arguments, **named):
        wanted = Path(os.environ["FAILS_IN"]).read_text()
        if wanted == word:
            raise AttributeError("here alone")
        answer = real(*arguments, **named)
        if wanted == "end of " + word:
            raise AttributeError("here alone")
        return answer
    setattr(where, name, act)
fail(rendering, "texts", "texts")
fail(UniPCMultistepScheduler, "step", "step")
fail(WanTransformer3DModel, "forward", "denoiser")
rank.main()
"""


class Failing:
    """A model in two processes, either of which can be told to fail.

    fails_in: a file with the place where the other process fails: texts, step, denoiser, end of it
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails_in = folder / "fails in"
        self.fails_in.touch()
        monkeypatch.setenv("FAILS_IN", str(self.fails_in))
        monkeypatch.setattr(ranks, "COMMAND", (sys.executable, "-P", "-c", _FAILING))
        # Long enough for two processes that fail alike; and nothing waits for the longer one.
        monkeypatch.setattr(ranks, "ALONE_SECONDS", 2.0)
        monkeypatch.setattr(ranks, "ANSWER_SECONDS", 10 * DEADLINE_SECONDS)
        self.model = Model("Wan 2.1", TINY["Wan 2.1"], save("Wan 2.1", folder / "m"), gpus=2)
        self._patch = monkeypatch
        loaded = self.model.renderer._residents.ready("Wan 2.1")
        assert loaded is not None
        self._denoiser, self.scheduler = loaded.pipe.transformer, loaded.pipe.scheduler

    def answer(self, place: str, *, also_here: bool = False) -> Event:
        """Render a prompt while the other process fails in a place; return the answer."""
        self.fails_in.write_text(place)

        def failing(*_arguments: object, **_named: object) -> None:
            raise AttributeError("here, too")

        with self._patch.context() as patch:
            if also_here:
                patch.setattr(self._denoiser, "forward", failing)
            self.model.renderer.render(Batch((Member("job", self.model.prompt()),)))
            return self.model.events.get(timeout=DEADLINE_SECONDS)


@pytest.fixture
def failing(
    forks: None,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Failing]:
    """A model whose processes fail on request."""
    made = Failing(tmp_path, monkeypatch)
    yield made
    made.model.renderer.close()
    split.part()  # of one that is lost; else the end of the process would do it


def test_an_error_of_another_process_outside_the_denoiser_costs_no_process(
    failing: Failing,
) -> None:
    """Nor one in the denoiser that all of them meet: the prompt fails with it, and they go on."""
    process = other(failing.model)
    for place, also_here, words in (
        ("texts", False, "rank 1: AttributeError: here alone"),
        ("step", False, "rank 1: AttributeError: here alone"),
        ("denoiser", True, "AttributeError: here, too"),
    ):
        failed = failing.answer(place, also_here=also_here)
        assert isinstance(failed, BatchFailed)
        assert words in str(failed.error)
        assert isinstance(failing.answer("nowhere"), BatchRendered)
    assert process is other(failing.model)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("denoiser", "rank 1 failed alone: AttributeError: here alone"),
        ("nowhere", "not all processes answer in time, after AttributeError: here, too"),
    ],
)
def test_who_fails_in_the_denoiser_alone_is_told_soon(
    place: str, words: str, failing: Failing
) -> None:
    """The others would wait in it for ever: the renderer is lost, with that error as the reason."""
    process = other(failing.model)
    ended = failing.answer(place, also_here=place == "nowhere")
    assert isinstance(ended, RendererEnded)
    assert words in str(ended.error)
    failing.model.renderer.close()
    assert failing.model.events.empty()
    assert -signal.SIGKILL == process.wait(DEADLINE_SECONDS)


class Device:
    """The GPU of rank 0, as far as it is asked what it has done: each call takes it so long.

    is_free: it does nothing any more
    """

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_free = threading.Event()
        self._seconds = seconds
        self._end = 0.0
        monkeypatch.setattr(split, "mark", self.mark)
        monkeypatch.setattr(split, "settle", self.settle)

    def mark(self) -> Callable[[], bool]:
        end = self._end = time.monotonic() + self._seconds
        return lambda: self.is_free.is_set() or time.monotonic() >= end

    def settle(self) -> None:
        self.is_free.wait(max(0, self._end - time.monotonic()))


def test_a_device_that_waits_for_who_failed_is_told_after_the_call_of_its_process(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of rank 0 only gives it the call, goes on, and hears of the failure then."""
    process, device = other(failing.model), Device(threading.TIMEOUT_MAX, monkeypatch)
    try:
        ended = failing.answer("end of denoiser")
    finally:
        device.is_free.set()
    assert isinstance(ended, RendererEnded)
    assert "rank 1 failed alone: AttributeError: here alone" in str(ended.error)
    assert -signal.SIGKILL == process.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize("waits_in_step", [False, True])
def test_a_slow_device_costs_no_process(
    waits_in_step: bool, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that needs longer for a call than who fails in it is waited for: that one did not."""
    process = other(failing.model)
    monkeypatch.setattr(ranks, "ALONE_SECONDS", 0.1)
    device = Device(10 * ranks.ALONE_SECONDS, monkeypatch)
    if waits_in_step:
        scheduler = failing.scheduler
        step = scheduler.step

        def waiting_step(*arguments: object, **named: object) -> object:
            device.settle()  # as reading a value from it does
            return step(*arguments, **named)

        monkeypatch.setattr(scheduler, "step", waiting_step)
    failed = failing.answer("step")
    assert isinstance(failed, BatchFailed)
    assert "rank 1: AttributeError: here alone" in str(failed.error)
    assert isinstance(failing.answer("nowhere"), BatchRendered)
    assert process is other(failing.model)


def test_a_process_gets_no_signal_for_all_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a service or a terminal, also while it still imports torch: rank 0 decides.

    And the end waits only a while for what can't be left.
    """
    source = ModelSource("m", "/nowhere", gpus=2)
    others = ranks.Ranks(source, lambda _error: None)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    others._start(ranks.Seat(1, "/nowhere", source))
    assert before == signal.pthread_sigmask(signal.SIG_BLOCK, ())
    [process] = others._processes
    assert process.pid == os.getpgid(process.pid)
    [blocked] = re.findall(r"SigBlk:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    for number in (signal.SIGINT, signal.SIGTERM):
        assert int(blocked, 16) & 1 << (number - 1)
    is_released = threading.Event()
    monkeypatch.setattr(split, "part", is_released.wait)
    monkeypatch.setattr(split, "has_met", lambda: True)
    monkeypatch.setattr(ranks, "_CLOSE_SECONDS", 0.01)
    with pytest.raises(RendererDied):
        others.close()
    is_released.set()
    assert -signal.SIGKILL == process.poll()


_RANK_0 = """
import os, runpy, sys
from reeldrop.render import ranks
from reeldrop.render.residents import Residents
from reeldrop.render.source import ModelSource

class Fork:
    def __init__(self, command, pass_fds, env, **_):
        self.pid = os.fork()
        if self.pid:
            return
        for fd in {*range(3, 1 << 12)} - {*pass_fds}:
            try: os.close(fd)
            except OSError: pass
        os.environ.update(env)
        sys.argv[1:] = command[-1:]
        runpy.run_module("reeldrop.render.rank", run_name="__main__")

ranks.subprocess.Popen = Fork
loaded = Residents({"m": ModelSource("m", sys.argv[1], gpus=2)}).make_ready("m")
print(*(process.pid for process in loaded.ranks._processes), flush=True)
sys.stdin.read()
"""
"""Its other process is a fork, which need not import torch; it, too, has no other files open."""


def test_no_process_outlives_the_one_that_decides(tmp_path: Path) -> None:
    """Whatever ends that, the kernel closes its end of the pipe."""
    script = tmp_path / "rank_0.py"
    script.write_text(_RANK_0)
    command = [sys.executable, str(script), str(save("Wan 2.1", tmp_path / "m"))]
    stdin, stdout = os.pipe(), os.pipe()
    deciding = start(command, stdin=stdin[0], stdout=stdout[1])
    os.close(stdout[1])
    with open(stdout[0]) as lines:
        other = os.pidfd_open(next(int(line) for line in lines if line.strip().isdigit()))
        deciding.kill()
    deciding.wait()
    for one in stdin:
        os.close(one)
    assert [other] == select.select([other], [], [], DEADLINE_SECONDS)[0]
    os.close(other)


@pytest.mark.parametrize(
    ("name", "gpus", "problem"),
    [
        ("LTX", 2, "LTXVideoTransformer3DModel can't be split over 2 GPUs"),
        ("Latte", 2, "LatteTransformer3DModel can't be split over 2 GPUs"),
        ("Wan 2.1", 3, "2 heads of attention can't be shared equally by 3 GPUs"),
    ],
)
def test_what_cannot_be_split_is_refused_at_load(
    name: str, gpus: int, problem: str, tmp_path: Path
) -> None:
    """With the class, the key and what to do; no process is started for it."""
    source = ModelSource("m", str(save(name, tmp_path / "m")), gpus=gpus)
    with pytest.raises(ConfigError) as caught:
        pipeline.load(source, join=lambda _folder: pytest.fail("it joins others"))
    [mistake] = caught.value.mistakes
    assert problem in mistake.problem
    assert "models.m.gpus" == mistake.key
    assert mistake.remedy


def test_each_process_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of its rank, of those that the first process sees."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert {"CUDA_VISIBLE_DEVICES": "1"} == split.device_of(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert {"CUDA_VISIBLE_DEVICES": "GPU-5"} == split.device_of(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert {} == split.device_of(1)


def test_fewer_gpus_than_asked_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts wait: another renderer may have as many."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(Unavailable, match="needs 2 GPUs, and this renderer has 1"):
        split.require_gpus(ModelSource("m", "/m", gpus=2))
