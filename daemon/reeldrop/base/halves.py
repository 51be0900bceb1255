"""Join characters that JSON writes as two halves (surrogates), which libyaml refuses."""

from __future__ import annotations

import re

_PAIR = re.compile(r"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")


class Halves:
    r"""Joins what JSON writes as two halves, such as `\ud83c\udf88`, between double quotes.

    While YAML is parsed, another character stands for the backslashes of all pairs. Outside double
    quotes it is changed back: there, a backslash has no special meaning.
    """

    def __init__(self, text: str) -> None:
        self._mark = ""
        if _PAIR.search(text):
            private = map(chr, range(0xE000, 0xF900))
            self._mark = next((c for c in private if c not in text), "")

    def hidden(self, text: str) -> str:
        """Return the text for the parser; its length stays the same."""
        if not self._mark:
            return text
        return _PAIR.sub(lambda m: m[0][: -len(m[1])] + m[1].replace("\\", self._mark), text)

    def joined(self, value: str, *, is_escaped: bool) -> str:
        """Return a scalar with its pairs joined, or unless `is_escaped`, as it was written."""
        if not self._mark or self._mark not in value:
            return value
        if not is_escaped:
            return value.replace(self._mark, "\\")
        pair = f"{self._mark}u(....){self._mark}u(....)"
        return re.sub(pair, lambda m: _character(int(m[1], 16), int(m[2], 16)), value)


def _character(high: int, low: int) -> str:
    """Return the character of two UTF-16 halves."""
    return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
