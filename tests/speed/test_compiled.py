"""Compiling in the background with the real compiler, and the renders meanwhile."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from harness.fakes import save_tiny_pipeline, save_tiny_wan
from harness.models import save
from harness.processes import run
from harness.site import Daemon, Site
from reeldrop.base.job import Prompt, Scalar
from reeldrop.render import pipeline, rendering
from reeldrop.render.pipeline import LoadedPipeline, ModelSource
from reeldrop.speed import compiled, fast
from reeldrop.speed.fast import FastPath, Options
from reeldrop.speed.forms import Forms
from reeldrop.speed.shapes import Shape
from reeldrop.speed.unet3d import Call
from structlog.testing import capture_logs
from torch import nn
from torch.profiler import profile

if TYPE_CHECKING:
    from reeldrop.speed.graphs import Graphs

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


def load(folder: Path, way: str = "compile") -> LoadedPipeline:
    """Load a pipeline that compiles in this way, or not at all if it is empty; in float32, where
    rounding is invisible."""
    speed: dict[str, bool | str] = {"mixed_precision": False, **({way: True} if way else {})}
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
        regions = [e for e in seen.events() if e.name.startswith("Torch-Compiled Region")]
        counted.append(len(regions))

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    return counted[0]


@pytest.mark.parametrize(
    ("save_in", "way", "calls_a_step"),
    [
        (functools.partial(save_tiny_pipeline, blocks=1), "compile", 1),
        (functools.partial(save_tiny_pipeline, blocks=1), "compile_blocks", 13),
        (save_tiny_wan, "compile", 2),
        (functools.partial(save_tiny_wan, layers=3), "compile_blocks", 6),
        (functools.partial(save, "Wan 2.2 A14B"), "compile", 2),
    ],
    ids=["unet3d", "blocks of unet3d", "wan", "blocks of wan", "two transformers"],
)
def test_a_shape_is_compiled_after_its_first_render(
    save_in: Callable[[Path], Path], way: str, calls_a_step: int, tmp_path: Path
) -> None:
    """The first render does not wait; later ones of that shape use the compiled code, with the same
    frames."""
    loaded = load(save_in(tmp_path / "model"), way)
    other = prompt(num_frames=9)
    assert 0 == compiled_calls(loaded, prompt())
    assert way not in loaded.fast_path.used
    compiled.wait_for_compiler()
    assert STEPS * calls_a_step == compiled_calls(loaded, prompt("a bird"))
    assert way in loaded.fast_path.used
    plain = load(tmp_path / "model", "")
    for one in (prompt(), prompt("a bird", negative_prompt="a cow")):
        difference = render(plain, one).astype(int) - render(loaded, one)
        assert abs(difference).max() <= 1
    loaded.fast_path.let_go_of_forms()
    assert 0 == compiled_calls(loaded, prompt())
    assert np.array_equal(render(plain, other), render(loaded, other))


@pytest.mark.parametrize("way", ["compile", "compile_blocks"])
@pytest.mark.parametrize("stays", [True, False])
def test_weights_that_come_and_go_are_not_compiled(
    stays: bool, way: str, wan_pipeline: Path
) -> None:
    """Compiled code would look for offloaded weights in their old place."""
    pipe = load(wan_pipeline, "").pipe
    path = FastPath(pipe, Options(**{way: True}), "cpu", compiles=stays)
    inapplicable = [] if stays else [way]
    assert (stays, inapplicable) == (getattr(path.options, way), path.inapplicable)


def test_blocks_are_alike_and_none_is_inside_another(
    tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """Models name their repeated blocks; those of a UNet3D are known here."""
    unet, transformer = load(tiny_pipeline, "").pipe.unet, load(wan_pipeline, "").pipe.transformer
    kinds = Counter(type(block).__name__ for block in compiled.blocks(unet))
    assert (8, 8) == (kinds["ResnetBlock2D"], kinds["TemporalConvLayer"])
    assert 4 == kinds["ChannelsLastTransformer2D"] == kinds["ChannelsLastTransformerTemporal"] - 1
    assert kinds.total() == 25
    assert [*transformer.blocks] == compiled.blocks(transformer)
    assert [] == compiled.blocks(Denoiser())


def test_who_wants_blocks_need_not_say_that_the_whole_is_not_wanted() -> None:
    """Only one of the two is used, whatever the default."""
    for given in ({"compile_blocks": True}, {"compile_blocks": True, "compile": False}):
        options = fast.resolve(given, "cuda")
        assert (False, True) == (options.compile, options.compile_blocks)


COMPILING = """
import os, sys
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
import torch
from reeldrop.speed import compiled
from reeldrop.speed.forms import Forms
from reeldrop.speed.unet3d import Call
from torch import nn
from torch._dynamo.utils import counters

class Denoiser(nn.Module):
    def forward(self, sample):
        return sample * 2 + 1

