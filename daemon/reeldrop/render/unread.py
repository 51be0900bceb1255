"""Find the end of a prompt that the text encoder does not read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reeldrop.render.pipeline import LoadedPipeline


def of_prompt(loaded: LoadedPipeline, prompt: str) -> str:
    """Return the end of a prompt that the text encoder does not read, beside other threads."""
    kept = loaded.fast_path.texts
    with kept.lock if kept else contextlib.nullcontext():
        return ignored_text(loaded.pipe, prompt)


def ignored_text(pipe: Any, prompt: str) -> str:
    """Return the end of a prompt that the pipeline's text encoder does not read."""
    tokenizer = getattr(pipe, "tokenizer", None)
    longest = getattr(tokenizer, "model_max_length", None)
    if tokenizer is None or longest is None or longest > 100_000:  # transformers' "no limit"
        return ""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    # The last token is the end mark.
    ignored: str = tokenizer.decode(ids[longest - 1 : -1]) if len(ids) > longest else ""
    return ignored.strip()
