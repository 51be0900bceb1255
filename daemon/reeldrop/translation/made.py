"""A translation, and what it does to a prompt. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reeldrop.base import invisible
from reeldrop.base.errors import ReeldropError
from reeldrop.base.escaping import short
from reeldrop.base.job import Prompt
from reeldrop.base.translated import KEYS, Translated, heeds_unwanted
from reeldrop.prompts import scripts
from reeldrop.prompts.rules import LONGEST_TEXT
from reeldrop.translation.process import TranslationFailed, Untranslatable
from reeldrop.translation.sentences import PAUSES

_LOOP = re.compile(r"\b(\w.{0,60}?)(?:\W+\1\b){3,}", re.IGNORECASE)
"""The same words four times running, as translators make them of what they do not understand."""

_REPEATED = re.compile(r"(\w.{0,30}?)(?:\W*\1){2,}", re.IGNORECASE)


class Made(NamedTuple):
    """A translation, the language it is from, and who made it; all empty if none is needed."""

    text: str = ""
    language: str = ""
    by: str = ""


class PartlyTranslated(ReeldropError):
    """Some sentences of a text can't be translated; `made` has them as they are."""

    def __init__(self, trouble: str, made: Made) -> None:
        super().__init__(trouble)
        self.made = made


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
    return made


def of_part(part: str, text: str, translate: Callable[[str], str]) -> str:
    """Return the translation of a sentence of a text; the same if it is English alone among others.

    Raises:
        Untranslatable: the translation has no words, only repeats some, or is not English. Among
            those of other sentences, nobody would notice.
    """
    is_english = scripts.script(part) == scripts.LATIN != scripts.script(text)
    if is_english and not scripts.unread(part, ()):
        return part
    made = translate(part)
    if not any(map(str.isalnum, made)):
        raise Untranslatable(f"the translation is empty: {short(part)}")
    if (script := scripts.script(made)) != scripts.LATIN:
        raise Untranslatable(f"the translation still has {script} letters: {short(made)}")
    loop = _LOOP.search(made)
    if loop is not None and not _REPEATED.search(part):
        times = len(re.findall(re.escape(loop[1]), loop[0], re.IGNORECASE))
        if times > len(PAUSES.split(part)):  # else each may be of another word, as of synonyms
            raise Untranslatable(f"the translation repeats itself: {short(loop[0])}")
    return made


def texts(prompt: Prompt) -> dict[str, str]:
    """Return the texts of a prompt that may need a translation, by their keys.

    A negative prompt without an effect needs none.
    """
    if not prompt.translated.is_wanted:
        return {}
    given, is_heeded = dict(prompt.translated.texts), heeds_unwanted(dict(prompt.arguments))
    return {
        key: text
        for key, text in prompt.originals.items()
        if key not in given and (is_heeded or not key.startswith("negative"))
    }


def with_translations(prompt: Prompt, found: Mapping[str, Made]) -> Prompt:
    """Return a prompt with the translations found for its texts."""
    made = {key: one for key, one in found.items() if one.text}
    if not made:
        return prompt
    by = tuple(dict.fromkeys((one.language, one.by) for one in made.values()))
    before = prompt.translated
    texts = {**dict(before.texts), **{key: one.text for key, one in made.items()}}
    translated = Translated(
        tuple((key, texts[key]) for key in KEYS if key in texts),
        made=tuple(made),
        by=by,
        of=tuple(pair for pair in before.of if pair[0] not in made),
    )
    return dataclasses.replace(prompt, translated=translated)
