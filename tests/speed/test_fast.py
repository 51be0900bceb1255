"""The fast path: the same frames up to rounding, and what it does to a pipeline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from reeldrop.base.job import Prompt, Scalar
from reeldrop.render import pipeline, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource, bundled_model
from reeldrop.speed import fast, mixed_precision
from reeldrop.speed.denoisers import parts
from reeldrop.speed.fast import Options
from reeldrop.speed.lossy import NOTHING, Lossy
from reeldrop.tune.likeness import psnr_db
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# What is compiled has tests of its own.
OFF = fast.PLAIN
FLOAT32: dict[str, bool | str] = {**OFF, "exact": True}
MIXED: dict[str, bool | str] = {**OFF, "mixed_precision": True}
ON: dict[str, bool | str] = {**FLOAT32, "mixed_precision": True}
SETTINGS: dict[str, Scalar] = {
    "num_frames": 5,
    "height": 16,
    "width": 32,
    "num_inference_steps": 2,
    "guidance_scale": 5.0,
}


def prompt(text: str = "a horse", *, seed: int = 1, **changed: Scalar) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, text, "m", tuple({**SETTINGS, **changed}.items()), seed, 8, ("mp4",))


def render(loaded: LoadedPipeline, *prompts: Prompt, by_frame: bool = False) -> np.ndarray:
    """Return the frames of the prompts, rendered as one batch, as wide numbers."""
    frames = rendering.render(loaded, prompts, lambda _step: None, decodes_in_parts=by_frame)
    return np.stack(frames).astype(np.int64)


def loaded_with(folder: Path, speed: dict[str, bool | str], **settings: str) -> LoadedPipeline:
    """Load a pipeline with switches of the fast path."""
    return pipeline.load(ModelSource("m", str(folder), speed=speed, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rough_pipeline(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline with noise in the convolutions that are zero in a new model.

    Without it, the temporal layers would not change the frames.
    """
    pipe = pipeline.load(ModelSource("m", str(tiny_pipeline), speed=OFF)).pipe
    torch.manual_seed(5)
    for parameter in pipe.unet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("model") / "rough"
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def plain(rough_pipeline: Path) -> LoadedPipeline:
    """The pipeline without the fast path."""
    return loaded_with(rough_pipeline, OFF)


@pytest.fixture(scope="module")
def expected(plain: LoadedPipeline) -> Callable[..., np.ndarray]:
    """A function that returns the frames of a batch without any of the ways, rendered once."""
    return functools.cache(functools.partial(render, plain))


@pytest.fixture(scope="module", params=[FLOAT32, MIXED, ON], ids=["exact", "mixed", "both"])
def quick(request: pytest.FixtureRequest, rough_pipeline: Path) -> LoadedPipeline:
    """The pipeline with one way of the fast path, or both."""
    return loaded_with(rough_pipeline, request.param)


@pytest.mark.parametrize(
    ("prompts", "changed"),
    [
        (1, {}),
        (2, {"negative_prompt": "a cow"}),
        (1, {"height": 32, "width": 16, "num_frames": 9}),
        (2, {"height": 40, "width": 24, "num_frames": 4}),  # sizes that are not halved evenly
        (1, {"height": 8, "width": 8, "num_frames": 1}),
        (2, {"guidance_scale": 1.0}),
    ],
    ids=str,
)
def test_each_way_and_all_together_give_the_same_frames(
    prompts: int,
    changed: dict[str, Scalar],
    quick: LoadedPipeline,
    expected: Callable[..., np.ndarray],
) -> None:
    """One or two prompts of any size and length, guided or not: equal up to rounding."""
    wanted = (prompt(seed=3, **changed), prompt("a bird", seed=4, **changed))[:prompts]
    least = 45 if quick.fast_path.options.mixed_precision else 60
    assert psnr_db(expected(*wanted), render(quick, *wanted)) > least


def test_each_of_a_batch_has_its_own_negative_prompt(rough_pipeline: Path) -> None:
    """A negative prompt does not affect the other prompts."""
    quick = loaded_with(rough_pipeline, FLOAT32)
    texts = (("a horse", "a cow"), ("a bird", "a fish"))
    wanted = [prompt(text, negative_prompt=unwanted) for text, unwanted in texts]
    swapped = [prompt(text, negative_prompt=texts[1 - n][1]) for n, (text, _) in enumerate(texts)]
    together = render(quick, *wanted)
    for one, other, frames in zip(wanted, swapped, together, strict=True):
        assert psnr_db(frames, render(quick, one)[0]) > 60
        assert psnr_db(frames, render(quick, other)[0]) < 60


