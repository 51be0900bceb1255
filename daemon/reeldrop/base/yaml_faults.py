"""Explain why a text is not YAML: libyaml's own messages are for people who know YAML.

Looks for common mistakes in the lines around the place. Knows no keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reeldrop.base import invisible
from reeldrop.base.errors import Mistake
from reeldrop.base.escaping import short

Position = tuple[int, int]
"""Line and column, from 1."""

_START = r"^[ \t]*(?:- +)?"
_KEY = r"(?P<key>[^\W\d][\w-]*)"
_WIDE = "[\xa0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]"
_WIDE_INDENT = re.compile(f"^[ \t]*({_WIDE})")
_WIDE_COLON = re.compile(f"{_START}[\"']?{_KEY}[\"']?\\s*([\uff1a\ufe55\ufe13])")
_WIDE_AFTER = re.compile(f"{_START}{_KEY}:({_WIDE})")
_NO_SPACE = re.compile(rf"{_START}{_KEY}:(?P<value>[^\s:/\\].*)")
_NO_SPACE_DASH = re.compile(r"^[ \t]*-(?P<value>[^\s-].*)")
_CURLY = re.compile(rf"(?:{_START}{_KEY}:|^[ \t]*-) +[“”„‟«»‘’‚‹›]")
_VALUE = re.compile(rf"^(?P<start>[ \t]*(?:- +)*(?:{_KEY}: +)?)(?P<value>\S.*?)\s*$")
_INDENTED = re.compile(rf"^[ \t]+{_KEY}:(?:\s|$)")
_BULLET = re.compile(r"^(?P<mark>[•·∙‣◦▪●○*+–—])\s+(?P<value>\S.*)")
_BREAK = re.compile("[\x85\u2028\u2029]")
_LINE_END = re.compile(r"\r\n|[\r\n]")
_LONGEST = 500
"""Upper bound on the characters of a line that are read: some patterns take quadratic time."""

_CUT = re.compile(r"\s(#.*)")
_QUOTES = "“”„‟«»‘’‚‹›"

_REMEDY = "texts with a colon, a quote or a # in them are best put between quotes"


def explain(
    text: str, context: str, problem: str, began: Position | None, place: Position | None
) -> Mistake:
    """Return an error of libyaml as a mistake, in words for authors.

    context, problem: libyaml's words
    began, place: where the construct that it was reading began, and where it stopped
    """
    place = place or began or (1, 1)
    odd = _BREAK.search(text)
    if odd is not None:
        problem = f"this is not YAML: {invisible.named(odd[0])} is in this line"
        remedy = "put a space or a plain line end there"
        return Mistake(problem, remedy, *end_of(text[: odd.start()]))
    lines = [line[:_LONGEST] for line in _LINE_END.split(text)]
    lines += [""] * (max(place[0], began[0] if began else 1) - len(lines))
    if "quoted scalar" in context and "end of stream" in problem and began is not None:
        return _unclosed(lines, began)
    if "escape" in problem or "hexdecimal" in problem:
        return _escape(lines, place)
    for number in _around(place, began, len(lines)):
        for look in _LOOKS:
            found = look(lines[number - 1])
            if found is not None:
                what, remedy, column = found
                return Mistake(f"this is not YAML: {what}", remedy, number, column)
    return _at_place(lines, context, problem, began, place)


def end_of(text: str) -> Position:
    """Return the place of the character that follows a text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def control(character: str) -> str:
    """Return the name of a character that no YAML text may have."""
    name = invisible.named(character)
    unnamed = f"a control character (U+{ord(character):04X})"
    return f"a control character, U+{ord(character):04X}" if name == unnamed else name


def quoted(text: str) -> str:
    """Return a text between quotes that YAML reads back equal."""
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def _around(place: Position, began: Position | None, count: int) -> list[int]:
    """Return the lines in which the cause may be, the likeliest first."""
    numbers = [place[0], place[0] - 1, *([began[0]] if began else [])]
    return [n for n in dict.fromkeys(numbers) if 1 <= n <= count]


_Found = tuple[str, str, int] | None
"""What is wrong, what is right, and the column."""


def _wide_indent(line: str) -> _Found:
    found = _WIDE_INDENT.match(line)
    if found is None:
        return None
    name = invisible.named(found[1])
    return (
        f"{name} is at the beginning of this line",
        "take it out, or put plain spaces in its place if the line belongs below the one above",
        found.start(1) + 1,
    )


def _tab_indent(line: str) -> _Found:
    found = re.match(r" *\t[ \t]*(?=\S)", line)
    if found is None:
        return None
    remedy = "take it out, or put spaces in its place if the line belongs below the one above"
    return "a tab is at the beginning of this line", remedy, line.index("\t") + 1


def _wide_colon(line: str) -> _Found:
    found = _WIDE_COLON.match(line)
    if found is None:
        return None
    what = f"{invisible.named(found[2])} is after {short(found['key'])}"
    return what, f"use a plain one, and a space: `{short(found['key'])}: ...`", found.start(2) + 1


def _wide_after(line: str) -> _Found:
    found = _WIDE_AFTER.match(line)
    if found is None:
        return None
    what = f"{invisible.named(found[2])} is after `{short(found['key'])}:`"
    return what, "use a plain space", found.start(2) + 1


