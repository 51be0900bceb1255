"""Refuse text files that were written for another tool, and show the YAML that says the same."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, PromptError, YamlError
from reeldrop.base.escaping import short
from reeldrop.prompts import dialects, in_yaml, key_value, other_names, values
from reeldrop.prompts.key_value import Names, Own, Recognised, Said
from reeldrop.prompts.layers import MAX_VIDEOS

_ENOUGH = 100
"""After this many lines of another tool, the rest is not examined."""

_OUR_STATUS = re.compile(r"reeldrop: .*\n\nWritten \d{4}-")
_PROMPT_KEY = re.compile(r"^[ \t{\"']*+prompts?[\"']?\s*:", re.MULTILINE)

_UNTIL = r"(?P<until>\s*[-–—]\s*\d[\d:]*)?"
_TIME = rf"(?P<frame>frame )?(?P<at>\d{{1,6}}(?::\d\d){{0,2}}){_UNTIL}\s?(?P<unit>s|sec|seconds)?"
_FRAMES = (
    re.compile(rf"{_TIME}\s*(?P<mark>:\s+|\|)(?P<text>\S.*)", re.I),
    re.compile(rf"(?P<mark>[\[(]){_TIME}[\])]\s*[:|-]?\s*(?P<text>\S.*)", re.I),
    re.compile(
        rf"(?P<at>\d{{1,2}}(?::\d\d){{1,2}}){_UNTIL}(?P<mark>\s*(?:[-=]>|[-–—→|])|)\s+(?P<text>\S.*)"
    ),
)
"""How a text that begins at a frame, or a time, is written."""

_COLONS = (":", "：")
_ROW = re.compile(r"\|.*\|")
_TITLE = re.compile(r"(?:\d{1,3}[.)]\s+|[-*]\s+)?\*\*[^*]+\*\*:?")
_COUNTED = re.compile(r"#?\d{1,4}[.):]?")
_TIME_ALONE = re.compile(r"[\[(]?\d{1,2}(:\d\d){1,2}[\])]?")
_RULE = re.compile(r"[|:\s-]{3,}|sep=.")
"""The line below the head of a table in Markdown, and what Excel writes above one."""

_BRACKETS = re.compile(r"[()\N{FULLWIDTH LEFT PARENTHESIS}\N{FULLWIDTH RIGHT PARENTHESIS}]")
_CUE = re.compile(r"(\d+:)?\d+:\d+[.,]\d+ +--> +(\d+:)?\d+:\d+[.,]\d+")
"""The time of a subtitle."""

_CUE_TAG = re.compile(r"</?[a-z][^<>]{0,80}>|\{\\[^{}]{1,80}\}", re.I)

Lines = Sequence[tuple[int, str]]
"""Lines that are neither empty nor comments, with their numbers."""


def refuse(name: str, text: str, lines: Lines, names: Names) -> None:
    """Refuse a text file that has lines for another tool, or settings.

    Raises:
        PromptError: it has some.
    """
    stem = PurePosixPath(name).stem
    if not lines:
        return
    _check_whole(stem, text, lines)
    _check_keyframes(stem, lines)
    _check_heading(lines)
    names = key_value.without_second(names, (line for _, line in lines))
    examined = _examined(lines[:MAX_VIDEOS], names)  # a file with more is refused for their number
    around = _around([(number, line) for number, line, what in examined if what is None])
    found = [(number, line, what or around.get(number)) for number, line, what in examined]
    strange = [
        (number, line, what) for number, line, what in found if what and not what.is_doubtful
    ]
    if not strange:
        return
    example, left_out = in_yaml.example(found)
    first: dict[str, Mistake] = {}
    for number, line, what in strange:
        problem = f"'{short(line)}' {what.what}"
        remedy = _remedy(stem, what, example, left_out)
        first.setdefault(what.what, Mistake(problem, remedy, number, example=example))
    mistakes = sorted(first.values(), key=lambda mistake: mistake.line or 0)
    raise PromptError(*_with_one_example(mistakes), *_unusable(strange))


def _examined(lines: Lines, names: Names) -> list[tuple[int, str, Recognised | None]]:
    """Return lines with what each of them is, until there are enough of another tool."""
    examined = []
    strange = 0
    for number, line in lines:
        what = key_value.naming(line, names) or dialects.of_line(line)
        examined.append((number, line, what))
        strange += what is not None and not what.is_doubtful
        if strange > _ENOUGH:
            break
    return examined


def _around(lines: Lines) -> dict[int, Recognised]:
    """Return the lines that stand between prompts, and are none, by their numbers.

    Rows of a table, and what is above each text: titles in bold, times, numbers that count up.
    """
    found: dict[int, Recognised] = {}
    for pattern, what in (
        (_ROW, "is a row of a table in Markdown"),
        (_TITLE, "is a title in bold, not a prompt"),
        (_COUNTED, "is a number alone, not a prompt"),
        (_TIME_ALONE, "is a time alone, not a prompt"),
    ):
        places = [place for place, (_, line) in enumerate(lines) if pattern.fullmatch(line)]
        told = [lines[place] for place in places]
        gaps = [b - a for a, b in itertools.pairwise([*places, len(lines)])]
        is_above = places[:1] == [0] and min(gaps) > 1
        if pattern is _COUNTED and is_above:
            numbers = [int(line.strip("#.): ")) for _, line in told]
            is_above = numbers == [*range(1, len(told) + 1)]
        if len(told) > 1 and (is_above or pattern is _ROW):
            found |= {number: Recognised(what) for number, _ in told}
    return found


def _unusable(strange: Iterable[tuple[int, str, Recognised]]) -> Iterator[Mistake]:
    """Yield what is wrong with settings that are not in the YAML shown because of their value."""
    said = ((number, *one) for number, _, what in strange for one in what.says.items())
    for number, name, value in said:
        key = name if name in in_yaml.KEYS else other_names.ours(name, in_yaml.KEYS)
        is_text = key is None or key in in_yaml.TEXTS or isinstance(value, Own) or not value
        if not is_text and not other_names.is_size(name) and in_yaml.number(value) is None:
            problem = f"'{short(name)}: {short(value)}' is not used: its value is no number"
            yield Mistake(problem, values.in_text_file(name, key, value), number)


def _check_whole(stem: str, text: str, lines: Lines) -> None:
    """Refuse a text that is YAML, JSON or a table as a whole."""
    number, line = lines[0]
    if _OUR_STATUS.match(text):
        raise PromptError(Mistake("this is what reeldrop says of itself", "remove it", number))
    if _is_yaml(text):
        problem = f"'{short(line)}' is `key: value`, as in YAML, and this is a text file"
        raise PromptError(Mistake(problem, f"rename it to {stem}.yaml", number))
    if line[0] in "{[":
        says = dialects.of_json(text)
        if says is not None:
            _refuse(stem, "this file is JSON, not lines of prompts", number, says)
    prompts, for_all = in_yaml.with_settings(dialects.of_toml(text))
    tables = [{**for_all, **prompt} for prompt in prompts]
    if tables:
        _refuse(stem, "this file is TOML or a list in code, not lines of prompts", number, tables)
    if any(map(_CUE.match, (line for _, line in lines))):
        _refuse(stem, "this file has subtitles, not lines of prompts", number, _cues(lines))
    rows = _rows(lines)
    if rows is not None:
        kind = "Markdown" if line.startswith("|") else "CSV"
        _refuse(stem, f"this file is a table ({kind}), not lines of prompts", number, rows)


def _cues(lines: Lines) -> list[Said]:
    """Return the text of each subtitle: the lines below its time, without the next one's number."""
    cues: list[str] = []
    before = 0
    for (number, line), (after, following) in itertools.zip_longest(
        lines, lines[1:], fillvalue=(0, "")
    ):
        is_named = before < number - 1 and after == number + 1  # of a cue in WebVTT
        if _CUE.match(line):
            cues.append("")
        elif cues and not ((line.isdigit() or is_named) and _CUE.match(following)):
            cues[-1] = f"{cues[-1]} {_CUE_TAG.sub('', line)}".strip()
        before = number
    return [{"prompt": cue} for cue in cues if cue]


