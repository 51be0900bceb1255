"""The original script, as a simple loop, gives the same frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from harness.site import Site, make_site
from reeldrop.base.job import Prompt
from reeldrop.render import pipeline, rendering
from reeldrop.render.source import ModelSource
from reeldrop.speed import fast

PROMPTS = (
    "Spiderman is surfing",
    "An astronaut riding a horse",
    "Darth vader surfing in waves",
)
SEEDS = (3, 4, 5)
STEPS = 3
FRAMES = 4
BT709 = (0.2126, 0.7152, 0.0722)


@pytest.fixture(scope="module")
def script(tiny_pipeline: Path) -> dict[str, np.ndarray]:
    """The script's frames, (frames, height, width, 3) float, by file name."""
    pipe = DiffusionPipeline.from_pretrained(tiny_pipeline, dtype=torch.float32, variant="fp16")
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    videos = {}
    for prompt, seed in zip(PROMPTS, SEEDS, strict=True):
        generator = torch.Generator("cpu").manual_seed(seed)
        frames = pipe(
            prompt, num_inference_steps=STEPS, num_frames=FRAMES, generator=generator
        ).frames[0]
        videos[prompt.replace(" ", "_") + ".mp4"] = frames
    return videos


FLOAT32: dict[str, bool | str] = {"mixed_precision": False}
MIXED: dict[str, bool | str] = {"mixed_precision": True}


@pytest.mark.parametrize(
    ("batch_size", "speed", "most"),
    [
        (1, fast.PLAIN, 0),
        (1, FLOAT32, 1),
        (2, FLOAT32, 1),
        (3, FLOAT32, 1),
        (1, MIXED, 8),
        (3, MIXED, 8),
    ],
)
def test_the_renderer_gives_the_scripts_frames(
    batch_size: int,
    speed: dict[str, bool | str],
    most: int,
    script: dict[str, np.ndarray],
    tiny_pipeline: Path,
) -> None:
    """The plain way they are equal; in batches, and fast, they differ by a grey level at most, with
    products in bfloat16 by a few."""
    source = ModelSource(
        "tiny",
        str(tiny_pipeline),
        variant="fp16",
        scheduler="DPMSolverMultistepScheduler",
        speed=speed,
    )
    loaded = pipeline.load(source)
    arguments = {**loaded.capabilities.defaults, "num_inference_steps": STEPS, "num_frames": FRAMES}
    given = tuple((key, value) for key, value in arguments.items() if value is not None)
    prompts = [
        Prompt(number, text, "tiny", given, seed, 8, ("mp4",))
        for number, (text, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True), start=1)
    ]
    frames = [
        video
        for first in range(0, len(prompts), batch_size)
        for video in rendering.render(
            loaded, tuple(prompts[first : first + batch_size]), lambda _step: None
        )
    ]
    expected = [(video * 255).round().astype(np.uint8) for video in script.values()]
    difference = abs(np.stack(expected).astype(int) - np.stack(frames).astype(int)).max()
    assert difference <= most


@dataclass(frozen=True)
class Published:
    """A site on which the script's prompts have been rendered."""

    site: Site
    exit_code: int


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: Path) -> Published:
    """The daemon's results for the script's prompts, seeds and settings."""
    site = make_site(tmp_path_factory.mktemp("comparison") / "site", tiny_pipeline)
    lines = [f"num_inference_steps: {STEPS}", f"num_frames: {FRAMES}", "prompts:"]
    for prompt, seed in zip(PROMPTS, SEEDS, strict=True):
        lines += [f"  - prompt: {prompt}", f"    seed: {seed}"]
    site.drop("prompts.yaml", "\n".join(lines))
    return Published(site, site.drain().returncode)


def test_the_videos_have_the_scripts_names(
    script: dict[str, np.ndarray], published: Published
) -> None:
    """Spaces become underscores, as in the script."""
    folder = published.site.results / "prompts"
    assert 0 == published.exit_code
    assert sorted(script) == sorted(path.name for path in folder.glob("*.mp4"))


def test_the_published_videos_show_the_scripts_frames(
    script: dict[str, np.ndarray], published: Published
) -> None:
    """A decoded mp4 has the brightness of the script's frames, and not of the other prompts'.

    Brightness, because these frames are noise, and of noise H.264 keeps a quarter of the colours.
    """
    decoded = {name: _brightness(published.site.results / "prompts" / name) for name in script}
    rendered = {name: frames @ BT709 * 255 for name, frames in script.items()}
    errors = {
        (mine, other): np.sqrt(np.mean((decoded[mine] - rendered[other]) ** 2))
        for mine, other in itertools.product(script, repeat=2)
    }
    own = max(error for (mine, other), error in errors.items() if mine == other)
    foreign = min(error for (mine, other), error in errors.items() if mine != other)
    assert own < 4
    assert own < foreign / 4


def _brightness(video: Path) -> np.ndarray:
    with av.open(str(video)) as container:
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
    luma = np.stack([picture[: len(picture) * 2 // 3] for picture in pictures]).astype(float)
    return (luma - 16) * 255 / 219
