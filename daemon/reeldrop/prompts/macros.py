"""Refuse text files with macros of Wan2GP, and show the prompts that they stand for.

`! {Thing}="cat","dog" : {Place}="sea","wood"` stands above lines with `{Thing}` and `{Place}` in
them. Each becomes a prompt with the first values, one with the second values, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from reeldrop.base import yaml_text
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.escaping import short
from reeldrop.prompts import dialects

_MACRO = re.compile(r"! {0,9}(?=\{\w{1,50}\} {0,9}=)")
_VARIABLE = re.compile(r"\{(\w{1,50})\} {0,9}=")
_VALUE = re.compile(r"\"([^\"]*)\"")
_MOST = 50
"""Upper bound on the prompts that are shown."""

_LONGEST = 2_000
"""Upper bound on the characters of a line, and of what becomes of it."""


def refuse(name: str, lines: Sequence[tuple[int, str]]) -> None:
    """Refuse lines, with their numbers, if some are macros and the others are prompts.

    Raises:
        PromptError: they are.
    """
    macros = [(number, line) for number, line in lines if _MACRO.match(line)]
    if not macros:
        return
    prompts: list[str] = []
    values: Mapping[str, list[str]] = {}
    for _, line in lines:
        if len(line) > _LONGEST or (not _MACRO.match(line) and dialects.of_line(line) is not None):
            return  # it is of yet another tool
        if _MACRO.match(line):
            values = _values(line)
        elif len(prompts) <= _MOST:
            prompts += _filled(line, values)
    if not prompts or max(map(len, prompts)) == _LONGEST:
        return
    more = "# and so on\n" if len(prompts) > _MOST else ""
    number, first = macros[0]
    problem = f"'{short(first)}' is a macro of Wan2GP"
    remedy = f"write the prompts that it stands for as YAML, in {PurePosixPath(name).stem}.yaml:"
    example = yaml_text.dump({"prompts": prompts[:_MOST]}) + more
    raise PromptError(Mistake(problem, remedy, number, example=example))


def _values(macro: str) -> dict[str, list[str]]:
    """Return the values of each variable of a macro."""
    _, *parts = _VARIABLE.split(macro)
    named = zip(parts[::2], map(_VALUE.findall, parts[1::2]), strict=True)
    return {name: found for name, found in named if found}


def _filled(line: str, values: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield a line with each of the values of its variables; those of a shorter list come again."""
    used = {name: found for name, found in values.items() if f"{{{name}}}" in line}
    for turn in range(min(max(map(len, used.values()), default=1), _MOST + 1)):
        text = line
        for name, found in used.items():
            text = text.replace(f"{{{name}}}", found[turn % len(found)])[:_LONGEST]
        yield text
