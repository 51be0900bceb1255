"""Recording what the device does, with a recorder for the CPU, less strict than a GPU's.

CUDA graphs themselves need a GPU. What is tested is all that is ours: what is recorded when, and
that the same frames come out although no code of the model is run any more.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cpu_recorder import CpuRecorder
from reeldrop import graphs, pipeline, renderer
from reeldrop.compiled import Compiled
from reeldrop.fast import FastPath, Options
from reeldrop.forms import Forms
from reeldrop.graphs import Graphs
from reeldrop.job import Prompt, Scalar
from reeldrop.lossy import Lossy
from reeldrop.pipeline import LoadedPipeline, ModelSource
from reeldrop.shapes import Shape
from reeldrop.unet3d import Call
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
    """What records, for pipelines on the CPU."""
    made = CpuRecorder()
    monkeypatch.setattr(graphs, "recorder", lambda _device: made)
    return made


def prompt(text: str = "a horse", **changed: Scalar) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, text, "m", tuple({**SETTINGS, **changed}.items()), 1, 8, ("mp4",))


def render(loaded: LoadedPipeline, *prompts: Prompt) -> np.ndarray:
    """Return the frames of prompts that are rendered together, as wide numbers."""
    frames = renderer.render(loaded, prompts, lambda _step: None)
    return np.stack(frames).astype(int)


def load(folder: Path, **speed: bool | str) -> LoadedPipeline:
    """Load a pipeline, all of it in float32, where rounding is not seen."""
    return pipeline.load(ModelSource("m", str(folder), speed={"mixed_precision": False, **speed}))


@pytest.fixture(params=["unet3d", "wan"])
def folder(request: pytest.FixtureRequest, tiny_pipeline: Path, wan_pipeline: Path) -> Path:
    """A pipeline of each kind."""
    return tiny_pipeline if request.param == "unet3d" else wan_pipeline


def test_what_is_recorded_shows_the_same_frames(folder: Path, recorder: CpuRecorder) -> None:
    """From the second render of a shape on, whatever the prompts say; the model is not run any
    more, and shapes may take turns.
    """
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
    """A recording always writes to the same memory; who calls may keep what he has got."""
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
    """A denoiser that looks at a value, which no recording can foresee."""

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return sample * sample.sum().item()


class Strange(nn.Module):
    """A denoiser that returns what is no tensor."""

    def forward(self, sample: torch.Tensor) -> tuple[torch.Tensor, object]:
        return sample, object()


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        (Reading(), "operation not permitted when stream is capturing: aten.item"),
        (Strange(), "it returns a object"),
    ],
)
def test_what_cannot_be_recorded_is_done_as_it_is(
    denoiser: nn.Module, reason: str, recorder: CpuRecorder
) -> None:
    """The log says why, once, and it is not tried again."""
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
    """A render that ran out of memory never came to its end: the next begins with nothing seen."""
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
    """What has been compiled meanwhile takes the place of what was recorded before."""
    kept = Graphs(recorder)
    kept.expect({shape(2)})
    with torch.inference_mode():
        for form in (torch.neg, torch.neg, torch.abs, torch.abs):
            graph = kept.get(shape(2), form)
            assert graph is not None
            expected = torch.full((2,), 1.0 if form is torch.abs else -1.0)
            assert torch.equal(expected, graph(input=torch.ones(2)))
    assert 2 == recorder.recorded


def test_what_was_not_expected_for_longest_goes(
    recorder: CpuRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes memory, and sizes that somebody tried once will not come again."""
    monkeypatch.setattr(graphs, "MOST", 2)
    kept = Graphs(recorder)
    for size in (2, 3, 2, 4):
        kept.expect({shape(size)})
    with torch.inference_mode():
        found = [size for size in (2, 3, 4) if kept.get(shape(size), torch.neg)]
    assert [2, 4] == found


