"""Compiling in the background with the real compiler, and the renders meanwhile."""

from __future__ import annotations

import functools
import gc
import json
import os
import queue
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.fakes import save_tiny_pipeline, save_tiny_wan
from harness.models import save
from harness.processes import run
from harness.site import Daemon, Site
from reeldrop.base.events import BatchFailed, BatchRendered
from reeldrop.base.job import Batch, Member, Prompt, Scalar
from reeldrop.render import measure, pipeline, placements, renderer, rendering, residents
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed import compiled, fast
from reeldrop.speed.channels_last import ChannelsLastTemporalConvLayer, ChannelsLastTransformer2D
from reeldrop.speed.compiled import Forms, Shape
from reeldrop.speed.fast import FastPath, Options
from reeldrop.speed.unet3d import Call
from structlog.testing import capture_logs
from torch import nn
from torch.profiler import profile
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# What the compiler warns of is its own business.
pytestmark = pytest.mark.filterwarnings("default")

STEPS = 3
SETTINGS: dict[str, Scalar] = {
    "num_frames": 5,
    "height": 32,
    "width": 32,
    "num_inference_steps": STEPS,
    "guidance_scale": 5.0,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache for compiled code, apart from those of other tests and users."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(compiled.CACHE, str(folder))
        yield folder


def prompt(text: str = "a horse", **changed: Scalar) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, text, "m", tuple({**SETTINGS, **changed}.items()), 1, 8, ("mp4",))


def load(folder: Path, way: str = "whole") -> LoadedPipeline:
    """Load a pipeline that compiles in this way; in float32, where rounding is invisible."""
    speed: dict[str, bool | str] = {"mixed_precision": False, "compile": way}
    return pipeline.load(ModelSource("m", str(folder), speed=speed))


def render(loaded: LoadedPipeline, one: Prompt) -> np.ndarray:
    """Return the frames of a prompt."""
    (frames,) = rendering.render(loaded, (one,), lambda _step: None)
    return frames


def compiled_calls(loaded: LoadedPipeline, one: Prompt) -> int:
    """Render in a thread, as the daemon does; return how often compiled code ran."""
    counted = []

    def count() -> None:
        with profile() as seen:
            render(loaded, one)
        assert seen.profiler is not None
        assert seen.profiler.kineto_results is not None
        raw = seen.profiler.kineto_results.events()  # a tree of them takes seconds
        counted.append(sum(e.name().startswith("Torch-Compiled Region") for e in raw))

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    return counted[0]


@pytest.fixture
def two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile one convolution and one attention of a UNet3D, and leave its other blocks alone."""
    blocks = compiled.blocks

    def chosen(denoiser: nn.Module) -> list[nn.Module]:
        kinds = {type(block): block for block in blocks(denoiser)}
        return [kinds[kind] for kind in (ChannelsLastTemporalConvLayer, ChannelsLastTransformer2D)]

    monkeypatch.setattr(compiled, "blocks", chosen)


@pytest.mark.parametrize(
    ("save_in", "way", "calls_a_step", "how"),
    [
        (functools.partial(save_tiny_pipeline, blocks=1), "whole", 1, "without_code"),
        (functools.partial(save_tiny_pipeline, blocks=1), "blocks", 2, "two_blocks"),
        (save_tiny_wan, "whole", 2, "without_code"),
        (functools.partial(save_tiny_wan, layers=3), "blocks", 6, "without_code"),
        (functools.partial(save, "Wan 2.2 A14B"), "whole", 2, "without_code"),
    ],
    ids=["unet3d", "code", "wan", "blocks of wan", "two transformers"],
)
def test_a_shape_is_compiled_after_its_first_render(
    save_in: Callable[[Path], Path],
    way: str,
    calls_a_step: int,
    how: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The first render does not wait; later ones of that shape use the compiled code, with the same
    frames. Code is generated for two blocks of a UNet; the tests of `tune` have that of a whole
    transformer, and `benchmarks/compiling.py` that of a whole UNet, which takes a minute."""
    request.getfixturevalue(how)
    loaded = load(save_in(tmp_path / "model"), way)
    other = prompt(num_frames=9)
    assert 0 == compiled_calls(loaded, prompt())
    assert f"compile_{way}" not in loaded.fast_path.used
    compiled.wait_for_compiler()
    assert STEPS * calls_a_step == compiled_calls(loaded, prompt("a bird"))
    assert f"compile_{way}" in loaded.fast_path.used
    plain = load(tmp_path / "model", "off")
    for one in (prompt(), prompt("a bird", negative_prompt="a cow")):
        difference = render(plain, one).astype(int) - render(loaded, one)
        assert abs(difference).max() <= 1
    loaded.fast_path.stop_compiling()
    assert 0 == compiled_calls(loaded, prompt())
    assert np.array_equal(render(plain, other), render(loaded, other))


