"""Recognise `key: value` in a line of a text file, as in YAML, and return names and values.

Recognises only what surely is not a prompt; what may be a prompt is rendered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from reeldrop.base import strict_yaml
from reeldrop.base.errors import YamlError
from reeldrop.base.translated import KEYS, SECOND
from reeldrop.prompts import other_names
from reeldrop.prompts.wording import SURELY, near

Said = Mapping[str, str]
"""Settings by the names of another tool."""


class Own(str):
    """A value of a setting of reeldrop, as it stands in YAML."""

    __slots__ = ()


class Names(NamedTuple):
    """The names of the profiles in config.yaml, and of the settings that they have."""

    models: Collection[str] = ()
    keys: Collection[str] = ()


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


AMBIGUOUS = frozenset(
    ["text", "image", "scale", "length", "step", "name", "title", "time", "note", "frame"]
)
"""Words that are settings of other tools, but also begin texts."""

_TEXTS = frozenset((*KEYS, *KEYS.values())) - {"prompt", "negative_prompt"}
PROMPT = re.compile(
    r"^[-*_#>\s\"'“„{【]*(?:/\w+ )?"
    r"(?:(?:(?:positive )?prompt|(?:正[向面])?提示[词詞])[\s_]*+(?:#?\d+)?|(?-i:positive))"
    r"[*_\"'”“】]*(?:\s*[:：=]|(?<=\d)\s+[-–—](?=\s))\s*[*_]*\s*(?P<value>.*)$",
    re.I,
)
"""How a text is marked as the prompt."""

_LONGEST_HEADING = 40
_OF_PROMPTS = re.compile(r"prompt|提示[词詞]", re.I)
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
    r"^(?:- )?[\"']?(?P<key>[A-Za-z\u4e00-\u9fff](?:[\w -]{0,29}\w)?)[\"']?\s*+[:：=]\s*"
    r"(?P<value>\[?-?\d[\d.,x×* -]*\]?\s?(?:s|sec|seconds|秒|步|帧)?),?$"
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
_OWN = re.compile(
    r"^(?:- )?(?:(?P<key>seed|format|loras|matrix|image|last_image|wildcards|image_fit|translate"
    r"|priority)\s*[:：]\s*(?P<value>\[.+\]|\{.+\}"
    r"|(?<=wildcards: )(?:all|\d+)|(?<=image_fit: )(?:crop|pad)|(?<=translate: )(?:true|false)"
    r"|(?<=image: )\S{1,200}\.(?:png|jpe?g|webp)|(?<=priority: )-?\d+))$"
)
"""A setting of reeldrop whose value no text would have."""

NAMED = re.compile(
    r"^(?:- )?(?P<key>[a-z]{2,30}(?:_[a-z0-9]{1,30}){1,5})\s*[:：]\s*"
    r"(?P<value>\[[-+.,\d\s]+\]|-?\d+(?:\.\d+)?|true|false)$"
)
"""A name as pipelines have them, with a number or a switch; others may have such names, too."""

_MISSPELT = re.compile(
    r"^(?:- )?(?P<key>[A-Za-z][A-Za-z_ -]{1,28}[A-Za-z_])\s*+[:：=]\s*+(?P<value>\S.*)$"
)
_NUMBER_ALONE = re.compile(r"-?\d+(?:\.\d+)?")
_WITH_NUMBERS = (
    "height", "width", "num_frames", "num_inference_steps", "guidance_scale", "seed",
    "num_videos_per_prompt", "steps", "frames", "fps", "cfg", "cfg_scale", "guidance",
)  # fmt: skip
_SHORT = ("seed", "fps", "cfg")
_NEARLY = 0.65
"""As `SURELY`, for short names: two letters in the wrong order are much of them."""

_WITH_TEXTS = ("prompt", "negative_prompt")
_WORDS = frozenset(("steep", "steeps", "steppes", "septs", "framers", "seeded", "sede", "sedes"))
"""Words that have the letters of a setting."""

_ONE_OF_SEVERAL = re.compile(
    r"^(?:- )?(?:negative[ _])?prompt[ _]?#?(?!2\s*[:：=])\d{1,3}\s*[:：=]", re.I
)
_TEXT = re.compile(r"^(?:- )?(?P<key>[a-z_]{6,30}(?:_2)?)\s*[:：]\s*(?P<value>\S.*)$")

_NO_NUMBER = re.compile(
    r"^(?:- )?(?:seed|width|height|fps)\s*[:：=]\s*(?:[-+.]?\d\S*|nan|none|null|random|auto)$", re.I
)
_NAMED_MODEL = re.compile(r"^(?:- )?model\s*[:：]\s*[\"']?(?P<value>[^\s\"']+)[\"']?$")


def of_line(line: str) -> Recognised | None:
    """Recognise a line that sets something, or begins with `prompt:`."""
    found = PROMPT.match(line)
    if found is not None:
        return Recognised("is `key: value`, as in YAML", _after_prompt(found["value"]))
    found = _OWN.match(line)
    if found is not None and _is_yaml(found["key"], found["value"]):
        own: Said = {found["key"]: Own(found["value"])}
        return Recognised("is `key: value`, as in YAML", own, belongs_above=True)
    looks = (_OURS, _WORD, _MODEL, _NUMBER, _NO_NUMBER)
    found = next((match for look in looks if (match := look.match(line))), None)
    if found is None or (found.re is _NUMBER and not _is_known(found["key"])):
        return None
    key, value = re.split(r"\s*[:：=]\s*", line.removeprefix("- "), maxsplit=1)
    says = {key.strip("\"'"): value.strip(" \"',")}
    is_doubtful = found.re is _MODEL or (found.re is _NUMBER and _may_be_text(key, value))
    what = "is `key: value`, as in YAML"
    return Recognised(what, says, belongs_above=True, is_doubtful=is_doubtful)


def heading(line: str) -> Recognised | None:
    """Recognise a line that only says that prompts follow: `Prompts:`, `Negative Prompt`."""
    if len(line) > _LONGEST_HEADING or not _OF_PROMPTS.search(line):
        return None
    name = other_names.normal(line.strip(" *_#-【】:："))
    key = other_names.ours(name, ("prompt", "prompts", "negative_prompt"))
    if key is None:
        return None
    key = "prompt" if key == "prompts" else key
    return Recognised("is a heading, not a prompt", {key: ""}, belongs_above=key != "prompt")


def _may_be_text(key: str, value: str) -> bool:
    """Return whether a known name in front of a number may be a heading, such as `Mask: 5`."""
    if not is_setting(key):
        return True
    return key[0] not in "\"'" and not other_names.has_number(key, value)


def may_be_a_setting(line: str) -> bool:
    """Return whether a line that is rendered may have been meant as a setting."""
    found = _NUMBER.match(line)
    if found is None:
        return NAMED.match(line) is not None
    key = other_names.normal(found["key"])
    alike = [name for name in _WITH_NUMBERS if name[0] == key[:1]]
    return NAMED.match(line) is not None or _is_known(key) or near(key, alike, SURELY) is not None


def _is_yaml(key: str, value: str) -> bool:
    """Return whether a value can stand in YAML."""
    try:
        return bool(strict_yaml.load_all(f"{key}: {value}"))
    except YamlError:
        return False


def naming(line: str, names: Names) -> Recognised | None:
    """Recognise a line that names a profile, such as `model: wan2.1-1.3b`, or sets a setting."""
    what = "is `key: value`, as in YAML"
    found = _NAMED_MODEL.match(line[:300])
    if found is not None and found["value"] in names.models:
        return Recognised(what, {"model": Own(found["value"])}, belongs_above=True)
    found = NAMED.match(line)
    if found is not None and not other_names.is_known(found["key"]):
        name = re.sub(r"_\d+$", "", found["key"])  # guidance_scale_2
        if found["key"] in names.keys or name in names.keys or name in _WITH_NUMBERS:
            return Recognised(what, {found["key"]: Own(found["value"])}, belongs_above=True)
    found = _TEXT.match(line)
    if found is not None and found["key"] in names.keys and found["key"] in _TEXTS:
        value = Own(json.dumps(found["value"].strip("\"'"), ensure_ascii=False))
        return Recognised(what, {found["key"]: value}, belongs_above=True)
    found = _MISSPELT.match(line)
    if found is None:
        return None
    key = other_names.normal(found["key"])
    is_text = "prompt" in key and "_" in key
    meant = other_names.ours(key, (*_WITH_TEXTS, *KEYS.values())) if is_text else None
    if meant not in (None, key):
        return Recognised(what, {meant: found["value"]}, belongs_above=meant != "prompt")
    meant = _meant(key, has_number=_NUMBER_ALONE.fullmatch(found["value"]) is not None)
    if meant is None:
        return None
    what = f"looks like the setting `{meant}`, misspelt"
    return Recognised(what, {meant: found["value"]}, belongs_above=meant != "prompt")


def without_second(names: Names, lines: Iterable[str]) -> Names:
    """Return the names without `prompt_2` if it is one of several prompts with numbers."""
    if not any(map(_ONE_OF_SEVERAL.match, lines)):
        return names
    return names._replace(keys=set(names.keys) - set(SECOND))


def _meant(key: str, *, has_number: bool) -> str | None:
    """Return the setting whose misspelt name this certainly is; None if it may be another word."""
    if is_setting(key) or key in AMBIGUOUS or key in _WORDS:
        return None
    meant = near(key, (*_WITH_TEXTS, *(_WITH_NUMBERS if has_number else ())), SURELY)
    if meant is None and has_number:
        meant = near(key, _SHORT, _NEARLY)
    if meant is None or key[0] != meant[0]:
        return None
    if "_" in key and meant not in _WITH_TEXTS:
        return meant if key.count("_") == meant.count("_") else None
    return meant if set(key) - {"_"} == set(meant) - {"_"} else None  # not: hight, narrative_prompt


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


def _is_known(key: str) -> bool:
    return is_setting(key) or other_names.normal(key) in AMBIGUOUS


def is_setting(key: str) -> bool:
    """Return whether a name in front of a number is that of a setting, not a word of a text."""
    name = other_names.normal(key)
    is_known = other_names.is_known(name) and name not in AMBIGUOUS
    return is_known or name in ("seed", "width", "height", "fps", "priority")
