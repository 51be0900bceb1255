"""Recording what the device does, with a recorder for the CPU, about as strict as a GPU's.

CUDA graphs themselves need a GPU. What is tested is all that is ours: what is recorded when, and
that the same frames come out although no code of the model is run any more.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from harness.cpu_recorder import CpuRecorder
from harness.cuda_stand_in import Cuda, waiting
from reeldrop.base.job import Prompt, Scalar
from reeldrop.render import measure, pipeline, rendering
from reeldrop.render.pipeline import LoadedPipeline, ModelSource
from reeldrop.speed import compiled, graphs
from reeldrop.speed.compiled import Compiled
from reeldrop.speed.fast import FastPath, Options
from reeldrop.speed.forms import Forms
from reeldrop.speed.graphs import CudaRecorder, Graphs
from reeldrop.speed.lossy import Lossy
from reeldrop.speed.shapes import Shape
from reeldrop.speed.unet3d import Call
from structlog.testing import capture_logs
from torch import nn

SETTINGS: dict[str, Scalar] = {
    "num_frames": 5,
    "height": 32,
    "width": 32,
    "num_inference_steps": 3,
    "guidance_scale": 5.0,
}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> CpuRecorder:
    """A recorder for pipelines on the CPU."""
    made = CpuRecorder()
    monkeypatch.setattr(graphs, "recorder", lambda _device: made)
    return made


def prompt(text: str = "a horse", **changed: Scalar) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, text, "m", tuple({**SETTINGS, **changed}.items()), 1, 8, ("mp4",))


def render(loaded: LoadedPipeline, *prompts: Prompt) -> np.ndarray:
    """Return the frames of prompts that are rendered together, as wide numbers."""
    frames = rendering.render(loaded, prompts, lambda _step: None)
    return np.stack(frames).astype(int)


def load(folder: Path, **speed: bool | str) -> LoadedPipeline:
    """Load a pipeline, all of it in float32, where rounding is not seen."""
    return pipeline.load(ModelSource("m", str(folder), speed={"mixed_precision": False, **speed}))


@pytest.fixture(params=["unet3d", "wan"])
def folder(request: pytest.FixtureRequest, tiny_pipeline: Path, wan_pipeline: Path) -> Path:
    """A pipeline of each kind."""
    return tiny_pipeline if request.param == "unet3d" else wan_pipeline


def test_what_is_recorded_shows_the_same_frames(folder: Path, recorder: CpuRecorder) -> None:
    """From the second render of a shape on, the model's code does not run, and shapes may
    alternate."""
    loaded, plain = load(folder, cuda_graphs=True), load(folder)
    denoiser = getattr(loaded.pipe, "unet", None) or loaded.pipe.transformer
    runs: list[str] = []
    for name, part in denoiser.named_modules():
        if name:
            part.register_forward_hook(lambda *_: runs.append(""))
    orders = [
        (prompt(), False),
        (prompt("a bird", negative_prompt="a cow"), True),
        (prompt(num_frames=9), False),
        (prompt("a fish", guidance_scale=1.0), None),
        (prompt("a fish", num_frames=9, guidance_scale=7.0), True),
        (prompt("a cat", num_inference_steps=4), True),
    ]
    for one, is_recorded in orders:
        runs.clear()
        expected = render(plain, one)
        assert abs(expected - render(loaded, one)).max() <= 1
        if is_recorded is not None:  # without guidance, a shape may be new or the same
            assert is_recorded == ("cuda_graphs" in loaded.fast_path.used)
    assert not runs
    together = (prompt(), prompt("a bird"))
    for _ in range(2):
        assert abs(render(plain, *together) - render(loaded, *together)).max() <= 1
    assert "cuda_graphs" in loaded.fast_path.used
    assert recorder.replayed > 3 * recorder.recorded


def test_what_the_next_call_writes_is_not_what_the_last_one_gave(recorder: CpuRecorder) -> None:
    """A recording reuses its memory, but the caller's result stays."""
    double = nn.Linear(2, 2)
    forms = Forms(double, Call(), heeds_call=False, graphs=Graphs(recorder))
    ones, twos = torch.ones(1, 2), torch.full((1, 2), 2.0)
    with torch.inference_mode():
        plain = [double(one) for one in (ones, twos)]
        forms.end()
        recorded = [double(one) for one in (ones, twos)]
    assert 2 == recorder.replayed
    assert all(torch.equal(*pair) for pair in zip(plain, recorded, strict=True))


