"""What to write in place of a value of another type, and of several where a setting has one."""

from __future__ import annotations

import re

from reeldrop.base import invisible
from reeldrop.base.escaping import short
from reeldrop.base.yaml_faults import quoted
from reeldrop.prompts import pictures, wording
from reeldrop.prompts.wording import SEVERAL

_NOT_IN_MATRIX = "num_videos_per_prompt"
"""The only key with one value that a matrix can't have, beside those of the whole file."""

_LONGEST = 200
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def right(key: str, value: object, wanted: str, usual: object = None) -> str:
    """Return what to write in place of a value of another type.

    wanted: what it should be, as of `wording.wanted`
    usual: the default; None if there is none
    """
    if isinstance(value, list) and value:
        return _in_place_of_list(key, value, wanted, usual)
    if wanted == "a text":
        is_empty = value is None
        what = "what to film" if key == "prompt" else "a text"
        what = "the name of a picture" if key in pictures.KEYS else what
        return f"write {what} after `{key}:`" if is_empty else "put it between quotes"
    text = invisible.strip(value) if isinstance(value, str) else str(value)
    text = text.strip("'\"“”„‘’")
    numbers = _several(text)
    if key == "seed" and numbers and all(map(str.isdigit, numbers)):
        return f"write `seed: [{', '.join(numbers)}]` for several"
    text = text.replace(",", ".")
    if key == "seed" and not text.lstrip("-").isdigit():
        return "write a whole number, or leave the line out for a new seed each time"
    plain = wording.corrected(text, wanted)
    if plain is not None:
        return f"write `{key}: {plain}`"
    example = "" if usual is None else f", such as `{key}: {str(usual).lower()}`"
    return f"write {wanted}{example}" + _or_several(key, len(numbers))


def in_text_file(name: str, key: str | None, text: str) -> str:
    """Return what to write in place of a line of a text file whose value is no number.

    name: what the key is called there
    """
    if key == "seed":
        return "write a number, or several as `seed: [1, 2]`"
    behind = "" if name == key else f" after `{key}:`"
    return f"write a number{behind}" + _or_several(key, len(_several(text)))


def _in_place_of_list(key: str, value: list[object], wanted: str, usual: object) -> str:
    if key == "prompt":
        return "write several prompts as a list below `prompts:`"
    if wanted == "a text":
        whole = ", ".join(map(str, value))
        remedy = f"write one text: `{key}: {quoted(short(whole))}`"
    else:
        remedy = right(key, value[0] if len(value) == 1 else None, wanted, usual)
    return remedy + _or_several(key, len(value))


def _or_several(key: str | None, count: int) -> str:
    return f"; {SEVERAL}" if count > 1 and key != _NOT_IN_MATRIX else ""


def _several(text: str) -> list[str]:
    """Return the numbers of a text that has nothing but several; empty if it is another."""
    if len(text) > _LONGEST:
        return []
    found = [one for one in re.split(r"[\s,;/|]+", text.strip("[]() ")) if one]
    return found if len(found) > 1 and all(map(_NUMBER.fullmatch, found)) else []
