"""Recognise how other tools write prompts and settings in a line, and return names and values.

Recognises only what surely is not a prompt; what may be a prompt is rendered.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from reeldrop.prompts import key_value, other_names, worthless
from reeldrop.prompts.key_value import AMBIGUOUS, PROMPT, Recognised, Said, is_setting

_LONGEST = 20_000
"""Upper bound on the characters of a line that are examined."""

_SIZES_OF_GRAPHS = ("width", "height", "length", "fps", "frame_rate")
_MOST_LINKS = 10
_LONGEST_TOML = 20_000
"""Upper bound on the characters of a text that is tried as TOML."""

_MOST_OPTIONS = 30
"""Upper bound on the options of a line that are examined."""

_OPTION_NAMES = {
    "w": "width", "h": "height", "d": "seed", "l": "cfg_scale", "s": "steps", "f": "num_frames",
    "n": "negative_prompt", "g": "guidance_scale", "p": "prompt", "gs": "guidance_scale",
}  # fmt: skip
_INVOKE_NAMES = {
    "s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "n": "n_iter",
    "A": "sampler", "f": "strength",
}  # fmt: skip
_OTHER_OPTIONS = {
    "ar", "v", "q", "c", "am", "fs", "stylize", "chaos", "weird", "niji", "iw", "stop", "tile",
    "quality", "version", "profile", "raw", "fps", "task", "ckpt_dir", "offload_model",
    "sample_shift", "sample_guide_scale", "save_file", "n_iter", "motion",
}  # fmt: skip
_OPTION = re.compile(r'"[^"]*"|“[^“”]*”|(?<!\S)(?P<dash>--|—|–)(?P<name>[A-Za-z][\w-]*)')
_COMMAND = re.compile(r"^(?:\S*/)?(?:python\d?(?:\.exe)?|accelerate|torchrun|bash|\./\S+)(?:\s|$)")
_NUMBER_BEHIND = re.compile(r"[ =]-?\d")
_TEXT_BEHIND = re.compile(r"[ =]+\S")
_INVOKE = re.compile(
    r"(?<!\S)-(?P<name>[sSWHCnAf]) ?(?P<value>\d+(?:\.\d+)?|k_\w+|ddim|plms)(?!\S)"
)
_PIKA = re.compile(r"(?<!\S)-(?P<name>ar|motion|fps|gs|neg|camera|seed) +(?P<value>[^\s-][^-]*)")
_NEGATIVE = re.compile(
    r"^(?P<prompt>.*?)(?:(?:^|\s)[*_]*negative(?: prompt|[ _]prompt[ _]?#?\d{1,3})?"
    r"|【?(?P<chinese>[负負反][面向]提示[词詞])\s?\d{0,3}】?)[*_]*\s*[:：]\s*[*_]*\s*(?P<value>.*)$",
    re.I,
)
_EQUAL = re.compile(r"(?<!\S)(?P<name>[A-Za-z_]{2,30})=(?P<value>-?\d+(?:\.\d+)?)(?!\S)")
_STEPS = re.compile(r"(?:^|(?<=\s))(?:sampling )?steps: ?\d+ ?, .*$", re.I)
_PAIR = re.compile(r"([A-Za-z][\w /-]{0,40}):\s*(\"[^\"]*\"|[^,]*)(?:,|$)")
_KEYFRAME = re.compile(
    r"^[\"']?(?P<key>\d{1,6})[\"']?\s*:\s*(?P<q>[\"'])(?P<value>.*)(?P=q)(?:,\s*\d+)?,?$"
)
_SCHEDULE = re.compile(
    r"^\|\d{1,6}\|.*\|\d{1,6}\||"
    r"^\{?[\"']?\d{1,6}[\"']?\s*:[\s\"'\[].*(?:\||[\"'\]]\s*,)\s*[\"']?\d{1,6}[\"']?\s*:[\s\"'\[]"
)
_TIMED = re.compile(
    r"^(?:\{\d+\}\{\d+\}|\[\d\d:\d\d[.:]\d{2,3}\]|\d\d:\d\d:\d\d[:;,.]\d{2,3}\b)\s*(?P<value>\S.*)$"
)
_DAY, _TIME = r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4}", r"\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]m)?"
_MESSAGE = re.compile(
    rf"^(?:\[{_TIME}, {_DAY}\]|\[?{_DAY}, {_TIME}(?:\]| -)) [^:]{{1,40}}: (?P<value>\S.*)$", re.I
)
"""A message in the log of a messenger, such as `[10:32, 24/11/2026] Ann: a cat`."""

_CELL = re.compile(r"^(?P<value>.*\S)\s*\|\|$")
_IN_CODE = re.compile(r"^(?P<q>[\"'])(?P<value>.*)(?P=q),$")
_SIGN = re.compile(r"[{\"“=#:：|]|(?<!\S)[-–—']")
"""A line without any of these signs is none of `_LOOKS`; most prompts have none."""


def of_line(line: str) -> Recognised | None:
    """Return what a line of a text file is; None if it may be a prompt."""
    line = line[:_LONGEST]
    if (heading := key_value.heading(line)) is not None:
        return heading
    for look in _LOOKS if _SIGN.search(line) else ():
        recognised = look(line)
        if recognised is not None:
            return recognised
    found = worthless.of_line(line)
    return None if found is None else Recognised(found)


def _json(line: str) -> Recognised | None:
    if not (line.startswith("{") and line.rstrip(",").endswith("}")):
        return None
    says = of_json(line.rstrip(","))
    return None if says is None else Recognised("is JSON", says[0] if says else {})


def of_json(text: str) -> list[Said] | None:
    """Return the settings of each prompt in JSON; None if it is neither an object nor a list."""
    try:
        found, for_all = json.loads(text), dict[str, str]()
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict):
        graph, for_all = of_graph(found), _scalars(found)
        inner = found.get("prompts", found.get("prompt_map", found))
        if isinstance(inner, dict) and _are_keyframes(inner):
            inner = list(inner.values())
        if graph or not isinstance(inner, list):
            return [graph or _scalars(found)]
        found = inner
    if not isinstance(found, list):
        return None
    items = (_text(item) if isinstance(item, str) else item for item in found[:100])
    return [{**for_all, **_scalars(item)} for item in items if isinstance(item, dict)]


def of_toml(text: str) -> list[Said]:
    """Return the settings in each table of a TOML file; empty if it is none."""
    try:
        found = tomllib.loads(text if len(text) <= _LONGEST_TOML else "")
    except (ValueError, RecursionError):
        return []
    tables: list[object] = [{k: v for k, v in found.items() if not isinstance(v, dict | list)}]
    for value in found.values():
        tables += value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    return of_json(json.dumps(tables, default=str)) or []


def _are_keyframes(values: Mapping[str, Any]) -> bool:
    """Return whether a mapping is texts by numbers of frames, some of which may be formulas."""
    return any(map(str.isdigit, values)) and all(isinstance(v, str) for v in values.values())


def _text(prompt: str) -> Said:
    """Return what a prompt within JSON says, which may have options behind it."""
    found = _options(prompt)
    return found.says if found is not None else {"prompt": prompt}


def _scalars(values: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in values.items() if isinstance(v, str | int | float)}


def of_graph(nodes: Mapping[str, Any]) -> dict[str, str]:
    """Return what a ComfyUI graph says: the texts and numbers at its sampler, and the size."""
    says: dict[str, str] = {}
    for node in nodes.values():
        inputs = _inputs(node)
        says |= {k: v for k, v in _scalars(inputs).items() if k in _SIZES_OF_GRAPHS}
        if "Sampler" in str(node["class_type"] if inputs else ""):
            says |= _scalars(inputs)
            for name, key in (("prompt", "positive"), ("negative_prompt", "negative")):
                text = _text_behind(nodes, inputs, key)
                says |= {} if text is None else {name: text}
        elif isinstance(inputs.get("text"), str):
            says.setdefault("prompt", inputs["text"])
    return says


def _inputs(node: Any) -> Mapping[str, Any]:
    inputs = node.get("inputs") if isinstance(node, dict) and "class_type" in node else None
    return inputs if isinstance(inputs, dict) else {}


def _text_behind(nodes: Mapping[str, Any], inputs: Mapping[str, Any], key: str) -> str | None:
    """Return the text that an input comes from, also through other nodes that pass it on."""
    for _ in range(_MOST_LINKS):
        link = inputs.get(key, inputs.get("conditioning"))
        inputs = _inputs(nodes.get(str(link[0]))) if isinstance(link, list) and link else {}
        if isinstance(inputs.get("text"), str):
            return str(inputs["text"])
    return None


def _options(line: str) -> Recognised | None:
    every = (m for m in _OPTION.finditer(line) if m["name"])
    marks = list(itertools.islice(every, _MOST_OPTIONS))
    named = [m for m in marks if _is_option(m, line)]
    if not named:
        return None
    says: dict[str, str] = {}
    ends = [m.start() for m in marks[1:]] + [len(line)]
    for mark, end in zip(marks, ends, strict=True):
        name = mark["name"].replace("-", "_")
        says[_OPTION_NAMES.get(name, name)] = line[mark.end() : end].strip(" =\"'“”")
    if "ar" in says or "v" in says:  # Midjourney's --s means something else
        says.pop("steps", None)
    head = line[: marks[0].start()].strip(" \"'“”,")
    label = PROMPT.match(head)
    if not _COMMAND.match(head):
        says.setdefault("prompt", label["value"] if label else head)
    return Recognised("has options of a command line", says)


def _is_option(mark: re.Match[str], line: str) -> bool:
    name = mark["name"].replace("-", "_").lower()
    if name in ("prompt", "negative_prompt", "negative", "neg", "no", "n", "p", "sampler_name"):
        is_given = _TEXT_BEHIND.match(line, mark.end()) is not None
        return is_given and (mark["dash"] == "--" or name in ("prompt", "negative_prompt"))
    if _NUMBER_BEHIND.match(line, mark.end()) is None:
        return False
    is_known = other_names.is_known(name) or name in _OPTION_NAMES or name in _OTHER_OPTIONS
    return is_known and (mark["dash"] == "--" or name not in AMBIGUOUS)


def _invoke(line: str) -> Recognised | None:
    marks = list(_INVOKE.finditer(line))
    names = _INVOKE_NAMES
    if len(marks) < 2:
        marks, names = list(_PIKA.finditer(line)), {"gs": "guidance_scale"}
    if len(marks) < 2:  # such as "a slow pan -camera zooms in"
        return None
    says = {names.get(m["name"], m["name"]): m["value"].strip() for m in marks}
    says["prompt"] = line[: marks[0].start()].strip(" \"'“”")
    label = PROMPT.match(says["prompt"])
    says["prompt"] = label["value"] if label else says["prompt"]
    return Recognised("has options of a command line", says)


def _equals(line: str) -> Recognised | None:
    """Recognise settings of chat robots behind a prompt, such as `steps=20 seed=5 np=blurry`."""
    named = [m for m in _EQUAL.finditer(line) if is_setting(m["name"])]
    if len(named) < 2 or not line[: named[0].start()].strip():
        return None
    says = {m["name"]: m["value"] for m in named}
    rest = " ".join(_EQUAL.sub("", line).split())
    prompt, _, unwanted = rest.partition(" np=")
    return Recognised(
        "has settings behind it", {**says, "prompt": prompt, "negative_prompt": unwanted}
    )


def _behind_a_mark(line: str) -> Recognised | None:
    """Recognise what Stable Horde and Open-Sora write behind a prompt."""
    prompt, mark, unwanted = line.partition("###")
    if mark and prompt.strip() and unwanted.strip():
        says = {"prompt": prompt.strip(), "negative_prompt": unwanted.strip()}
        return Recognised("has a negative prompt behind ###", says)
    prompt, mark, rest = line.partition("{")
    if prompt.strip() and mark and of_json(mark + rest) is not None:
        return Recognised("has settings of Open-Sora behind it", {"prompt": prompt.strip()})
    return None


def _a1111(line: str) -> Recognised | None:
    """Recognise the text that A1111 and similar tools write below or after a prompt."""
    steps = _STEPS.search(line)
    rest = line[: steps.start()] if steps else line
    negative = _NEGATIVE.match(rest)
    if steps is None and negative is None:
        return None
    is_inside = negative is not None and bool(negative["prompt"].strip())
    if negative and is_inside and not (negative["chinese"] or "negative prompt" in rest.lower()):
        return None  # such as "a film negative: white horses"
    pairs = _PAIR.findall(steps[0]) if steps else []
    if negative is None and not any(is_setting(key) for key, _ in pairs[1:]):
        return None  # such as "a tower of steps: 20, all of stone"
    says = {k.strip(): v.strip(' "') for k, v in pairs}
    if negative is not None:
        says["negative_prompt"] = negative["value"].strip()
    prompt = negative["prompt"].strip(" ,.，。；") if negative else rest.strip()
    if prompt:
        label = PROMPT.match(prompt)
        says["prompt"] = label["value"] if label else prompt
    return Recognised("is of A1111 or a similar tool", says, belongs_above=not prompt)


def _code(line: str) -> Recognised | None:
    found = _KEYFRAME.match(line)
    if found is not None:
        return Recognised("is a keyframe of Deforum or a list in code", {"prompt": found["value"]})
    if _SCHEDULE.match(line):
        return Recognised("is a schedule of keyframes")
    for pattern, what in (
        (_TIMED, "begins with a time of subtitles"),
        (_MESSAGE, "is a message in the log of a chat"),
    ):
        if (found := pattern.match(line)) is not None:
            return Recognised(what, {"prompt": found["value"]})
    found = _CELL.match(line)
    if found is not None:
        return Recognised("ends with markup of SwarmUI's grid", {"prompt": found["value"]})
    found = _IN_CODE.match(line)
    return Recognised("is a text in code", {"prompt": found["value"]}) if found else None


_LOOKS: tuple[Callable[[str], Recognised | None], ...] = (
    _json,
    _options,
    _invoke,
    _equals,
    _behind_a_mark,
    _a1111,
    key_value.of_line,
    _code,
)
