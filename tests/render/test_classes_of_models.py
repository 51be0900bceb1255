"""Every video class of diffusers that is not refused, built tiny, saved, loaded and rendered."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import av
import diffusers
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from harness.models import CLIP_VOCABULARY, TINY, VOCABULARY, save
from harness.tiny_renderer import STEPS, Model, from_sidecar, like
from reeldrop.base.errors import RenderCancelled, Unrenderable
from reeldrop.base.events import (
    BatchFailed,
)
from reeldrop.base.job import IMAGE_FIT, Prompt, Rendered
from reeldrop.prompts.rules import SettingsRefused
from reeldrop.render import pipeline
from reeldrop.render.source import ModelSource
from reeldrop.video import encoder
from torch import nn

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

WITHOUT_PREVIEWS = {
    "Helios", "HunyuanVideo 1.5", "LTX", "LTX 0.9.1", "LTX 0.9.5", "LTX-2",
    "LTX-2 with conditions",
}  # fmt: skip
"""Their latents are of a part of the video, never shown, or packed."""

VOCABULARIES = (VOCABULARY, CLIP_VOCABULARY)


def tiny_model(name: str, folder: Path) -> Model:
    """Return a renderer of a tiny model, saved in a folder."""
    return Model(name, TINY[name], save(name, folder))


def plain(model: Model, prompt: Prompt) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the frames and the sound that diffusers alone makes of a prompt."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(model.folder)
    pipe.set_progress_bar_config(disable=True)
    if hasattr(pipe.vae, "tile_overlap_t"):  # Allegro's
        pipe.vae.enable_tiling()
    says = model.tiny.says
    given = {
        says.get(key, key): value
        for key, value in prompt.arguments
        if says.get(key) != "" and key != IMAGE_FIT
    }
    torch.manual_seed(prompt.seed)
    generator = torch.Generator().manual_seed(prompt.seed)
    output = pipe(prompt=prompt.prompt, generator=generator, output_type="pt", **given)
    frames = (output.frames[0].float() * 255).round().clamp(0, 255).to(torch.uint8)
    audio = output.audio[0].numpy() if hasattr(output, "audio") else None
    return frames.permute(0, 2, 3, 1).numpy(), audio


def heard(path: Path) -> tuple[int, int, np.ndarray]:
    """Return the sampling rate of a file's sound, its number of channels, and its samples."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        return stream.rate, stream.channels, np.concatenate(frames, axis=-1)


def keeps_sound(record: Rendered, theirs: np.ndarray, fps: float, folder: Path) -> None:
    """Assert that sound is as the model made it, and in the files, as long as the pictures."""
    assert record.sound is not None
    assert "" == record.not_kept
    assert np.allclose(theirs, record.sound.samples, atol=1e-3)
    frames = np.zeros((record.made[0], 32, 48, 3), np.uint8)
    seconds = len(frames) / fps
    for suffix in ("mp4", "webm"):
        path = folder / f"heard.{suffix}"
        encoder.encode(frames, path, suffix, fps, "", sound=record.sound)
        rate, channels, samples = heard(path)
        assert (16000 if suffix == "mp4" else 48000, 2) == (rate, channels)
        assert 0 <= samples.shape[-1] - round(seconds * rate) < 1024  # a whole piece of AAC


def refuses(model: Model) -> None:
    """Assert that a wrong value is refused with the nearest right ones."""
    key, value, near = model.tiny.wrong
    with pytest.raises(SettingsRefused) as caught:
        model.prompt(**{key: value})
    [fault] = caught.value.faults
    assert key == fault.key
    for number in near:
        assert str(number) in fault.remedy


def tells_what_it_does_not_read(model: Model) -> None:
    """Assert that the reported rest of a text is what the text encoder does not get."""
    given: list[list[int]] = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and module.num_embeddings in VOCABULARIES:
            given.append(arguments[0].flatten().tolist())

    text = "a " * (model.tiny.reads - 1) + "b c"
    hook = nn.modules.module.register_module_forward_pre_hook(note)
    [record] = model.render(model.prompt(text, negative_prompt=f"a {text}")).rendered
    hook.remove()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.folder / "tokenizer")
    read = tokenizer.decode(given[0], skip_special_tokens=True)
    assert "b" == read.split()[-1]
    is_guided = "negative_prompt" in model.rules.keys and model.tiny.is_guided
    unwanted = {"negative_prompt": "b c"} if is_guided else {}
    assert {"prompt": "c", **unwanted} == record.ignored


