"""Prompts to frames, with real pipelines at tiny size."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import queue
import resource
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
import torch
from harness.fakes import FAULTY_WORD, save_tiny_pipeline, save_tiny_wan
from harness.processes import DEADLINE_SECONDS
from reeldrop.base.errors import (
    ConfigError,
    RenderCancelled,
    RendererDied,
    RenderError,
    TooLarge,
    Unavailable,
    Unrenderable,
)
from reeldrop.base.events import (
    BatchFailed,
    BatchRendered,
    Event,
    MemoryChanged,
    ModelFailed,
    ModelLoaded,
    ModelsReleased,
    RendererEnded,
    StepDone,
)
from reeldrop.base.job import Batch, Cause, Member, Prompt, Scalar
from reeldrop.render import ahead, fitting, pipeline, renderer, rendering, sound, unread
from reeldrop.render.fleet import OWN, OwnRenderer
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource
from torch import nn
from transformers import CLIPTextModel

SETTINGS: dict[str, Scalar] = {
    "num_frames": 5,
    "height": 32,
    "width": 48,
    "num_inference_steps": 2,
    "guidance_scale": 5.0,
}


def prompt(
    text: str = "a horse", *, seed: int = 1, model: str = "tiny", **changed: Scalar
) -> Prompt:
    """Return a prompt with few and small frames."""
    arguments = tuple({**SETTINGS, **changed}.items())
    return Prompt(1, text, model, arguments, seed, 8, ("mp4",))


@pytest.fixture(scope="module")
def sources(
    tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ModelSource]:
    """Four profiles: one of each kind of pipeline, one that fails, one that can't be loaded.

    All are in float32, so that differences of a grey level are visible.
    """
    folder = tmp_path_factory.mktemp("model")
    return {
        "tiny": ModelSource(
            "tiny",
            str(tiny_pipeline),
            variant="fp16",
            scheduler="DPMSolverMultistepScheduler",
            speed={"mixed_precision": False},
        ),
        "wan": ModelSource("wan", str(save_tiny_wan(folder / "wan"))),
        "faulty": ModelSource("faulty", str(save_tiny_pipeline(folder / "faulty", faulty=True))),
        "missing": ModelSource("missing", str(folder / "nowhere")),
    }


def test_a_helper_that_hangs_keeps_no_renderer_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop or a reload waits a moment for texts and previews, which hold nothing."""
    is_hanging, goes_on = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        is_hanging.set()
        goes_on.wait()

    monkeypatch.setattr(ahead, "encode", hang)
    monkeypatch.setattr(renderer, "CLOSE_SECONDS", 0.1)
    made = renderer.InProcessRenderer({}, lambda _event: None)
    made._coming.put(Batch((Member("job", prompt("a horse", model="nowhere")),)))
    assert is_hanging.wait(DEADLINE_SECONDS)
    made.close()
    goes_on.set()


@pytest.fixture(scope="module", params=["tiny", "wan"])
def loaded(request: pytest.FixtureRequest, sources: dict[str, ModelSource]) -> LoadedPipeline:
    """A pipeline with the older callback, and one with the newer."""
    return pipeline.load(sources[request.param])


def ignore(_step: int) -> None:
    """Ignore a step's number."""


def render(loaded: LoadedPipeline, *prompts: Prompt) -> list[np.ndarray]:
    """Order a batch, and return its answer."""
    return list(rendering.render(loaded, prompts, ignore))


def test_frames_are_what_was_asked_for(loaded: LoadedPipeline) -> None:
    """Every prompt of a batch gets its frames, (frames, height, width, 3) uint8."""
    frames = render(loaded, prompt("a horse", seed=1), prompt("a cow", seed=2))
    assert [((5, 32, 48, 3), np.uint8)] * 2 == [(video.shape, video.dtype) for video in frames]
    assert len({video.tobytes() for video in frames}) == 2


