"""Refuse text files that were written for another tool, and show the YAML that says the same."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import Mistake, PromptError, YamlError
from reeldrop.base.escaping import short
from reeldrop.prompts import dialects, key_value, other_names, values
from reeldrop.prompts.key_value import Names, Own, Recognised, Said
from reeldrop.prompts.layers import MAX_VIDEOS

_KEYS = (
    "prompt", "translated_prompt", "negative_prompt", "translated_negative_prompt", "height",
    "width", "num_frames", "num_inference_steps", "guidance_scale", "seed", "fps", "format",
    "num_videos_per_prompt",
)  # fmt: skip
_TEXTS = (
    "prompt", "negative_prompt", "format", "translated_prompt", "translated_negative_prompt",
)  # fmt: skip
_MOST = 10
"""Upper bound on the prompts of an example."""

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

_LIST_MARK = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+\S")
_COLONS = (":", "：")
_METADATA = re.compile(r"[A-Z][\w ()-]{2,40}: \S{1,60}")
"""A setting among others, such as `Use Face Correction: GFPGANv1.3`."""

_ROW = re.compile(r"\|.*\|")
_RULE = re.compile(r"[|:\s-]{3,}")
"""The line below the head of a table in Markdown."""

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
    found = []
    strange = []
    rows = {number for number, line in lines if _ROW.fullmatch(line)}
    for number, line in lines[:MAX_VIDEOS]:  # a file with more is refused for their number
        what = key_value.naming(line, names) or dialects.of_line(line)
        if what is None and number in rows and len(rows) > 1:
            what = Recognised("is a row of a table in Markdown")
        found.append((number, line, what))
        if what is not None and not what.is_doubtful:
            strange.append((number, line, what))
        if len(strange) > _ENOUGH:
            break
    if not strange:
        return
    example, left_out = _example(found)
    first: dict[str, Mistake] = {}
    for number, line, what in strange:
        problem = f"'{short(line)}' {what.what}"
        remedy = _remedy(stem, what, example, left_out)
        first.setdefault(what.what, Mistake(problem, remedy, number, example=example))
    mistakes = sorted(first.values(), key=lambda mistake: mistake.line or 0)
    raise PromptError(*_with_one_example(mistakes), *_unusable(strange))


def _unusable(strange: Iterable[tuple[int, str, Recognised]]) -> Iterator[Mistake]:
    """Yield what is wrong with settings that are not in the YAML shown because of their value."""
    said = ((number, *one) for number, _, what in strange for one in what.says.items())
    for number, name, value in said:
        key = name if name in _KEYS else other_names.ours(name, _KEYS)
        is_text = key is None or key in _TEXTS or isinstance(value, Own) or not value
        if not is_text and not other_names.is_size(name) and _number(value) is None:
            problem = f"'{short(name)}: {short(value)}' is not used: its value is no number"
            yield Mistake(problem, values.in_text_file(key, value), number)


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
    prompts, for_all = _with_settings(dialects.of_toml(text))
    tables = [{**for_all, **prompt} for prompt in prompts]
    if tables:
        _refuse(stem, "this file is TOML or a list in code, not lines of prompts", number, tables)
    rows = _rows(lines)
    if rows is not None:
        kind = "Markdown" if line.startswith("|") else "CSV"
        _refuse(stem, f"this file is a table ({kind}), not lines of prompts", number, rows)


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
    is_list = len(others) > 1 and all(_LIST_MARK.match(other) for _, other in others)
    if is_list and line.endswith(_COLONS) and not _LIST_MARK.match(line):
        problem = f"'{short(line)}' is what stands above a list, not a prompt"
        raise PromptError(Mistake(problem, "remove the line, or put `# ` before it", number))


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
    return not any(key not in _KEYS and other_names.ours(key, _KEYS) for key in found)


def _rows(lines: Lines) -> list[Said] | None:
    """Return the rows of a table with a column of prompts; None if the lines are not one."""
    table = [line.strip("| ") for _, line in lines[: _MOST + 3] if not _RULE.fullmatch(line)]
    head = table[0] if table else ""
    if len(head) > 300:
        return None
    mark = max(",;\t|", key=head.count)
    names = [name.strip(" \"'*") for name in head.split(mark)]
    known = [other_names.normal(name) for name in names]
    is_table = len(names) > 1 and all(n == "#" or n.replace("_", "").isalnum() for n in known)
    if not is_table or not any(map(_is_of_prompts, known)):
        return None
    if not any(mark in line for _, line in lines[1:]):
        return None
    try:
        rows = csv.reader(table[1 : _MOST + 2], delimiter=mark)
        return [dict(zip(names, map(str.strip, row), strict=False)) for row in rows]
    except csv.Error:  # a cell is longer than any prompt
        return []


def _is_of_prompts(column: str) -> bool:
    is_certain = "prompt" in column or not column.isascii()  # not: caption, text
    return is_certain and other_names.ours(column, ("prompt", "negative_prompt")) is not None


def _refuse(stem: str, problem: str, number: int, says: Iterable[Said]) -> None:
    example, left_out = yaml_of(list(says))
    remedy = f"write its prompts as YAML, in {stem}.yaml"
    if example:
        remedy = _remedy(stem, Recognised("", {"": ""}), example, left_out)
    raise PromptError(Mistake(problem, remedy, number, example=example))


def _remedy(stem: str, what: Recognised, example: str, left_out: list[str]) -> str:
    if not what.says or not example:
        return "remove the line, or put `# ` before it; in a YAML file, it can be a prompt"
    return f"write it as YAML, in {stem}.yaml{without(left_out)}:"


def without(left_out: Sequence[str]) -> str:
    """Return, in words, what the YAML of `yaml_of` leaves out."""
    out = ", ".join(dict.fromkeys(short(name) for name in left_out[:8]))
    return f", without {out}, which reeldrop does not have" if out else ""


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


def _example(found: Iterable[tuple[int, str, Recognised | None]]) -> tuple[str, list[str]]:
    """Return the YAML that says the same as lines, and the names for which reeldrop has no key."""
    says: list[Said] = []
    is_strange = False
    is_among_settings = False
    for _, line, what in found:
        if what is None and is_among_settings and _METADATA.fullmatch(line):
            continue
        if what is None or not what.is_doubtful:
            is_among_settings = what is not None and what.belongs_above
        if what is None:
            says.append({"prompt": line})
        elif what.says:
            says.append(what.says)
            is_strange = True
    return yaml_of(*_with_settings(says)) if is_strange else ("", [])


def _with_settings(says: Iterable[Said]) -> tuple[list[Said], Said]:
    """Return prompts with the settings around them, and the settings of all.

    A setting belongs to the prompt above it, and at the top to all; but if some stand above each
    prompt, and none below the last, to the one below.
    """
    rows = [(bool(_ours(one, []).get("prompt")), one) for one in says]
    given = [key for is_prompt, one in rows if not is_prompt for key in one]
    if rows and not rows[0][0] and rows[-1][0] and len(set(given)) < len(given):
        rows.reverse()
        prompts = _with_settings_below(rows)[0]
        return prompts[::-1], {}
    return _with_settings_below(rows)


def _with_settings_below(rows: Iterable[tuple[bool, Said]]) -> tuple[list[Said], Said]:
    """Return the prompts, each with the settings in the rows that follow, and those before all."""
    for_all: Said = {}
    prompts: list[Said] = []
    for is_prompt, one in rows:
        if is_prompt:
            prompts.append(one)
        elif prompts:
            prompts[-1] = {**prompts[-1], **one}
        else:
            for_all = {**for_all, **one}
    return prompts, for_all


def yaml_of(says: Sequence[Said], for_all: Said = MappingProxyType({})) -> tuple[str, list[str]]:
    """Return prompts of another tool as YAML, and the names for which reeldrop has no key.

    for_all: settings that stand beside the prompts
    """
    left_out: list[str] = []
    prompts = [_ours(one, left_out) for one in says[:_MOST]]
    prompts = [one for one in prompts if one.get("prompt")]
    if not prompts:
        return "", left_out
    beside = _ours(for_all, left_out)
    for one in prompts:  # it is that of the whole file
        beside |= {key: one.pop(key) for key in ("priority",) if key in one}
    whole = {"prompt": "", **beside, **prompts[0]} if len(prompts) == 1 else None
    more = "# and so on\n" if len(says) > _MOST else ""
    return yaml_text.dump(whole or {"prompts": prompts, **beside}) + more, left_out


def _ours(says: Said, left_out: list[str]) -> dict[str, object]:
    """Return settings of another tool by our keys; add the names without one to `left_out`."""
    settings: dict[str, object] = {}
    own: dict[str, object] = {}
    for name, value in says.items():
        if isinstance(value, Own):
            (document,) = strict_yaml.load_all(f"{name}: {value}")
            own |= strict_yaml.plain(document)
            continue
        size = other_names.size(value) if other_names.is_size(name) else None
        key = name if name in _KEYS else other_names.ours(name, _KEYS)
        if size is not None:
            settings["width"], settings["height"] = size
        elif key is None:
            is_setting = name != "prompts" and not name.isdigit()  # a number is a frame's
            left_out += [name] if is_setting else []
        elif key in _TEXTS:
            settings[key] = value
        elif (number := _number(value)) is not None and (key != "seed" or number >= 0):
            settings[key] = number
    return {key: settings[key] for key in _KEYS if settings.get(key, "") != ""} | own


def _number(text: str) -> float | None:
    try:
        found = float(text[:30])
    except ValueError:
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found.is_integer() else found