denoiser, call = Denoiser(), Call()
forms = Forms(denoiser, call, heeds_call=False, compiled=compiled.Compiled(denoiser, call))
with torch.inference_mode():
    denoiser(sample=torch.rand(2, 3))
    forms.end()
    compiled.wait_for_compiler()
found = counters["aot_autograd"]
print(found["autograd_cache_miss"], found["autograd_cache_hit"])
"""


def run_script(script: Path, text: str, *arguments: str, **environment: str) -> tuple[str, str]:
    """Compile in a new process; return the misses and hits of the cache."""
    script.write_text(f"import sys\nsys.path[1:1] = {sys.path!r}\n{text}")
    plain = {name: value for name, value in os.environ.items() if name != compiled.CACHE}
    ended = run([sys.executable, str(script), *arguments], env={**plain, **environment})
    ended.check_returncode()
    return ended.stdout, ended.stderr


def test_the_next_process_finds_what_was_compiled(tmp_path: Path) -> None:
    """The second process takes from the cache what the first put there.

    The cache is that of the service or the user, not the one in /tmp that torch itself puts into
    the environment.
    """
    script, cache = tmp_path / "compiling.py", tmp_path / "cache"
    cache.mkdir()
    for misses_and_hits in ("1 0", "0 1"):
        assert misses_and_hits == run_script(script, COMPILING, str(cache))[0].splitlines()[-1]
    assert ["reeldrop-compiled"] == [folder.name for folder in cache.iterdir()]


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


def test_the_weights_go_at_once_when_another_model_comes(
    wan_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after the compiler has ended, which takes minutes."""
    began, goes_on = threading.Event(), threading.Event()
    compiling = compiled.Compiled._compile

    def slow(self: compiled.Compiled, shape: compiled.Shape) -> object:
        began.set()
        assert goes_on.wait(60)
        return compiling(self, shape)

    monkeypatch.setattr(compiled.Compiled, "_compile", slow)
    loaded = load(wan_pipeline)
    render(loaded, prompt())
    assert began.wait(60)
    weights = list(loaded.pipe.transformer.parameters())
    assert compiled.is_compiling()
    loaded.fast_path.discard()
    assert 0 == sum(weight.untyped_storage().nbytes() for weight in weights)
    goes_on.set()
    compiled.wait_for_compiler()
    assert not compiled.is_compiling()


DISCARDING = """
import logging
from pathlib import Path
import transformers
transformers.logging.set_verbosity_error()  # it misses torchvision, and says so
import test_compiled as t
from reeldrop.speed import compiled
from reeldrop.host import log
from reeldrop.speed.compiled import Compiled
log.configure(sys.stdout, for_people=False)
loaded, copy = t.load(Path(sys.argv[1])), Compiled._copy
def copy_and_discard(self, call):
    made = copy(self, call)
    loaded.fast_path.discard()
    return made
Compiled._copy = copy_and_discard
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


def stand_before_a_denoiser(
    call: Call | None = None, *, heeds_call: bool = False
) -> tuple[Denoiser, Forms]:
    """Return a denoiser, and the Forms that compile it."""
    denoiser, call = Denoiser(), call or Call()
    compiler = compiled.Compiled(denoiser, call)
    return denoiser, Forms(denoiser, call, heeds_call=heeds_call, compiled=compiler)


def test_arguments_may_be_numbers_and_tuples_of_tensors() -> None:
    """Several pipelines use them; other numbers are another shape."""
    denoiser, forms = stand_before_a_denoiser()
    sample, rotary = torch.rand(2, 3), (torch.rand(3), torch.rand(3))
    calls: list[dict[str, object]] = [
        {"num_frames": 2},
        {"num_frames": 2, "scale": 0.5, "rotary": rotary},
        {"num_frames": 3, "rotary": rotary, "others": {"factor": 2.0}},
    ]
    with torch.inference_mode():
        expected = [denoiser(sample, **arguments) for arguments in calls]
        assert not forms.used
        forms.end()
        compiled.wait_for_compiler()
        for arguments, plain in zip(calls, expected, strict=True):
            forms.used.clear()
            assert torch.allclose(plain, denoiser(sample, **arguments))
            assert {"compiled"} == forms.used
        forms.used.clear()
        denoiser(sample, num_frames=4)
    assert not forms.used


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([{"num_frames": n} for n in range(5)], "it was called with 5 different shapes"),
        ([{"num_frames": 1, "others": {"x": object()}}] * 2, "it is called with a object"),
    ],
)
def test_what_is_never_the_same_again_is_not_compiled(
    calls: list[dict[str, Any]], reason: str
) -> None:
    """It would be useless; the log says so, once."""
    denoiser, forms = stand_before_a_denoiser()
    with capture_logs() as events:
        for _ in range(2):
            for arguments in calls:
                denoiser(torch.rand(2, 3), **arguments)
            forms.end()
    assert not compiled.is_compiling()
    (event,) = events
    assert "denoiser_left_as_it_is" == event["event"]
    assert event["reason"].startswith(reason)


def test_what_was_not_rendered_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently rendered shape is dropped, and compiled again when it returns."""
    monkeypatch.setattr(compiled, "MOST", 2)
    denoiser, forms = stand_before_a_denoiser()
    used = []
    with torch.inference_mode():
        for frames in (1, 2, 1, 3, 1, 3, 2, 2):
            forms.begin()
            denoiser(torch.rand(2, 3), num_frames=frames)
            used.append(bool(forms.used))
            forms.end()
            compiled.wait_for_compiler()
    assert [False, False, True, False, True, True, False, True] == used