def test_every_step_is_reported_in_order(loaded: LoadedPipeline) -> None:
    """Steps count from 1 to their number."""
    steps: list[int] = []
    rendering.render(loaded, (prompt(num_inference_steps=4),), steps.append)
    assert [1, 2, 3, 4] == steps


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("tiny", "HeunDiscreteScheduler"), ("wan", "FlowMatchHeunDiscreteScheduler")],
)
def test_a_scheduler_that_calls_twice_in_a_step_counts_no_more_steps(
    name: str, scheduler: str, sources: dict[str, ModelSource]
) -> None:
    """Heun's method calls the denoiser seven times in four steps; four are reported."""
    source = dataclasses.replace(sources[name], scheduler=scheduler)
    steps: list[int] = []
    rendering.render(pipeline.load(source), (prompt(num_inference_steps=4),), steps.append)
    assert sorted(steps) == steps
    assert [1, 2, 3, 4] == sorted(set(steps))


def test_the_same_seed_gives_the_same_frames(loaded: LoadedPipeline) -> None:
    """A render depends only on its settings, not on earlier renders."""
    first = render(loaded, prompt(seed=7))
    render(loaded, prompt("something else", seed=8, num_frames=9))
    assert np.array_equal(first, render(loaded, prompt(seed=7)))


def test_another_seed_gives_other_frames(loaded: LoadedPipeline) -> None:
    """The seed decides on the initial noise."""
    assert not np.array_equal(render(loaded, prompt(seed=7)), render(loaded, prompt(seed=8)))


def test_a_batch_gives_each_prompt_what_it_gets_alone(loaded: LoadedPipeline) -> None:
    """Batches differ by rounding only: one grey level at most."""
    prompts = [
        prompt("a horse", seed=3),
        prompt("a cow", seed=4, negative_prompt="grass"),
        prompt("a bird", seed=5),
    ]
    together = np.stack(render(loaded, *prompts)).astype(int)
    alone = np.concatenate([render(loaded, one) for one in prompts]).astype(int)
    assert abs(together - alone).max() <= 1


def test_the_negative_prompt_counts(loaded: LoadedPipeline) -> None:
    """It changes the frames; an empty one is like none."""
    plain = render(loaded, prompt())
    assert np.array_equal(plain, render(loaded, prompt(negative_prompt="")))
    assert not np.array_equal(plain, render(loaded, prompt(negative_prompt="a cow, some grass")))


def test_what_the_step_callback_raises_ends_the_render(loaded: LoadedPipeline) -> None:
    """A render can be ended at each step, and the pipeline can be used again."""
    expected = render(loaded, prompt())
    seen: list[int] = []

    def leave(step: int) -> None:
        seen.append(step)
        if step == 2:
            raise RenderCancelled("enough")

    with pytest.raises(RenderCancelled):
        rendering.render(loaded, (prompt(num_inference_steps=5),), leave)
    assert [1, 2] == seen
    assert np.array_equal(expected, render(loaded, prompt()))


@pytest.mark.parametrize(
    ("value", "grey"),
    [
        (0.0, 0),
        (1.0, 255),
        (0.999, 255),
        (0.501, 128),
        (0.001, 0),
        (0.0021, 1),
        (1.5, 255),
        (-1, 0),
    ],
)
def test_frames_are_rounded_to_the_nearest_grey(value: float, grey: int) -> None:
    """Truncating, as export_to_video does, would darken videos by half a level."""
    frames = rendering.to_uint8(torch.full((2, 3, 4, 6), value))
    assert ((2, 4, 6, 3), {grey}) == (frames.shape, set(frames.ravel().tolist()))


