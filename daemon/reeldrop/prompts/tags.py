"""Find the parts of a prompt that other tools remove before a render, and reeldrop would film."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from reeldrop.base import invisible, yaml_text
from reeldrop.base.escaping import short
from reeldrop.base.loras import LoraLimits
from reeldrop.prompts import dialects, loras, wildcards, worthless
from reeldrop.prompts.wildcards import BadTemplate

_ADDITION = re.compile(
    r"<(lora|lyco|lycoris|hypernet|hypernetwork|embed|segment|object|random|wildcard|alternate"
    r"|fromto|preset|setvar|var|setmacro|macro|repeat|refiner|base|region|extend|param|comment"
    r"|trigger|clear)(\[[^\]<>\n]{0,50}\])?:[^<>\n]{1,200}>"
    r"|<(break|trigger|video|videoswap|refiner|base|param\[\w{1,30}\]:\S{1,30})>"
    r"|\$\{\w{1,50}(=[^{}\n]{0,200})?\}",
    re.IGNORECASE,
)
_LORA = re.compile(
    r"<(?:lora|lyco|lycoris):(?P<name>[^:<>\n]+)(?::(?P<weight>-?\d{1,3}(?:\.\d{1,9})?))?[^<>\n]*>",
    re.IGNORECASE,
)
"""A1111's way to ask for a LoRA, such as `<lora:watercolor:0.8>`."""

_CHOICE = re.compile(r"\{([^{}\n]{3,500})\}")
_COUNT = re.compile(r"^\d*-?\d*\$\$([^|$]*\$\$)?")
_SHARE = re.compile(r"^\d*\.?\d+::")
_SPACED = re.compile(r"\{([^{}|\n]+ \| )+[^{}|\n]+\}")
_BRACES = re.compile(r"\{[^{}|\n]{1,500}\|[^{}\n]{1,500}\}")
_OTHER_WEIGHT = re.compile(
    r"\([^()\n]{1,80}\)\d\.\d+|\{\{[^{}\n]{1,80}\}\}"
    r"|(?<![\w.])\d\.?\d*::[^:\n]{1,80}::|[^\W\d]\w{0,40}::-?\d"
)
_WEIGHT = re.compile(
    r"[(（][^()（）\n]{0,80}[^\W\d](?:[:：][-+]?\d|\s?[:：]\s?[-+]?\d?[.．,，]\d+\s?)[)）]"  # noqa: RUF001
    r"|\(\([^()\n]{0,80}[^\W\d][^()\n]{0,80}\)\)|" + _OTHER_WEIGHT.pattern
)
_WITH_COMMA = re.compile(r"[(（][^()（）\n]{0,80}[:：]\s?\d?[,，]\d{1,9}\s?[)）]")  # noqa: RUF001
_OF_NUMBERS = re.compile(r"(?<!\\)\(\d{1,9}:\d{1,9}\)")
_CHANGE = re.compile(
    r"\[[^\[\]\n]{0,80}:[^\[\]:\n]{0,80}:\d*\.?\d+\]|\[\w[^\[\]|\n]{0,80}\|[^\[\]\n]{1,80}\w\]"
)
_SERIES = re.compile(
    r"\[\[[^\[\]\n]{1,80},[^\[\]\n]{1,80}\]\]|(?<=\S )\|\|(?= \S)|\{\w+(, ?\w+)+\}"
)
_BREAK = re.compile(r"(?<!\w)BREAK(?!\w)")
_NEW_LINE = re.compile(r"\\n(?=[A-Z\s]|$)")
_LINK = re.compile(r"(?<!\w)https?://[^\s<>()]{3,200}", re.I)
_HTML = re.compile(
    r"</?(b|i|u|em|strong|br|p|span|div|ul|ol|li|a|font|h[1-6]|code|details|summary)\b"
    r"(\s+[\w-]+=[^<>\n]{0,200})?\s?/?>",
    re.I,
)
_MISREAD = re.compile("â€|(?<![A-Z])[ÂÃ][\xa0-\xbf]")
"""UTF-8 that another program has read as an encoding of Windows; not the end of `«IRMû`."""

