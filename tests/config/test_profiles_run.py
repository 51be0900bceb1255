"""Each built-in profile renders with a tiny model of its class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import diffusers
import pytest
from harness import lora_maker, models, picture_models
from harness.models import TINY
from harness.picture_models import TINY_WITH_PICTURES
from reeldrop.base.job import Prompt
from reeldrop.config import builtin, config, profiles
from reeldrop.render import pipeline, rendering
from reeldrop.render.source import LoraSource

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

LIKE = {
    "wan2.1-1.3b": "Wan 2.1",
    "wan2.1-14b": "Wan 2.1",
    "wan2.1-14b-4step": "Wan 2.1",
    "wan2.2-5b": "Wan 2.2 5B",
    "wan2.2-a14b": "Wan 2.2 A14B",
    "wan2.2-a14b-4step": "Wan 2.2 A14B",
    "ltx-video": "LTX",
    "ltx-2": "LTX-2",
    "ltx-2-distilled": "LTX-2",
    "cogvideox-2b": "CogVideoX",
    "cogvideox-5b": "CogVideoX",
    "cogvideox1.5-5b": "CogVideoX 1.5",
    "hunyuanvideo-1.5": "HunyuanVideo 1.5",
    "mochi": "Mochi",
    "kandinsky-5-lite": "Kandinsky 5",
    "kandinsky-5-lite-distilled": "Kandinsky 5",
    "sana-video-2b": "Sana-Video",
}
"""The tiny model that has the class and the ratios of a profile's model."""

LIKE_WITH_PICTURES = {
    "wan2.1-14b-i2v": "Wan 2.1",
    "wan2.2-5b-i2v": "Wan 2.2 5B",
    "wan2.2-a14b-i2v": "Wan 2.2 A14B",
    "ltx-video-i2v": "LTX",
    "ltx-2-i2v": "LTX-2",
    "cogvideox-5b-i2v": "CogVideoX",
    "cogvideox1.5-5b-i2v": "CogVideoX 1.5",
    "hunyuanvideo-1.5-i2v": "HunyuanVideo 1.5",
    "kandinsky-5-pro-i2v": "Kandinsky 5",
    "stable-video-diffusion-xt": "Stable Video Diffusion",
}
"""The same for those that begin with a picture."""

BOTH = {
    **{name: (tiny, TINY[tiny], models.save) for name, tiny in LIKE.items()},
    **{
        name: (tiny, TINY_WITH_PICTURES[tiny], picture_models.save)
        for name, tiny in LIKE_WITH_PICTURES.items()
    },
}
"""Of each profile, its tiny model by name, what is known of it, and how to save it."""

OF_ITS_SIZE = {"cogvideox1.5-5b", "cogvideox-5b-i2v", "cogvideox1.5-5b-i2v"}
"""Profiles of models that make no larger videos than they were made for, as does the tiny one."""


def test_each_profile_has_its_tiny_model() -> None:
    """Except profiles of the original class, which all other tests use."""
    others = {
        name
        for name in builtin.profiles()
        if builtin.profile(name).about.pipeline != "TextToVideoSDPipeline"
    }
    assert others == set(BOTH)
    for name, (_, tiny, _) in BOTH.items():
        assert builtin.profile(name).about.pipeline == tiny.kind.__name__


def made(loras: tuple[LoraSource, ...], folder: Path) -> tuple[LoraSource, ...]:
    """Return a profile's LoRAs with files for the tiny model in a folder."""
    return tuple(
        dataclasses.replace(lora, location=str(lora_for(lora, folder)), weight_name=None)
        for lora in loras
    )


def lora_for(lora: LoraSource, folder: Path) -> Path:
    """Make the file of a LoRA."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    tensors = lora_maker.tensors(getattr(pipe, str(lora.component)))
    return lora_maker.save(type(pipe), folder / "loras", tensors, lora.name)


@pytest.mark.parametrize("name", [name for name in LIKE if name.endswith("4step")])
def test_four_steps_are_the_authors(name: str, tmp_path: Path) -> None:
    """Euler's steps from the timesteps 1000, 750, 500 and 250 with a shift of 5, without guidance.

    Of two transformers, each makes two.
    """
    folder = models.save(LIKE[name], tmp_path / "model")
    settings = config.parse(f"model: {name}", tmp_path / "config.yaml")
    plain = profiles.untuned(name, settings)
    assert all(lora.is_always_used for lora in plain.loras)
    loaded = pipeline.load(
        dataclasses.replace(plain, location=str(folder), loras=made(plain.loras, folder))
    )
    calls: list[tuple[str, float]] = []
    for part in ("transformer", "transformer_2"):
        if (denoiser := getattr(loaded.pipe, part, None)) is not None:
            denoiser.register_forward_pre_hook(
                lambda _m, _a, named, part=part: calls.append((part, float(named["timestep"]))),
                with_kwargs=True,
            )
    asked = {**settings.models[name].prompt_defaults, **TINY[LIKE[name]].ask}
    arguments = tuple((k, asked[k]) for k in loaded.capabilities.settings if k in asked)
    prompt = Prompt(1, "a red ball", name, arguments, 1, 8.0, ("mp4",))
    rendering.render(loaded, (prompt,), lambda _step: None)
    second = "transformer_2" if loaded.pipe.transformer_2 is not None else "transformer"
    assert ["transformer", "transformer", second, second] == [part for part, _ in calls]
    shifted = [5 * t / (1 + 4 * t / 1000) for t in (1000, 750, 500, 250)]
    for (_, timestep), wanted in zip(calls, shifted, strict=True):
        assert abs(timestep - wanted) < 2
    scheduler = loaded.pipe.scheduler
    assert ("DPMSolverMultistepScheduler", 1) == (
        type(scheduler).__name__,
        scheduler.config.solver_order,
    )


def test_each_profile_renders(tmp_path: Path) -> None:
    """The class can make its default size, and renders a small video with its other settings."""
    for name, (of, tiny, save) in BOTH.items():
        folder = tmp_path / tiny.kind.__name__ / of
        if not folder.exists():
            save(of, folder)
        settings = config.parse(f"model: {name}", tmp_path / "config.yaml")
        plain = profiles.untuned(name, settings)
        source = dataclasses.replace(
            plain, location=str(folder), variant=None, speed={}, loras=made(plain.loras, folder)
        )
        loaded = pipeline.load(source)
        profile = settings.models[name]
        if name not in OF_ITS_SIZE:
            profiles.model_rules(name, settings, loaded.capabilities)
        steps = profile.steps or 2
        asked = {**profile.prompt_defaults, **tiny.ask, "num_inference_steps": steps}
        arguments = tuple((k, asked[k]) for k in loaded.capabilities.settings if k in asked)
        done: list[int] = []
        shown = profiles.sample_pictures(loaded.capabilities)
        prompt = Prompt(1, "a red ball", name, arguments, 1, 8.0, ("mp4",), pictures=shown)
        (frames,) = rendering.render(loaded, (prompt,), done.append)
        assert tiny.ask["num_frames"] == len(frames), name
        assert list(range(1, steps + 1)) == done, name
