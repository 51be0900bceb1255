"""Text prompt files: each line that is neither empty nor a comment is a prompt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reeldrop.base import invisible, strict_yaml
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.prompts import foreign, in_yaml, macros
from reeldrop.prompts.decoding import with_newlines
from reeldrop.prompts.key_value import Names, may_be_a_setting
from reeldrop.prompts.layers import MAX_VIDEOS, Layer, Setting, check_count

MAX_LINES = 20_000
_WRAPPED = 50
"""Least characters of a line that a program has cut between two words."""

_COMMENT = re.compile(r"#+(\s|$)")
_MARKUP = re.compile(r"(\*\*|__|\*|_|`|~~|==)[^\s*_`~=](?:[^*_`~=]*[^\s*_`~=])?\1:?")
_OF_SPEECH = ("–", "—")
"""Signs of lists that also stand before what somebody says."""

_SHAPES = frozenset("→●○►▸▶➤✓✔✅■□◆◇")
"""Signs of lists that a text may be about, if not all lines have the same."""

_REPEATED = ("1.", "1)")
"""What Markdown may have before each entry of a list with numbers; not `24. Dezember`."""

_QUOTED = re.compile(
    r"\"[^\"]+\"|“[^“”]+”|„[^„“]+“|«[^«»]+»|‘[^‘’]+’|'[^']+'|「[^「」]+」|『[^『』]+』"
)


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A line that has a prompt, without the space around it; `number` counts from 1."""

    number: int
    column: int
    text: str


def items(name: str, text: str, names: Names) -> list[Layer]:
    """Return the settings of each prompt of a text file.

    Raises:
        PromptError: it was written for another tool, or is too long.
    """
    _check_name(name)
    text = with_newlines(text)
    if text.count("\n") > MAX_LINES:
        problem = f"this file has more than {MAX_LINES:,} lines"
        raise PromptError(Mistake(problem, "split it into several files", MAX_LINES + 1))
    lines = [
        PromptLine(number, line.index(prompt) + 1, prompt)
        for number, line in enumerate(text.split("\n"), start=1)
        if (prompt := invisible.strip(line)) and not _COMMENT.match(prompt)
    ]
    numbered = [(line.number, line.text) for line in lines]
    macros.refuse(name, numbered[:MAX_VIDEOS])
    foreign.refuse(name, text, numbered, names)
    for line in lines[MAX_VIDEOS:]:  # before settings are made of them
        check_count(len(lines), line.number)
    _check_controls(lines)
    is_list, wrapped = _is_list(lines), _wrapped(lines)
    return [_item(line, is_list=is_list, is_rest=line.number in wrapped) for line in lines]


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    inner = PurePosixPath(path.stem)
    if inner.suffix.lower() in (".yaml", ".yml", ".json"):
        problem = f"this file is named {path.name}; a program has added {path.suffix} to its name"
        plain = inner.with_suffix(path.suffix).name
        remedy = f"rename it to {inner.stem}.yaml, or, if each line is a prompt, to {plain}"
        raise PromptError(Mistake(problem, remedy))


def _check_controls(lines: Sequence[PromptLine]) -> None:
    mistakes = []
    for line in lines:
        found = invisible.CONTROL.search(line.text)
        if found is not None:
            problem = f"there is {invisible.named(found[0])} in this line"
            remedy = "remove it, or put each prompt on a line of its own"
            mistakes.append(Mistake(problem, remedy, line.number, line.column + found.start()))
    if mistakes:
        raise PromptError(*mistakes)


def _is_list(lines: Sequence[PromptLine]) -> bool:
    """Return whether there are two lines or more, and all begin with marks of one list."""
    marks = [mark for line in lines if (mark := in_yaml.LIST_MARK.match(line.text))]
    if len(lines) < 2 or len(marks) < len(lines):
        return False
    signs = {(mark["sign"] or "")[:1] for mark in marks}
    if "" not in signs:
        return len(signs) == 1 or signs.isdisjoint(_SHAPES)
    steps = {after - before for before, after in itertools.pairwise(map(_number, marks))}
    is_counted = steps == {1} or all(mark[0].strip() in _REPEATED for mark in marks)
    return signs == {""} and is_counted


def _wrapped(lines: Sequence[PromptLine]) -> set[int]:
    """Return the numbers of lines that seem to be the rest of the one above, as in a mail."""
    found: set[int] = set()
    is_sentence = False
    for above, line in itertools.pairwise([PromptLine(-1, 1, ""), *lines]):
        begins = line.text[0]
        if line.number != above.number + 1:
            is_sentence = begins.isupper()
        elif is_sentence and begins.islower() and len(above.text) >= _WRAPPED:
            found.update([line.number] if above.text[-1] not in ".!?" else [])
    return found


def _number(mark: re.Match[str]) -> int:
    """Return the number of a mark of a list, or the code of its only character."""
    text: str = mark["letter"] or mark["number"] or "0"
    return int(text) if text.isdecimal() else ord(text)


def _item(line: PromptLine, *, is_list: bool, is_rest: bool) -> Layer:
    text, column = line.text, line.column
    notes: tuple[str, ...] = ()
    mark = in_yaml.LIST_MARK.match(text)
    if mark is not None and is_list:
        text, column = text[mark.end() :], column + mark.end()
        counted = "the number" if mark["number"] else "the letter"
        told = f"'{mark[0].strip()}'" if mark["sign"] else counted
        notes = (f"{told} at the beginning is left out, as the mark of a list",)
    elif mark is not None and mark["sign"] not in _OF_SPEECH:
        notes = (f"'{mark[0].strip()}' at the beginning is rendered as part of the prompt",)
    elif _QUOTED.fullmatch(text):
        notes = ("the quotes around the prompt are rendered: in a text file it needs none",)
    elif markup := _MARKUP.fullmatch(text):
        notes = (f"the {markup[1]} around the prompt are rendered: a text file has no markup",)
    elif text.startswith("#"):
        notes = ("the # at the beginning is rendered: a comment begins with # and a space",)
    if is_rest:
        notes += ("it seems to go on with the line above: in a text file, each line is a video",)
    if may_be_a_setting(text):
        notes += ("this is rendered as a prompt: a setting would have to be in a YAML file",)
    return {"prompt": Setting(strict_yaml.Node(text, line.number, column), notes=notes)}
