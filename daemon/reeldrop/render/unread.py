"""Find the end of a text that the pipeline does not read."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from reeldrop.render import clip_texts, rendering
from reeldrop.render.classes import kind_of

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.render.loaded import LoadedPipeline

_NO_LIMIT = 100_000
"""transformers gives a tokenizer without a limit a much larger one."""


def of_text(loaded: LoadedPipeline, prompt: Prompt, text: str) -> str:
    """Return the end of a prompt's text that the text encoder does not read.

    If the pipeline reads no texts, that is the whole text.
    """
    if not rendering.reads_texts(loaded.pipe):
        return text
    kept = loaded.fast_path.texts
    reader = clip_texts.reader_of(kept)
    with kept.lock if kept else contextlib.nullcontext():
        if reader is not None:
            return reader.cut(text).ignored
        return ignored_text(loaded.pipe, text, prompt.argument("max_sequence_length"))


def ignored_text(pipe: Any, text: str, asked: object = None) -> str:
    """Return the end of a text that the pipeline's first text encoder does not read.

    `asked` is the prompt's `max_sequence_length`, None if it is not set.
    """
    tokenizer = getattr(pipe, "tokenizer", None)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # it may be a processor, which has one
    longest = _longest(pipe, tokenizer, asked)
    if tokenizer is None or longest is None or longest > _NO_LIMIT:
        return ""
    ids = tokenizer(text, truncation=False, verbose=False).input_ids
    special = set(tokenizer.all_special_ids)
    around = kind_of(type(pipe)).around
    if around is not None:
        ids, longest = [one for one in ids if one not in special], longest - around(pipe)
    end = int(around is None and ids[-1] in special)  # the end mark is always read
    if len(ids) <= longest:
        return ""
    ignored: str = tokenizer.decode(ids[longest - end : len(ids) - end])
    return ignored.strip()


def _longest(pipe: Any, tokenizer: Any, asked: object) -> int | None:
    """Return how many tokens the pipeline reads."""
    if isinstance(asked, int):
        return asked
    if (reads := kind_of(type(pipe)).reads) is not None:
        return reads
    for method in ("__call__", "encode_prompt"):
        parameters = inspect.signature(getattr(pipe, method, tuple)).parameters
        parameter = parameters.get("max_sequence_length")
        if parameter is not None and isinstance(parameter.default, int):
            return parameter.default
    own = getattr(pipe, "tokenizer_max_length", None)  # HunyuanVideo 1.5
    longest: int | None = getattr(tokenizer, "model_max_length", None)
    return own if isinstance(own, int) else longest
