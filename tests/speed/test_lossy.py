"""Lossy ways: off by default, close to the plain frames, and without state afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusers import WanPipeline
from harness.fakes import save_tiny_wan
from harness.site import Site
from reeldrop.base.job import Prompt, Scalar
from reeldrop.config import config, profiles
from reeldrop.render import pipeline, rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.source import ModelSource, bundled_model
from reeldrop.speed.lossy import NOTHING, Lossy
from reeldrop.tune import tuning
from reeldrop.tune.likeness import psnr_db
from reeldrop.tune.tuning import Tuner
from torch import nn

STEPS = 6
SETTINGS: dict[str, Scalar] = {
    "num_frames": 5,
    "height": 32,
    "width": 32,
    "num_inference_steps": STEPS,
    "guidance_scale": 5.0,
}
EXACT: dict[str, bool | str] = {"mixed_precision": False}


def prompt(text: str = "a horse", *, seed: int = 1, **changed: Scalar) -> Prompt:
    """Return a prompt with few and small frames."""
    return Prompt(1, text, "m", tuple({**SETTINGS, **changed}.items()), seed, 8, ("mp4",))


def load(folder: Path, lossy: Lossy = NOTHING, **settings: str) -> LoadedPipeline:
    """Load a pipeline with what a profile asks for."""
    return pipeline.load(ModelSource("m", str(folder), speed=EXACT, lossy=lossy, **settings))  # type: ignore[arg-type]


def render(loaded: LoadedPipeline, *prompts: Prompt) -> np.ndarray:
    """Return the frames of prompts that are rendered together."""
    return np.stack(rendering.render(loaded, prompts, lambda _step: None)).astype(np.int64)


def calls_of(part: nn.Module) -> list[None]:
    """Return a list that grows with each call of a part."""
    calls: list[None] = []
    part.register_forward_hook(lambda *_: calls.append(None))
    return calls


# DeepCache


@pytest.mark.parametrize(("interval", "whole"), [(1, 6), (2, 3), (3, 2), (4, 2), (10, 1)])
def test_the_inside_of_the_unet_is_passed_over(
    interval: int, whole: int, tiny_pipeline: Path
) -> None:
    """In all steps but every n-th; the first step of each render is computed in full."""
    loaded = load(tiny_pipeline, Lossy(deep_cache=interval))
    unet = loaded.pipe.unet
    inside = [calls_of(part) for part in (unet.mid_block, unet.down_blocks[0], unet.up_blocks[0])]
    outside = [calls_of(part) for part in (unet.conv_in, unet.up_blocks[-1].resnets[-1])]
    for n in (1, 2):
        render(loaded, prompt())
        assert [n * whole] * 3 == [len(calls) for calls in inside]
    # Guidance is computed once where nothing depends on the text; that counts as a call, too.
    assert [2 * STEPS] * 2 == [len(calls) for calls in outside]


@pytest.mark.parametrize(
    "prompts",
    [
        [prompt()],
        [prompt(), prompt("a bird", seed=2, negative_prompt="a cow")],
        [prompt(height=40, width=24, num_frames=4)],
        [prompt(guidance_scale=1.0)],
    ],
    ids=["one", "two", "odd", "unguided"],
)
def test_what_is_reused_at_once_is_exact(prompts: list[Prompt], tiny_pipeline: Path) -> None:
    """A shallow step with the deep output of the same step equals the full one, so the outermost
    layers are joined correctly."""
    loaded, plain = load(tiny_pipeline, Lossy(deep_cache=2)), load(tiny_pipeline)
    unet = loaded.pipe.unet
    forward = unet.forward

    def twice(*arguments: object, **named: object) -> object:
        unet.steps = 0
        forward(*arguments, **named)
        return forward(*arguments, **named)

    unet.forward = twice
    assert psnr_db(render(plain, *prompts), render(loaded, *prompts)) > 60


def test_the_bundled_model_comes_near() -> None:
    """With every other step shallow, the frames are close; with one full step, not."""
    one = prompt("a red ball rolls left", num_frames=8, height=64, width=64, guidance_scale=1.5)
    folder = bundled_model()
    plain, every_other, one_step = (
        render(load(folder, Lossy(deep_cache=interval), variant="fp16"), one)
        for interval in (1, 2, 10)
    )
    near, far = psnr_db(plain, every_other), psnr_db(plain, one_step)
    assert near > 25
    assert near > far + 3


def test_it_goes_with_mixed_precision(tiny_pipeline: Path) -> None:
    """Both round; the shallow steps also multiply in bfloat16."""
    source = ModelSource("m", str(tiny_pipeline), lossy=Lossy(deep_cache=2))
    frames = [
        render(pipeline.load(replace(source, speed={"mixed_precision": mixed})), prompt())
        for mixed in (False, True)
    ]
    assert 45 < psnr_db(*frames) < 80


# First-block cache


@pytest.fixture(scope="module")
def wan_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose transformer has several blocks."""
    return save_tiny_wan(tmp_path_factory.mktemp("model") / "wan", layers=3)