_ESCAPE = re.compile(
    r"&(amp|lt|gt|quot|nbsp|[a-z](?:uml|acute|grave|circ)|[lr][sd]quo|#\d{2,6}|#x[0-9a-fA-F]{2,5});"
    r"|\\u[0-9a-fA-F]{4}"
)
_EMBEDDING = re.compile(r"(?<![\w:])embedding:[\w.-]+")
_AND = re.compile(r"(?<!\d):-?\d(?:\.\d{1,3})? AND(?= \S)")
"""Texts that are added up have weights; without them, it may be a word in capitals."""

_REMARK = re.compile(r"/\*[^\n]{1,200}?\*/")
_WILDCARD = re.compile(r"(?<!\w)__[\w/-]{1,60}__(?!\w)")
_SIGN = re.compile(r"[)）:：{\[|\\&*>]|__|BREAK")  # noqa: RUF001
"""A prompt without any of these signs matches none of the patterns for what is text here."""

_HIDDEN = re.compile("[\xad\u200b\u2060\u202d\u202e\ufeff]")
_MOST = 10
"""Upper bound on the prompts of an example, and on the lines of a prompt that are looked at."""

_LONGEST = 1000
"""Upper bound on the characters of a line that are looked at for what is of another tool."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A part of a prompt that no model can film, and as example the prompt without it."""

    text: str
    meaning: str
    remedy: str
    example: str


def of_another_tool(prompt: str, known: Mapping[str, LoraLimits]) -> Tag | None:
    """Return the first part of a prompt that surely should not be filmed; None if there is none.

    known: the LoRAs of its profile
    """
    found = _ADDITION.search(prompt)
    if found is not None:
        return _addition(prompt, found, known)
    for found in _CHOICE.finditer(prompt):
        options = found[1].split("|")
        if found[1].count(" | ") == len(options) - 1:
            continue  # it may be a set, as in mathematics
        if len(options) > 1 and all(any(map(str.isalnum, option)) for option in options):
            return _choice(prompt, found, options)
    return None


def _addition(prompt: str, found: re.Match[str], known: Mapping[str, LoraLimits]) -> Tag:
    rest = " ".join(_ADDITION.sub(" ", prompt).split()).strip(" ,")
    asked = {m["name"]: float(m["weight"] or 1) for m in _LORA.finditer(prompt)}
    allowed = {n: w for n, w in asked.items() if not any(loras.faults({n: w}, known, ""))}
    chosen: dict[str, object] = {loras.KEY: allowed} if allowed else {}
    example = yaml_text.dump({"prompt": rest, **chosen}) if rest else ""
    remedy = "take it out: reeldrop has no such tags"
    if _LORA.fullmatch(found[0]):
        names = loras.to_choose(known)
        remedy = "take it out: there are no LoRAs to choose from here"
        if names:
            remedy = f"choose it by `{loras.KEY}:`, in a YAML file; there are {', '.join(names)}"
    return Tag(found[0], "for another tool", remedy, example)


def _choice(prompt: str, found: re.Match[str], options: list[str]) -> Tag:
    with contextlib.suppress(BadTemplate):
        if wildcards.read(prompt).has_choices:
            remedy = "for each of them, write `wildcards: all` beside it, in a YAML file; or put"
            remedy += " spaces around each |, if the braces are text"
            example = yaml_text.dump({"prompt": prompt, "wildcards": "all"})
            return Tag(found[0], "a choice, and nothing says to choose", remedy, example)
    begin, end = found.span()
    options = [_COUNT.sub("", options[0]), *options[1:_MOST]]
    plain = [_SHARE.sub("", option.strip()) for option in options]
    texts = [f"{prompt[:begin]}{option}{prompt[end:]}" for option in plain]
    remedy = "write each as a prompt of its own"
    return Tag(found[0], "a choice for another tool", remedy, yaml_text.dump({"prompts": texts}))