class Reading(nn.Module):
    """A denoiser that reads a value, which can't be recorded."""

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return sample * sample.sum().item()


class Strange(nn.Module):
    """A denoiser that returns something else than tensors."""

    def forward(self, sample: torch.Tensor) -> tuple[torch.Tensor, object]:
        return sample, object()


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        (Reading(), "operation not permitted when stream is capturing: item"),
        (Strange(), "it returns a object"),
    ],
)
def test_what_cannot_be_recorded_is_done_as_it_is(
    denoiser: nn.Module, reason: str, recorder: CpuRecorder
) -> None:
    """The log has the reason, once, and it is not tried again."""
    forms = Forms(denoiser, Call(), heeds_call=False, graphs=Graphs(recorder))
    with capture_logs() as events, torch.inference_mode():
        for size in (2, 3):
            sample = torch.ones(size)
            for _ in range(3):
                output = denoiser(sample)
                found = output[0] if isinstance(output, tuple) else output / size
                assert torch.equal(sample, found)
                forms.end()
    assert not forms.used
    assert 1 == recorder.recorded
    (event,) = events
    assert "not_recorded" == event["event"]
    assert event["reason"].startswith(reason)


def test_what_failed_is_not_recorded(recorder: CpuRecorder) -> None:
    """Shapes of a render that failed are forgotten."""
    denoiser = nn.ReLU()
    forms = Forms(denoiser, Call(), heeds_call=False, graphs=Graphs(recorder))
    with torch.inference_mode():
        for size in (16, 8, 8, 16):
            forms.begin()
            denoiser(torch.ones(size))
            if size == 8:
                forms.end()
    assert (set(), 1) == (forms.used, recorder.recorded)


def shape(size: int) -> Shape:
    """Return the shape of a call with so many numbers."""
    return Shape.of({"input": torch.ones(size)}, None)


def test_another_form_is_recorded_anew(recorder: CpuRecorder) -> None:
    """When a shape has been compiled, the new form is recorded."""
    kept = Graphs(recorder)
    kept.expect({shape(2)})
    with torch.inference_mode():
        for form in (torch.neg, torch.abs):
            assert kept.get(shape(2), form) is None
            graph = kept.record(shape(2), form)
            assert graph is not None
            assert graph is kept.get(shape(2), form)
            expected = torch.full((2,), 1.0 if form is torch.abs else -1.0)
            assert torch.equal(expected, graph(input=torch.ones(2)))


