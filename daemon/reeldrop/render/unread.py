"""Find the end of a text that the pipeline does not read."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from reeldrop.base.translated import SECOND
from reeldrop.render import clip_texts, rendering
from reeldrop.render.classes import kind_of

if TYPE_CHECKING:
    from reeldrop.base.job import Prompt
    from reeldrop.render.loaded import LoadedPipeline

_NO_LIMIT = 100_000
"""transformers gives a tokenizer without a limit a much larger one."""


def of_texts(loaded: LoadedPipeline, prompt: Prompt) -> dict[str, str]:
    """Return the ends of a prompt's texts that their text encoders do not read, by the texts' keys.

    If the pipeline reads no texts, those are the whole texts.
    """
    is_guided = rendering.is_guided(loaded, prompt)
    read = (key for key in prompt.read if is_guided or not key.startswith("negative"))
    ends = {key: _of_text(loaded, prompt, key) for key in read}
    return {key: end for key, end in ends.items() if end}


def _of_text(loaded: LoadedPipeline, prompt: Prompt, key: str) -> str:
    text = prompt.read[key]
    if not rendering.reads_texts(loaded.pipe):
        return text
    if key in SECOND:
        tokenizer = getattr(loaded.pipe, "tokenizer_2", None)
        return _end(tokenizer, text, getattr(tokenizer, "model_max_length", None))
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
    around = kind_of(type(pipe)).around
    return _end(tokenizer, text, _longest(pipe, tokenizer, asked), around and around(pipe))


def _end(tokenizer: Any, text: str, longest: int | None, around: int | None = None) -> str:
    """Return the end of a text behind the `longest` tokens.

    around: how many of those are none of the text's; None if its tokenizer adds them
    """
    if tokenizer is None or longest is None or longest > _NO_LIMIT:
        return ""
    ids = tokenizer(text, truncation=False, verbose=False).input_ids
    special = set(tokenizer.all_special_ids)
    if around is not None:
        ids, longest = [one for one in ids if one not in special], longest - around
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
