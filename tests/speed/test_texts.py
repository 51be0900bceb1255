"""Embeddings of texts: kept, bounded, and never those of another text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from harness.fakes import save_tiny_pipeline, save_tiny_wan
from harness.models import save
from reeldrop.render import pipeline
from reeldrop.render.source import ModelSource
from reeldrop.speed.texts import MOST, Texts


@pytest.fixture(scope="module", params=["tiny", "wan"])
def pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A pipeline of the older kind, and one of the newer."""
    save = {"tiny": save_tiny_pipeline, "wan": save_tiny_wan}[request.param]
    folder = save(tmp_path_factory.mktemp("model") / request.param)
    return pipeline.load(ModelSource("m", str(folder))).pipe


@pytest.fixture
def encoded(pipe: object, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of texts in each call of the text encoder."""
    calls: list[int] = []
    encoder = pipe.text_encoder  # type: ignore[attr-defined]
    hook = encoder.register_forward_pre_hook(lambda _m, given: calls.append(len(given[0])))
    monkeypatch.setattr(encoder, "hook", hook, raising=False)
    yield calls
    hook.remove()


def embeddings(kept: Texts, texts: list[str], **settings: int) -> torch.Tensor:
    """Return the embeddings of texts, (texts, tokens, channels)."""
    return kept.arguments({"prompt": texts}, settings)["prompt_embeds"]


def test_a_text_is_encoded_once(pipe: object, encoded: list[int]) -> None:
    """A repeated prompt, or a shared negative prompt, is not encoded again."""
    kept = Texts(pipe)
    first = embeddings(kept, ["a horse", "", "a horse"])
    again = embeddings(kept, ["", "a horse"])
    assert [1, 1] == encoded
    assert torch.equal(first[[1, 0]], again)
    assert torch.equal(first[0], first[2])


def test_each_text_has_its_own(pipe: object) -> None:
    """The kept embedding is what the pipeline makes of the text alone."""
    kept = Texts(pipe)
    texts = ["a horse", "a horse ", "A horse", "", "a cow"]
    embeddings(kept, texts)
    for text in texts:
        assert torch.equal(embeddings(Texts(pipe), [text]), embeddings(kept, [text]))
    assert not torch.equal(embeddings(kept, ["a horse"]), embeddings(kept, ["a cow"]))


def test_what_was_asked_for_last_is_kept(pipe: object, encoded: list[int]) -> None:
    """The number of texts is bounded; recently used ones stay."""
    kept = Texts(pipe)
    for number in range(2 * MOST):
        embeddings(kept, ["", str(number)])
    encoded.clear()
    embeddings(kept, ["", str(2 * MOST - 1), str(MOST + 1), "0"])
    assert [1] == encoded


def test_another_length_is_another_embedding(tmp_path: Path) -> None:
    """The key has the number of tokens, too."""
    pipe = pipeline.load(ModelSource("wan", str(save_tiny_wan(tmp_path / "wan")))).pipe
    kept = Texts(pipe)
    lengths = [
        embeddings(kept, ["a horse"], max_sequence_length=n, num_frames=n).shape[1]
        for n in (16, 24, 16)
    ]
    assert [16, 24, 16] == lengths


def test_a_text_has_the_length_that_the_call_has(tmp_path: Path) -> None:
    """SkyReels' encoder has a default of 226 tokens, its call one of 512."""
    pipe = pipeline.load(ModelSource("sky", str(save("SkyReels V2", tmp_path / "sky")))).pipe
    assert 512 == embeddings(Texts(pipe), ["a horse"]).shape[1]
