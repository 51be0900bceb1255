"""Each built-in profile renders with a tiny model of its class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from harness import models, picture_models
from harness.models import TINY
from harness.picture_models import TINY_WITH_PICTURES
from reeldrop.base.job import Prompt
from reeldrop.config import builtin, config, profiles
from reeldrop.render import pipeline, rendering

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

LIKE = {
    "wan2.1-1.3b": "Wan 2.1",
    "wan2.1-14b": "Wan 2.1",
    "wan2.2-5b": "Wan 2.2 5B",
    "wan2.2-a14b": "Wan 2.2 A14B",
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


def test_each_profile_renders(tmp_path: Path) -> None:
    """The class can make its default size, and renders a small video with its other settings."""
    for name, (of, tiny, save) in BOTH.items():
        folder = tmp_path / tiny.kind.__name__ / of
        if not folder.exists():
            save(of, folder)
        settings = config.parse(f"model: {name}", tmp_path / "config.yaml")
        plain = profiles.untuned(name, settings)
        source = dataclasses.replace(plain, location=str(folder), variant=None, speed={})
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