class Work(TorchDispatchMode):
    """Counts the work of the processor in a render."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.volumes = 0
        self.disordered = 0
        self.wide = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.products += name in ("mm", "addmm", "bmm")
        if name in ("mm", "addmm", "convolution"):
            self.wide += any(a.dtype == torch.float32 for a in args if isinstance(a, torch.Tensor))
        if name == "convolution":
            self.volumes += args[0].dim() == 5
            is_ordered = args[0].is_contiguous(memory_format=torch.channels_last)
            self.disordered += args[0].dim() == 4 and not is_ordered
        return func(*args, **(kwargs or {}))


def done(loaded: LoadedPipeline) -> dict[str, int]:
    """Return the work of rendering a prompt for the second time."""
    render(loaded, prompt())
    with Work() as work, FlopCounterMode(display=False) as counter:
        render(loaded, prompt())
    operations = counter.get_total_flops()
    return {"operations": operations, **{key: getattr(work, key) for key in WORK}}


WORK = ("products", "volumes", "disordered", "wide")


def test_each_way_spares_what_it_is_there_to_spare(
    plain: LoadedPipeline, rough_pipeline: Path
) -> None:
    """Otherwise the frames would be equal because the way does nothing."""
    quick = (loaded_with(rough_pipeline, switches) for switches in (FLOAT32, MIXED))
    before, exact, mixed = map(done, (plain, *quick))
    assert exact["volumes"] == 0
    assert exact["disordered"] < before["disordered"]
    # Text and guidance once; queries, keys and values in one product; no text encoded again.
    assert exact["operations"] < 0.9 * before["operations"]
    assert exact["products"] < 0.8 * before["products"]
    assert mixed["wide"] < before["wide"]


def test_what_is_not_the_same_is_far_from_it(expected: Callable[..., np.ndarray]) -> None:
    """Another text, seed or guidance exceeds the tolerance above."""
    base = expected(prompt())
    others = (prompt(seed=2), prompt("a bird"), prompt(guidance_scale=1.0))
    assert [True] * 3 == [psnr_db(base, expected(other)) < 50 for other in others]


_BUNDLED: dict[str, Scalar] = {
    "num_frames": 8, "height": 64, "width": 64, "num_inference_steps": 2, "guidance_scale": 1.5,
}  # fmt: skip
_FILMED = [
    Prompt(1, text, "m", tuple(_BUNDLED.items()), 5, 8, ("mp4",))
    for text in ("a red ball rolls left", "a blue star bounces at night")
]


@pytest.fixture(scope="module")
def filmed() -> np.ndarray:
    """What the bundled model films without any of the ways."""
    return render(loaded_with(bundled_model(), OFF, variant="fp16"), *_FILMED)


@pytest.mark.parametrize(("speed", "least"), [(FLOAT32, 70), (ON, 50)], ids=["float32", "all"])
def test_the_bundled_model_gives_the_same_frames(
    speed: dict[str, bool | str], least: int, filmed: np.ndarray
) -> None:
    """In small; alone and together."""
    quick = loaded_with(bundled_model(), speed, variant="fp16")
    assert psnr_db(filmed, render(quick, *_FILMED)) > least
    assert psnr_db(filmed[:1], render(quick, _FILMED[0])) > least


def test_weights_that_come_and_go_give_the_same_frames(
    rough_pipeline: Path, expected: Callable[..., np.ndarray]
) -> None:
    """Sequential offload moves weights for each call; it may begin after a shortage."""
    moved = loaded_with(rough_pipeline, ON)
    for part in (moved.pipe.text_encoder, moved.pipe.unet, moved.pipe.vae):
        cpu_offload(part, execution_device=torch.device("cpu"))
    assert {"meta"} == {parameter.device.type for parameter in moved.pipe.unet.parameters()}
    wanted = (prompt(), prompt("a bird", seed=2))
    assert psnr_db(expected(*wanted), render(moved, *wanted)) > 45


@pytest.mark.parametrize("name", ["rough_pipeline", "wan_pipeline"])
def test_what_was_put_on_can_be_taken_off(name: str, request: pytest.FixtureRequest) -> None:
    """With what came after, such as the hooks of offloading: weights, their layout and frames are
    those of before, bit for bit. Then other ways can be put on."""
    loaded = loaded_with(request.getfixturevalue(name), OFF)
    untouched = fast.Untouched(loaded.pipe)

    def look() -> list[tuple[str, torch.dtype, tuple[int, ...], bytes]]:
        return [
            (name, one.dtype, one.stride(), one.float().numpy().tobytes())
            for part in parts(loaded.pipe)
            for name, one in part.state_dict().items()
        ]

    before, expected = look(), render(loaded, prompt())
    for lossy in (NOTHING, Lossy(deep_cache=3, first_block_cache=0.5)):
        source = dataclasses.replace(loaded.source, speed=ON, lossy=lossy)
        quick = pipeline.optimized(loaded, source)
        assert [*quick.fast_path.lossy] == [n for n in quick.fast_path.taken if n in lossy.wanted]
        assert before != look()
        render(quick, prompt())
        for part in parts(loaded.pipe):
            cpu_offload(part, execution_device=torch.device("cpu"))
        untouched.restore()
        assert before == look()
        plain = pipeline.optimized(loaded, loaded.source)
        assert np.array_equal(expected, render(plain, prompt()))


def test_weights_stay_where_they_were(plain: LoadedPipeline, rough_pipeline: Path) -> None:
    """All weights have their loaded names and values, except the joined projections, which take the
    place of two or three."""
    quick = loaded_with(rough_pipeline, FLOAT32)
    for part in ("unet", "vae", "text_encoder"):
        expected, found = (getattr(x.pipe, part).state_dict() for x in (plain, quick))
        assert sum(map(torch.numel, expected.values())) == sum(map(torch.numel, found.values()))
        apart = {name for name in {*expected} - {*found} if "attn" in name}
        new = {*found} - {*expected}
        together = {name for name in new if ".to_qkv." in name or ".to_kv." in name}
        assert [n for n in expected if n not in apart] == [n for n in found if n not in together]
        assert all(torch.equal(expected[n], found[n]) for n in expected if n not in apart)


def test_frames_do_not_depend_on_what_was_rendered_before(rough_pipeline: Path) -> None:
    """No state of a render affects the next one, bit for bit."""
    quick = loaded_with(rough_pipeline, ON)
    first = render(quick, prompt())
    for other in (prompt("a bird"), prompt(num_frames=3), prompt(guidance_scale=1.0)):
        render(quick, other)
    render(quick, prompt("a cow"), prompt("a bird", seed=3))
    assert np.array_equal(first, render(quick, prompt()))


def test_after_a_render_that_was_left_nothing_is_left(rough_pipeline: Path) -> None:
    """An error in the middle leaves no state."""
    quick, stopped = (loaded_with(rough_pipeline, ON) for _ in range(2))

    def stop(_step: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        rendering.render(stopped, (prompt("a bird", num_frames=9, guidance_scale=1.0),), stop)
    assert np.array_equal(render(quick, prompt()), render(stopped, prompt()))


def test_a_pipeline_without_the_parts_is_not_broken(wan_pipeline: Path) -> None:
    """Ways for which it has no parts are skipped, and reported."""
    wanted = (prompt(), prompt("a bird", seed=2, negative_prompt="a cow"))
    quick = loaded_with(wan_pipeline, ON)
    expected = render(loaded_with(wan_pipeline, OFF), *wanted)
    assert psnr_db(expected, render(quick, *wanted)) > 60
    assert (["mixed_precision"], ["exact"]) == (quick.fast_path.inapplicable, quick.fast_path.taken)


def test_a_switch_goes_over_the_default() -> None:
    """On are all ways, except the compiler on CPUs, where it takes cores from renders, and mixed
    precision on GPUs, which use 16 bits anyway."""
    is_mixed = mixed_precision.is_native()
    assert Options(exact=True, mixed_precision=is_mixed) == fast.resolve({}, "cpu")
    assert Options(exact=True, compile="whole") == fast.resolve({}, "cuda")
    assert Options(compile="blocks") == fast.resolve({"exact": False, "compile": "blocks"}, "cuda")


def test_mixed_precision_leaves_the_latents_and_the_picture_alone(rough_pipeline: Path) -> None:
    """Inputs and outputs of the model are float32, as is everything outside its layers."""
    quick = loaded_with(rough_pipeline, MIXED)
    unet, decoder = quick.pipe.unet, quick.pipe.vae.decoder
    outermost = (unet.conv_in, unet.conv_out, decoder.conv_in, decoder.conv_out)
    assert {torch.float32} == {layer.weight.dtype for layer in outermost}
    kinds = {
        type(module).__mro__[1]
        for part in (unet, decoder)
        for module in part.modules()
        if any(p.dtype == torch.bfloat16 for p in module.parameters(recurse=False))
    }
    assert {nn.Linear, nn.Conv2d} == kinds
    assert {torch.float32} == {p.dtype for p in quick.pipe.text_encoder.parameters()}
    assert torch.float32 == unet.dtype == quick.pipe.vae.dtype


def test_mixed_precision_is_for_float32(rough_pipeline: Path) -> None:
    """A model in 16 bits stays unchanged."""
    quick = loaded_with(rough_pipeline, ON, dtype="float16")
    assert "mixed_precision" in quick.fast_path.inapplicable
    assert {torch.float16} == {p.dtype for p in quick.pipe.unet.parameters()}
