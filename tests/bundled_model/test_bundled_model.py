"""The bundled model: complete, small, loaded like any other, and showing what is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundled_model import artefact, captions, judge, text, world
from reeldrop.base.job import Prompt
from reeldrop.render import rendering
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.pipeline import load
from reeldrop.render.source import ModelSource, bundled_model
from reeldrop.speed import fast

MODEL = Path(__file__).parents[2] / "daemon" / "reeldrop" / "bundled_model"


@pytest.fixture(scope="module")
def pipeline() -> artefact.TextToVideoSDPipeline:
    """Return the shipped model, loaded once."""
    return artefact.load_artefact(MODEL)


@pytest.fixture(scope="module")
def loaded() -> LoadedPipeline:
    """The shipped model as reeldrop loads it: with its ways to render the same in less time."""
    speed: dict[str, bool | str] = {**fast.PLAIN, "exact": True}
    return load(ModelSource("bundled", str(bundled_model()), variant="fp16", speed=speed))


def film(
    loaded: LoadedPipeline, text: str, seed: int, frames: int = 16, steps: int = artefact.STEPS
) -> np.ndarray:
    """Return the frames of a prompt with default settings, except for these."""
    settings = {
        "num_frames": frames, "height": world.FRAME_SIZE, "width": world.FRAME_SIZE,
        "num_inference_steps": steps, "guidance_scale": artefact.GUIDANCE,
    }  # fmt: skip
    prompt = Prompt(1, text, "bundled", tuple(settings.items()), seed, 8, ("mp4",))
    (made,) = rendering.render(loaded, (prompt,), lambda _step: None)
    return made


def test_it_is_at_most_24_megabytes() -> None:
    """It is part of the repository."""
    assert sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) <= 24e6


def test_it_is_complete() -> None:
    """Each part is there in float16 safetensors, and the card."""
    names = {str(file.relative_to(MODEL)) for file in MODEL.rglob("*") if file.is_file()}
    weights = {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }
    assert weights == {name for name in names if name.endswith(".safetensors")}
    assert {"README.md", "model_index.json", "scheduler/scheduler_config.json"} <= names


def test_it_is_an_ordinary_pipeline(pipeline: artefact.TextToVideoSDPipeline) -> None:
    """All classes are diffusers' and transformers'."""
    parts = {name: type(part).__name__ for name, part in pipeline.components.items()}
    assert parts == {
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "tokenizer": "CLIPTokenizer",
        "unet": "UNet3DConditionModel",
        "scheduler": "DPMSolverMultistepScheduler",
    }
    assert pipeline.tokenizer.model_max_length == 40


def test_it_films_the_scene_and_the_colour(loaded: LoadedPipeline) -> None:
    """With default settings and a fixed seed, the judge sees what was asked for."""
    frames = film(loaded, "a white boat sailing to the right at night", 11)
    assert frames.shape == (16, 128, 128, 3)
    verdict = judge.judge(frames)
    assert ("night", "white", "boat") == (verdict.time, verdict.colour, verdict.thing)


@pytest.mark.parametrize("line", captions.EXAMPLES)
def test_it_films_the_lines_of_the_examples(line: str, loaded: LoadedPipeline) -> None:
    """The original script's lines, English and Chinese, as the judge sees each."""
    verdict = judge.judge(film(loaded, line, 3))
    wanted = captions.EXAMPLES[line]
    seen = {name: getattr(verdict, name) for name in judge.ATTRIBUTES}
    assert {name: getattr(wanted, name) for name in judge.ATTRIBUTES} == seen


def test_the_text_encoder_reads_both_languages(pipeline: artefact.TextToVideoSDPipeline) -> None:
    """In every attribute: the lines of the examples, and most captions of held-out specs."""
    book = text.Codebook()

    def read(lines: list[str]) -> list[world.Spec]:
        return book.read(text.encode(pipeline.tokenizer, pipeline.text_encoder, lines)[:, -1])

    assert [*captions.EXAMPLES.values()] == read([*captions.EXAMPLES])
    others = captions.held_out_captions(100, 99)
    read_as = zip(others, read([example.text for example in others]), strict=True)
    assert sum(example.spec == spec for example, spec in read_as) >= 98
    unknown = [
        "A cat in a hat",
        "ein Haus am Fluss",
        "quarterly report",
        "机器人在城市里",
        "凰圭璞",
    ]
    assert [captions.DEFAULT] * len(unknown) == read(unknown)


def test_words_that_it_does_not_know_give_a_calm_picture(loaded: LoadedPipeline) -> None:
    """A red balloon rises in the sky, with little else and without flicker."""
    frames = film(loaded, "a quarterly report of the committee", 3)
    verdict = judge.judge(frames)
    assert judge.matches(captions.DEFAULT, verdict)["all"]
    assert verdict.strangeness < 0.06
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3)) / 255
    assert change.max() < 0.08


def test_the_same_seed_films_the_same(loaded: LoadedPipeline) -> None:
    """A video can be reproduced from its prompt and seed."""
    one, other = (film(loaded, "a red ball", 5, frames=8, steps=2) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("num_frames", [8, 32])
def test_shorter_and_longer_videos(loaded: LoadedPipeline, num_frames: int) -> None:
    """With 8 to 32 frames, the judge sees the scene and the colour."""
    prompt = "an orange star falling in the desert"
    verdict = judge.judge(film(loaded, prompt, 2, frames=num_frames))
    assert (verdict.scene, verdict.colour) == ("desert", "orange")


def test_guidance_and_a_negative_prompt_work(pipeline: artefact.TextToVideoSDPipeline) -> None:
    """The empty prompt was trained, so both have an effect; without guidance, neither has."""

    def filmed(guidance: float, unwanted: str | None) -> np.ndarray:
        output = pipeline(
            "a green heart in a dark forest",
            negative_prompt=unwanted,
            num_frames=8,
            num_inference_steps=4,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).frames[0]
        return np.rint(output * 255).astype(np.uint8)

    plain, guided, avoiding = filmed(1, None), filmed(1.5, None), filmed(1.5, "a red ball")
    assert np.array_equal(plain, filmed(1, "a red ball"))
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, avoiding)
    assert {"forest"} == {judge.judge(frames).scene for frames in (plain, guided, avoiding)}


def test_world_and_model_agree_on_the_size(pipeline: artefact.TextToVideoSDPipeline) -> None:
    """The default height and width follow from the model's configuration."""
    scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    assert pipeline.unet.config.sample_size * scale == world.FRAME_SIZE