def _no_space(line: str) -> _Found:
    found = _NO_SPACE.match(line)
    if found is not None:
        key = short(found["key"])
        right = f"write `{key}: {short(found['value'].strip())}`"
        return f"there is no space after `{key}:`", right, found.start("value") + 1
    found = _NO_SPACE_DASH.match(line)
    if found is not None:
        right = f"write `- {short(found['value'].strip())}`"
        return "there is no space after the `-`", right, found.start("value") + 1
    return None


def _bullet(line: str) -> _Found:
    found = _BULLET.match(line)
    if found is None:
        return None
    right = f"write `- {short(found['value'].strip())}`, and so in each line of the list"
    return f"a list has a hyphen in each line, not {invisible.named(found['mark'])}", right, 1


def _curly_quote(line: str) -> _Found:
    found = _CURLY.match(line)
    if found is None:
        return None
    column = found.end()
    value = _VALUE.match(line)
    text = value["value"].strip(_QUOTES) if value else ""
    right = f": `{value['start'].lstrip()}{quoted(short(text))}`" if value else ""
    what = f"YAML does not know {line[column - 1]} as a quote"
    return what, f"use the plain one between quotes{right}", column


_LOOKS: tuple[Callable[[str], _Found], ...] = (
    _tab_indent,
    _wide_indent,
    _wide_colon,
    _wide_after,
    _curly_quote,
    _bullet,
    _no_space,
)


def _unclosed(lines: list[str], began: Position) -> Mistake:
    line, column = began
    mark = lines[line - 1][column - 1 : column]
    problem = f"this is not YAML: the quote that opens here is not closed, {mark} is missing"
    return Mistake(problem, f"end the text with {mark}", line, column)


def _escape(lines: list[str], place: Position) -> Mistake:
    line, column = place
    before = lines[line - 1][: column + 5]
    if re.search(r"\\u[dD][89a-fA-F]", before[max(0, column - 3) :]):
        problem = "there is half a character (a lone surrogate) here"
        return Mistake(f"this is not YAML: {problem}", "write the character itself", line, column)
    problem = "a backslash between double quotes stands for a special character"
    remedy = "write \\\\ for a backslash, or put the text between single quotes"
    return Mistake(f"this is not YAML: {problem}", remedy, line, column)


def _at_place(
    lines: list[str], context: str, problem: str, began: Position | None, place: Position
) -> Mistake:
    number, column = place
    line = lines[number - 1]
    above = lines[number - 2] if number >= 2 else ""
    what, remedy = " ".join(part for part in (context, problem) if part), _REMEDY
    value = _VALUE.match(line)
    start = value["value"][0] if value else ""
    if "mapping values" in problem and _INDENTED.match(line) and line.find(":") == column - 1:
        what = "this line is indented more than the one that it belongs to"
        remedy = "begin it below the first letter of the line above"
    elif "mapping values" in problem:
        what = "there is a second colon in this line"
        remedy = _between_quotes(line)
    elif "flow" in context and (opened := _opened(lines, began, place)) is not None:
        mark = lines[opened[0] - 1][opened[1] - 1 : opened[1]] or "bracket"  # lines are cut off
        what = f"the {mark} in line {opened[0]} is not closed before here, or a comma is missing"
        remedy = f"close it, or put a text that begins with {mark} between quotes"
    elif "key" in problem and _CUT.search(above) and not _INDENTED.match(line):
        what = "the text above ends at its #, and continues here"
        remedy = "put the whole text between quotes"
    elif start in ("'", '"') and column > len(value["start"]) + 1 if value else False:
        other = "write '' for a ' in it" if start == "'" else 'write \\" for a " in it'
        what = "the text continues after its closing quote"
        remedy = f"put the whole text between quotes, and {other}"
        if (rest := line[column - 1 :].strip()) in (",", ";"):  # as in JSON or a program
            remedy = f"take out the {rest}"
    elif "block" in context and value and column == _indent(line) + 1:
        what = "this line begins below none of those above it"
        remedy = "begin it exactly below the first letter, or the `-`, of a line that it goes with"
    elif start and start in "@`%*&[{>|!?-,":
        what = f"a text can't begin with {start}"
        remedy = _between_quotes(line)
    elif "expected ':'" in problem and began is not None:
        number, column = began
        line, above = lines[number - 1], lines[number - 2] if number >= 2 else ""
        is_in_list = above.lstrip().startswith("- ")
        what = "this line is no `key: value`" + (", nor begins with `- `" if is_in_list else "")
        kept = f"write `- {short(line.strip())}`" if is_in_list else "give it a key and a colon"
        remedy = f"{kept}, or begin it with more spaces if it goes on with the text above"
    return Mistake(f"this is not YAML: {what}", remedy, number, column)


def _opened(lines: list[str], began: Position | None, place: Position) -> Position | None:
    """Return the place of the bracket that is open at a place; None if there is none."""
    if began is not None and began != place:
        return began
    opened: list[Position] = []
    for number, line in enumerate(lines[: place[0]], start=1):
        end = place[1] - 1 if number == place[0] else len(line)
        for found in re.finditer(r"[\[{]|[\]}]", line[:end]):
            if found[0] in "[{":
                opened.append((number, found.start() + 1))
            elif opened:
                opened.pop()
    return opened[-1] if opened else None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _between_quotes(line: str) -> str:
    """Return the advice to put a line's text between quotes, with the result if it is short."""
    value = _VALUE.match(line)
    text = value["value"] if value else ""
    if value is None or len(text) > 100:
        return "put the text between quotes"
    return f"put it between quotes: `{value['start'].lstrip()}{quoted(text)}`"