def test_what_was_not_expected_for_longest_goes(
    recorder: CpuRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least recently expected recording is dropped, to save memory."""
    monkeypatch.setattr(graphs, "MOST", 2)
    kept = Graphs(recorder)
    for size in (2, 3, 2, 4):
        kept.expect({shape(size)})
    with torch.inference_mode():
        found = [size for size in (2, 3, 4) if kept.record(shape(size), torch.neg)]
    assert [2, 4] == found


def test_only_what_is_too_large_is_not_recorded(
    recorder: CpuRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again. Others are dropped, because that render needs their memory, and
    recorded again."""
    record = recorder.record

    def with_little_memory(work: Callable[[], torch.Tensor]) -> object:
        if work().numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return record(work)

    monkeypatch.setattr(recorder, "record", with_little_memory)
    denoiser = nn.ReLU()
    forms = Forms(denoiser, Call(), heeds_call=False, graphs=Graphs(recorder))
    used = []
    with capture_logs() as events, torch.inference_mode():
        for size in (2, 200, 2, 200, 3, 3, 200, 2):
            forms.begin()
            denoiser(torch.ones(size))
            used.append((size, "recorded" in forms.used))
            forms.end()
    assert [(2, False), (200, False), (2, True), (200, False)] == used[:4]
    assert [(3, False), (3, True), (200, False), (2, True)] == used[4:]
    told = [(event["event"], event["input"]) for event in events]
    assert [("recorded", [2]), ("not_recorded", [200])] == told[:2]
    assert [("recorded", [3]), ("recorded", [2])] == told[2:]
    assert events[1]["reason"].startswith("CUDA out of memory")


@pytest.mark.parametrize("is_of_an_earlier_pipeline", [False, True])
def test_nothing_is_recorded_beside_the_compiler(
    is_of_an_earlier_pipeline: bool, recorder: CpuRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording would include the compiler's trials; older recordings are used."""
    began, goes_on = threading.Event(), threading.Event()

    def slow(_self: Compiled, _shape: Shape) -> Callable[..., torch.Tensor]:
        began.set()
        assert goes_on.wait(60)
        return torch.abs

    monkeypatch.setattr(Compiled, "_compile", slow)
    denoiser, call = nn.ReLU(), Call()
    earlier, compiler = Compiled(nn.ReLU(), call), Compiled(denoiser, call)
    compiles = None if is_of_an_earlier_pipeline else compiler
    forms = Forms(denoiser, call, heeds_call=False, compiled=compiles, graphs=Graphs(recorder))

    def used(size: int) -> set[str]:
        forms.begin()
        denoiser(torch.ones(size))
        forms.end()
        return {*forms.used}

    with torch.inference_mode():
        if is_of_an_earlier_pipeline:
            assert [set(), {"recorded"}] == [used(3), used(3)]
            earlier.begin({shape(1)})
        assert set() == used(2)
        assert began.wait(60)
        assert set() == used(2)
        assert not is_of_an_earlier_pipeline or {"recorded"} == used(3)
        goes_on.set()
        compiled.wait_for_compiler()
        assert "recorded" in used(2)
    assert is_of_an_earlier_pipeline or {"compiled", "recorded"} == forms.used


def test_on_a_cpu_there_is_nothing_to_record(tiny_pipeline: Path) -> None:
    """The log says that recording is not possible."""
    assert ["cuda_graphs"] == load(tiny_pipeline, cuda_graphs=True).fast_path.inapplicable


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(("stays", "lossy"), [(False, Lossy()), (True, Lossy(deep_cache=2))])
def test_weights_that_move_and_steps_that_differ_are_not_recorded(
    stays: bool, lossy: Lossy, tiny_pipeline: Path
) -> None:
    """A recording reads weights at fixed addresses, and repeats the same step."""
    pipe = load(tiny_pipeline).pipe
    path = FastPath(pipe, Options(cuda_graphs=True), "cpu", lossy, compiles=stays)
    assert ["cuda_graphs"] == path.inapplicable
    assert not path.gets_faster


def test_what_is_moved_has_its_recordings_dropped(
    tiny_pipeline: Path, recorder: CpuRecorder
) -> None:
    """They would read the weights at the old addresses."""
    loaded = load(tiny_pipeline, cuda_graphs=True)
    before = [render(loaded, prompt()) for _ in range(2)]
    assert recorder.replayed
    assert recorder.taken_bytes == loaded.fast_path.graph_bytes
    moved = pipeline.place_again(loaded, "cpu")
    recorder.replayed = 0
    assert np.array_equal(before[0], render(moved, prompt()))
    assert (0, 0) == (recorder.replayed, moved.fast_path.graph_bytes)


def test_what_was_kept_before_counts_for_renders_that_use_it(
    tiny_pipeline: Path, recorder: CpuRecorder
) -> None:
    """The first render allocates the memory itself; a later one counts only its own recording."""
    path = (loaded := load(tiny_pipeline, cuda_graphs=True)).fast_path
    found = []
    for size in (5, 5, 5, 9, 9, 9, 5):
        render(loaded, prompt(num_frames=size))
        found.append(path.uncounted_bytes)
    needed, more = found[2], found[5]
    assert 0 < needed < more
    assert [0, 0, needed, 0, 0, more, needed] == found
    assert recorder.taken_bytes == path.graph_bytes


def test_recordings_go_before_a_render_is_made_smaller(
    tiny_pipeline: Path, recorder: CpuRecorder
) -> None:
    """If memory runs out, recordings are dropped first: they only save time."""
    loaded = load(tiny_pipeline, cuda_graphs=True)
    for _ in range(2):
        render(loaded, prompt())
    assert loaded.fast_path.drop_graphs()
    assert not loaded.fast_path.drop_graphs()
    for _ in range(2):
        render(loaded, prompt())
    assert (1, 3) == (recorder.recorded, recorder.replayed)


@pytest.mark.parametrize(
    ("kept", "fit", "fit_others"),
    [
        (0, 63, 63),  # (8 + 2) GiB of room of which 0.9 count, for 1 GiB that was taken by 7
        (1, 28, 56),  # 1 GiB less of room, and as much more that the 7 have taken
        (2, 16, 50),
        (8, 7, 12),  # they were just rendered, so they fit
    ],
)
def test_what_recordings_keep_is_counted(
    kept: int, fit: int, fit_others: int, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A render by recordings allocates nothing, which must not count as free memory."""
    gib = 1 << 30
    cuda = {
        "memory_allocated": 4 * gib,
        "max_memory_allocated": 5 * gib,
        "memory_reserved": 6 * gib,
        "mem_get_info": (8 * gib, 16 * gib),
    }
    loaded = load(tiny_pipeline)
    monkeypatch.setattr(pipeline, "cuda_is_available", lambda: True)
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    for uncounted, expected in ((kept, fit), (0, fit_others)):
        path: Any = SimpleNamespace(graph_bytes=kept * gib, uncounted_bytes=uncounted * gib)
        found = measure.how_many_fit(dataclasses.replace(loaded, fast_path=path), [prompt()] * 7)
        assert expected == found


# What records on a GPU, on a stand-in for it


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """A device without recordings."""
    made = Cuda()
    made.stand_in(monkeypatch)
    monkeypatch.setattr(CudaRecorder, "is_usable", True)
    graphs._stream.cache_clear()
    yield made
    graphs._stream.cache_clear()


def test_recordings_share_a_pool_that_goes_with_the_last(cuda: Cuda) -> None:
    """After the last one, a new pool is used; the stream stays the same."""
    recorder = CudaRecorder()
    assert 0 == recorder.taken_bytes
    one = recorder.record(lambda: 1)
    other = recorder.record(lambda: 2)
    assert [{1: 2}, 200] == [cuda.users, recorder.taken_bytes]
    assert (1, 30) == (one[0], one[2])
    del one
    assert 200 == recorder.taken_bytes  # of two that share it, nothing goes with one
    assert 2 == other[0]
    del other
    assert 0 == recorder.taken_bytes
    again = recorder.record(lambda: 3)
    others = CudaRecorder().record(lambda: 4)
    assert {1: 0, 2: 1, 3: 1} == cuda.users
    assert (3, 4) == (again[0], others[0])
    assert 2 == cuda.streams  # the renderer's, and one for all recordings


def test_what_waits_for_the_device_is_not_even_begun_to_be_recorded(cuda: Cuda) -> None:
    """So the device's state stays valid. Only the first calls may wait."""
    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        CudaRecorder().record(waiting(cuda, range(1, 5)))
    assert (cuda.main, "default", {}) == (cuda.current, cuda.waits_are, cuda.users)
    assert CudaRecorder.is_usable
    made, *_ = CudaRecorder().record(waiting(cuda, range(1, 3)))
    assert 1 == made


def test_what_fails_while_it_is_recorded_is_the_last(cuda: Cuda) -> None:
    """The renderer continues on its own stream. torch loses the memory of this recording, so no
    other is made."""
    recorder = CudaRecorder()
    recorder.device = torch.device("cpu")
    kept = Graphs(recorder)
    kept.expect({shape(2)})
    work = waiting(cuda, [4])
    with capture_logs() as events:
        assert kept.record(shape(2), lambda **_: work()) is None
    assert (cuda.main, "default", False) == (cuda.current, cuda.waits_are, cuda.is_recording)
    (event,) = events
    assert "operation not permitted when stream is capturing" == event["reason"]
    assert graphs.recorder("cuda") is None
    assert not cuda.allocating_to


def test_a_shortage_while_it_is_recorded_is_not_the_last(cuda: Cuda) -> None:
    """torch gets the memory back if the pool has no other recording."""
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaRecorder().record(work)
    assert (cuda.main, {1: 0}) == (cuda.current, cuda.users)
    assert graphs.recorder("cuda") is not None


# What records in these tests


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * x.tolist()[0],
        lambda x: x * float(np.asarray(x)[0]),
        lambda x: x[x > 0],
        lambda x: torch.unique(x),
        lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.long)),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
    ],
)
def test_the_recorder_of_these_tests_refuses_what_a_gpu_refuses(
    work: Callable[[torch.Tensor], torch.Tensor], recorder: CpuRecorder
) -> None:
    """Otherwise models would pass here, but not on a GPU."""
    sample = torch.ones(3)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(lambda: work(sample))


def test_recordings_of_these_tests_have_the_same_memory(recorder: CpuRecorder) -> None:
    """As on a GPU, a replay overwrites the results of other recordings."""
    sample = torch.ones(3)
    with torch.inference_mode():
        first, again, _ = recorder.record(lambda: sample * 2)
        second, other, _ = recorder.record(lambda: sample * 3)
        other()
        assert first.isnan().all()
        again()
    assert torch.equal(sample * 2, first)
    assert second.isnan().all()
