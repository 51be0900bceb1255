"""Words for what is wrong with a value or a key, in prompt files and in config.yaml."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from reeldrop.base.escaping import short
from reeldrop.base.sweeps import MATRIX

SEVERAL = f"several to compare go below `{MATRIX}:`"

LONGEST_KEY = 100
_NEAR = 0.6
"""Similarity, from 0 to 1, from which a word may be a typing error of another."""
SURELY = 0.8
"""Similarity from which it certainly is one; below it, a line may be a prompt."""

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a list of `key: value` lines",
    "model_type": "a list of `key: value` lines",
    "finite_number": "a finite number",
}
"""What was expected, by the type of pydantic's error."""


def wanted(detail: Mapping[str, Any]) -> str | None:
    """Return what kind of value was expected; None if the kind is not what is wrong.

    detail: an error of pydantic
    """
    return _WANTED.get(detail["type"])


def bound(detail: Mapping[str, Any]) -> str | None:
    """Return which numbers are allowed; None if the size of a number is not what is wrong."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return f"{number(context['ge'])} or more"
        case "greater_than":
            return f"more than {number(context['gt'])}"
        case "less_than_equal":
            return f"{number(context['le'])} or less"
        case "less_than":
            return f"less than {number(context['lt'])}"
        case _:
            return None


def near(word: str, known: Iterable[str], least: float = _NEAR) -> str | None:
    """Return the known word that was probably meant by a misspelt one; None if there is none.

    least: the similarity that is needed, from 0 to 1
    """
    if len(word) > LONGEST_KEY:  # not a typing error, and slow to compare
        return None
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=least)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with all known words, and the most similar one, if any is similar."""
    names = list(known)
    listed = "known are " + ", ".join(names)
    found = near(word, names)
    return f"did you mean '{found}'? {listed}" if found else listed


def described(value: object) -> str:
    """Return a value for a message: short, and so that its type can be recognised."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text '{short(value)}'"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return short(str(value))


def number(bound: float) -> str:
    """Return a number without a fraction that is zero."""
    return str(int(bound)) if bound == int(bound) else str(bound)


def corrected(text: str, wanted: str) -> str | None:
    """Return the number, or true or false, that a text stands for; None if it is neither."""
    match wanted:
        case "true or false":
            words = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false"}
            return {**words, "0": "false", "true": "true", "false": "false"}.get(text.lower())
        case "a whole number" | "a number":
            try:
                found = float(text)
            except ValueError:
                return None
            is_whole = math.isfinite(found) and found == int(found)
            if wanted == "a number":
                return number(found) if math.isfinite(found) else None
            return str(int(found)) if is_whole else None
        case _:
            return None