def test_channels_go_last() -> None:
    """Red stays red, and rows stay rows."""
    video = torch.zeros(1, 3, 2, 2)
    video[0, 0, 1, 0] = 1.0  # red, lower left
    assert [[[0, 0, 0], [0, 0, 0]], [[255, 0, 0], [0, 0, 0]]] == rendering.to_uint8(video)[
        0
    ].tolist()


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("a horse", ""),
        ("abcdefghijklmnopqrstuv", ""),
        ("abcdefghijklmnopqrstuvw", "w"),
        ("abcdefghijklmnopqrstuv in the snow", "in the snow"),
    ],
)
def test_text_that_the_model_does_not_read_is_named(
    text: str, ignored: str, loaded: LoadedPipeline
) -> None:
    """24 tokens are read, two of them marks; what comes after is reported.

    The tokenizer says so, or the prompt where the pipeline takes `max_sequence_length`.
    """
    asked = 24 if "max_sequence_length" in loaded.capabilities.settings else None
    assert ignored == unread.ignored_text(loaded.pipe, text, asked)


class Answers:
    """A renderer, and its events."""

    def __init__(self, sources: dict[str, ModelSource]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.renderer = InProcessRenderer(sources, self._take)
        self.steps: list[int] = []
        self.cancel_at = 0
        self.at_step: Callable[[StepDone], object] = lambda _event: None

    def _take(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self.at_step(event)
            self.steps.append(event.step)
            if event.step == self.cancel_at:
                self.renderer.cancel(self.batch)
        elif not isinstance(event, MemoryChanged):
            self.events.put(event)

    def next(self) -> Event:
        """Return the next event that is not a step."""
        return self.events.get(timeout=60)

    def render(self, *prompts: Prompt) -> BatchRendered | BatchFailed:
        """Order a batch and return its end."""
        self.steps.clear()
        self.batch = Batch(tuple(Member("job", prompt) for prompt in prompts))
        self.renderer.render(self.batch)
        event = self.next()
        assert isinstance(event, BatchRendered | BatchFailed)
        return event


@pytest.fixture
def answers(sources: dict[str, ModelSource]) -> Iterator[Answers]:
    """A renderer with the four profiles; none is loaded yet."""
    made = Answers(sources)
    yield made
    made.renderer.close()


def test_a_loaded_model_is_described(answers: Answers) -> None:
    """The answer to `load` has the capabilities of the model."""
    answers.renderer.load("wan")
    event = answers.next()
    assert isinstance(event, ModelLoaded)
    assert ("wan", 4, 16) == (
        event.model,
        event.capabilities.frames_multiple,
        event.capabilities.size_multiple,
    )


def test_a_model_that_cannot_be_loaded_is_reported_and_others_still_load(answers: Answers) -> None:
    """A bad profile does not end the renderer."""
    answers.renderer.load("missing")
    failed = answers.next()
    answers.renderer.load("tiny")
    assert isinstance(failed, ModelFailed)
    assert ("missing", ConfigError) == (failed.model, type(failed.error))
    assert isinstance(answers.next(), ModelLoaded)


def test_a_render_says_how_it_was_made(answers: Answers, sources: dict[str, ModelSource]) -> None:
    """Each prompt of a batch has its frames and its record, in order."""
    prompts = (
        prompt("a horse", negative_prompt="abcdefghijklmnopqrstuv in the snow"),
        prompt("abcdefghijklmnopqrstuv and more", seed=2),
    )
    end = answers.render(*prompts)
    assert isinstance(end, BatchRendered)
    expected = rendering.render(pipeline.load(sources["tiny"]), prompts, ignore)
    assert np.array_equal(expected, end.frames)
    record = end.rendered[0]
    assert (
        sources["tiny"].location,
        "TextToVideoSDPipeline",
        "DPMSolverMultistepScheduler",
        "cpu",
        "float32",
        2,
        pipeline.versions(),
    ) == (
        record.model,
        record.pipeline,
        record.scheduler,
        record.device,
        record.dtype,
        record.batch_size,
        record.versions,
    )
    assert [{"negative_prompt": "in the snow"}, {"prompt": "and more"}] == [
        rendered.ignored for rendered in end.rendered
    ]
    assert record.seconds > 0
    assert record.peak_memory_mib > 0


@pytest.mark.parametrize("model", ["tiny", "wan"])
def test_cancel_ends_a_render_at_its_next_step(model: str, answers: Answers) -> None:
    """A cancelled render has no frames; the next batch is not cancelled."""
    answers.cancel_at = 2
    end = answers.render(prompt(model=model, num_inference_steps=50))
    assert isinstance(end, BatchFailed)
    assert (RenderCancelled, [1, 2]) == (type(end.error), answers.steps)
    answers.cancel_at = 0
    assert isinstance(answers.render(prompt(model=model)), BatchRendered)


def test_cancel_of_what_is_answered_does_nothing(answers: Answers) -> None:
    """A cancellation applies to its own batch only."""
    assert isinstance(answers.render(prompt()), BatchRendered)
    answers.renderer.cancel(answers.batch)
    assert isinstance(answers.render(prompt()), BatchRendered)


def test_cancel_of_what_waits_behind_another(answers: Answers) -> None:
    """The current batch is rendered, and the cancelled one is not begun."""
    first, second = (Batch((Member("job", prompt(text)),)) for text in ("a", "b"))
    answers.renderer.render(first)
    answers.renderer.cancel(second)
    answers.renderer.render(second)
    one, other = answers.next(), answers.next()
    assert isinstance(one, BatchRendered)
    assert isinstance(other, BatchFailed)
    assert (first, second) == (one.batch, other.batch)
    assert 1 == answers.steps.count(1)


def test_an_error_of_the_pipeline_is_an_answer(answers: Answers) -> None:
    """It is passed as text, without the traceback, which would keep tensors alive."""
    failed = answers.render(prompt(f"a {FAULTY_WORD}", model="faulty"))
    assert isinstance(failed, BatchFailed)
    assert RenderError is type(failed.error)
    assert "IndexError: index out of range" in str(failed.error)
    assert failed.error.__traceback__ is None
    assert isinstance(answers.render(prompt("a horse", model="faulty")), BatchRendered)


def test_an_unexpected_error_of_the_pipeline_is_an_answer(answers: Answers) -> None:
    """The renderer's thread survives any exception of a pipeline."""
    failed = answers.render(prompt(no_such_argument=1, num_frames="many"))
    assert isinstance(failed, BatchFailed)
    assert isinstance(answers.render(prompt()), BatchRendered)


def test_a_closed_fleet_tells_nothing(sources: dict[str, ModelSource]) -> None:
    """A process or a thread of it may end late, when the next renderer has the same id."""
    told: list[Event] = []
    fleet = OwnRenderer(sources, told.append)
    renderer = fleet.renderer(OWN)
    assert isinstance(renderer, InProcessRenderer)
    renderer.close()
    fleet.close()
    renderer._residents._lost(RendererDied("a process of it has ended"))
    assert [] == told


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("cuda"), "RuntimeError('cuda')"),
        (KeyError("tiny"), "a defect of the renderer: KeyError('tiny')"),
    ],
)
@pytest.mark.parametrize("asks", [False, True])
def test_an_error_between_two_orders_ends_the_renderer_with_its_reason(
    asks: bool,
    error: Exception,
    told: str,
    sources: dict[str, ModelSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was rendered is answered first; nobody waits for a thread that has ended."""
    answers = Answers(sources)

    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(answers.renderer._residents, "use" if asks else "memory", fail)
    if asks:
        answers.renderer.use(sources)
    else:
        assert isinstance(answers.render(prompt()), BatchRendered)
    ended = answers.next()
    assert isinstance(ended, RendererEnded)
    assert str(ended.error).startswith(told)
    assert Cause.WORK is ended.cause
    answers.renderer.close()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_without_descriptors_the_machine_is_to_blame(
    is_loaded: bool, sources: dict[str, ModelSource]
) -> None:
    """Neither the renderer nor the model is said to be wrong, and it is said what to do."""
    answers = Answers(sources)
    answers.renderer.load("tiny")
    assert isinstance(answers.next(), ModelLoaded)
    if not is_loaded:
        answers.renderer.release("tiny", keeps=False)
        assert isinstance(answers.next(), ModelsReleased)
    with no_descriptors():
        answers.renderer.load("tiny")
        answer, ended = answers.next(), answers.next()
    if not is_loaded:
        assert isinstance(answer, ModelFailed)
        assert Unavailable is type(answer.error)
        assert "can't be loaded: Too many open files: /" in str(answer.error)
        assert "LimitNOFILE" in str(answer.error)
    assert isinstance(ended, RendererEnded)
    assert (Unavailable, Cause.MACHINE) == (type(ended.error), ended.cause)
    assert str(ended.error).startswith("Too many open files: /proc/meminfo (this process may open")
    answers.renderer.close()


def test_an_error_of_the_machine_in_a_render_blames_no_prompt(answers: Answers) -> None:
    """It is told as it is, with its file; the next render goes on."""

    def opens(_event: object) -> None:
        with no_descriptors(), open("/etc/hostname"):
            pass

    answers.at_step = opens
    failed = answers.render(prompt())
    assert isinstance(failed, BatchFailed)
    assert isinstance(failed.error, OSError)
    assert (errno.EMFILE, "/etc/hostname") == (failed.error.errno, failed.error.filename)
    assert failed.error.__traceback__ is None
    answers.at_step = lambda _event: None
    assert isinstance(answers.render(prompt()), BatchRendered)


def test_rendering_with_another_model_loads_it(answers: Answers) -> None:
    """Each batch is rendered by the pipeline of its profile."""
    ends = [answers.render(prompt(model=model)) for model in ("tiny", "wan", "tiny")]
    assert [BatchRendered] * 3 == [type(end) for end in ends]
    names = [end.rendered[0].pipeline for end in ends if isinstance(end, BatchRendered)]
    assert ["TextToVideoSDPipeline", "WanPipeline", "TextToVideoSDPipeline"] == names


def test_a_batch_of_a_model_that_cannot_be_loaded_fails(answers: Answers) -> None:
    """Its files may disappear after it was described."""
    end = answers.render(prompt(model="missing"))
    assert isinstance(end, BatchFailed)
    assert ConfigError is type(end.error)


class Device:
    """A device on which the UNet runs out of memory above so many samples.

    The error is torch's own, raised at the pipeline's edge; everything else is real.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.asked: list[int] = []
        self.tensors: list[weakref.ref[torch.Tensor]] = []

    def under(self, loaded: LoadedPipeline) -> LoadedPipeline:
        """Put the pipeline on the device."""
        loaded.pipe.unet.register_forward_pre_hook(self._take)
        return loaded

    def _take(self, _module: object, arguments: tuple[torch.Tensor, ...]) -> None:
        found = len(arguments[0]) // 2  # half of them are for the negative prompt
        self.asked += [found] if self.asked[-1:] != [found] else []
        if found > self.samples:
            self.tensors.append(weakref.ref(arguments[0]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Device]:
    """Put every pipeline that is loaded from now on onto a small device."""

    def make(samples: int) -> Device:
        device, load = Device(samples), pipeline.load
        monkeypatch.setattr(
            pipeline, "load", lambda source, tell=None: device.under(load(source, tell))
        )
        return device

    return make


@pytest.fixture
def encodings() -> Iterator[queue.SimpleQueue[str]]:
    """A growing list of the threads in which texts are encoded."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def note(module: nn.Module, *_: object) -> None:
        if isinstance(module, CLIPTextModel):
            names.put(threading.current_thread().name)

    hook = nn.modules.module.register_module_forward_hook(note)
    yield names
    hook.remove()


def test_texts_are_encoded_while_the_batch_before_is_rendered(
    sources: dict[str, ModelSource],
    encodings: queue.SimpleQueue[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next texts are encoded during a step of a batch, and the frames are as usual."""
    monkeypatch.setattr(ahead, "_has_room_beside", lambda _loaded: True)  # as on a GPU
    first, second = (
        Batch((Member("job", prompt(text, negative_prompt=text.upper())),))
        for text in ("a horse", "a bird")
    )
    before: list[list[str]] = []
    ends: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def take(event: Event) -> None:
        if not isinstance(event, StepDone | MemoryChanged):
            ends.put(event)
        elif isinstance(event, StepDone) and event.batch is first and not before:
            own_and_next = [encodings.get(timeout=60) for _ in range(4)]
            before.append(own_and_next)

    ordered = InProcessRenderer(sources, take)
    ordered.load("tiny")
    assert isinstance(ends.get(timeout=60), ModelLoaded)
    ordered.render(first)
    ordered.render(second)
    done = [ends.get(timeout=60) for _ in range(2)]
    ordered.close()
    assert ["texts"] * 2 == before[0][-2:]
    assert encodings.empty()
    alone = rendering.render(pipeline.load(sources["tiny"]), second.prompts, ignore)
    assert isinstance(done[1], BatchRendered)
    assert np.array_equal(alone, done[1].frames)


def test_on_a_cpu_nothing_computes_beside_a_render(
    answers: Answers, encodings: queue.SimpleQueue[str]
) -> None:
    """It would slow all threads down."""
    for text in ("a horse", "a bird"):
        answers.render(prompt(text))
    names = {encodings.get(timeout=60) for _ in range(encodings.qsize())}
    assert {"renderer"} == names


def test_a_text_that_can_not_be_encoded_fails_its_own_batch(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error ahead of time is ignored; the render itself reports it."""
    monkeypatch.setattr(ahead, "_has_room_beside", lambda _loaded: True)  # as on a GPU
    for _ in range(2):
        end = answers.render(prompt(FAULTY_WORD, model="faulty"))
        assert isinstance(end, BatchFailed)
        assert "index out of range" in str(end.error)
    assert isinstance(answers.render(prompt(model="faulty")), BatchRendered)


FOUR = tuple(prompt(f"p{seed}", seed=seed) for seed in range(4))


def test_what_was_rendered_before_a_cancellation_is_there(
    answers: Answers, sources: dict[str, ModelSource], on_device: Callable[[int], Device]
) -> None:
    """The answer has the frames of the parts that were rendered before."""
    expected = rendering.render(pipeline.load(sources["tiny"]), FOUR, ignore)
    on_device(2)
    answers.cancel_at = 2
    end = answers.render(*FOUR)
    assert isinstance(end, BatchFailed)
    assert RenderCancelled is type(end.error)
    assert 2 == len(end.frames) == len(end.rendered)
    assert np.abs(np.stack(end.frames).astype(int) - np.stack(expected[:2])).max() <= 1


def test_out_of_memory_is_answered_with_smaller_batches(
    answers: Answers, sources: dict[str, ModelSource], on_device: Callable[[int], Device]
) -> None:
    """The same try is never repeated; the frames are the same, and the size is remembered."""
    expected = rendering.render(pipeline.load(sources["tiny"]), FOUR, ignore)
    device = on_device(2)
    end = answers.render(*FOUR)
    assert isinstance(end, BatchRendered)
    assert [4, 2] == device.asked
    assert [2] * 4 == [rendered.batch_size for rendered in end.rendered]
    assert abs(np.stack(expected).astype(int) - np.stack(end.frames)).max() <= 1
    device.asked.clear()
    answers.steps.clear()
    assert isinstance(answers.render(*FOUR), BatchRendered)
    assert [2] == device.asked
    # Steps are those of the batch as a whole: they do not begin anew with the second half.
    steps = FOUR[0].steps
    assert [*range(1, steps + 1)] == sorted({*answers.steps})
    assert (sorted(answers.steps), 2 * steps) == (answers.steps, len(answers.steps))


def test_a_render_beside_the_compiler_waits_for_it_before_it_is_made_smaller(
    answers: Answers, on_device: Callable[[int], Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler needs memory for a while; such a shortage is not remembered. The time of
    the render excludes the wait."""
    device = on_device(2)
    compiling = [True]
    now = itertools.count()
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: next(now)))

    def wait(_seconds: float, _is_over: Callable[[], bool]) -> None:
        compiling.clear()
        device.samples = 4
        next(itertools.islice(now, 300, None))

    monkeypatch.setattr(fitting, "is_compiling", lambda: bool(compiling))
    monkeypatch.setattr(fitting, "wait_for_compiler", wait)
    for _ in range(2):
        end = answers.render(*FOUR)
        assert isinstance(end, BatchRendered)
        assert [4] * 4 == [rendered.batch_size for rendered in end.rendered]
        assert {1} == {rendered.seconds for rendered in end.rendered}
    assert [4] == device.asked


def test_a_compiler_that_ends_as_memory_runs_out_is_to_blame_all_the_same(
    answers: Answers, on_device: Callable[[int], Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needed the same memory, so the shortage is not remembered."""
    device = on_device(2)

    def wait(_seconds: float, _is_over: Callable[[], bool]) -> None:
        device.samples = 4

    monkeypatch.setattr(fitting, "is_compiling", lambda: not device.asked)
    monkeypatch.setattr(fitting, "wait_for_compiler", wait)
    end = answers.render(*FOUR)
    assert isinstance(end, BatchRendered)
    assert [4] * 4 == [rendered.batch_size for rendered in end.rendered]


def test_a_render_that_never_fits_fails_with_what_it_needed(
    answers: Answers, on_device: Callable[[int], Device]
) -> None:
    """Each way is tried once, and smaller prompts are still rendered afterwards."""
    device = on_device(0)
    end = answers.render(*FOUR)
    assert isinstance(end, BatchFailed)
    assert TooLarge is type(end.error)
    assert "even for 1 prompt at once, decoding in parts, placement cpu" in str(end.error)
    assert "Tried to allocate 2.00 GiB" in str(end.error)
    assert [4, 2, 1] == device.asked


def test_memory_is_given_back_after_a_failure(
    answers: Answers, on_device: Callable[[int], Device]
) -> None:
    """No tensor of the failed render is alive when its answer is sent."""
    device = on_device(0)
    end = answers.render(*FOUR)
    assert isinstance(end, BatchFailed)
    assert [None] * 4 == [tensor() for tensor in device.tensors]


@pytest.mark.parametrize(
    ("bias", "reason"),
    [
        (float("nan"), "not numbers"),
        (-10.0, "black frames"),
        (0.0, "the same frame 5 times"),
    ],
)
def test_frames_of_nothing_are_an_error(
    bias: float, reason: str, sources: dict[str, ModelSource]
) -> None:
    """NaN, black or identical frames are not published."""
    loaded = pipeline.load(sources["tiny"])
    torch.nn.init.zeros_(loaded.pipe.vae.decoder.conv_out.weight)
    torch.nn.init.constant_(loaded.pipe.vae.decoder.conv_out.bias, bias)
    with pytest.raises(RenderError, match=reason):
        render(loaded, prompt())


@pytest.mark.parametrize("shape", [(1, 0, 100), (1, 2, 0), (1, 0)])
def test_sound_of_nothing_is_an_error(shape: tuple[int, ...]) -> None:
    """Without a channel or a sample, it is said so."""
    with pytest.raises(Unrenderable, match="sound that is empty: no channel, or no sample"):
        list(sound._sounds(torch.zeros(shape), 100, [1.0]))


def test_one_frame_alone_may_be_what_it_is(loaded: LoadedPipeline) -> None:
    """A video of one frame can't have identical frames."""
    [frames] = render(loaded, prompt(num_frames=1))
    assert 1 == len(frames)
