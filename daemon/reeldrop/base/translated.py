"""What a text encoder reads in place of a prompt's own texts: a record that goes with a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRANSLATE = "translate"
"""The key of a prompt file that turns translation off."""

KEYS = {
    text: f"translated_{text}"
    for text in ("prompt", "negative_prompt", "prompt_2", "negative_prompt_2")
}
"""The keys of a prompt file that give a translation, by what they translate."""

ORIGINALS = {translation: text for text, translation in KEYS.items()}
"""What they translate, by these keys."""

TRANSLATED_FROM = {
    "prompt": "translated_from",
    "negative_prompt": "negative_translated_from",
    "prompt_2": "translated_from_2",
    "negative_prompt_2": "negative_translated_from_2",
}
"""What a sidecar's record calls the texts whose translations it has."""

SECOND = ("prompt_2", "negative_prompt_2")
"""Those for the second text encoder of a pipeline that has two."""

Texts = tuple[tuple[str, str], ...]
"""Texts by their keys in `KEYS`, in that order."""


GUIDANCE = ("true_cfg_scale", "guidance_scale")
"""Guidance scales. The negative prompt is read if the first one that a pipeline has is above 1."""


def heeds_unwanted(settings: Mapping[str, Any]) -> bool:
    """Return whether negative prompts have an effect with the settings of a prompt."""
    guidance = next((settings[name] for name in GUIDANCE if settings.get(name) is not None), None)
    return not (isinstance(guidance, int | float) and guidance <= 1)


@dataclass(frozen=True, slots=True)
class Translated:
    """The translations of a prompt's texts.

    texts: by the keys of the originals; none of what the text encoder reads itself
    is_wanted: whether texts may be translated that have no translation
    made: the keys of those that a translator made; the prompt file gave the others
    by: who translated these, by the language of the text
    of: the originals of those `texts` that are of others than the prompt's own
    """

    texts: Texts = ()
    is_wanted: bool = True
    made: tuple[str, ...] = ()
    by: tuple[tuple[str, str], ...] = ()
    of: Texts = ()

    def as_given(self) -> Translated:
        """Return those that the prompt file gave."""
        given = tuple(pair for pair in self.texts if pair[0] not in self.made)
        return dataclasses.replace(self, texts=given, made=(), by=())

    def as_settings(self) -> dict[str, object]:
        """Return the settings of a prompt file that say the same."""
        found: dict[str, object] = {} if self.is_wanted else {TRANSLATE: False}
        return {**found, **{KEYS[key]: text for key, text in self.texts}}


NOTHING_TRANSLATED = Translated()