@pytest.mark.parametrize("name", TINY)
def test_a_model_makes_what_it_is_asked_for(name: str, tmp_path: Path) -> None:
    """Counts, sizes, steps, seeds, batches, cancelling, the sidecar and plain diffusers agree."""
    model = tiny_model(name, tmp_path / "model")
    first = model.prompt(negative_prompt="the grass")
    done = model.render(first)
    [frames], [record] = done.frames, done.rendered
    asked = tuple(model.tiny.ask[key] for key in ("num_frames", "height", "width"))
    assert (*asked, 3) == frames.shape
    assert asked == record.made
    assert sorted(model.steps) == model.steps
    assert {1, STEPS} == set(model.steps)
    theirs, sound = plain(model, first)
    assert like(theirs, frames)
    assert (sound is None) == (record.sound is None)
    if sound is not None:
        keeps_sound(record, sound, first.fps, tmp_path)
    other = model.prompt("a bird", 2, negative_prompt="the snow")
    alone = [frames, model.render(other).frames[0]]
    assert all(map(like, alone, model.render(first, other).frames))
    assert not np.array_equal(*alone)
    cancelled = model.answer(model.prompt(num_inference_steps=50), cancel_at=1)
    assert isinstance(cancelled, BatchFailed)
    assert (RenderCancelled, 1) == (type(cancelled.error), model.steps[-1])
    again = from_sidecar(model, first, done)
    assert first == again
    assert np.array_equal(frames, model.render(again).frames[0])
    refuses(model)
    tells_what_it_does_not_read(model)
    if model.tiny.fps is not None:
        assert model.tiny.fps == first.fps
        slower = model.render(model.prompt(negative_prompt="the grass", fps=23.976)).frames[0]
        assert model.tiny.heeds_fps != np.array_equal(frames, slower)
    model.renderer.close()
    assert (name in WITHOUT_PREVIEWS) == (not model.previews)


def test_a_second_text_that_nobody_reads(tmp_path: Path) -> None:
    """Diffusers gives the prompt to both text encoders of HunyuanVideo, and drops the other.

    So no prompt can set it. Once the frames differ, it should be able to.
    """
    model = tiny_model("HunyuanVideo", tmp_path / "model")
    plain = model.prompt()
    second = (("prompt_2", "a bird"), ("negative_prompt_2", "grass"))
    past_the_rules = dataclasses.replace(plain, arguments=(*plain.arguments, *second))
    done = [model.render(one).frames[0] for one in (plain, past_the_rules)]
    with pytest.raises(SettingsRefused, match="no text encoder of this profile reads"):
        model.rules.resolve({"prompt": "a horse", "prompt_2": "a bird"})
    model.renderer.close()
    assert np.array_equal(*done)


def test_what_comes_back_is_compared_with_what_was_asked(tmp_path: Path) -> None:
    """If a model rounds, the prompt fails: otherwise nobody would notice."""
    model = tiny_model("CogVideoX", tmp_path / "model")
    asked = model.prompt()
    arguments = {**dict(asked.arguments), "num_frames": 13}  # past the rules
    failed = model.answer(dataclasses.replace(asked, arguments=tuple(arguments.items())))
    model.renderer.close()
    assert isinstance(failed, BatchFailed)
    assert Unrenderable is type(failed.error)
    assert "CogVideoXPipeline made 1 video of 16 frames of 48x32" in str(failed.error)
    assert "was asked for 1 video of 13 frames of 48x32" in str(failed.error)


def test_tokenizers_load_as_they_are_published(tmp_path: Path) -> None:
    """CogVideoX-5b and Mochi have only a sentencepiece model."""
    model = tiny_model("CogVideoX", tmp_path / "model")
    model.renderer.close()
    tokenizer = tmp_path / "model" / "tokenizer"
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a horse runs", "a cow rests", "the bird sings in the grass"] * 9),
        model_prefix=str(tokenizer / "spiece"),
        vocab_size=20,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (tokenizer / "spiece.vocab").unlink()
    (tokenizer / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    index = tmp_path / "model" / "model_index.json"
    parts = json.loads(index.read_text())
    parts["tokenizer"] = ["transformers", "T5Tokenizer"]
    index.write_text(json.dumps(parts))
    pipe = pipeline.load(ModelSource("cog", str(tmp_path / "model"))).pipe
    first, second = pipe.tokenizer(["a horse", "a cow"]).input_ids
    assert first != second
    assert 1 == first[-1] == second[-1]
