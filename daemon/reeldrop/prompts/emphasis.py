"""Read the weights of words in a prompt, where its profile says `prompt_syntax: weighted`.

`(word:1.2)` weighs 1.2 times as much, `(word)` 1.1 times, `[word]` less by as much; they multiply.
A bracket after a backslash, or without its other half, is text. Full-width brackets, colons and
digits, as of Chinese keyboards, count as the plain ones. The syntax is otherwise that of
AUTOMATIC1111's web UI (`modules/prompt_parser.py`). Does not know what a model makes of weights.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST = 10.0
"""Upper bound on the size of a weight; beyond some 2, models show nothing that anybody knows."""

STEP = 1.1
"""What a bracket without a number multiplies by, or divides by."""

_TOKEN = re.compile(
    r"\\[\\()\[\]]|[(\[]|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|[)\]]|[^\\()\[\]:]+|.", re.DOTALL
)
_NARROW = str.maketrans(
    {chr(code + 0xFEE0): chr(code) for code in map(ord, r"()[]\:+-.0123456789")}
)
"""Full-width characters to plain ones, one by one."""

_OPENING = {")": "(", "]": "["}


class Part(NamedTuple):
    """A piece of a prompt, as it is read, and its weight."""

    text: str
    weight: float


def parts(prompt: str) -> list[Part]:
    """Return the pieces of a prompt; no two neighbours have the same weight."""
    found: list[Part] = []
    for part in _pieces(list(_TOKEN.finditer(prompt.translate(_NARROW))), prompt):
        if found and found[-1].weight == part.weight:
            found[-1] = Part(found[-1].text + part.text, part.weight)
        else:
            found.append(part)
    return found


@functools.lru_cache(maxsize=16)
def too_heavy(prompt: str) -> Part | None:
    """Return the first piece whose weight no prompt may have; None if there is none.

    The last answers are kept: a sweep asks for each of its combinations.
    """
    return next((part for part in parts(prompt) if not abs(part.weight) <= MOST), None)


def _pieces(tokens: Sequence[re.Match[str]], prompt: str) -> Iterator[Part]:
    pairs = _pairs(tokens)
    closing, weights = set(pairs.values()), [1.0]
    for place, token in enumerate(tokens):
        if place in pairs:
            weights.append(weights[-1] * _factor(tokens[pairs[place]]))
        elif place in closing:
            weights.pop()
        else:
            is_escaped = len(token[0]) == 2 and token[0][0] == "\\"
            yield Part(prompt[token.start() + is_escaped : token.end()], weights[-1])


def _pairs(tokens: Sequence[re.Match[str]]) -> dict[int, int]:
    """Return the places of brackets that open, each with that of the one that closes it."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    waiting = dict.fromkeys(_OPENING.values(), 0)
    for place, token in enumerate(tokens):
        if (text := token[0]) in waiting:
            opened.append(place)
            waiting[text] += 1
        elif waiting.get(opening := _OPENING.get(text[-1], ""), 0) and not text.startswith("\\"):
            while (partner := tokens[start := opened.pop()][0]) != opening:
                waiting[partner] -= 1
            waiting[opening] -= 1
            pairs[start] = place
    return pairs


def _factor(closing: re.Match[str]) -> float:
    if closing[0] == "]":
        return 1 / STEP
    return float(closing[1]) if closing[1] else STEP