def _check_keyframes(stem: str, lines: Lines) -> None:
    """Refuse texts that all begin with a frame or time: from 0, and each higher than before.

    A line above them may be a heading or a text for all of them.
    """
    for pattern in _FRAMES:
        head, *others = [pattern.match(line) for _, line in lines]
        texts = [head, *others] if head else others
        marks = [mark for mark in texts if mark]
        if len(marks) < max(2, len(texts)) or not _are_times(marks):
            continue
        above = [] if head or lines[0][1].endswith(_COLONS) else [{"prompt": lines[0][1]}]
        number, first = lines[0 if head else 1]
        problem = f"'{short(first)}' is a keyframe: a text that begins at a frame or time"
        _refuse(stem, problem, number, [*above, *({"prompt": mark["text"]} for mark in marks)])


def _are_times(marks: Sequence[re.Match[str]]) -> bool:
    """Return whether what stands before texts is frames or times, not numbers or times of day."""
    at = [tuple(map(int, mark["at"].split(":"))) for mark in marks]
    if any(at[0]) or not all(a < b for a, b in itertools.pairwise(at)):
        return False
    named = [mark.groupdict() for mark in marks]
    if any(mark["until"] or mark.get("frame") or mark.get("unit") for mark in named):
        return True
    if all(mark["mark"] for mark in named):
        is_counted = at == [(number,) for number in range(len(at))]
        return ":" in marks[0]["mark"] or not is_counted
    return all(len(one) == 3 or one[0] == 0 for one in at)