def test_what_goes_before_its_turn_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that was dropped while it waited for the compiler is skipped."""
    monkeypatch.setattr(compiled, "MOST", 2)
    denoiser, forms = stand_before_a_denoiser()
    assert forms.compiled is not None
    with capture_logs() as events, torch.inference_mode():
        with compiled._one_at_a_time:
            for frames in range(5):
                denoiser(torch.rand(2, 3), num_frames=frames)
                forms.end()
        compiled.wait_for_compiler()
        ready = [
            frames
            for frames in range(5)
            if forms.compiled.get(
                Shape.of({"sample": torch.rand(2, 3), "num_frames": frames}, None)
            )
        ]
    assert [3, 4] == ready
    assert 2 == [event["event"] for event in events].count("compiled")


GIB = 1 << 30


@pytest.mark.parametrize(
    ("uncounted", "kept", "is_compiled"),
    [
        (0, 0, True),  # 3 GiB free and 2 in stock, for twice the 2 that the render took
        (1, 0, False),  # it needed 3, of which one was there
        (0, 1, False),  # 1 of the 2 in stock is kept
    ],
)
def test_the_room_for_the_compiler_is_without_what_recordings_have(
    uncounted: int, kept: int, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of recordings is neither free nor part of a render's need."""
    for name, value in {
        "is_available": True,
        "memory_allocated": 4 * GIB,
        "max_memory_allocated": 6 * GIB,
        "memory_reserved": 6 * GIB,
        "mem_get_info": (3 * GIB, 16 * GIB),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(compiled.Compiled, "_compile", lambda _self, _shape: torch.abs)
    denoiser, forms = stand_before_a_denoiser()
    nothing: dict[str, Any] = dict.fromkeys(("get", "record", "expect"), lambda *_: None)
    forms.graphs = cast("Graphs", SimpleNamespace(taken_bytes=kept * GIB, **nothing))
    denoiser(torch.rand(2, 3), num_frames=1)
    forms.uncounted_bytes = uncounted * GIB
    with capture_logs() as events:
        forms.end()
        compiled.wait_for_compiler()
    told = [event["event"] for event in events]
    assert (["compiling", "compiled"] if is_compiled else ["not_compiled"]) == told


def test_what_another_process_compiled_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is here already stays as it is: to replace what is loaded would end this process. What a
    process has left that was killed goes after a day.
    """
    monkeypatch.setenv(compiled.CACHE, str(tmp_path))
    for name in ("aa", "of-another-1", "of-another-2"):
        (tmp_path / name).mkdir()
    ours = tmp_path / "aa" / "k.so"
    ours.write_text("ours")
    os.utime(tmp_path / "of-another-1", (0, 0))
    with compiled.cache_for_another() as folder:
        for name in ("aa", "bb"):
            (folder / name).mkdir()
            (folder / name / "k.so").write_text("theirs")
        assert folder.is_relative_to(tmp_path)
    assert {"aa", "bb", "of-another-2"} == {path.name for path in tmp_path.iterdir()}
    assert ("ours", "theirs") == (ours.read_text(), (tmp_path / "bb" / "k.so").read_text())


def test_guidance_counts_only_where_the_parts_heed_it() -> None:
    """Otherwise the same code would be compiled twice."""
    for heeds_call, threads in ((True, 2), (False, 1)):
        call = Call()
        denoiser, forms = stand_before_a_denoiser(call, heeds_call=heeds_call)
        for call.is_guided in (True, False):
            denoiser(torch.rand(2, 3), num_frames=1)
        forms.stop()
        forms.end()
        assert forms.compiled is not None
        assert threads == len(forms.compiled._begun)


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
    speed: {{compile: true}}
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


def test_a_compiler_that_fails_only_warns(
    compiling: Site, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Renders use the plain denoiser."""
    running = daemon(**compiler(tmp_path, "exit 1"))
    warning = running.wait_for("not_compiled")
    assert "warning" == warning["level"]
    compiling.drop("a.txt", "a horse\n")
    assert "finished" == running.wait_for("job_ended")["outcome"]
    assert 0 == running.stop()
    assert [] == running.events("compiled")


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
