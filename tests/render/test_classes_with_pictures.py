"""Every class of diffusers that begins a video with a picture, built tiny, saved and rendered."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from harness.picture_models import TINY_WITH_PICTURES, save
from harness.tiny_renderer import Model, from_sidecar, like
from PIL import Image
from reeldrop.base.job import Picture, Prompt

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")


SHOWS_NO_LAST = "Wan 2.2 A14B"
"""Its random weights let so little of a last picture through that the frames are equal."""


def tiny_model(name: str, folder: Path) -> Model:
    """Return a renderer of a tiny model, saved in a folder."""
    return Model(name, TINY_WITH_PICTURES[name], save(name, folder))


def picture(folder: Path, key: str, seed: int, size: tuple[int, int]) -> Picture:
    """Save a picture of smooth colours, and return it."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    path = folder / f"{key}{seed}.png"
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path)
    return Picture(key, path.name, path, hashlib.sha256(path.read_bytes()).hexdigest())


def pictures_of(model: Model, folder: Path, seed: int) -> tuple[Picture, ...]:
    """Return a picture of the video's size for each that the model takes."""
    size = (model.tiny.ask["width"], model.tiny.ask["height"])
    keys = model.rules.capabilities.pictures
    return tuple(picture(folder, key, seed + 10 * n, size) for n, key in enumerate(keys))


def plain(model: Model, prompt: Prompt) -> np.ndarray:
    """Return the frames that diffusers makes of a prompt without any of this program."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(model.folder)
    pipe.set_progress_bar_config(disable=True)
    parameters = inspect.signature(pipe.__call__).parameters
    given = {key: value for key, value in prompt.arguments if key in parameters}
    given["num_frames"] += model.tiny.drops
    given |= {shown.key: Image.open(shown.path).convert("RGB") for shown in prompt.pictures}
    if "frame_index" in parameters:
        pictures = [given.pop(key) for key in ("image", "last_image")]
        at = (0, model.tiny.ask["num_frames"] - 1)
        given["conditions"] = list(map(LTXVideoCondition, pictures, (None, None), at))
    if "prompt" in parameters:
        given["prompt"] = prompt.prompt
    generator = torch.Generator().manual_seed(prompt.seed)
    output = pipe(generator=generator, output_type="pt", **given)
    frames = (output.frames[0].float() * 255).round().clamp(0, 255).to(torch.uint8)
    return frames.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", TINY_WITH_PICTURES)
def test_a_model_begins_with_the_picture(name: str, tmp_path: Path) -> None:
    """Frames are those of plain diffusers, in a batch of pairs, too; a sidecar makes them again."""
    model = tiny_model(name, tmp_path / "model")
    assert model.tiny.pictures == dict(model.rules.capabilities.pictures)
    first = model.prompt(pictures=pictures_of(model, tmp_path, 1), negative_prompt="the grass")
    done = model.render(first)
    [frames], [record] = done.frames, done.rendered
    assert tuple(model.tiny.ask[key] for key in ("num_frames", "height", "width")) == record.made
    assert like(plain(model, first), frames)
    assert ({} if model.tiny.reads_text else {"prompt": first.prompt}) == record.ignored
    loaded = model.renderer._residents.ready(name)
    assert loaded is not None
    assert model.tiny.keeps_texts == (loaded.fast_path.texts is not None)
    again = dataclasses.replace(from_sidecar(model, first, done), pictures=first.pictures)
    assert first == again
    kept = () if name == SHOWS_NO_LAST else first.pictures[:-1]
    changed = pictures_of(model, tmp_path, 2)[len(kept) :]
    other = dataclasses.replace(first, pictures=(*kept, *changed))
    together = model.render(again, other)
    same, different = together.frames
    assert like(frames, same) if model.tiny.pairs else np.array_equal(frames, same)
    assert [1 + model.tiny.pairs] * 2 == [one.batch_size for one in together.rendered]
    alone = model.render(other).frames[0]
    assert like(alone, different)
    assert not np.array_equal(frames, alone)
    model.renderer.close()
