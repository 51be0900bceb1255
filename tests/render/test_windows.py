"""Videos that are longer than their model makes: windows of them, with real pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import lora_maker
from harness.fakes import save_tiny_wan
from harness.models import save
from reeldrop.base.errors import ConfigError, RenderCancelled
from reeldrop.base.job import Prompt, Scalar
from reeldrop.base.windows import Windows
from reeldrop.config.profile_keys import Profile
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.render import pipeline, recording, rendering, windows
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.rendering import Footage
from reeldrop.render.source import LoraSource, ModelSource
from reeldrop.speed.compiled import wait_for_compiler
from reeldrop.speed.denoisers import denoisers
from reeldrop.store import described
from torch import nn

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

SMALL: dict[str, Scalar] = {
    "height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 5.0,
}  # fmt: skip


LONG = 13
"""Frames of a video: three windows of a UNet, two of the others."""


def test_windows_cover_a_video_and_overlap() -> None:
    """Neighbours share the overlap or more, the last one ends with the video, none is too many."""
    for frames in range(1, 60):
        for length in (2, 5, 16):
            for overlap in range(1, length):
                found = Windows(length, overlap)
                starts = found.starts(frames)
                assert found.count(frames) == len(starts)
                assert 0 == starts[0]
                if frames <= length:
                    assert 1 == len(starts)
                    continue
                assert frames == starts[-1] + length
                steps = np.diff(starts)
                assert steps.min() > 0
                assert steps.max() <= length - overlap
                assert starts[-2] + length < frames


def test_windows_of_a_video_are_those_of_its_latents() -> None:
    """With four frames to a frame of the latents, after the first, 21 frames are 6 of these."""
    found = Windows(9, 4, 4)
    assert [0, 2, 3] == found.starts(6) == found.of_latents.starts(6)
    assert (3, 1) == (found.count(21), found.count(9))


def test_shares_of_windows_add_up_to_one() -> None:
    """They rise and fall along the overlaps; the first frames of a window count least."""
    for frames, found in ((40, Windows(16, 8)), (21, Windows(16, 4)), (9, Windows(4, 3))):
        total = torch.zeros(frames)
        shares = windows.blending(found, frames)
        for start, share in zip(found.starts(frames), shares, strict=True):
            total[start : start + found.frames] += share
            assert share.min() > 0
        assert torch.allclose(total, torch.ones(frames))
        assert shares[1][0] < shares[1][1] < shares[0][1]


def test_all_windows_begin_with_the_same_noise() -> None:
    """Frames of the first window in another order; a video's order depends on its seed alone."""
    noise = torch.randn(2, 4, 19, 3, 5)
    shared = windows.shared_noise(noise, Windows(8, 4), [1, 2])
    assert torch.equal(noise[:, :, :8], shared[:, :, :8])
    known = {frame.numpy().tobytes() for frame in noise[0, :, :8].unbind(1)}
    later = [frame.numpy().tobytes() for frame in shared[0].unbind(1)]
    assert known == set(later)
    for start in Windows(8, 4).starts(19):  # the last one shares more
        assert 8 == len(set(later[start : start + 8]))
    assert torch.equal(shared[1:], windows.shared_noise(noise[1:], Windows(8, 4), [2]))
    assert not torch.equal(shared[:1], windows.shared_noise(noise[:1], Windows(8, 4), [2]))


@pytest.fixture(scope="module", params=["unet", "transformer", "tokens"])
def long(
    request: pytest.FixtureRequest, tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory
) -> LoadedPipeline:
    """A pipeline that makes windows: with a UNet, a transformer, or a time for each token."""
    folder = tmp_path_factory.mktemp("model")
    match request.param:
        case "unet":
            source = ModelSource("m", str(tiny_pipeline), window=8, overlap=4)
        case "transformer":
            source = ModelSource("m", str(save_tiny_wan(folder / "wan")), window=9, overlap=4)
        case _:
            source = ModelSource("m", str(save("Wan 2.2 5B", folder / "5b")), window=9)
    return pipeline.load(replace(source, speed={"mixed_precision": False}))


def prompt(loaded: LoadedPipeline, frames: int, text: str = "a horse", seed: int = 1) -> Prompt:
    """Return a prompt as it is read from a prompt file."""
    rules = ModelRules("m", loaded.capabilities, {}, {})
    lines = {"prompt": text, "seed": seed, "num_frames": frames, **SMALL}
    given = "\n".join(f"{key}: {value}" for key, value in lines.items())
    [found] = parsing.parse("a.yaml", given.encode(), (), {"m": rules}, "m", int).prompts
    return found


