"""Write YAML that `strict_yaml` reads back equal.

PyYAML takes milliseconds for a sidecar, of which hundreds are written each second. So what is
common is written here, as PyYAML would, and all else by PyYAML.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reeldrop.base.strict_yaml import resolve

WIDTH = 100
"""Behind this column a text goes on in the next line, at the next space."""

_LONGEST_KEY = 60
"""So long are the texts, too, of which it is remembered how they are written."""

_PLAIN = re.compile(r"[^\W_](?:[\w./+,;!?=()'\"-]|:(?![ ]|$)| (?![ #]|$))*")
"""Texts without anything that could mean more to YAML than itself."""

_BREAKS = re.compile("[\x85\u2028\u2029]")


def dump(value: Mapping[str, Any]) -> str:
    """Return the mapping as a YAML document that `load_all` reads back equal."""
    return "".join(_lines(key, one) for key, one in value.items()) or "{}\n"


def _lines(key: str, value: Any, *above: str) -> str:
    """Return the lines of a key below others."""
    indent, head = "  " * len(above), _scalar(key) if len(key) <= _LONGEST_KEY else None
    if head is not None:
        if isinstance(value, dict) and value:
            return f"{indent}{head}:\n" + "".join(
                _lines(inner, one, *above, key) for inner, one in value.items()
            )
        if isinstance(value, list | tuple) and value:
            texts = [text for text in map(_scalar, value) if text is not None]
            if len(texts) == len(value):
                items = (_folded(f"{indent}- ", text, indent) for text in texts)
                return f"{indent}{head}:\n" + "".join(items)
        if (text := _scalar(value)) is not None:
            return _folded(f"{indent}{head}: ", text, indent)
    whole = {key: value}
    for name in reversed(above):
        whole = {name: whole}
    written: str = yaml.dump(
        whole, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=WIDTH, indent=2
    )
    return written.split("\n", len(above))[-1]


def _folded(begin: str, text: str, indent: str) -> str:
    """Return a line that begins so, and the lines in which its text goes on."""
    if len(begin) + len(text) <= WIDTH:
        return f"{begin}{text}\n"
    lines = [begin]
    for number, word in enumerate(text.split(" ")):
        if len(lines[-1]) > WIDTH:
            lines.append(f"{indent}  {word}")
        else:
            lines[-1] += f" {word}" if number else word
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str | None:
    """Return a scalar as PyYAML writes it, but not yet in lines; None if only PyYAML knows that."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            written: str = _REPRESENTER.represent_float(value).value
            return written
        case str():
            return _known_text(value) if len(value) <= _LONGEST_KEY else _text(value)
        case [] | ():
            return "[]"
    return "{}" if value == {} else None


def _text(value: str) -> str | None:
    if not _PLAIN.fullmatch(value):
        return None
    readings = _Dumper.yaml_implicit_resolvers.get(value[0], [])
    if not any(form.match(value) for _, form in readings) and resolve(value) == value:
        return value
    return None if "'" in value else f"'{value}'"


_known_text = functools.lru_cache(1000)(_text)


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes texts that `resolve` would read as another type."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if resolve(text) == text else "'"
    if _BREAKS.search(text):  # only double quotes escape, and so preserve, these
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_sequence(dumper: yaml.SafeDumper, items: Sequence[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(tuple, _represent_sequence)
_REPRESENTER = yaml.representer.SafeRepresenter()
