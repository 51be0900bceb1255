"""Keep the embeddings of texts for the next render of the same text."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

MOST = 32
"""Upper bound on kept texts; an embedding of a large text encoder takes 4 MB."""

LENGTH = "max_sequence_length"

_OURS = {
    "num_images_per_prompt": 1,
    "num_videos_per_prompt": 1,
    "do_classifier_free_guidance": False,
}
_KNOWN = {
    *_OURS, "self", "prompt", "negative_prompt", "device", "dtype", "prompt_embeds",
    "negative_prompt_embeds", LENGTH, "lora_scale", "clip_skip",
}  # fmt: skip
"""Arguments of `encode_prompt`. With these alone, an embedding depends on nothing but its text."""


class Texts:
    """A cache of embeddings of the texts that were last asked for.

    Each text is encoded alone, so that its embedding does not depend on the texts beside it.
    Thread-safe. Other users of the pipeline's tokenizer must hold `lock`: a tokenizer serves one
    caller at a time.
    """

    def __init__(self, pipe: Any) -> None:
        self.lock = threading.Lock()
        self._pipe = pipe
        self._kept: OrderedDict[tuple[object, ...], torch.Tensor] = OrderedDict()

    def embeddings(self, texts: Sequence[str], settings: Mapping[str, object]) -> torch.Tensor:
        """Return the texts' embeddings, (texts, tokens, channels).

        `settings` are the arguments of the pipeline's call.
        """
        found = []
        for text in texts:
            with self.lock:
                found.append(self._embedding(text, settings))
        return torch.cat(found)

    def forget(self) -> None:
        """Free the embeddings, which are on the device."""
        with self.lock:
            self._kept.clear()

    def _embedding(self, text: str, settings: Mapping[str, object]) -> torch.Tensor:
        parameters = inspect.signature(self._pipe.encode_prompt).parameters
        length = self._length(settings) if LENGTH in parameters else {}
        key = (text, *length.values())
        if key not in self._kept:
            arguments = {"device": self._pipe._execution_device, **_OURS}
            given = {name: value for name, value in arguments.items() if name in parameters}
            embedding, _ = self._pipe.encode_prompt(prompt=[text], **given, **length)
            self._kept[key] = _for_any_stream(embedding)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _length(self, settings: Mapping[str, object]) -> dict[str, object]:
        """Return the pipeline's own length if none is set: that of `encode_prompt` may differ."""
        if LENGTH in settings:
            return {LENGTH: settings[LENGTH]}
        called = inspect.signature(self._pipe.__call__).parameters
        return {LENGTH: called[LENGTH].default} if LENGTH in called else {}


def _for_any_stream(embedding: torch.Tensor) -> torch.Tensor:
    """Make a tensor safe to use in the stream that renders, if it was made in another."""
    if embedding.is_cuda:
        torch.cuda.current_stream().synchronize()
        embedding.record_stream(torch.cuda.default_stream())
    return embedding


def can_be_kept(pipe: Any) -> bool:
    """Return whether a pipeline encodes texts one by one and accepts the embeddings."""
    if getattr(pipe, "safety_checker", None) is not None:
        return False  # it reads the texts
    encode = getattr(pipe, "encode_prompt", None)
    if encode is None or not set(inspect.signature(encode).parameters) <= _KNOWN:
        return False
    parameters = inspect.signature(pipe.__call__).parameters
    if parameters["prompt"].default is inspect.Parameter.empty:
        return False  # it needs the text besides
    others = {name for name in parameters if name.endswith(("_embeds", "_mask"))}
    return others - {"image_embeds"} == {"prompt_embeds", "negative_prompt_embeds"}
