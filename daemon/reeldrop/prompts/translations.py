"""What a prompt file says of translations, and notes on texts that a model can't read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reeldrop.base import invisible
from reeldrop.base.escaping import short
from reeldrop.base.translated import KEYS, TRANSLATE, Translated, heeds_unwanted
from reeldrop.prompts import scripts

if TYPE_CHECKING:
    from reeldrop.prompts.rules import ModelRules


def given(settings: Mapping[str, Any], of: Mapping[str, str]) -> Translated:
    """Return the translations that a prompt's settings give.

    of: the texts of which they are, where those are others than the prompt's own
    """
    found = {text: text_of(settings, text) for text in KEYS}
    return Translated(
        tuple(pair for pair in found.items() if pair[1]),
        is_wanted=settings[TRANSLATE],
        of=tuple((text, of[text]) for text in KEYS if found[text] and of.get(text)),
    )


def text_of(settings: Mapping[str, Any], text: str) -> str:
    """Return the translation that a prompt's settings give of a text; empty if they give none."""
    found = settings.get(KEYS[text]) or ""
    return "" if invisible.is_blank(found) else str(found).strip()


def notes(settings: Mapping[str, Any], rules: ModelRules) -> Iterator[str]:
    """Yield notes on texts that the model certainly can't read, and that are not translated."""
    for text, key in KEYS.items():
        given = text_of(settings, text)
        written = given or settings.get(text) or ""
        if written.isascii() or not rules.languages:
            continue
        if text.startswith("negative") and not heeds_unwanted(settings):
            continue
        script, said = scripts.script(written), (key if given else text).replace("_", " ")
        if scripts.is_read(script, rules.languages):
            if word := scripts.unread(written, rules.languages):
                problem = f"{rules.name} can't read '{short(word)}' in the {said}: few such words"
                remedy = "" if given else f"; if it matters, write `{key}: ...`"
                yield f"{problem} stay as they are{remedy}"
            continue
        if given:
            why = "a translation is rendered as it is given"
        elif not settings[TRANSLATE]:
            why = f"`{TRANSLATE}: false` forbids to translate it"
        elif rules.translators.isdisjoint(scripts.written_in(script)):
            why = f"config.yaml names no translator for it (`{TRANSLATE}:`)"
        else:
            continue
        yield f"{rules.name} can't read the {script} letters of the {said}: {why}"
