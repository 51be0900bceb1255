"""What a prompt file says of translations, and notes on texts that a model can't read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reeldrop.base.escaping import short
from reeldrop.base.translated import KEYS, TRANSLATE, Translated, heeds_unwanted
from reeldrop.prompts import scripts

if TYPE_CHECKING:
    from reeldrop.prompts.rules import ModelRules


def given(settings: Mapping[str, Any], of: Mapping[str, str]) -> Translated:
    """Return the translations that a prompt's settings give.

    of: the texts of which they are, where those are others than the prompt's own
    """
    found = {text: (settings.get(key) or "").strip() for text, key in KEYS.items()}
    return Translated(
        tuple(pair for pair in found.items() if pair[1]),
        is_wanted=settings[TRANSLATE],
        of=tuple((text, of[text]) for text in KEYS if found[text] and of.get(text)),
    )


def notes(settings: Mapping[str, Any], rules: ModelRules) -> Iterator[str]:
    """Yield notes on texts that the model certainly can't read, and that are not translated."""
    for text, key in KEYS.items():
        written = settings.get(text) or ""
        if written.isascii() or settings.get(key) or not rules.languages:
            continue
        if text.startswith("negative") and not heeds_unwanted(settings):
            continue
        script, said = scripts.script(written), text.replace("_", " ")
        if scripts.is_read(script, rules.languages):
            if word := scripts.unread(written, rules.languages):
                problem = f"{rules.name} can't read '{short(word)}' in the {said}: few such words"
                yield f"{problem} stay as they are; if it matters, write `{key}: ...`"
            continue
        if not settings[TRANSLATE]:
            why = f"`{TRANSLATE}: false` forbids to translate it"
        elif rules.translators.isdisjoint(scripts.LANGUAGES[script]):
            why = f"config.yaml names no translator for it (`{TRANSLATE}:`)"
        else:
            continue
        yield f"{rules.name} can't read the {script} letters of the {said}: {why}"
