"""What the author of a prompt should know about it, though it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reeldrop.base.translated import heeds_unwanted
from reeldrop.prompts import documents, tags, translations
from reeldrop.prompts.layers import Layer
from reeldrop.prompts.rules import ModelRules


def notes(layer: Layer, settings: Mapping[str, Any], rules: ModelRules) -> tuple[str, ...]:
    """Return the notes on a prompt.

    layer: what its author wrote
    settings: what its video is rendered with
    """
    found = [note for key in documents.TEXT_KEYS if key in layer for note in layer[key].notes]
    found += tags.notes(settings["prompt"], reads_weights=rules.reads_weights)
    found += translations.notes(settings, rules)
    is_given = "negative_prompt" in layer and settings["negative_prompt"]
    if is_given and not heeds_unwanted(settings):
        found.append("the negative prompt has no effect: it needs a guidance_scale above 1")
    return tuple(found)
