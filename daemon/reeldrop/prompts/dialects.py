"""Recognise how other tools write prompts and settings in a line, and return names and values.

Recognises only what surely is not a prompt; what may be a prompt is rendered.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reeldrop.prompts import other_names, worthless

Said = Mapping[str, str]
"""Settings by the names of another tool."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a line is, if it is not a prompt.

    says: what it says, by the names of that tool; empty if none of it belongs into a prompt file
    belongs_above: its settings are those of the prompt above it
    is_doubtful: it is a prompt, unless the file has other lines of another tool
    """

    what: str
    says: Said = field(default_factory=dict)
    belongs_above: bool = False
    is_doubtful: bool = False


_LONGEST = 20_000
"""Upper bound on the characters of a line that are examined."""

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
_AMBIGUOUS = frozenset(
    ["text", "image", "scale", "length", "step", "name", "title", "time", "note", "frame"]
)
_OPTION = re.compile(r'"[^"]*"|“[^“”]*”|(?<!\S)(?P<dash>--|—|–)(?P<name>[A-Za-z][\w-]*)')
_COMMAND = re.compile(r"^(?:\S*/)?(?:python\d?(?:\.exe)?|accelerate|torchrun|bash|\./\S+)(?:\s|$)")
_NUMBER_BEHIND = re.compile(r"[ =]-?\d")
_TEXT_BEHIND = re.compile(r"[ =]+\S")
_INVOKE = re.compile(
    r"(?<!\S)-(?P<name>[sSWHCnAf]) ?(?P<value>\d+(?:\.\d+)?|k_\w+|ddim|plms)(?!\S)"
)
_PIKA = re.compile(r"(?<!\S)-(?P<name>ar|motion|fps|gs|neg|camera|seed) +(?P<value>[^\s-][^-]*)")
_NEGATIVE = re.compile(
    r"^(?P<prompt>.*?)(?:^|\s)negative(?: prompt)?\s*[:：]\s*(?P<value>.*)$", re.I
)
_EQUAL = re.compile(r"(?<!\S)(?P<name>[A-Za-z_]{2,30})=(?P<value>-?\d+(?:\.\d+)?)(?!\S)")
_STEPS = re.compile(r"(?:^|(?<=\s))(?:sampling )?steps: ?\d+ ?, .*$", re.I)
_PAIR = re.compile(r"([A-Za-z][\w /-]{0,40}):\s*(\"[^\"]*\"|[^,]*)(?:,|$)")
_PROMPT = re.compile(
    r"^[-*_#>\s\"'“„{]*(?:/\w+ )?(?:(?:positive )?prompt\s*+(?:#?\d+)?|(?-i:positive))"
    r"[*_\"'”“]*(?:\s*[:：=]|(?<=\d)\s+[-–—](?=\s))\s*[*_]*\s*(?P<value>.*)$",
    re.I,
)
_QUOTED = re.compile(r"[\"“](?P<text>[^\"“”]*)[\"”](?P<rest>\s*[,}].*)?$")
_SETTING = re.compile(
    r"(?P<quote>[\"“]?)\b(?P<key>[A-Za-z]\w{1,30})[\"”]?\s?[:=]\s?"
    r"(?P<value>-?[\d.][\w.]*|true|false|null|\[[^\[\]]*\]|[\"“][^\"“”]*[\"”])"
)
_UNWANTED = re.compile(r"(?<![\s,.;])[\s,.;]+negative(?:[ _]prompt)?\s*[:：=]\s*", re.I)
_SENTENCES = re.compile(r"[.!?]\s+\S")
_INNER_QUOTE = re.compile(r"[\"“”]|(?<!\w)'|'(?!\w)")
_OURS = re.compile(
    r"^(?:- )?[\"']?(?P<key>prompts|negative_prompt|num_frames|num_inference_steps|guidance_scale"
    r"|num_videos_per_prompt)[\"']?\s*[:：=]\s*(?P<value>.*)$"
)
_NUMBER = re.compile(
    r"^(?:- )?[\"']?(?P<key>[A-Za-z][\w -]{0,30}?)[\"']?\s*[:：=]\s*"
    r"(?P<value>\[?-?\d[\d.,x×* -]*\]?),?$"
)
_WORD = re.compile(
    r"^(?:- )?(?:(?:sampler(?:[ _]name)?|scheduler)\s*[:：=]\s*[\"']?(?:"
    r"(?:k_)?(?:euler|heun|dpm|ddim|ddpm|plms|lms|lcm|uni_?pc|deis|i?pndm|er_sde|sa_solver|res_)"
    r"[\w+-]*(?: (?:a|ancestral|karras|exponential|sde|fast|adaptive|heun|turbo|\+|\d\w*)){0,4}"
    r"|\w+Scheduler|karras|normal|simple|exponential|beta|sgm_uniform|ddim_uniform)[\"']?"
    r"|format\s*[:：=]\s*(?:mp4|gif|webm|mov|avi)"
    r"|(?:model|checkpoint|ckpt)\s*[:：=]\s*\S.{0,200}\.(?:safetensors|ckpt|pth?|gguf|sft|bin))$",
    re.I,
)
_MODEL = re.compile(
    r"^(?:- )?(?:model|checkpoint|ckpt)\s*[:：=]\s*[\w+-]*[\d._/\\][\w.+/\\-]*$", re.I
)
_KEYFRAME = re.compile(
    r"^[\"']?(?P<key>\d{1,6})[\"']?\s*:\s*(?P<q>[\"'])(?P<value>.*)(?P=q)(?:,\s*\d+)?,?$"
)
_SCHEDULE = re.compile(
    r"^\|\d{1,6}\|.*\|\d{1,6}\||"
    r"^\{?[\"']?\d{1,6}[\"']?\s*:[\s\"'\[].*(?:\||[\"'\]]\s*,)\s*[\"']?\d{1,6}[\"']?\s*:[\s\"'\[]"
)
_CELL = re.compile(r"^(?P<value>.*\S)\s*\|\|$")
_IN_CODE = re.compile(r"^(?P<q>[\"'])(?P<value>.*)(?P=q),$")


def of_line(line: str) -> Recognised | None:
    """Return what a line of a text file is; None if it may be a prompt."""
    line = line[:_LONGEST]
    for look in _LOOKS:
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
        graph, for_all = _of_graph(found), _scalars(found)
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


def _are_keyframes(values: Mapping[str, Any]) -> bool:
    """Return whether a mapping is texts by numbers of frames, some of which may be formulas."""
    return any(map(str.isdigit, values)) and all(isinstance(v, str) for v in values.values())


def _text(prompt: str) -> Said:
    """Return what a prompt within JSON says, which may have options behind it."""
    found = _options(prompt)
    return found.says if found is not None else {"prompt": prompt}


def _scalars(values: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in values.items() if isinstance(v, str | int | float)}


def _of_graph(nodes: Mapping[str, Any]) -> dict[str, str]:
    """Return what a ComfyUI graph says: the texts and numbers at its sampler."""
    says: dict[str, str] = {}
    for node in nodes.values():
        inputs = node.get("inputs") if isinstance(node, dict) and "class_type" in node else None
        if not isinstance(inputs, dict):
            continue
        if "Sampler" in str(node["class_type"]):
            says |= _scalars(inputs)
            for name, key in (("prompt", "positive"), ("negative_prompt", "negative")):
                link = inputs.get(key)
                origin = nodes.get(str(link[0])) if isinstance(link, list) and link else None
                there = origin.get("inputs") if isinstance(origin, dict) else None
                if isinstance(there, dict) and isinstance(there.get("text"), str):
                    says[name] = there["text"]
        elif isinstance(inputs.get("text"), str):
            says.setdefault("prompt", inputs["text"])
    return says


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
    label = _PROMPT.match(head)
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
    return is_known and (mark["dash"] == "--" or name not in _AMBIGUOUS)


def _invoke(line: str) -> Recognised | None:
    marks = list(_INVOKE.finditer(line))
    names = _INVOKE_NAMES
    if len(marks) < 2:
        marks, names = list(_PIKA.finditer(line)), {"gs": "guidance_scale"}
    if len(marks) < 2:  # such as "a slow pan -camera zooms in"
        return None
    says = {names.get(m["name"], m["name"]): m["value"].strip() for m in marks}
    says["prompt"] = line[: marks[0].start()].strip(" \"'“”")
    label = _PROMPT.match(says["prompt"])
    says["prompt"] = label["value"] if label else says["prompt"]
    return Recognised("has options of a command line", says)


def _equals(line: str) -> Recognised | None:
    """Recognise settings of chat robots behind a prompt, such as `steps=20 seed=5 np=blurry`."""
    named = [m for m in _EQUAL.finditer(line) if _is_setting(m["name"])]
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
    if is_inside and "negative prompt" not in rest.lower():
        return None  # such as "a film negative: white horses"
    pairs = _PAIR.findall(steps[0]) if steps else []
    if negative is None and not any(_is_setting(key) for key, _ in pairs[1:]):
        return None  # such as "a tower of steps: 20, all of stone"
    says = {k.strip(): v.strip(' "') for k, v in pairs}
    if negative is not None:
        says["negative_prompt"] = negative["value"].strip()
    prompt = negative["prompt"].strip(" ,.") if negative else rest.strip()
    if prompt:
        says["prompt"] = prompt
    return Recognised("is of A1111 or a similar tool", says, belongs_above=not prompt)


def _key_value(line: str) -> Recognised | None:
    found = _PROMPT.match(line)
    if found is not None:
        return Recognised("is `key: value`, as in YAML", _after_prompt(found["value"]))
    found = _OURS.match(line) or _WORD.match(line) or _MODEL.match(line) or _NUMBER.match(line)
    if found is None or (found.re is _NUMBER and not _is_setting(found["key"])):
        return None
    key, value = re.split(r"\s*[:：=]\s*", line.removeprefix("- "), maxsplit=1)
    says = {key.strip("\"'"): value.strip(" \"',")}
    is_doubtful = found.re is _MODEL
    what = "is `key: value`, as in YAML"
    return Recognised(what, says, belongs_above=True, is_doubtful=is_doubtful)


def _after_prompt(value: str) -> dict[str, str]:
    """Return what stands behind `prompt:`: a text, and sometimes other settings."""
    quoted = _QUOTED.match(value)
    rest = (quoted["rest"] or "") if quoted else ""
    no_settings = _SETTING.sub(lambda m: "" if _is_beside_a_prompt(m) else m[0], rest)
    if quoted is not None and not no_settings.strip(", \t}]"):
        pairs = ((m["key"], m["value"]) for m in _SETTING.finditer(rest))
        others = {key: value.strip('"“”') for key, value in pairs if value != "null"}
        return {**others, "prompt": quoted["text"]}
    mark = _UNWANTED.search(value)
    if mark is None or ("," not in mark[0] and _SENTENCES.search(value, mark.end())):
        return {"prompt": _unquoted(value)}
    return {"prompt": _unquoted(value[: mark.start()]), "negative_prompt": value[mark.end() :]}


def _is_beside_a_prompt(found: re.Match[str]) -> bool:
    key = found["key"]
    is_text = other_names.ours(key, ("prompt",)) == "prompt"
    return bool(found["quote"]) or (other_names.is_known(key) and not is_text)


def _unquoted(text: str) -> str:
    """Return a text without the markup and quotes around it, unless it has others within."""
    inner = text.strip(" *_\"'“”")
    return text.strip(" *_") if _INNER_QUOTE.search(inner) else inner


def _is_setting(key: str) -> bool:
    name = other_names.normal(key)
    is_known = other_names.is_known(name) and name not in _AMBIGUOUS
    return is_known or name in ("seed", "width", "height", "fps", "priority")


def _code(line: str) -> Recognised | None:
    found = _KEYFRAME.match(line)
    if found is not None:
        return Recognised("is a keyframe of Deforum or a list in code", {"prompt": found["value"]})
    if _SCHEDULE.match(line):
        return Recognised("is a schedule of keyframes")
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
    _key_value,
    _code,
)