def render(
    loaded: LoadedPipeline, *prompts: Prompt, on_step: Callable[[int], None] = lambda _: None
) -> list[np.ndarray]:
    """Return the frames of a batch."""
    return list(rendering.render(loaded, prompts, on_step))


@pytest.fixture
def seen(long: LoadedPipeline) -> Iterator[list[int]]:
    """The lengths of the latents that the denoiser is called with."""
    lengths: list[int] = []

    def note(_part: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        latents = named.get("hidden_states", named.get("sample"))
        lengths.append((arguments[0] if latents is None else latents).shape[2])

    [denoiser] = denoisers(long.pipe)
    hook = denoiser.register_forward_pre_hook(note, with_kwargs=True)
    yield lengths
    hook.remove()


def test_a_long_video_is_made_of_windows(long: LoadedPipeline, seen: list[int]) -> None:
    """The denoiser sees no more than a window, every window counts as a step, batches work."""
    made = long.capabilities.windows
    asked = [prompt(long, LONG), prompt(long, LONG, "a cow", 2)]
    steps: list[int] = []
    together = render(long, *asked, on_step=steps.append)
    assert [(LONG, 32, 32, 3)] * 2 == [video.shape for video in together]
    assert {made.of_latents.frames} == set(seen)
    passes = 1 if hasattr(long.pipe, "unet") else 2  # prompt and negative prompt apart
    assert passes * made.count(LONG) * 2 == passes * asked[0].steps == len(seen)
    assert list(range(1, asked[0].steps + 1)) == steps
    assert abs(render(long, asked[1])[0].astype(int) - together[1]).max() <= 1
    footage = Footage(tuple(together), (None, None))
    for record in recording.records(long, tuple(asked), footage, 1.0):
        assert {"window": made.frames, "overlap": made.overlap} == record.profile
    later = together[0][made.frames :].astype(int)
    assert abs(np.diff(later, axis=0)).max() > 0


def test_a_video_of_a_window_has_the_same_bits(long: LoadedPipeline, seen: list[int]) -> None:
    """Where no window is needed, nothing differs."""
    frames = long.capabilities.windows.frames
    plain = replace(long, capabilities=replace(long.capabilities, windows=Windows()))
    asked = prompt(long, frames)
    assert (2, 1) == (asked.steps, asked.pieces)
    assert np.array_equal(render(plain, asked), render(long, asked))
    assert 1 == len(set(seen))


def test_a_render_ends_within_a_step(long: LoadedPipeline, seen: list[int]) -> None:
    """After any window; the pipeline is as before."""

    def leave(step: int) -> None:
        if step == 1:
            raise RenderCancelled("enough")

    short = prompt(long, long.capabilities.windows.frames)
    expected = render(long, short)
    seen.clear()
    with pytest.raises(RenderCancelled):
        render(long, prompt(long, LONG), on_step=leave)
    assert len(seen) <= 2  # a window, twice if the negative prompt is apart
    [denoiser] = denoisers(long.pipe)
    assert denoiser in (getattr(long.pipe, "unet", None), getattr(long.pipe, "transformer", None))
    assert np.array_equal(expected, render(long, short))


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_steps_with_two_calls_of_the_denoiser(
    kind: str, tiny_pipeline: Path, wan_pipeline: Path
) -> None:
    """Steps are never told backwards, nor one too many; a render ends within the second call."""
    source = ModelSource("m", str(tiny_pipeline), window=8, scheduler="HeunDiscreteScheduler")
    if kind == "transformer":
        model, scheduler = str(wan_pipeline), "FlowMatchHeunDiscreteScheduler"
        source = replace(source, location=model, window=9, scheduler=scheduler)
    loaded = pipeline.load(source)
    asked, told = prompt(loaded, LONG), []
    render(loaded, asked, on_step=told.append)
    assert sorted(told) == told
    assert {*range(1, asked.steps + 1)} == {*told}
    calls = 3  # two steps, the last of which has one
    assert len(told) >= calls * asked.pieces - 1


class Framewise(nn.Module):
    """A denoiser that looks at each frame alone."""

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, **_others: Any
    ) -> tuple[torch.Tensor]:
        return (sample.sin() * timestep,)


