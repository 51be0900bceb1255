"""A translation, and what it does to a prompt. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reeldrop.base import invisible
from reeldrop.base.escaping import short
from reeldrop.base.job import Prompt
from reeldrop.base.translated import Translated
from reeldrop.prompts import scripts
from reeldrop.prompts.rules import LONGEST_TEXT
from reeldrop.translation.process import TranslationFailed
from reeldrop.translation.sentences import PAUSES

_LOOP = re.compile(r"\b(\w.{0,60}?)(?:\W+\1\b){3,}", re.IGNORECASE)
"""The same words four times running, as translators make them of what they do not understand."""

_REPEATED = re.compile(r"(\w.{0,30}?)(?:\W*\1){2,}", re.IGNORECASE)


class Made(NamedTuple):
    """A translation, the language it is from, and who made it; all empty if none is needed."""

    text: str = ""
    language: str = ""
    by: str = ""


def checked(made: str) -> str:
    """Return a translation without control characters.

    Raises:
        TranslationFailed: it can't be a prompt.
    """
    made = " ".join(invisible.CONTROL.sub(" ", made).split())
    if invisible.is_blank(made):
        raise TranslationFailed("the translation is empty")
    if len(made) > LONGEST_TEXT:
        problem = f"the translation has {len(made):,} characters, more than {LONGEST_TEXT:,}"
        raise TranslationFailed(problem)
    if (script := scripts.script(made)) != scripts.LATIN:
        raise TranslationFailed(f"the translation still has {script} letters: {short(made)}")
    return made


def of_part(part: str, text: str, translate: Callable[[str], str]) -> str:
    """Return the translation of a sentence of a text; the same if it is English alone among others.

    Raises:
        TranslationFailed: the translation has no words, or only repeats some. Among those of other
            sentences, nobody would notice.
    """
    is_english = scripts.script(part) == scripts.LATIN != scripts.script(text)
    if is_english and not scripts.unread(part, ()):
        return part
    made = translate(part)
    if not any(map(str.isalnum, made)):
        raise TranslationFailed(f"the translation is empty: {short(part)}")
    loop = _LOOP.search(made)
    if loop is not None and not _REPEATED.search(part):
        times = len(re.findall(re.escape(loop[1]), loop[0], re.IGNORECASE))
        if times > len(PAUSES.split(part)):  # else each may be of another word, as of synonyms
            raise TranslationFailed(f"the translation repeats itself: {short(loop[0])}")
    return made


def texts(prompt: Prompt) -> dict[str, str]:
    """Return the texts of a prompt that may need a translation, by their keys."""
    if not prompt.translated.is_wanted:
        return {}
    texts = {"prompt": prompt.prompt, "negative_prompt": prompt.argument("negative_prompt")}
    return {
        key: str(text)
        for key, text in texts.items()
        if text and not getattr(prompt.translated, key)
    }


def with_translations(prompt: Prompt, found: Mapping[str, Made]) -> Prompt:
    """Return a prompt with the translations found for its texts."""
    made = {key: one for key, one in found.items() if one.text}
    if not made:
        return prompt
    by = tuple(dict.fromkeys((one.language, one.by) for one in made.values()))
    before = prompt.translated
    return dataclasses.replace(
        prompt,
        translated=Translated(
            made.get("prompt", Made(before.prompt)).text,
            made.get("negative_prompt", Made(before.negative_prompt)).text,
            by=by,
            of="" if "prompt" in made else before.of,
            negative_of="" if "negative_prompt" in made else before.negative_of,
        ),
    )
