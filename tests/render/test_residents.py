"""Several pipelines of different classes in one renderer: which stay, which go, what is told."""

from __future__ import annotations

import dataclasses
import gc
import queue
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reeldrop.base.errors import RendererDied, Unavailable
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
from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.base.residents import Memory, Resident
from reeldrop.render import measure, memory, pipeline, placements, rendering, weights
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.residents import Residents
from reeldrop.render.source import ModelSource
from reeldrop.speed.compiled import wait_for_compiler
from reeldrop.speed.fast import FastPath

SETTINGS = (
    ("num_frames", 5), ("height", 32), ("width", 32), ("num_inference_steps", 1),
    ("guidance_scale", 5.0),
)  # fmt: skip


def prompt(model: str, seed: int = 1) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, "a horse", model, SETTINGS, seed, 8, ("mp4",))


@pytest.fixture(scope="module")
def sources(tiny_pipeline: Path, wan_pipeline: Path) -> dict[str, ModelSource]:
    """Two profiles of different classes."""
    plain = {"mixed_precision": False}
    return {
        "tiny": ModelSource("tiny", str(tiny_pipeline), variant="fp16", speed=plain),
        "wan": ModelSource("wan", str(wan_pipeline), speed=plain),
    }


class Told:
    """A renderer, and what it tells."""

    def __init__(self, sources: dict[str, ModelSource]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.renderer = InProcessRenderer(sources, self.events.put)
        self.memory = Memory()

    def next(self) -> Event:
        """Return the next answer."""
        while True:
            event = self.events.get(timeout=60)
            if isinstance(event, MemoryChanged):
                self.memory = event.memory
            elif not isinstance(event, StepDone):
                return event

    def render(self, *prompts: Prompt) -> BatchRendered:
        """Render a batch."""
        self.renderer.render(Batch(tuple(Member("job", one) for one in prompts)))
        end = self.next()
        assert isinstance(end, BatchRendered), end
        return end

    def release(self, model: str, *, keeps: bool) -> None:
        self.renderer.release(model, keeps=keeps)
        assert ModelsReleased((model,)) == self.next()


@pytest.fixture
def told(sources: dict[str, ModelSource]) -> Iterator[Told]:
    """A renderer with no model loaded."""
    made = Told(sources)
    yield made
    made.renderer.close()


def test_several_models_stay_loaded(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is loaded once; the one that was used last is told last."""
    loads: list[str] = []
    load = pipeline.load
    monkeypatch.setattr(
        pipeline, "load", lambda source, tell: loads.append(source.name) or load(source, tell)
    )
    told.renderer.load("tiny")
    assert isinstance(told.next(), ModelLoaded)
    for model in ("wan", "tiny", "wan", "tiny"):
        told.render(prompt(model))
    assert ["tiny", "wan"] == loads
    assert ["wan", "tiny"] == [resident.model for resident in told.memory.residents]
    assert {"wan", "tiny"} == told.memory.ready
    assert told.memory.device_free is None
    assert told.memory.host_free > 1 << 20


def test_other_sources_release_only_what_was_loaded_from_others(
    told: Told, sources: dict[str, ModelSource]
) -> None:
    """What is the same stays loaded; what has changed is loaded anew, when it is needed."""
    for model in ("tiny", "wan"):
        told.render(prompt(model))
    tiled = dataclasses.replace(sources["wan"], tiling=True)
    for coming, left in (
        ({**sources}, ()),
        ({"tiny": sources["tiny"], "wan": tiled}, ("wan",)),
        ({"wan": tiled}, ("tiny",)),
    ):
        told.renderer.use(coming)
        assert ModelsReleased(left) == told.next()
        assert set(coming) - {*left} == told.memory.ready
        if "wan" in left:
            assert told.render(prompt("wan")).rendered[0].tiling


def test_the_size_is_known_before_and_after_a_model_is_loaded(
    told: Told, sources: dict[str, ModelSource], tmp_path: Path
) -> None:
    """From its files; 0 for what was not downloaded. What can't be read needs no room."""
    for model in ("tiny", "wan"):
        told.render(prompt(model))
        assert told.memory.residents[-1].host_bytes == weights.size(sources[model]) > 1000
    assert 1 == weights.size(ModelSource("gone", str(tmp_path / "gone")))
    assert 0 == weights.size(ModelSource("hub", "somebody/some-model-that-is-not-here"))
    for content in (b"{", b"[]", b'{"unet": ["a", "b"]}'):
        (tmp_path / "model_index.json").write_bytes(content)
        (tmp_path / "unet").mkdir(exist_ok=True)
        (tmp_path / "unet/x.safetensors").write_bytes(b"\xff" * 9)
        assert 1 == weights.size(ModelSource("broken", str(tmp_path)))


def test_a_model_that_is_released_takes_no_memory(sources: dict[str, ModelSource]) -> None:
    """Its weights are gone at once, and the next use loads it again."""
    found = Residents(sources)
    for model in ("tiny", "wan"):
        found.make_ready(model)
    loaded = found.ready("tiny")
    assert loaded is not None
    weight = weakref.ref(next(loaded.pipe.unet.parameters()))
    del loaded
    found.release("tiny", keeps=False)
    gc.collect()
    assert weight() is None
    assert ["wan"] == [resident.model for resident in found.memory().residents]
    assert isinstance(found.make_ready("tiny"), LoadedPipeline)
    found.close()


def test_a_renderer_that_is_closed_takes_no_memory(sources: dict[str, ModelSource]) -> None:
    """A reload makes another at once, which measures what is free."""
    told = Told(sources)
    told.render(prompt("tiny"))
    (loaded,) = told.renderer._residents._loaded.values()
    weight = weakref.ref(next(loaded.pipe.unet.parameters()))
    del loaded
    told.renderer.close()
    assert weight() is None


def test_a_model_that_leaves_the_device_keeps_no_embeddings_there(
    sources: dict[str, ModelSource],
) -> None:
    """Those of large text encoders take 4 MB each."""
    found = Residents(sources)
    texts = found.make_ready("tiny").fast_path.texts
    assert texts is not None
    kept = [weakref.ref(one) for one in texts._kept("a horse")]
    assert None not in [one() for one in kept]
    found.release("tiny", keeps=True)
    gc.collect()
    assert [None] * len(kept) == [one() for one in kept]
    found.close()


def test_a_model_that_can_not_come_back_leaves_the_device(
    sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, though some parts had room there; the next try is like the first."""
    found = Residents(sources)
    found.make_ready("tiny")
    found.release("tiny", keeps=True)
    moved: list[LoadedPipeline] = []

    def failing(_pipe: object, _placement: str) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(placements, "put", failing)
    monkeypatch.setattr(placements, "keep_in_host_memory", moved.append)
    with pytest.raises(torch.OutOfMemoryError):
        found.make_ready("tiny")
    assert [found._loaded["tiny"]] == moved
    assert found.ready("tiny") is None
    found.close()


def test_a_model_that_host_memory_takes_in_part_is_not_ready(
    sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts are in two places; the next use brings them together."""
    found = Residents(sources)
    found.make_ready("tiny")

    def failing(_loaded: LoadedPipeline) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(placements, "keep_in_host_memory", failing)
    with pytest.raises(RuntimeError):
        found.release("tiny", keeps=True)
    assert found.ready("tiny") is None
    assert found.make_ready("tiny") is found.ready("tiny")
    found.close()


def test_a_device_that_breaks_while_a_model_leaves_is_told(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the daemon would wait for an answer that does not come."""
    told.render(prompt("tiny"))

    def broken() -> None:
        raise RendererDied("the device is broken")

    monkeypatch.setattr(measure, "empty_cache", broken)
    told.renderer.release("tiny", keeps=False)
    assert isinstance(told.next(), RendererEnded)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [NotImplementedError("new_empty"), KeyError("new_empty")])
@pytest.mark.parametrize("order", ["release", "use"])
def test_a_model_that_can_not_be_taken_apart_is_answered(
    order: str, error: Exception, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes end all the same."""
    told.render(prompt("tiny"))
    ended: list[str] = []
    loaded = told.renderer._residents.ready("tiny")
    assert loaded is not None

    class Others:
        """Other processes that render with this one."""

        def close(self) -> None:
            ended.append("others")

    monkeypatch.setitem(
        told.renderer._residents._loaded,
        "tiny",
        replace(loaded, ranks=Others()),  # type: ignore[arg-type]
    )

    def failing(_path: FastPath) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "discard", failing)
        if order == "release":
            told.release("tiny", keeps=False)
        else:
            told.renderer.use({})
            event = told.next()
            assert isinstance(event, RendererEnded)
            assert "new_empty" in str(event.error)
    assert ["others"] == ended


@pytest.mark.usefixtures("without_code")
@pytest.mark.parametrize("model", ["tiny", "wan"])
def test_a_model_that_is_kept_comes_back_as_it_was(
    model: str, sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its files; it renders the same frames, and is compiled again."""
    if model == "tiny":  # its tracing takes half a minute, and has tests of its own
        monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    compiled = {"compile": "whole", "mixed_precision": False}
    found = Residents({model: replace(sources[model], speed=compiled)})
    before = rendering.render(found.make_ready(model), (prompt(model),), lambda _step: None)
    wait_for_compiler()
    found.release(model, keeps=True)
    (resident,) = found.memory().residents
    assert (False, None) == (resident.is_ready, found.ready(model))
    assert resident.host_bytes > 1000
    monkeypatch.setattr(pipeline, "load", None)
    loaded = found.make_ready(model)
    assert found.memory().ready == {model}
    after = rendering.render(loaded, (prompt(model),), lambda _step: None)
    assert np.array_equal(before, after)
    assert "compile_whole" not in loaded.fast_path.used
    wait_for_compiler()
    rendering.render(loaded, (prompt(model),), lambda _step: None)
    assert "compile_whole" in loaded.fast_path.used
    found.close()


def test_other_models_leave_before_a_render_is_made_smaller(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If memory runs out, the whole batch is tried again without them."""
    told.render(prompt("wan"))
    told.render(prompt("tiny"))
    asked: list[int] = []
    real = rendering.with_sound

    def short(loaded: LoadedPipeline, prompts: tuple[Prompt, ...], *rest: object, **how: object):  # type: ignore[no-untyped-def]
        asked.append(len(prompts))
        if len(asked) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(loaded, prompts, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(rendering, "with_sound", short)
    end = told.render(prompt("tiny", 1), prompt("tiny", 2))
    assert [2, 2] == asked
    assert [2, 2] == [rendered.batch_size for rendered in end.rendered]
    assert ["tiny"] == [resident.model for resident in told.memory.residents]


def test_any_error_of_a_load_is_that_of_the_model(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the prompts that are to be rendered with it; and other models go on."""
    told.render(prompt("tiny"))
    load = pipeline.load

    def failing(source: ModelSource, _tell: object) -> LoadedPipeline:
        if source.name == "wan":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load(source)

    monkeypatch.setattr(pipeline, "load", failing)
    told.renderer.render(Batch((Member("job", prompt("wan")),)))
    end = told.next()
    assert isinstance(end, BatchFailed)
    assert Unavailable is type(end.error)
    told.renderer.load("wan")
    failed = told.next()
    assert isinstance(failed, ModelFailed)
    assert "can't be loaded: " in str(failed.error)
    told.render(prompt("tiny"))


def test_host_memory_keeps_what_it_has_room_for(
    sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When others have to leave the device."""
    found = Residents(sources)
    for model in ("tiny", "wan"):
        found.make_ready(model)
    gpu = lambda loaded, *, is_ready: Resident(loaded.source.name, 10, 0, is_ready=is_ready)  # noqa: E731
    monkeypatch.setattr("reeldrop.render.residents._resident", gpu)
    for free, kept in ((10, ["tiny", "wan"]), (9, ["wan"])):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free)
        found.make_ready("tiny")
        found.make_ready("wan")
        assert found.release_others("wan")
        assert kept == [resident.model for resident in found.memory().residents]
        assert not found.release_others("wan")
    found.close()


def test_what_host_memory_can_not_keep_goes_all_the_same(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the renderer goes on: nobody else would answer."""

    def failing(_loaded: LoadedPipeline) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    told.render(prompt("tiny"))
    monkeypatch.setattr(placements, "keep_in_host_memory", failing)
    told.release("tiny", keeps=True)
    assert () == told.memory.residents
    told.render(prompt("tiny"))
