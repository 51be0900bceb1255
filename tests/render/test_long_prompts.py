"""Texts that are longer than what CLIP reads at once, and weights in them; real classes."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.fakes import MAX_TOKENS
from harness.models import save
from harness.site import Site
from reeldrop.base.errors import ConfigError, Unrenderable
from reeldrop.base.events import BatchRendered, Event
from reeldrop.base.job import Batch, Member, Prompt, Scalar
from reeldrop.base.translated import Translated
from reeldrop.commands import check as checking
from reeldrop.commands import check_file
from reeldrop.config.config import load
from reeldrop.prompts.rules import ModelRules, SettingsRefused
from reeldrop.render import chunks, pipeline, rendering, unread
from reeldrop.render.loaded import LoadedPipeline
from reeldrop.render.renderer import InProcessRenderer
from reeldrop.render.source import ModelSource
from reeldrop.store import described

# What diffusers' pipelines warn of is their own business.
pytestmark = pytest.mark.filterwarnings("default")

ROOM = MAX_TOKENS - 2
"""How many letters the tiny text encoder reads at once: each is a token."""

FULL = "abcd efgh ijkl mnop qr"
"""A text of 18 letters. Another word of five does not fit."""

SMALL: dict[str, Scalar] = {
    "num_frames": 4, "height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 5.0,
}  # fmt: skip


def prompt(text: str, negative: str | None = None, model: str = "long") -> Prompt:
    """Return a prompt of few and small frames."""
    unwanted: dict[str, Scalar] = {} if negative is None else {"negative_prompt": negative}
    return Prompt(1, text, model, tuple({**SMALL, **unwanted}.items()), 1, 8, ("mp4",))


def render(loaded: LoadedPipeline, *prompts: Prompt) -> tuple[np.ndarray, ...]:
    """Return the frames of a batch."""
    return rendering.render(loaded, prompts, lambda _step: None)


@pytest.fixture(scope="module")
def plain(tiny_pipeline: Path) -> LoadedPipeline:
    """A profile that reads texts as diffusers does; in float32, so that each bit counts."""
    source = ModelSource("long", str(tiny_pipeline), speed={"mixed_precision": False})
    return pipeline.load(source)


@pytest.fixture(scope="module")
def long(plain: LoadedPipeline) -> LoadedPipeline:
    """A profile that reads texts as a whole, with weights."""
    return pipeline.load(replace(plain.source, reads_chunks=True, reads_weights=True))


def embedding(loaded: LoadedPipeline, text: str) -> torch.Tensor:
    """Return the embedding of a text, (tokens, channels)."""
    assert loaded.fast_path.texts is not None
    return loaded.fast_path.texts.arguments({"prompt": [text]}, {})["prompt_embeds"][0]


def test_a_short_text_gives_the_same_bits(plain: LoadedPipeline, long: LoadedPipeline) -> None:
    """Whatever fits the text encoder is rendered as without the keys; so is a weight of 1."""
    asked = prompt("a horse", "grass")
    expected = render(plain, asked)
    assert np.array_equal(expected, render(long, asked))
    assert np.array_equal(expected, render(long, prompt("a (horse:1.0)", "((grass:1):1)")))
    slow = pipeline.load(replace(plain.source, speed={"exact": False}))
    slow_and_long = pipeline.load(replace(slow.source, reads_chunks=True))
    assert np.array_equal(render(slow, asked), render(slow_and_long, asked))


def test_a_long_text_is_read_whole(plain: LoadedPipeline, long: LoadedPipeline) -> None:
    """Each chunk is encoded as diffusers encodes its words alone; no word is cut."""
    parts = [FULL, "stuvw xyzab cdefg hijkl", "mnopq rstuv"]
    whole = embedding(long, " ".join(parts))
    apart = torch.cat([embedding(plain, part) for part in parts])
    assert (3 * MAX_TOKENS, 16) == whole.shape
    assert torch.equal(apart, whole)
    word = "a" * (2 * ROOM + 1)  # longer than a chunk
    assert [ROOM, ROOM, 1] == [len(chunk.ids) for chunk in cut(long, word).chunks]


def cut(loaded: LoadedPipeline, text: str) -> chunks.Cut:
    """Return how a text is read."""
    return chunks.reader(loaded.source, loaded.pipe.tokenizer).cut(text)


def test_what_stands_behind_the_limit_counts(plain: LoadedPipeline, long: LoadedPipeline) -> None:
    """In prompts and in negative prompts, though they differ in length; without the key, not."""
    prompts = [
        prompt(text, negative)
        for text, negative in (
            (f"{FULL} stuvw horse", "grass"),
            (f"{FULL} stuvw camel", "grass"),
            ("a horse", f"{FULL} stuvw grass"),
            ("a horse", f"{FULL} stuvw trees"),
        )
    ]
    seen = [render(long, one)[0].tobytes() for one in prompts]
    assert len(prompts) == len(set(seen))
    assert np.array_equal(render(plain, prompts[0]), render(plain, prompts[1]))


def test_a_weight_moves_its_word_in_proportion(long: LoadedPipeline) -> None:
    """The embedding of the word moves from that of the empty text; no other moves at all."""
    one, empty = embedding(long, "a red ball"), embedding(long, "")
    word = slice(2, 5)  # behind the mark and "a"
    for weight in (0.0, 0.5, 1.5, 3.0):
        moved = embedding(long, f"a (red:{weight}) ball")
        expected = (weight - 1) * (one - empty)[word]
        assert torch.allclose(expected, (moved - one)[word], atol=1e-5)
        moved[word] = one[word]
        assert torch.equal(one, moved)


def test_weights_are_text_where_the_profile_does_not_say_so(
    plain: LoadedPipeline, long: LoadedPipeline
) -> None:
    """Brackets are read like any other characters."""
    text = "a (red:1.5) ball"
    short = pipeline.load(replace(plain.source, reads_chunks=True))
    assert torch.equal(embedding(short, text), embedding(long, r"a \(red:1.5\) ball"))
    beyond = "a (red:50) ball"  # as a translator may write it; of prompt files it is refused
    assert torch.equal(embedding(short, beyond), embedding(long, beyond))


class Answers:
    """A renderer of one profile, and its answer to a batch."""

    def __init__(self, source: ModelSource) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._renderer = InProcessRenderer({source.name: source}, self._events.put)

    def render(self, *prompts: Prompt) -> BatchRendered:
        """Order a batch, and return its answer."""
        self._renderer.render(Batch(tuple(Member("job", one) for one in prompts)))
        while not isinstance(event := self._events.get(timeout=60), BatchRendered):
            pass
        return event

    def close(self) -> None:
        """End the renderer."""
        self._renderer.close()


def test_no_video_depends_on_what_it_is_rendered_with(long: LoadedPipeline) -> None:
    """Texts of other lengths are rendered apart; each video is what it is alone, up to rounding."""
    short, other = prompt("a horse"), prompt("a cow", "grass")
    word = "abcdefghijklmnopqrstuv"  # as long as a chunk
    longer, too_long = (prompt(" ".join([word] * count)) for count in (3, chunks.MOST + 1))
    answers = Answers(long.source)
    done = answers.render(short, other, longer, too_long)
    answers.close()
    assert [2, 2, 1, 1] == [record.batch_size for record in done.rendered]
    assert ["", "", "", word] == [record.ignored.get("prompt", "") for record in done.rendered]
    assert {"long_prompt": "chunks", "prompt_syntax": "weighted"} == done.rendered[0].profile
    for one, frames in zip((short, other, longer, too_long), done.frames, strict=True):
        assert abs(render(long, one)[0].astype(int) - frames).max() <= 1


@pytest.mark.parametrize("name", ["AnimateDiff", "AnimateDiff SDXL"])
def test_other_classes_read_long_texts_too(name: str, tmp_path: Path) -> None:
    """Also where there is a second text encoder, with an embedding of the text as a whole."""
    short = pipeline.load(ModelSource("long", str(save(name, tmp_path / "model"))))
    both = pipeline.load(replace(short.source, reads_chunks=True, reads_weights=True))
    asked = prompt("a horse", "grass")
    assert np.array_equal(render(short, asked), render(both, asked))
    text = "abcd " * 20  # 80 letters
    longer, other = (prompt(f"{text}{word}") for word in ("horse", "a (camel:3)"))
    assert not np.array_equal(render(both, longer), render(both, other))


def test_a_second_text_encoder_reads_its_own_text(tmp_path: Path) -> None:
    """In its translation, for all prompts of a batch."""
    loaded = pipeline.load(ModelSource("long", str(save("AnimateDiff SDXL", tmp_path / "model"))))
    plain = prompt("a horse", "grass")
    second = replace(plain, arguments=(*plain.arguments, ("prompt_2", "a bird")))
    chinese = replace(plain, arguments=(*plain.arguments, ("prompt_2", "鸟")))
    translated = replace(chinese, translated=Translated((("prompt_2", "a bird"),)))
    (expected,) = render(loaded, second)
    assert np.array_equal(expected, render(loaded, translated)[0])
    assert not np.array_equal(expected, render(loaded, plain)[0])
    for frames in render(loaded, translated, translated):
        assert abs(expected.astype(int) - frames).max() <= 1
    letters = "abcdefghijklmnopqrstuvwxyz" * 2 + "abcdefghijklmnopqrstuvw"
    texts = {"prompt_2": f"{letters} in the snow", "negative_prompt_2": f"{letters} at night"}
    answers = Answers(loaded.source)
    long, unguided = (
        replace(plain, arguments=tuple({**dict(plain.arguments), **texts, **scale}.items()))
        for scale in ({"guidance_scale": 5.0}, {"guidance_scale": 1.0})
    )
    [record] = answers.render(long).rendered
    assert {"prompt_2": "in the snow", "negative_prompt_2": "at night"} == record.ignored
    assert {"prompt_2": "in the snow"} == answers.render(unguided).rendered[0].ignored
    answers.close()
    loaded.pipe.tokenizer_2.model_max_length = 40
    assert f"{letters[38:]} in the snow" == unread.of_texts(loaded, long)["prompt_2"]
    empty = replace(plain, arguments=(*plain.arguments, ("prompt_2", "")))
    assert "" == rendering.texts(loaded, (empty,))["prompt_2"]  # some read no text then
    both = pipeline.load(replace(loaded.source, reads_weights=True))
    with pytest.raises(Unrenderable, match="prompt_2 has no place beside long_prompt"):
        render(both, second)
    settings = {"prompt": "a horse", "negative_prompt_2": "grass", "fps": 8.0}
    assert ModelRules("m", loaded.capabilities, {}, {}).resolve(settings)
    with pytest.raises(SettingsRefused) as caught:
        ModelRules("m", both.capabilities, {}, {}).resolve(settings)
    [fault] = caught.value.faults
    assert "negative_prompt_2" == fault.key
    assert "no text encoder of this profile reads negative_prompt_2" == fault.problem
    assert "write all of it into `negative_prompt`" in fault.remedy


@pytest.mark.parametrize("key", ["long_prompt", "prompt_syntax"])
def test_a_class_that_reads_otherwise_is_refused(key: str, wan_pipeline: Path) -> None:
    """The keys are never ignored in silence."""
    keys = {"long_prompt": "reads_chunks", "prompt_syntax": "reads_weights"}
    source = replace(ModelSource("wan", str(wan_pipeline)), **{keys[key]: True})
    with pytest.raises(
        ConfigError, match="CLIP is not the only text encoder of WanPipeline"
    ) as caught:
        pipeline.load(source)
    assert f"models.wan.{key}" == caught.value.mistakes[0].key


@pytest.fixture
def check(
    site: Site, long: LoadedPipeline, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """A function that checks a prompt file of a site whose profile reads long texts."""
    config = site.folder / "config.yaml"
    config.write_text(
        config.read_text().replace("    variant:", "    long_prompt: chunks\n    variant:")
    )
    site.spool.mkdir(exist_ok=True)
    described.note(site.spool, "tiny", long.source.location, long.capabilities)

    def run(text: str, *, as_json: bool = False) -> str:
        file = site.folder / "a.txt"
        file.write_text(text)
        assert 0 == checking.check_all(config, file, as_json=as_json)
        return capsys.readouterr().out

    return run


def test_check_says_how_long_texts_are_read(check: Callable[..., str], site: Site) -> None:
    """Of texts that fit, it says nothing; of those that are translated, how long that is."""
    text = f"a horse\n{FULL} stuvw horse\n"
    said = check(text)
    assert "2 videos" in said
    assert "\nprompt 2: 28 tokens in 2 chunks\n" in said
    assert "prompt 1" not in said
    found = json.loads(check(text, as_json=True))
    assert ["prompt 2: 28 tokens in 2 chunks"] == found["long_texts"]
    english = {"飞": f"{FULL} stuvw horse"}
    settings, asked = load(site.folder / "config.yaml"), prompt("飞", model="tiny")
    long_texts = check_file._long_texts(settings, [asked], english)
    assert ["prompt 1: 28 tokens in 2 chunks"] == list(long_texts)
