"""What a language of the captions consists of. Knows nothing of how captions are built."""

from __future__ import annotations

from dataclasses import dataclass

Phrases = tuple[str, ...]


def phrases(text: str) -> Phrases:
    """Return the phrases between the commas."""
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


@dataclass(frozen=True, slots=True)
class Noun:
    """How a thing is named; `{c}` stands for size and colour."""

    one: str
    two: str
    colour: str
    measure: str = ""  # Chinese: the words that count it, one of these letters


@dataclass(frozen=True, slots=True)
class Language:
    """All that is said in one language."""

    nouns: dict[str, tuple[Noun, ...]]
    colours: dict[str, Phrases]
    sizes: dict[str, Phrases]
    scenes: dict[str, Phrases]
    times: dict[str, Phrases]
    motions: dict[str, Phrases]
    activities: dict[str, Phrases]
    templates: Phrases
    held_out_templates: Phrases
    fillers: Phrases
    strangers: Phrases
