"""Read YAML prompt files and `_defaults.yaml`: turn texts into layers of settings with places."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reeldrop.base import invisible, strict_yaml, yaml_text
from reeldrop.base.errors import Mistake, PromptError, YamlError
from reeldrop.base.escaping import short
from reeldrop.base.job import PRIORITIES, DefaultsFile
from reeldrop.base.sweeps import MATRIX, SWEEPS, Swept
from reeldrop.base.translated import KEYS, TRANSLATED_FROM
from reeldrop.prompts import json_files, loras, other_names, pictures
from reeldrop.prompts.decoding import decode
from reeldrop.prompts.layers import MAX_VIDEOS, Layer, Setting, check_count, merge
from reeldrop.prompts.rules import FILE_KEYS
from reeldrop.prompts.wording import SEVERAL, described

MAX_KEYS = 100
MAX_LIST = 10
"""Upper bound on the values of a setting other than seed: each prompt validates each of them."""

TEXT_KEYS = (*KEYS, *KEYS.values())
_NOT_OURS = "only an mp4 that reeldrop made can be dropped to be rendered again"
_NO_DEFAULTS = ("prompt", "prompts", "rendered", *KEYS.values(), *pictures.KEYS, *SWEEPS)
_BARE = "put `prompts:` above the list, or the bare lines into a .txt file"
_BEGIN = "begin with `prompt:` or `prompts:`; bare lines of prompts belong in a .txt file"
_ONLY_SETTINGS = "write settings such as `num_inference_steps: 10`; prompts go into other files"


_CURLY = re.compile(r"“[^“”]+”|„[^„“]+“|«[^«»]+»|[‘’][^‘’]+’")
_ODD_SPACE = re.compile(r"([^\W\d]\w*):((?! )\s|[\u200b\u2060\ufeff])")
_ODD_DASH = re.compile(r"-((?! )\s|[\u200b\u2060\ufeff])|([^\w\s\"'“„(\[{<-])\s")

_LANGUAGES = (
    (re.compile(r"\s*(```|~~~)"), "this is markup of Markdown", "remove it"),
    (re.compile(r"\s*(//|/\*)"), "this is a comment of another language", "put `# ` before it"),
    (
        re.compile(r"\[\[?[\w.]+\]?\]\s*$"),
        "this is a heading of TOML, not YAML",
        "write `key: value`, and the prompts below `prompts:`, each after `- `",
    ),
)
"""How a line of another language begins, in a file that is no YAML."""


@dataclass(frozen=True, slots=True)
class Item:
    """The settings of one prompt.

    recorded: the hashes that a sidecar has of its pictures; None if this is no sidecar
    swept: as in a Prompt
    translations_of: the texts of which a sidecar's translations are, if they are others by now
    """

    layer: Layer
    recorded: Mapping[str, str] | None = None
    swept: Swept = ()
    translations_of: Mapping[str, str] = field(default_factory=dict)


def items(text: str, allowance: strict_yaml.Allowance) -> Iterator[tuple[list[Item], int | None]]:
    """Yield the prompts of each document of a file, and its priority; None if it has none.

    Raises:
        PromptError: it is not YAML in the form of a prompt file.
    """
    for document in _load(text, allowance):
        layer = _layer(document)
        rendered = layer.pop("rendered", None)
        recorded = _recorded(rendered)
        others = _translations_of(layer, rendered)
        given = layer.pop("priority", None)
        found = [Item(p, recorded, translations_of=others) for p in _prompts(layer)]
        yield found, priority(given) if given is not None else None


def _recorded(rendered: Setting | None) -> dict[str, str] | None:
    return None if rendered is None else pictures.recorded(strict_yaml.plain(rendered.node))


def _translations_of(layer: Layer, rendered: Setting | None) -> dict[str, str]:
    """Return the texts of which a sidecar's translations are, where they are others by now.

    Those translations get a note.
    """
    others: dict[str, str] = {}
    for text, key in KEYS.items():
        found, own = layer.get(key), layer.get(text)
        record = None
        if rendered is not None:
            record = strict_yaml.child(rendered.node, TRANSLATED_FROM[text])
        if found is None or record is None or not isinstance(record.value, str):
            continue
        if own is not None and record.value == own.node.value:
            continue
        what = text.replace("_", " ")
        note = f"{key} is of another {what}, '{short(record.value)}', and is rendered"
        if own is not None and own.node.value:
            without = f"the {what} would be translated anew"
        else:
            without = f"there would be no {what}"
        note += f"; without it, {without} (if it is right, delete "
        note += f"{TRANSLATED_FROM[text]})"
        layer[key] = dataclasses.replace(found, notes=(*found.notes, note))
        others[text] = record.value
    return others


def embedded(text: str, allowance: strict_yaml.Allowance) -> list[Item]:
    """Return the settings that reeldrop put into an mp4.

    Raises:
        PromptError: the text is by another program.
    """
    try:
        (document,) = _load(text, allowance)
        layer = _layer(document)
    except (PromptError, ValueError):
        raise PromptError(Mistake("the comment in this mp4 is not reeldrop's", _NOT_OURS)) from None
    rendered = layer.pop("rendered", None)
    if rendered is None or not isinstance(rendered.node.value, dict) or "prompt" not in layer:
        raise PromptError(Mistake("the comment in this mp4 is not reeldrop's", _NOT_OURS))
    others = _translations_of(layer, rendered)
    return [Item(layer, _recorded(rendered), translations_of=others)]


def defaults(file: DefaultsFile, allowance: strict_yaml.Allowance) -> Layer:
    """Return the settings of a `_defaults.yaml`.

    Raises:
        PromptError: it can't be read as settings; the mistakes name the file.
    """
    try:
        layers = [_layer(document, file.name) for document in _load(decode(file.data), allowance)]
    except PromptError as error:
        raise PromptError(*error.in_file(file.name)) from None
    if len(layers) > 1:
        problem = "this file must have one document"
        raise PromptError(Mistake(problem, "remove the `---`", file=file.name))
    layer = merge(*layers)
    for key in _NO_DEFAULTS:
        if key in layer:
            problem = f"'{key}' can't have a default"
            raise PromptError(layer[key].mistake(problem, "put it into a prompt file", key))
    return layer


def priority(setting: Setting) -> int:
    """Return the priority that a setting gives."""
    value, (low, high) = setting.node.value, PRIORITIES
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    problem = f"priority must be a whole number from {low} to {high}, not {described(value)}"
    raise PromptError(setting.mistake(problem, "higher is sooner; 0 is usual", "priority"))


def _load(text: str, allowance: strict_yaml.Allowance) -> list[strict_yaml.Node]:
    try:
        return strict_yaml.load_all(text, allowance)
    except YamlError as error:
        lines_of_json = json_files.of_lines(text)
        foreign = [lines_of_json] if lines_of_json is not None else []
        foreign = foreign or _other_language(text, error.mistakes[0].line or 1)
        raise PromptError(*(foreign or map(_several, error.mistakes))) from None


def _other_language(text: str, last: int) -> list[Mistake]:
    """Return the first line of a text, up to the `last`, that is plainly of another language."""
    for number, line in enumerate(text.split("\n", last)[:last], start=1):
        for pattern, problem, remedy in _LANGUAGES:
            if pattern.match(line):
                return [Mistake(problem, remedy, number)]
    return []


def _several(mistake: Mistake) -> Mistake:
    """Return a mistake in YAML, with what to do about a second `prompt:`."""
    if not mistake.problem.startswith("the key 'prompt' is there twice"):
        return mistake
    remedy = f"{mistake.remedy}, or make a list of them below `prompts:`"
    return dataclasses.replace(mistake, remedy=remedy)


def _layer(document: strict_yaml.Node, file: str = "") -> Layer:
    if isinstance(document.value, dict):
        json_files.refuse_workflow(document)
        layer = {key: _setting(key, child, file) for key, child in document.value.items()}
        _check_size(layer)
        return layer
    value, example = document.value, ""
    problem = f"a YAML {'file of defaults' if file else 'prompt file'} has `key: value` lines, not "
    if isinstance(value, list):
        texts = [node.value for node in value if isinstance(node.value, str)]
        problem += "a list"
        remedy = _ONLY_SETTINGS if file else _BARE
        example = yaml_text.dump({"prompts": texts[:10]}) if texts and not file else ""
    else:
        problem += described(value)
        remedy = _misspelt(str(value)) or (_ONLY_SETTINGS if file else _BEGIN)
    raise PromptError(
        Mistake(problem, remedy, document.line, document.column, file=file, example=example)
    )


def _misspelt(text: str) -> str:
    """Return how to write a key as it was meant; empty if a text does not begin with one."""
    wide = re.match(r"[\"']?([^\W\d]\w*)[\"']?\s*[\uff1a\ufe55\ufe13]", text)
    if wide is not None:
        return f"use a plain colon and a space, not a full-width one (U+FF1A): `{wide[1]}: ...`"
    odd = _ODD_SPACE.match(text)
    if odd is not None:
        return f"put a plain space after `{short(odd[1])}:`, not {invisible.named(odd[2])}"
    narrow = re.match(r"([^\W\d]\w*):(?=\S)", text)
    if narrow is not None:
        return f"put a space after the colon: `{short(narrow[1])}: ...`"
    return ""


def _check_size(layer: Layer) -> None:
    """Raise PromptError for settings that would take too long to validate for each prompt."""
    if len(layer) > MAX_KEYS:
        first = next(iter(layer.values()))
        problem = f"there are {len(layer):,} keys here, and no more than {MAX_KEYS} settings"
        raise PromptError(first.mistake(problem, "see the list of keys", ""))
    mistakes = [found for key, setting in layer.items() if (found := oversized(key, setting))]
    if mistakes:
        mistakes += _merges(layer)
        raise PromptError(*mistakes)


def oversized(key: str, setting: Setting) -> Mistake | None:
    """Return the mistake if a value has more parts than a setting can have; else None."""
    value = setting.node.value
    if key in (*FILE_KEYS, MATRIX) or not isinstance(value, (dict, list)):
        return None
    if key == "<<":
        return _merge(setting)
    if key == loras.KEY:
        return _oversized_loras(setting)
    if isinstance(value, dict) or any(isinstance(n.value, (dict, list)) for n in value):
        problem = f"{short(key)} can't be a mapping, nor have lists or mappings in it"
        remedy = f"write one value; {SEVERAL}; settings for all prompts go beside `prompts:`"
        if _are_settings(key, value):
            remedy = other_names.advice("settings") or remedy
        elif other_names.ours(key, ("prompts",)):
            remedy = "write its texts as a list below `prompts:`, or as `prompt:` with settings"
        elif key not in pictures.KEYS:
            remedy = other_names.advice(key) or remedy
        return setting.mistake(problem, remedy, key)
    most = MAX_VIDEOS if key in ("seed", *pictures.KEYS) else MAX_LIST
    if len(value) > most:
        problem = f"{short(key)} has {len(value):,} values, more than {most:,}"
        return setting.mistake(problem, "split it into several files", key)
    return None


def _are_settings(key: str, value: dict[str, strict_yaml.Node] | list[strict_yaml.Node]) -> bool:
    """Return whether a mapping has settings in it, and its key is only the heading of them."""
    if not isinstance(value, dict) or key in TEXT_KEYS:
        return False
    if any(isinstance(node.value, (dict, list)) for node in value.values()):
        return False  # such as `sweep: {height: [64, 72]}`
    is_heading = other_names.is_size(key) or not other_names.is_known(key)
    return is_heading and any(map(other_names.is_known, value))


def _oversized_loras(setting: Setting) -> Mistake | None:
    value = setting.node.value
    assert isinstance(value, dict | list)
    inside = list(value.values()) if isinstance(value, dict) else value
    if any(isinstance(node.value, dict | list) for node in inside):
        problem = "loras has a list or a mapping in it"
        remedy = "write names, or `name: weight` lines without dashes: `loras: {watercolor: 0.8}`"
        return setting.mistake(problem, remedy, loras.KEY)
    if len(inside) > MAX_LIST:
        problem = f"loras has {len(inside):,} names, more than {MAX_LIST}"
        return setting.mistake(problem, "name fewer", loras.KEY)
    return None


def _merge(setting: Setting) -> Mistake:
    problem = "merge keys (<<) are not part of YAML 1.2"
    return setting.mistake(problem, other_names.advice("<<") or "", "<<")


def _merges(layer: Layer) -> list[Mistake]:
    """Return the mistake of the first prompt that merges settings in, if there is one.

    A file has it beside the settings that are merged: its author hears of both at once.
    """
    prompts = layer["prompts"].node.value if "prompts" in layer else ()
    for item in prompts if isinstance(prompts, list) else ():
        if isinstance(item.value, dict) and "<<" in item.value:
            return [_merge(Setting(item.value["<<"]))]
    return []


def _prompts(layer: Layer) -> list[Layer]:
    if "prompts" not in layer:
        return [layer]  # also without a prompt: the schema reports it as missing
    prompts = layer.pop("prompts")
    for key in ("prompt", KEYS["prompt"]):
        if key in layer:
            problem = f"a document has either `{key}` or `prompts`, not both"
            raise PromptError(layer[key].mistake(problem, "put it into `prompts`", key))
    if not isinstance(prompts.node.value, list):
        problem = f"prompts must be a list, not {described(prompts.node.value)}"
        remedy = "begin each prompt with `- `"
        odd = _ODD_DASH.match(str(prompts.node.value))
        if odd is not None:
            remedy += f": a hyphen and a plain space, not {invisible.named(odd[1] or odd[2])}"
        raise PromptError(prompts.mistake(problem, remedy, "prompts"))
    for beyond in prompts.node.value[MAX_VIDEOS:]:
        check_count(len(prompts.node.value), beyond.line)
    own = pictures.dealt_out(layer, len(prompts.node.value))
    return [merge(*both) for both in zip(own, map(_item, prompts.node.value), strict=True)]


def _item(node: strict_yaml.Node) -> Layer:
    if not isinstance(node.value, dict):
        return {"prompt": _setting("prompt", node)}
    return _layer(node)


def _setting(key: str, node: strict_yaml.Node, file: str = "") -> Setting:
    """Return a setting, with a note or a mistake if YAML cut a comment off its text."""
    comment = node.comment
    if key not in TEXT_KEYS:
        return Setting(node, file)
    if not comment:
        is_quoted = isinstance(node.value, str) and _CURLY.fullmatch(node.value)
        told = (f"the quotes around the {key} are rendered: YAML has only plain ones",)
        return Setting(node, file, told if is_quoted else ())
    is_cut = len(comment) > 1 and not comment[1].isspace() and comment[1] != "#"
    if is_cut or node.value is None:
        problem = f"in YAML, a # after a space begins a comment: '{short(comment)}' is left out"
        remedy = "put the text between quotes, or a space after the # if it is a comment"
        mistake = Mistake(problem, remedy, node.line, node.column, key, file)
        return Setting(node, file, mistakes=(mistake,))
    note = f"'{short(comment)}' after the {key} is a comment in YAML, and is left out"
    return Setting(node, file, (note,))
