"""What a text encoder reads in place of a prompt's own texts: a record that goes with a prompt."""

from __future__ import annotations

from dataclasses import dataclass

TRANSLATE = "translate"
"""The key of a prompt file that turns translation off."""

KEYS = {"prompt": "translated_prompt", "negative_prompt": "translated_negative_prompt"}
"""The keys of a prompt file that give a translation, by what they translate."""


TRANSLATED_FROM = {"prompt": "translated_from", "negative_prompt": "negative_translated_from"}
"""What a sidecar's record calls the texts whose translations it has."""


@dataclass(frozen=True, slots=True)
class Translated:
    """The translations of a prompt's texts; empty where the text encoder reads the text itself.

    is_wanted: whether texts may be translated that have no translation
    by: who translated, by the language of the text; nothing of what the prompt file gave
    of: the prompt of which `prompt` is the translation, if that is another one than its own
    negative_of: the same of `negative_prompt`
    """

    prompt: str = ""
    negative_prompt: str = ""
    is_wanted: bool = True
    by: tuple[tuple[str, str], ...] = ()
    of: str = ""
    negative_of: str = ""

    def as_settings(self) -> dict[str, object]:
        """Return the settings of a prompt file that say the same."""
        found: dict[str, object] = {} if self.is_wanted else {TRANSLATE: False}
        given = {key: getattr(self, text) for text, key in KEYS.items()}
        return {**found, **{key: text for key, text in given.items() if text}}


NOTHING_TRANSLATED = Translated()