def test_later_blocks_are_passed_over_while_little_changes(wan_pipeline: Path) -> None:
    """diffusers decides how often; with a threshold of 0, never."""
    counts = {}
    for threshold in (0.0, 1e-9, 0.99):
        loaded = load(wan_pipeline, Lossy(first_block_cache=threshold))
        calls = calls_of(loaded.pipe.transformer.blocks[-1].attn1)
        render(loaded, prompt())
        counts[threshold] = len(calls)
    whole = 2 * STEPS  # with and without guidance
    assert [whole, whole] == [counts[0.0], counts[1e-9]]
    assert counts[0.99] < whole


@pytest.mark.parametrize("layers", [1, 3])
def test_a_pipeline_or_model_that_can_not_do_it_is_left_alone(
    layers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs several blocks, and a pipeline that names its calls."""
    folder = save_tiny_wan(tmp_path / "wan", layers)

    def call(self: object, prompt: str, num_frames: int = 5, **others: object) -> None:
        """Say nothing of what is called for what."""

    if layers > 1:
        monkeypatch.setattr(WanPipeline, "__call__", call)
    loaded = load(folder, Lossy(first_block_cache=0.5))
    assert [] == loaded.fast_path.lossy
    assert "first_block_cache" in loaded.fast_path.inapplicable
    if layers == 1:
        assert render(loaded, prompt()).any()


def test_prompts_are_rendered_one_by_one_where_they_would_decide_for_each_other(
    site: Site,
) -> None:
    """Whatever the batch size of the profile: a video must not depend on its neighbours."""
    file = site.folder / "config.yaml"
    text = file.read_text()
    for lossy, size in (("{deep_cache: 2}", 2), ("{first_block_cache: 0.1}", 1)):
        file.write_text(text.replace("tiny:\n", f"tiny:\n    lossy: {lossy}\n"))
        assert size == profiles.batch_limit("tiny", config.load(file)).most


# Both


@pytest.mark.parametrize(
    ("lossy", "taken", "inapplicable"),
    [
        (NOTHING, [], []),
        (Lossy(deep_cache=2), ["deep_cache"], []),
        (Lossy(first_block_cache=0.1), [], ["first_block_cache"]),
        (Lossy(2, 0.1), ["deep_cache"], ["first_block_cache"]),
    ],
)
def test_what_a_model_has_no_parts_for_is_passed_over(
    lossy: Lossy, taken: list[str], inapplicable: list[str], tiny_pipeline: Path
) -> None:
    """The log and the sidecar say which ways were used."""
    path = load(tiny_pipeline, lossy).fast_path
    assert taken == path.lossy == [name for name in path.taken if name in lossy.wanted]
    assert inapplicable == [name for name in path.inapplicable if name in lossy.wanted]


def test_what_does_something_else_at_each_step_is_not_compiled(
    tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """The compiler would fix one of its branches."""
    for folder, lossy in ((tiny_pipeline, Lossy(deep_cache=2)), (wan_pipeline, Lossy(1, 0.1))):
        source = ModelSource("m", str(folder), speed={"compile": "whole"}, lossy=lossy)
        path = pipeline.load(source).fast_path
        assert "compile_whole" in path.inapplicable


@pytest.mark.parametrize("lossy", [Lossy(deep_cache=3), Lossy(first_block_cache=0.5)])
def test_nothing_is_left_of_a_render(lossy: Lossy, tiny_pipeline: Path, wan_pipeline: Path) -> None:
    """Frames are equal bit for bit, whatever was rendered or cancelled before."""
    loaded = load(tiny_pipeline if lossy.deep_cache > 1 else wan_pipeline, lossy)
    first = render(loaded, prompt())
    render(loaded, prompt("a bird", num_frames=9), prompt("a cow", num_frames=9))

    def stop(_step: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        rendering.render(loaded, (prompt("a bird"),), stop)
    assert np.array_equal(first, render(loaded, prompt()))


def test_a_profile_asks_for_it_and_tune_says_how_near_it_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured after the lossless ways, and kept in any case; then batches. The compiler is
    not tried with it."""
    monkeypatch.setattr(tuning, "BATCH_SIZES", (2,))
    file = site.folder / "config.yaml"
    file.write_text(file.read_text().replace("tiny:\n", "tiny:\n    lossy: {deep_cache: 2}\n"))
    settings = config.load(file)
    assert Lossy(deep_cache=2) == profiles.source("tiny", settings).lossy
    plain = profiles.untuned("tiny", settings)
    trials = list(Tuner(*profiles.to_tune(plain, settings.allowed("tiny")), 1).trials())
    (asked,) = (trial for trial in trials if trial.what == "deep cache")
    assert not any(trial.what.startswith("compile") for trial in trials)
    lossless = [t.seconds for t in trials[: trials.index(asked)] if t.taken and t.seconds]
    slower = "" if asked.seconds < min(lossless) else ", although it is slower"
    assert (True, f"taken: the profile asks for it{slower}") == (asked.taken, asked.why)
    assert asked.psnr_db is not None
    assert f"{asked.psnr_db:.0f} dB, SSIM {asked.ssim:.4f}, " in asked.verdict
    assert asked.ssim < 1
    (batch,) = (trial for trial in trials if trial.what == "2 at once")
    assert batch.psnr_db is None or batch.psnr_db > 40