@functools.lru_cache(maxsize=4)
def notes(prompt: str, key: str = "prompt", *, reads_weights: bool = False) -> tuple[str, ...]:
    """Return what an author should know about a prompt that is rendered as it is.

    The last answers are kept: a sweep asks for each of its combinations.

    key: the key whose text it is
    reads_weights: weights such as (word:1.2) are no text
    """
    what = key.replace("_", " ")
    found = _of_syntax(prompt, key, reads_weights=reads_weights) if _SIGN.search(prompt) else []
    found += _of_other_tools(prompt)
    if key != "prompt":
        found = [f"in the {what}, {note}" for note in found]
    hidden = _hidden(prompt)
    if hidden:
        found.append(f"there is {invisible.named(hidden)} in the {what}, which can't be seen")
    if "\t" in prompt:
        found.append(f"there is a tab in the {what}, as between columns")
    if (misread := _MISREAD.search(prompt)) is not None:
        found.append(f"there is {misread[0]} in the {what}: another program has misread a letter")
    if "\ufffd" in prompt:
        found.append(f"there is a \ufffd in the {what}: another program has lost a character there")
    return tuple(found)


def _of_syntax(prompt: str, key: str, *, reads_weights: bool) -> list[str]:
    """Return a note on each kind of mark-up that other tools read, and reeldrop films."""
    found = []
    for pattern, what in (
        (_ADDITION, "such tags"),
        (_OTHER_WEIGHT if reads_weights else _WEIGHT, "weights"),
        (_WILDCARD, "files of wildcards"),
        (_SERIES, "lists within a prompt"),
        (_CHANGE, "changes within a render"),
        (_BREAK, "breaks between texts"),
        (_NEW_LINE, "marks for a new line"),
        (_ESCAPE, "escapes for characters"),
        (_REMARK, "remarks within a prompt"),
        (_EMBEDDING, "embeddings"),
        (_LINK, "links"),
        (_HTML, "markup"),
        (_AND, "texts that are added up"),
    ):
        match = pattern.search(prompt)
        if match is not None:
            found.append(f"{match[0]} is text here: reeldrop has no {what}")
    if reads_weights and (match := _WITH_COMMA.search(prompt)) is not None:
        found.append(f"{match[0]} has a comma: a weight has a point, as in (red:1.2)")
    if reads_weights and (match := _OF_NUMBERS.search(prompt)) is not None:
        found.append(rf"{match[0]} is a weight here: as text, it is \({match[0][1:-1]}\)")
    if (choice := (_SPACED if key == "prompt" else _BRACES).search(prompt)) is not None:
        way = "`wildcards:` makes it" if key == "prompt" else "a list of texts below `matrix:` is"
        found.append(f"{choice[0]} is text here: in a YAML file, {way} a choice")
    return found


def _of_other_tools(prompt: str) -> list[str]:
    """Return a note on the first line of a prompt that a text file could not have as a prompt."""
    lines = prompt.strip().split("\n", _MOST)[:_MOST]
    for line in map(str.strip, lines):
        what = dialects.of_line(line[:_LONGEST])
        is_layout = what is not None and len(lines) > 1 and what.what in worthless.LAYOUT
        if what is not None and not what.is_doubtful and not is_layout:
            return [f"'{short(line)}' {what.what}; it is text here"]
    return []


def _hidden(prompt: str) -> str:
    """Return the first invisible character that no script needs there; empty if there is none."""
    for found in _HIDDEN.finditer(prompt):
        place = found.start()
        beside = prompt[max(0, place - 1) : place] + prompt[place + 1 : place + 2]
        if any(map(str.isascii, beside)):
            return found[0]
    return ""
