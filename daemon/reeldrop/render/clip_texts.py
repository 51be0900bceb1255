"""Encode texts of any length, also with weights, for pipelines in which only CLIP reads texts.

The embeddings of the chunks are concatenated. A weight scales the difference of its token's
embedding to that of the empty text at the same place, as in ComfyUI (`comfy/sd1_clip.py`); a weight
of 1 changes no bit. The pooled embedding is that of the first chunk.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from reeldrop.base.job import Capabilities
from reeldrop.base.translated import SECOND
from reeldrop.render import chunks
from reeldrop.render.chunks import Chunk, Reader
from reeldrop.speed.texts import Texts, encoded

if TYPE_CHECKING:
    from reeldrop.render.source import ModelSource

_TOKENIZERS = ("tokenizer", "tokenizer_2")


def encoder(pipe: Any, source: ModelSource) -> ClipTexts | None:
    """Return what encodes texts in place of the pipeline; None if the profile does not need it."""
    if not (source.reads_chunks or source.reads_weights):
        return None
    return ClipTexts(pipe, chunks.reader(source, pipe.tokenizer))


def readable(capabilities: Capabilities, source: ModelSource) -> Capabilities:
    """Return a pipeline's capabilities without texts that have no place beside embeddings."""
    if not (source.reads_chunks or source.reads_weights):
        return capabilities
    settings, defaults = dict(capabilities.settings), dict(capabilities.defaults)
    for key in SECOND:
        settings.pop(key, None)
        defaults.pop(key, None)
    return dataclasses.replace(capabilities, settings=settings, defaults=defaults)


def reader_of(texts: Texts | None) -> Reader | None:
    """Return what splits the texts; None if the pipeline reads them itself."""
    encode = None if texts is None else texts.encode
    return encode.reader if isinstance(encode, ClipTexts) else None


class ClipTexts:
    """Encodes the chunks of texts; see `speed.texts.Encode`."""

    def __init__(self, pipe: Any, reader: Reader) -> None:
        self.reader = reader
        self._pipe = pipe

    def __call__(self, text: str, _length: Mapping[str, object]) -> tuple[torch.Tensor, ...]:
        """Return a text's embedding, (1, tokens, channels), and the pooled one, if any."""
        encoded = [self._weighted(chunk) for chunk in self.reader.cut(text).chunks]
        _first, *pooled = encoded[0]
        return torch.cat([embedding for embedding, *_ in encoded], dim=1), *pooled

    def _weighted(self, chunk: Chunk) -> tuple[torch.Tensor, ...]:
        embedding, *pooled = self._encoded(chunk)
        if all(weight == 1 for weight in chunk.weights):
            return embedding, *pooled
        empty, *_ = self._encoded(Chunk((), ()))
        more = torch.zeros_like(embedding[:, :, :1])
        more[0, 1 : 1 + len(chunk.ids), 0] = more.new_tensor(chunk.weights) - 1
        return embedding + more * (embedding - empty), *pooled

    def _encoded(self, chunk: Chunk) -> tuple[torch.Tensor, ...]:
        """Return the embeddings that the pipeline itself computes for a chunk."""
        with _given(self._pipe, chunk.ids):
            return encoded(self._pipe, "", {})


@contextlib.contextmanager
def _given(pipe: Any, ids: tuple[int, ...]) -> Iterator[None]:
    """Let the pipeline's tokenizers return these tokens for any text."""
    own = {name: vars(pipe)[name] for name in _TOKENIZERS if name in vars(pipe)}
    vars(pipe).update({name: _StandIn(tokenizer, ids) for name, tokenizer in own.items()})
    try:
        yield
    finally:
        vars(pipe).update(own)


class _StandIn:
    """A tokenizer that returns given tokens, padded as its own tokenizer does."""

    def __init__(self, tokenizer: Any, ids: tuple[int, ...]) -> None:
        self._own = tokenizer
        self._ids = ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, _texts: object, **_how: object) -> Any:
        own = self._own
        marked = [own.bos_token_id, *self._ids, own.eos_token_id]
        return own.pad(
            {"input_ids": [marked]},
            padding="max_length",
            max_length=own.model_max_length,
            return_tensors="pt",
        )
