"""Find the parts of a prompt that other tools remove before a render, and reeldrop would film."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reeldrop.base import invisible, strict_yaml

_ADDITION = re.compile(
    r"<(lora|lyco|lycoris|hypernet|hypernetwork|embed|segment|object|random|wildcard|alternate"
    r"|fromto|preset|setvar|var|repeat|refiner|base)(\[[^\]<>\n]{0,50}\])?:[^<>\n]{1,200}>",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\{([^{}\n]{3,500})\}")
_SPACED = re.compile(r"\{([^{}|\n]+ \| )+[^{}|\n]+\}")
_WEIGHT = re.compile(r"\([^()\n]{0,80}[^\W\d]:\d(\.\d+)?\)")
_WILDCARD = re.compile(r"(?<!\w)__[\w/-]{1,60}__(?!\w)")
_HIDDEN = frozenset("\xad\u200b\u2060\u202d\u202e\ufeff")
_MOST = 10
"""Upper bound on the prompts of an example."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A part of a prompt that no model can film, and as example the prompt without it."""

    text: str
    meaning: str
    remedy: str
    example: str


def of_another_tool(prompt: str) -> Tag | None:
    """Return the first part of a prompt that surely should not be filmed; None if there is none."""
    found = _ADDITION.search(prompt)
    if found is not None:
        rest = " ".join(_ADDITION.sub(" ", prompt).split()).strip(" ,")
        example = strict_yaml.dump({"prompt": rest}) if rest else ""
        remedy = "take it out: reeldrop has no LoRAs, wildcards or segments"
        return Tag(found[0], "for another tool", remedy, example)
    for found in _CHOICE.finditer(prompt):
        options = found[1].split("|")
        if found[1].count(" | ") == len(options) - 1:
            continue  # it may be a set, as in mathematics
        if len(options) > 1 and all(any(map(str.isalnum, option)) for option in options):
            return _choice(prompt, found, options)
    return None


def _choice(prompt: str, found: re.Match[str], options: list[str]) -> Tag:
    begin, end = found.span()
    texts = [f"{prompt[:begin]}{option.strip()}{prompt[end:]}" for option in options[:_MOST]]
    remedy = "write each as a prompt of its own"
    return Tag(found[0], "a choice for another tool", remedy, strict_yaml.dump({"prompts": texts}))


def notes(prompt: str) -> list[str]:
    """Return what an author should know about a prompt that is rendered as it is."""
    found = []
    for pattern, what in (
        (_WEIGHT, "weights"),
        (_WILDCARD, "wildcards"),
        (_SPACED, "choices"),
    ):
        match = pattern.search(prompt)
        if match is not None:
            found.append(f"{match[0]} was rendered as text: reeldrop has no {what}")
    hidden = _hidden(prompt)
    if hidden:
        found.append(f"there is {invisible.named(hidden)} in the prompt, which can't be seen")
    if "\t" in prompt:
        found.append("there is a tab in the prompt, as between columns")
    if "\ufffd" in prompt:
        found.append("there is a \ufffd in the prompt: another program has lost a character there")
    return found


def _hidden(prompt: str) -> str:
    """Return the first invisible character that no script needs there; empty if there is none."""
    for place, character in enumerate(prompt):
        beside = prompt[max(0, place - 1) : place] + prompt[place + 1 : place + 2]
        if character in _HIDDEN and any(map(str.isascii, beside)):
            return character
    return ""