def _check_heading(lines: Lines) -> None:
    """Refuse what introduces a list, such as `Here are five prompts:`."""
    (number, line), *others = lines
    if in_yaml.LIST_MARK.match(line) or not line.endswith(_COLONS):
        return
    below = [] if not others or in_yaml.LIST_MARK.match(others[-1][1]) else [others.pop()]
    if len(others) > 1 and all(in_yaml.LIST_MARK.match(other) for _, other in others):
        around = [(number, line, "above"), *((*one, "below") for one in below)]
        remedy = "remove the line, or put `# ` before it"
        remedies = {"above": remedy, "below": f"{remedy}, or `- ` if it is one"}
        raise PromptError(
            *(
                Mistake(
                    f"'{short(text)}' is what stands {where} a list, not a prompt",
                    remedies[where],
                    at,
                )
                for at, text, where in around
            )
        )


def _is_yaml(text: str) -> bool:
    """Return whether a text is one of our YAML files: a mapping with a prompt in it."""
    if not _PROMPT_KEY.search(text):
        return False
    try:
        documents = strict_yaml.load_all(text)
    except YamlError:
        return False
    found = documents[0].value if documents else None
    if not isinstance(found, dict) or not {"prompt", "prompts"} & found.keys():
        return False
    if any(other_names.is_heading(key) for key in found):
        return False  # it would be refused as YAML, too
    return not any(key not in in_yaml.KEYS and other_names.ours(key, in_yaml.KEYS) for key in found)


def _rows(lines: Lines) -> list[Said] | None:
    """Return the rows of a table with a column of prompts; None if the lines are not one."""
    table = [line.strip("| ") for _, line in lines[: in_yaml.MOST + 3] if not _RULE.fullmatch(line)]
    head = table[0] if table else ""
    if len(head) > 300:
        return None
    mark = max(",;\t|", key=head.count)
    names = [_BRACKETS.sub("", name).strip(" \"'*") for name in head.split(mark)]
    known = [other_names.normal(name) for name in names]
    is_table = len(names) > 1 and all(n == "#" or n.replace("_", "").isalnum() for n in known)
    if not is_table or not any(mark in line for _, line in lines[1:]):
        return None
    try:
        rows = [*csv.reader(table[1 : in_yaml.MOST + 2], delimiter=mark)]
    except csv.Error:  # a cell is longer than any prompt
        rows = []
    is_even = {len(row) for row in rows} == {len(names)} and f"{mark} " not in head
    is_certain = mark == "\t" or (mark in ",;" and is_even)
    if not any(_is_of_prompts(name, is_certain=is_certain) for name in known):
        return None
    told = [zip(names, map(str.strip, row), strict=False) for row in rows]
    return [{n: cell for n, cell in row if not _is_number_of_row(n, cell)} for row in told]


def _is_number_of_row(column: str, cell: str) -> bool:
    """Return whether a cell is a number below `No`, which is a negative prompt elsewhere."""
    return other_names.normal(column) == "no" and cell.isdigit()


def _is_of_prompts(column: str, *, is_certain: bool) -> bool:
    is_certain = is_certain or "prompt" in column or not column.isascii()  # not: caption, text
    return is_certain and other_names.ours(column, ("prompt",)) is not None


def _refuse(stem: str, problem: str, number: int, says: Iterable[Said]) -> None:
    example, left_out = in_yaml.yaml_of(list(says))
    remedy = f"write its prompts as YAML, in {stem}.yaml"
    if example:
        remedy = _remedy(stem, Recognised("", {"": ""}), example, left_out)
    raise PromptError(Mistake(problem, remedy, number, example=example))


def _remedy(stem: str, what: Recognised, example: str, left_out: list[str]) -> str:
    if not what.says or not example:
        return "remove the line, or put `# ` before it; in a YAML file, it can be a prompt"
    return f"write it as YAML, in {stem}.yaml{in_yaml.without(left_out)}:"


def _with_one_example(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Return the mistakes; only the first that refers to the example has it."""
    is_shown = False
    kept = []
    for mistake in mistakes:
        refers_to_it = mistake.remedy.endswith(":")
        if refers_to_it and is_shown:
            above = f"{mistake.remedy.removesuffix(':')}, as above"
            kept.append(dataclasses.replace(mistake, remedy=above, example=""))
        elif refers_to_it:
            kept.append(mistake)
            is_shown = True
        else:
            kept.append(dataclasses.replace(mistake, example=""))
    return kept
