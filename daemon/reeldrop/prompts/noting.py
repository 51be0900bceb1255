"""What the author of a prompt should know about it, though it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reeldrop.base.translated import KEYS, heeds_unwanted
from reeldrop.prompts import documents, tags, translations
from reeldrop.prompts.layers import Layer
from reeldrop.prompts.rules import ModelRules


def notes(layer: Layer, settings: Mapping[str, Any], rules: ModelRules) -> tuple[str, ...]:
    """Return the notes on a prompt.

    layer: what its author wrote
    settings: what its video is rendered with
    """
    found = [note for key in documents.TEXT_KEYS if key in layer for note in layer[key].notes]
    is_heeded, is_vain = heeds_unwanted(settings), False
    for text, key in KEYS.items():
        name = key if translations.text_of(settings, text) else text
        if name not in layer or not settings.get(name):
            continue
        if text.startswith("negative") and not is_heeded:
            is_vain = True
        else:
            found += tags.notes(settings[name], name, reads_weights=rules.reads_weights)
    found += translations.notes(settings, rules)
    if is_vain:
        found.append("the negative prompt has no effect: it needs a guidance_scale above 1")
    return tuple(found)