def test_windows_change_nothing_where_frames_do_not_see_each_other() -> None:
    """What windows predict alike stays, whatever their shares are."""
    latents = torch.randn(2, 3, 23, 4, 4)
    part = windows._StandIn(Framewise(), "sample", Windows(8, 5), lambda: None)
    noise = torch.tensor(0.5)
    [whole], [blended] = Framewise()(latents, noise), part(latents, noise, return_dict=False)
    assert torch.allclose(whole, blended, atol=1e-6)


def test_loras_act_in_windows(tmp_path: Path) -> None:
    """Also with two transformers; without one in use, no bit differs."""
    plain = pipeline.load(ModelSource("m", str(save("Wan 2.2 A14B", tmp_path / "m")), window=9))
    tensors = lora_maker.tensors(plain.pipe.transformer, r".*\.to_q", seed=1)
    file = lora_maker.save(type(plain.pipe), tmp_path, tensors, "q")
    both = pipeline.load(replace(plain.source, loras=(LoraSource("q", str(file)),)))
    asked = prompt(both, LONG)
    expected = render(plain, asked)
    assert np.array_equal(expected, render(both, asked))
    assert not np.array_equal(expected, render(both, replace(asked, loras=(("q", 4.0),))))


@pytest.mark.usefixtures("without_code")
def test_a_long_video_uses_what_is_compiled_for_a_window(wan_pipeline: Path) -> None:
    """Windows have one shape, whatever the length of the video is."""
    source = ModelSource(
        "m", str(wan_pipeline), window=9, overlap=4, speed={"compile": "whole"}
    )  # fmt: skip
    loaded = pipeline.load(source)
    render(loaded, prompt(loaded, 9))
    wait_for_compiler()
    render(loaded, prompt(loaded, 13))
    assert "compile_whole" in loaded.fast_path.used
    wait_for_compiler()


@pytest.mark.parametrize(
    ("window", "overlap", "problem", "remedy"),
    [
        (10, None, "makes 4n + 1 frames, not 10", "use 9 or 13"),
        (2, None, "makes 4n + 1 frames, not 2", "use 5"),
        (10_000, None, "makes 4n + 1 frames, not 10000", "use 9997"),
        (9, 3, "an overlap of 3 does not fit", "a multiple of 4, less than 9"),
        (9, 12, "an overlap of 12 does not fit", "a multiple of 4, less than 9"),
    ],
)
def test_windows_that_a_model_cannot_make_are_refused(
    window: int, overlap: int | None, problem: str, remedy: str, wan_pipeline: Path
) -> None:
    """Its VAE has four frames to a frame of the latents, after the first."""
    with pytest.raises(ConfigError) as caught:
        pipeline.load(ModelSource("m", str(wan_pipeline), window=window, overlap=overlap))
    [mistake] = caught.value.mistakes
    assert problem in mistake.problem
    assert mistake.remedy.endswith(remedy)


def test_the_default_overlap_fits_every_window(tiny_pipeline: Path, wan_pipeline: Path) -> None:
    """It is half a window, but at least a frame of the latents."""
    for model, window, overlap in ((tiny_pipeline, 2, 1), (wan_pipeline, 5, 4)):
        found = pipeline.load(ModelSource("m", str(model), window=window)).capabilities.windows
        assert (window, overlap) == (found.frames, found.overlap)


def test_a_class_without_windows_refuses_them(tmp_path: Path) -> None:
    """The key is never ignored in silence."""
    source = ModelSource("m", str(save("LTX", tmp_path / "ltx")), window="auto")
    with pytest.raises(ConfigError, match="LTXPipeline does not support windows"):
        pipeline.load(source)


def test_the_profile_says_what_fits_together() -> None:
    """An overlap needs a window; ways that keep things from step to step would mix windows."""
    for given, words in (
        ({"overlap": 4}, "no window"),
        ({"window": "auto", "lossy": {"deep_cache": 2}}, "deep_cache"),
        ({"window": 16, "lossy": {"first_block_cache": 0.1}}, "first_block_cache"),
    ):
        with pytest.raises(ValueError, match=words):
            Profile.model_validate({"bundled": True, **given})


def test_commands_know_the_windows_of_a_profile(tiny_pipeline: Path, tmp_path: Path) -> None:
    """They are noted with what the pipeline accepts; `auto` is what the class is known for."""
    found = pipeline.load(ModelSource("m", str(tiny_pipeline), window="auto")).capabilities
    assert Windows(16, 8) == found.windows
    described.note(tmp_path, "m", "here", found)
    assert found.windows == described.read(tmp_path, "m", "here").windows  # type: ignore[union-attr]
