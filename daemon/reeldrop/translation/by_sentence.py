"""Translate a text sentence by sentence, and keep the weights of its words."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from reeldrop.base.errors import ReeldropError
from reeldrop.prompts import emphasis
from reeldrop.translation import sentences
from reeldrop.translation.made import of_part
from reeldrop.translation.orders import Parts
from reeldrop.translation.process import Untranslatable

TURN = 10
"""How many sentences of a text are translated before other texts have their turn."""

LONGEST_PART = 500
"""Longer sentences are cut, in characters: a translator takes half a minute for its longest one."""

_AROUND = re.compile(r"^(?:an?|the)\s+|[\s.!?,;:]+$", re.IGNORECASE)
"""What a translator adds to a word that stands alone."""

_BRACKET = re.compile(r"[\\()\[\]（）［］＼]")  # noqa: RUF001


class Delayed(ReeldropError):
    """A text is not translated before `until`, which is no fault of the prompt.

    Both are empty if others only have their turn.
    """

    def __init__(self, until: float = 0.0, trouble: str = "") -> None:
        super().__init__()
        self.until = until
        self.trouble = trouble


class Whole(NamedTuple):
    """A translated text, and why some of its sentences are still as they were; empty if none is."""

    text: str
    trouble: str = ""


def translated(
    text: str,
    language: str,
    translate: Callable[[str], str],
    done: Parts,
    *,
    has_weights: bool,
) -> Whole:
    """Return the translation of a text, some sentences of it in each turn.

    done: those of earlier turns, to which this one's are added
    has_weights: brackets in the text, and in the translation, are weights; see `emphasis`

    Raises:
        Delayed: others have their turn before the rest of a long text.
        TranslationFailed: no sentence of it can be translated, or the translator can't be used.
    """
    text = unicodedata.normalize("NFC", text)
    pieces = emphasis.parts(text) if has_weights else [emphasis.Part(text, 1.0)]
    plain = "".join(piece.text for piece in pieces)
    weights = [piece.weight for piece in pieces for _ in piece.text]
    turn = _Turn(plain, language, translate, done)
    made: list[str] = []
    kept = 0
    troubles: list[Untranslatable] = []
    parts = sentences.parts(plain, lambda part: len(part) <= LONGEST_PART, language)
    end = 0
    for part in parts:
        begin = plain.index(part, end)
        end = begin + len(part)
        if sentences.stays(part):
            made.append(_as_it_stands(part, weights[begin:end]) if has_weights else part)
            kept += 1
            continue
        try:
            whole = _weighted(part, weights[begin:end], turn) if has_weights else turn(part)
        except Untranslatable as error:
            whole = _as_it_stands(part, weights[begin:end]) if has_weights else part
            troubles.append(error)
        made.append(whole)
    if troubles and len(troubles) == len(parts) - kept:
        raise troubles[0]
    return Whole(" ".join(made), str(troubles[0]) if troubles else "")


class _Turn:
    """Translates parts of a text as long as it is the text's turn."""

    def __init__(
        self, text: str, language: str, translate: Callable[[str], str], done: Parts
    ) -> None:
        self._text = text
        self._language = language
        self._translate = translate
        self._done = done
        self._new = 0

    def __call__(self, part: str) -> str:
        key = self._language, part
        if key not in self._done:
            if self._new == TURN:
                raise Delayed
            self._new += 1
            try:
                self._done[key] = of_part(part, self._text, self._translate)
            except Untranslatable as error:
                self._done[key] = error
        made = self._done[key]
        if isinstance(made, Untranslatable):
            raise made
        return made


def _weighted(part: str, weights: Sequence[float], translate: Callable[[str], str]) -> str:
    """Return the translation of a sentence with weights for what its characters weigh.

    What has one weight between two commas, as the tags of a list, is translated by itself.
    """
    ends = [*(pause.end() for pause in sentences.PAUSES.finditer(part)), len(part)]
    spans: list[tuple[int, int, bool]] = []
    for begin, end in itertools.pairwise([0, *ends]):
        found = _weights(part[begin:end], weights[begin:end])
        is_tag = len(found) == 1 and found != {1.0}
        if spans and not is_tag and not spans[-1][2]:
            begin = spans.pop()[0]
        spans.append((begin, end, is_tag))
    clauses = (_clause(part[begin:end], weights[begin:end], translate) for begin, end, _ in spans)
    return ", ".join(filter(None, clauses))


def _clause(text: str, weights: Sequence[float], translate: Callable[[str], str]) -> str:
    """Return the translation of a part of a sentence with its weights.

    Words with a weight are translated by themselves, too, and weighted where the translation of the
    whole has them; those that it hasn't are added at its end.
    """
    found = _weights(text, weights)
    if not found:
        return ""
    made = _said(text, translate).strip(" ,:，：、،")
    if len(found) == 1:
        return _with_weight(made, found.pop())
    places: dict[int, tuple[int, float]] = {}
    added = ""
    for piece, weight in _pieces(text, weights):
        if weight == 1 or not any(map(str.isalnum, piece)):
            continue
        said = _said(piece, translate)
        words = _AROUND.sub("", said) or said
        place = next(_places(words, made, places), None)
        if place is None:
            added += f", {_with_weight(words, weight)}"
        else:
            places[place] = place + len(words), weight
    return "".join(_put_in(made, places)) + added


def _as_it_stands(text: str, weights: Sequence[float]) -> str:
    return "".join(itertools.starmap(_with_weight, _pieces(text, weights)))


def _pieces(text: str, weights: Sequence[float]) -> Iterator[emphasis.Part]:
    """Yield the pieces of a text that have one weight each."""
    for weight, pairs in itertools.groupby(zip(text, weights, strict=True), lambda pair: pair[1]):
        yield emphasis.Part("".join(one for one, _ in pairs), weight)


def _said(text: str, translate: Callable[[str], str]) -> str:
    return translate(text.strip()) if sentences.has_letters(text) else text.strip()


def _weights(text: str, weights: Sequence[float]) -> set[float]:
    """Return what the letters and digits of a text weigh."""
    return {weight for one, weight in zip(text, weights, strict=True) if one.isalnum()}


def _places(words: str, text: str, taken: dict[int, tuple[int, float]]) -> Iterator[int]:
    """Yield where words stand in a text, without the places of others."""
    for found in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE):
        if all(found.end() <= begin or end <= found.start() for begin, (end, _) in taken.items()):
            yield found.start()


def _put_in(text: str, places: dict[int, tuple[int, float]]) -> Iterator[str]:
    before = 0
    for begin, (end, weight) in sorted(places.items()):
        yield _escaped(text[before:begin])
        yield _with_weight(text[begin:end], weight)
        before = end
    yield _escaped(text[before:])


def _with_weight(text: str, weight: float) -> str:
    return _escaped(text) if weight == 1 else f"({_escaped(text)}:{round(weight, 4):g})"


def _escaped(text: str) -> str:
    """Return a text whose brackets are no weights."""
    return _BRACKET.sub(r"\\\g<0>", text)
