"""Keep the embeddings of texts for later renders of the same texts."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

MOST = 32
"""Upper bound on kept texts; an embedding of a large text encoder takes 4 MB."""

LENGTH = "max_sequence_length"

Encode = Callable[[str, Mapping[str, object]], tuple[torch.Tensor, ...]]
"""Returns the embedding of a text, (1, tokens, channels), and the pooled one, (1, channels), if the
pipeline takes it. The mapping has the length to which it is padded, as an argument of the pipeline,
if that takes one."""

_ALONE = {
    "num_images_per_prompt": 1,
    "num_videos_per_prompt": 1,
    "do_classifier_free_guidance": False,
}
"""Arguments of `encode_prompt` for one text, of which a pipeline has some."""


class Texts:
    """A cache of the embeddings of the texts that were used last.

    Each text is encoded alone, so that its embedding does not depend on other texts of its batch.
    Thread-safe. Other users of the pipeline's tokenizer must hold `lock`, because a tokenizer is
    not thread-safe.
    """

    def __init__(self, pipe: Any, encode: Encode | None = None) -> None:
        """Encode with `encode`, or else with the pipeline."""
        self.lock = threading.Lock()
        self.encode = encode or functools.partial(encoded, pipe)
        self._pipe = pipe
        self._kept = functools.lru_cache(MOST)(functools.partial(_to_keep, self.encode))

    def arguments(
        self, wanted: Mapping[str, Sequence[str]], settings: Mapping[str, object]
    ) -> dict[str, torch.Tensor]:
        """Return arguments of the pipeline's call that replace the texts in `wanted`.

        Embeddings are (texts, tokens, channels). Shorter ones are padded with those of the empty
        text.
        """
        found = {name: [self._kept_of(one, settings) for one in wanted[name]] for name in wanted}
        longest = max(len(of_text[0][0]) for all_ in found.values() for of_text in all_)
        given = {}
        for name, of_texts in found.items():
            embeddings, *pooled = zip(*of_texts, strict=True)
            padded = [self._padded(one, longest, settings) for one in embeddings]
            given[f"{name}_embeds"] = torch.cat(padded)
            if pooled:
                given[f"{name.replace('prompt', 'pooled_prompt')}_embeds"] = torch.cat(pooled[0])
        return given

    def forget(self) -> None:
        """Free all embeddings, which are on the device."""
        with self.lock:
            self._kept.cache_clear()

    def _kept_of(self, text: str, settings: Mapping[str, object]) -> tuple[torch.Tensor, ...]:
        with self.lock:
            return self._kept(text, **_length(self._pipe, settings))

    def _padded(
        self, embedding: torch.Tensor, length: int, settings: Mapping[str, object]
    ) -> torch.Tensor:
        if embedding.shape[1] == length:
            return embedding
        empty = self._kept_of("", settings)[0]
        count = (length - embedding.shape[1]) // empty.shape[1]
        return torch.cat([embedding, *[empty] * count], dim=1)


def encoded(pipe: Any, text: str, length: Mapping[str, object]) -> tuple[torch.Tensor, ...]:
    """Return what the pipeline itself makes of a text: see `Encode`."""
    parameters = inspect.signature(pipe.encode_prompt).parameters
    arguments = {"device": pipe._execution_device, **_ALONE}
    given = {name: value for name, value in arguments.items() if name in parameters}
    embedding, _negative, *pooled = pipe.encode_prompt(prompt=[text], **given, **length)
    return embedding, *pooled[:1]


def _length(pipe: Any, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the argument for the length to which texts are padded, if a pipeline takes one.

    If it is not set, it is the default of the call, from which that of `encode_prompt` may differ.
    """
    if LENGTH not in inspect.signature(pipe.encode_prompt).parameters:
        return {}
    if LENGTH in settings:
        return {LENGTH: settings[LENGTH]}
    called = inspect.signature(pipe.__call__).parameters
    return {LENGTH: called[LENGTH].default} if LENGTH in called else {}


def _to_keep(encode: Encode, text: str, **length: object) -> tuple[torch.Tensor, ...]:
    """Encode, perhaps in another CUDA stream, what is safe to use in the one that renders."""
    found = encode(text, length)
    for embedding in found:
        if embedding.is_cuda:
            torch.cuda.current_stream().synchronize()
            embedding.record_stream(torch.cuda.default_stream())
    return found