def test_weights_that_come_and_go_are_not_compiled(wan_pipeline: Path) -> None:
    """Compiled code would look for offloaded weights in their old place."""
    pipe = load(wan_pipeline, "off").pipe
    for way in ("whole", "blocks"):
        path = FastPath(pipe, Options(compile=way), "cpu", compiles=False)
        assert ("off", [f"compile_{way}"]) == (path.options.compile, path.inapplicable)


@pytest.mark.usefixtures("without_code")
def test_weights_that_come_and_go_are_not_compiled_after_a_stay_in_host_memory(
    wan_pipeline: Path,
) -> None:
    """Placed again after a shortage, a pipeline stays uncompiled, whatever becomes of it."""
    loaded = load(wan_pipeline)
    loaded = placements.put_again(loaded, "cpu")  # where there is a GPU, with offloading
    placements.keep_in_host_memory(loaded)
    loaded = placements.bring_back(loaded)
    for _ in range(2):
        render(loaded, prompt())
        assert not compiled.is_compiling()
        assert "compile_whole" not in loaded.fast_path.used


def test_blocks_are_alike_and_none_is_inside_another(
    tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """Models name their repeated blocks; those of a UNet3D are known here."""
    unet, transformer = (
        load(tiny_pipeline, "off").pipe.unet,
        load(wan_pipeline, "off").pipe.transformer,
    )
    kinds = Counter(type(block).__name__ for block in compiled.blocks(unet))
    convolutions = "ChannelsLastResnetBlock2D", "ChannelsLastTemporalConvLayer"
    assert [8, 8] == [kinds[name] for name in convolutions]
    assert 4 == kinds["ChannelsLastTransformer2D"] == kinds["ChannelsLastTransformerTemporal"] - 1
    assert kinds.total() == 25
    assert [*transformer.blocks] == compiled.blocks(transformer)
    assert [] == compiled.blocks(Denoiser())


@pytest.mark.usefixtures("without_code")
def test_the_warm_up_waits_for_what_was_compiled_before(
    wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the first prompt is rendered with it. It waits for nothing that takes minutes, and no
    other batch waits."""
    waits: list[float] = []

    def wait(seconds: float, is_enough: Callable[[], bool]) -> None:
        waits.append(seconds)
        compiled.wait_for_compiler(seconds, is_enough)

    monkeypatch.setattr(fast, "wait_for_compiler", wait)
    speed: dict[str, bool | str] = {"mixed_precision": False, "compile": "whole"}
    source = ModelSource("m", str(wan_pipeline), speed=speed)
    for expected in ([], [fast.READY_SECONDS]):
        events: queue.SimpleQueue[object] = queue.SimpleQueue()
        works = renderer.InProcessRenderer({"m": source}, events.put)
        rendered = []
        for job, text in (("", "a horse"), ("job", "a bird")):
            works.render(Batch((Member(job, prompt(text, num_frames=17)),)))
            while not isinstance(event := events.get(timeout=120), BatchRendered):
                assert not isinstance(event, BatchFailed), event
            rendered.append(event.rendered[0])
            # What is predicted from the warm-up leaves the wait out.
            assert bool(expected and not job) == (event.waited > 0)
        assert expected == waits
        assert "compile_whole" not in rendered[0].speed
        assert not expected or "compile_whole" in rendered[1].speed
        compiled.wait_for_compiler()  # before `close`, which discards what is being compiled
        works.close()


@pytest.mark.usefixtures("without_code")
def test_nothing_holds_a_pipeline_that_is_no_longer_wanted(wan_pipeline: Path) -> None:
    """The memory of its weights is freed, compiled or not."""
    loaded = load(wan_pipeline)
    render(loaded, prompt())
    compiled.wait_for_compiler()
    weights = weakref.ref(next(loaded.pipe.transformer.parameters()))
    loaded.fast_path.let_go_of_forms()
    del loaded
    gc.collect()
    assert weights() is None


def slow_compiler(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let compilations wait; return what tells that one has begun, and what lets it go on."""
    began, goes_on = threading.Event(), threading.Event()
    compiling = Forms._compile

    def slow(self: Forms, shape: Shape, arguments: dict[str, Any]) -> object:
        began.set()
        assert goes_on.wait(60)
        return compiling(self, shape, arguments)

    monkeypatch.setattr(Forms, "_compile", slow)
    return began, goes_on


def test_garbage_is_collected_after_a_compilation_and_not_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch has crashed where that was done, asked or not. The next compilation waits for it."""
    monkeypatch.setattr(Forms, "_compile", lambda *_: torch.abs)
    began, goes_on = slow_compiler(monkeypatch)
    denoiser, front = stand_before_a_denoiser()

    def garbage() -> weakref.ref[nn.Module]:
        """Return a reference to a module that only itself refers to."""
        made = Denoiser()
        made.register_forward_hook(lambda *_: made)
        return weakref.ref(made)

    before = garbage()
    measure.empty_cache()
    assert before() is None
    denoiser(torch.rand(2, 3), num_frames=1)
    front.end()
    assert began.wait(60)
    meanwhile = garbage()
    measure.empty_cache()
    many: list[list[int]] = [[] for _ in range(100 * gc.get_threshold()[0])]
    assert many
    assert meanwhile() is not None
    goes_on.set()
    compiled.wait_for_compiler()
    assert meanwhile() is None
    assert gc.isenabled()


@pytest.mark.usefixtures("without_code")
def test_torch_itself_collects_no_garbage_in_a_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default it does after each frame, of which a denoiser in blocks has many."""
    collected: list[str] = []
    compiling = Forms._compile

    def watched(self: Forms, shape: Shape, arguments: dict[str, Any]) -> object:
        def note(phase: str, _found: object) -> None:
            collected.append(phase)

        gc.callbacks.append(note)
        try:
            return compiling(self, shape, arguments)
        finally:
            gc.callbacks.remove(note)

    monkeypatch.setattr(Forms, "_compile", watched)
    denoiser, front = stand_before_a_denoiser()
    denoiser(torch.rand(2, 3), num_frames=1)
    front.end()
    compiled.wait_for_compiler()
    assert front.seconds
    assert [] == collected


def bytes_of(weight: torch.Tensor) -> int:
    """Return the memory of a weight, or of the tensors that make up a quantized one."""
    if not is_traceable_wrapper_subclass(weight):
        return weight.untyped_storage().nbytes()
    return sum(bytes_of(getattr(weight, name)) for name in weight.__tensor_flatten__()[0])


@pytest.mark.usefixtures("without_code")
@pytest.mark.parametrize("quantization", [None, "int8", "float8"])
def test_the_weights_go_at_once_when_another_model_comes(
    quantization: Any, wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after the compiler has ended, which takes minutes: those of all parts."""
    began, goes_on = slow_compiler(monkeypatch)
    speed: dict[str, bool | str] = {"mixed_precision": False, "compile": "whole"}
    source = ModelSource("m", str(wan_pipeline), quantization=quantization, speed=speed)
    found = residents.Residents({"m": source})
    loaded = found.make_ready("m")
    render(loaded, prompt())
    assert began.wait(60)
    pipe = loaded.pipe
    parts = (pipe.transformer, pipe.vae, pipe.text_encoder)
    weights = [weight for part in parts for weight in part.parameters()]
    is_quantized = any(map(is_traceable_wrapper_subclass, weights))
    assert is_quantized == bool(quantization)
    assert compiled.is_compiling()
    found.release("m", keeps=False)
    assert 0 == sum(map(bytes_of, weights))
    goes_on.set()
    compiled.wait_for_compiler()
    assert not compiled.is_compiling()


def run_script(script: Path, text: str, *arguments: str, **environment: str) -> tuple[str, str]:
    """Compile in a new process; return its output."""
    script.write_text(f"import sys\nsys.path[1:1] = {sys.path!r}\n{text}")
    plain = {name: value for name, value in os.environ.items() if name != compiled.CACHE}
    ended = run([sys.executable, str(script), *arguments], env={**plain, **environment})
    ended.check_returncode()
    return ended.stdout, ended.stderr


DISCARDING = """
import logging
from reeldrop.host import process
process.quiet_torchao()
from pathlib import Path
import transformers
transformers.logging.set_verbosity_error()  # it misses torchvision, and says so
import test_compiled as t
from reeldrop.speed import compiled
from reeldrop.host import log
from reeldrop.speed.compiled import Forms
log.configure(sys.stdout, for_people=False)
loaded, copy = t.load(Path(sys.argv[1])), Forms._copy
def copy_and_discard(self, call):
    made = copy(self, call)
    loaded.fast_path.discard()
    return made
Forms._copy = copy_and_discard
t.render(loaded, t.prompt())
compiled.wait_for_compiler()
logging.getLogger("torch._dynamo").warning("news of the compiler")
"""


def test_what_torch_says_is_in_the_log_but_not_that_a_model_went_under_the_compiler(
    wan_pipeline: Path, cache: Path, tmp_path: Path
) -> None:
    """torch's own handlers would write to stderr, and call that an error."""
    stdout, stderr = run_script(
        tmp_path / "discarding.py", DISCARDING, str(wan_pipeline), **{compiled.CACHE: str(cache)}
    )
    events = [json.loads(line) for line in stdout.splitlines()]
    told = [(event["event"], event.get("message")) for event in events]
    assert "" == stderr
    assert [("compiling", None), ("library_message", "news of the compiler")] == told


class Denoiser(nn.Module):
    """A denoiser with arguments of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(
        self,
        sample: torch.Tensor,
        num_frames: int,
        scale: float = 1.0,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
        others: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        cos, sin = rotary or (1.0, 0.0)
        factor = (others or {}).get("factor", 1.0) * num_frames * scale
        return (sample * cos + sample * sin) * self.weight * factor


def stand_before_a_denoiser(call: Call | None = None) -> tuple[Denoiser, Forms]:
    """Return a denoiser, and the Forms that compile it."""
    denoiser = Denoiser()
    return denoiser, Forms(denoiser, call or Call())


@pytest.mark.usefixtures("without_code")
def test_arguments_may_be_numbers_and_tuples_of_tensors() -> None:
    """Several pipelines use them; other numbers are another shape. With LoRAs, nothing compiled is
    used."""
    call = Call()
    denoiser, front = stand_before_a_denoiser(call)
    sample, rotary = torch.rand(2, 3), (torch.rand(3), torch.rand(3))
    calls: list[dict[str, object]] = [
        {"num_frames": 2},
        {"num_frames": 2, "scale": 0.5, "rotary": rotary},
        {"num_frames": 3, "rotary": rotary, "others": {"factor": 2.0}},
    ]
    with torch.inference_mode():
        expected = [denoiser(sample, **arguments) for arguments in calls]
        assert not front.was_used
        front.end()
        compiled.wait_for_compiler()
        for call.loras in ((), (("style", 1.0),)):
            for arguments, plain in zip(calls, expected, strict=True):
                front.begin()
                assert torch.allclose(plain, denoiser(sample, **arguments))
                assert front.was_used == (not call.loras)
        call.loras = ()
        front.begin()
        denoiser(sample, num_frames=4)
    assert not front.was_used


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([{"num_frames": n} for n in range(5)], "it was called with more than 4 shapes"),
        ([{"num_frames": 1, "others": {"x": object()}}] * 2, "an argument of its call is a object"),
    ],
)
def test_what_is_never_the_same_again_is_not_compiled(
    calls: list[dict[str, Any]], reason: str
) -> None:
    """It would be useless; the log says so, once."""
    denoiser, front = stand_before_a_denoiser()
    with capture_logs() as events:
        for _ in range(2):
            for arguments in calls:
                denoiser(torch.rand(2, 3), **arguments)
            front.end()
    assert not compiled.is_compiling()
    (event,) = events
    assert "denoiser_left_as_it_is" == event["event"]
    assert event["reason"].startswith(reason)


def test_a_cache_that_cannot_be_made_fails_no_render(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a user without a home: only the compiler fails."""
    monkeypatch.setenv(compiled.CACHE, "/dev/null/cache")
    is_left_uncompiled()


def test_a_compiler_that_fails_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that finds no headers."""
    for name, value in compiler(tmp_path, "exit 1").items():
        monkeypatch.setenv(name, value)
    is_left_uncompiled()


def is_left_uncompiled() -> None:
    """Assert that what can't be compiled is told as a warning, and goes on uncompiled."""
    denoiser, front = stand_before_a_denoiser()
    sample = torch.rand(2, 3)
    with capture_logs() as events, torch.inference_mode():
        expected = denoiser(sample, num_frames=1)
        front.end()
        compiled.wait_for_compiler()
        front.begin()
        assert torch.equal(expected, denoiser(sample, num_frames=1))
    assert not front.was_used
    assert [("compiling", "info"), ("not_compiled", "warning")] == [
        (event["event"], event["log_level"]) for event in events
    ]


@pytest.mark.usefixtures("without_code")
def test_what_was_not_rendered_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently rendered shape is dropped, and compiled again when it returns."""
    monkeypatch.setattr(compiled, "MOST", 2)
    denoiser, front = stand_before_a_denoiser()
    used = []
    with torch.inference_mode():
        for frames in (1, 2, 1, 3, 1, 3, 2, 2):
            front.begin()
            denoiser(torch.rand(2, 3), num_frames=frames)
            used.append(front.was_used)
            front.end()
            compiled.wait_for_compiler()
    assert [False, False, True, False, True, True, False, True] == used


@pytest.mark.usefixtures("without_code")
def test_what_goes_before_its_turn_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that was dropped while it waited for the compiler is skipped."""
    monkeypatch.setattr(compiled, "MOST", 2)
    denoiser, front = stand_before_a_denoiser()
    with capture_logs() as events, torch.inference_mode():
        with compiled._one_at_a_time:
            for frames in range(5):
                denoiser(torch.rand(2, 3), num_frames=frames)
                front.end()
        compiled.wait_for_compiler()
        ready = []
        for frames in range(5):
            front.begin()
            denoiser(torch.rand(2, 3), num_frames=frames)
            ready += [frames] * front.was_used
    assert [3, 4] == ready
    assert 2 == [event["event"] for event in events].count("compiled")


GIB = 1 << 30


@pytest.mark.parametrize(("free", "is_compiled"), [(3, True), (2, False)])
def test_the_compiler_needs_room_beside_a_render(
    free: int, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than twice what the last render took: 2 GiB, which are in stock now."""
    for name, value in {
        "is_available": True,
        "memory_allocated": 4 * GIB,
        "max_memory_allocated": 6 * GIB,
        "memory_reserved": 6 * GIB,
        "mem_get_info": (free * GIB, 16 * GIB),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(Forms, "_compile", lambda *_: torch.abs)
    denoiser, front = stand_before_a_denoiser()
    denoiser(torch.rand(2, 3), num_frames=1)
    with capture_logs() as events:
        front.end()
        compiled.wait_for_compiler()
    told = [event["event"] for event in events]
    assert (["compiling", "compiled"] if is_compiled else ["not_compiled"]) == told


def test_guidance_counts_only_where_the_parts_heed_it(
    tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """Otherwise the same code would be compiled twice."""
    for folder, shapes in ((tiny_pipeline, 2), (wan_pipeline, 1)):
        loaded = load(folder)
        [front] = loaded.fast_path.forms
        found = set()
        for guidance in (1.0, 5.0):
            loaded.fast_path.begin({"guidance_scale": guidance})
            found.add(front._shape({"num_frames": 1}))
        assert shapes == len(found)
        loaded.fast_path.discard()


def test_who_gives_another_place_for_what_is_compiled_is_obeyed(
    wan_pipeline: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A given cache folder is used instead of the default."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load(wan_pipeline)
    assert str(cache) == os.environ[compiled.CACHE]


CONFIG = """\
settle_seconds: 0.1
scan_seconds: 0.2
min_free_gib: 0
model: m
models:
  m:
    path: {folder}
    speed: {{compile: whole}}
    defaults: {{num_inference_steps: 2, num_frames: 5, height: 32, width: 32}}
"""


@pytest.fixture
def compiling(site: Site, wan_pipeline: Path) -> Site:
    """A site whose model is compiled."""
    (site.folder / "config.yaml").write_text(CONFIG.format(folder=wan_pipeline))
    return site


def compiler(folder: Path, script: str) -> dict[str, str]:
    """Return an environment in which a shell script is the compiler, with an empty cache."""
    path = folder / "g++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", compiled.CACHE: str(folder / "cache")}


def test_the_daemon_ends_while_it_compiles(
    compiling: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """It renders, and a stop waits for no compiler: this one never ends."""
    os.mkfifo(tmp_path / "wait")
    running = daemon(**compiler(tmp_path, f"echo >{tmp_path}/began; cat {tmp_path}/wait"))
    running.wait_for("compiling")
    compiling.drop("a.txt", "a horse\n")
    running.wait_for("job_ended")
    assert 0 == running.stop()
    assert [] == running.events("compiled") + running.events("not_compiled")