def test_nothing_is_recorded_beside_the_compiler(
    recorder: CpuRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording would take what the compiler tries on the device for its own."""
    began, goes_on = threading.Event(), threading.Event()

    def slow(_self: Compiled, _shape: Shape) -> Callable[..., torch.Tensor]:
        began.set()
        assert goes_on.wait(60)
        return torch.abs

    monkeypatch.setattr(Compiled, "_compile", slow)
    denoiser, call = nn.ReLU(), Call()
    compiler = Compiled(denoiser, call)
    forms = Forms(denoiser, call, heeds_call=False, compiled=compiler, graphs=Graphs(recorder))
    sample = torch.ones(2)
    with torch.inference_mode():
        denoiser(sample)
        forms.end()
        assert began.wait(60)
        denoiser(sample)
        assert (set(), 0) == (forms.used, recorder.recorded)
        goes_on.set()
        compiler.wait()
        denoiser(sample)
    assert ({"compiled", "recorded"}, 1) == (forms.used, recorder.recorded)


def test_on_a_cpu_there_is_nothing_to_record(tiny_pipeline: Path) -> None:
    """The log says that it was asked for in vain."""
    assert ["cuda_graphs"] == load(tiny_pipeline, cuda_graphs=True).fast_path.inapplicable


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(("stays", "lossy"), [(False, Lossy()), (True, Lossy(deep_cache=2))])
def test_weights_that_move_and_steps_that_differ_are_not_recorded(
    stays: bool, lossy: Lossy, tiny_pipeline: Path
) -> None:
    """A recording reads the weights where they were, and does the same each time."""
    pipe = load(tiny_pipeline).pipe
    path = FastPath(pipe, Options(cuda_graphs=True), "cpu", lossy, stays=stays)
    assert ["cuda_graphs"] == path.inapplicable
    assert not path.gets_faster


def test_what_is_moved_has_its_recordings_dropped(
    tiny_pipeline: Path, recorder: CpuRecorder
) -> None:
    """They would read the weights where they were."""
    loaded = load(tiny_pipeline, cuda_graphs=True)
    before = [render(loaded, prompt()) for _ in range(2)]
    assert recorder.replayed
    assert recorder.taken_bytes == loaded.fast_path.graph_bytes
    moved = pipeline.place_again(loaded, "cpu")
    recorder.replayed = 0
    assert np.array_equal(before[0], render(moved, prompt()))
    assert (0, 0) == (recorder.replayed, moved.fast_path.graph_bytes)


def test_recordings_go_before_a_render_is_made_smaller(
    tiny_pipeline: Path, recorder: CpuRecorder
) -> None:
    """Where memory runs out: they keep some, and are only there for speed."""
    loaded = load(tiny_pipeline, cuda_graphs=True)
    for _ in range(2):
        render(loaded, prompt())
    assert loaded.fast_path.drop_graphs()
    assert not loaded.fast_path.drop_graphs()
    for _ in range(2):
        render(loaded, prompt())
    assert (1, 3) == (recorder.recorded, recorder.replayed)


@pytest.mark.parametrize(
    ("kept", "fit"),
    [
        (0, 63),  # (8 + 2) GiB of room of which 0.9 count, for 1 GiB that was taken by 7
        (1, 28),  # 1 GiB less of room, and as much more that the 7 have taken
        (2, 16),
        (8, 7),  # they were just rendered, so they fit
    ],
)
def test_what_recordings_keep_is_counted(
    kept: int, fit: int, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A render by them takes no memory of its own, which is not to look as if there was plenty."""
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
    path = SimpleNamespace(graph_bytes=kept * gib, used=["cuda_graphs"])
    eager = SimpleNamespace(graph_bytes=kept * gib, used=[])
    for_others = renderer.how_many_fit(dataclasses.replace(loaded, fast_path=eager), 7)  # type: ignore[arg-type]
    assert for_others >= fit  # what others keep is not theirs
    assert fit == renderer.how_many_fit(dataclasses.replace(loaded, fast_path=path), 7)  # type: ignore[arg-type]
