"""Parse prompt files: the bytes of a text or YAML file in, fully resolved prompts out.

Pure: reads no file and knows no pipeline, only the rules passed in. Corrects nothing: a file with
mistakes is refused. Words the mistakes in a file's form, and adds the places to those of `rules`.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, PromptError, ReeldropError, UnfinishedError, YamlError
from reeldrop.base.escaping import short
from reeldrop.base.job import DefaultsFile, Prompt
from reeldrop.prompts.rules import (
    FILE_KEYS,
    MAX_VIDEOS,
    Fault,
    ModelRules,
    SettingsRefused,
    described,
    did_you_mean,
)

MAX_BYTES = 1 << 20
MAX_DEFAULTS_BYTES = 1 << 16
"""Limit of all `_defaults.yaml` above a prompt file together: each file's job keeps a copy."""

MAX_LINES = 20_000
MAX_MISTAKES = 20
MAX_KEYS = 100
MAX_LIST = 10
"""Most values of any setting but the seed: each is validated again for each prompt."""

PRIORITIES = (-10, 10)
TEXT_SUFFIXES = frozenset({".txt"})
YAML_SUFFIXES = frozenset({".yaml", ".yml"})
SUFFIXES = TEXT_SUFFIXES | YAML_SUFFIXES | {".mp4"}
DEFAULTS_NAME = "_defaults.yaml"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class NotDescribed(ReeldropError):
    """A prompt file asks for a profile whose rules are unknown until it has been loaded."""

    def __init__(self, model: str, priority: int) -> None:
        super().__init__(f"the model {model} has not been loaded yet")
        self.model = model
        self.priority = priority


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The prompts of one file, and its priority: -10 to 10, higher is sooner."""

    prompts: tuple[Prompt, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class _Setting:
    """A key's value with its place; `file` is empty for the prompt file itself."""

    node: strict_yaml.Node
    file: str = ""

    def mistake(self, problem: str, remedy: str, key: str, item: int | None = None) -> Mistake:
        node = self.node
        if item is not None and isinstance(node.value, list):
            node = node.value[item]
        return Mistake(problem, remedy, node.line, node.column, key, self.file)


_Layer = dict[str, _Setting]


def parse(
    name: str,
    data: bytes,
    defaults: Iterable[DefaultsFile],
    rules: Mapping[str, ModelRules | None],
    model: str,
    draw_seed: Callable[[int], int],
) -> PromptFile:
    """Return the prompts that a prompt file asks for.

    name: the file's name; its suffix tells the format
    data: the file's content; for an .mp4 file, the settings embedded in it
    defaults: the `_defaults.yaml` files above it, the farthest first
    rules: an entry for each profile, None if its pipeline has not been described yet
    model: the profile for prompts that name none
    draw_seed: returns the seed of the n-th video, n from 1

    Raises:
        PromptError: the file can't be rendered; has every mistake that was found.
        NotDescribed: the file asks for a profile whose rules are None.
    """
    allowance = strict_yaml.Allowance()
    layers = [_defaults_layer(file, allowance) for file in defaults]
    items, priority = _items(name, data, allowance)
    base = _merge(*layers)
    if "priority" in base:
        inherited = _priority(base.pop("priority"))
        priority = inherited if priority is None else priority
    priority = priority or 0
    _check_count(len(items))
    reader = _Reader(rules, model, priority)
    videos: list[_Video] = []
    seeds = 0
    for item in items:
        layer = _merge(base, item)
        seeds += _seeds_given(layer)
        _check_count(max(1, seeds))  # before the next prompts are validated
        videos += reader.videos(layer)
        _check_count(max(1, len(videos)))
        if reader.has_enough:
            break
    if reader.mistakes:
        raise PromptError(*reader.mistakes)
    return PromptFile(tuple(_numbered(videos, draw_seed)), priority)


def decode(data: bytes) -> str:
    """Return the text of a file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        PromptError: the bytes are neither.
        UnfinishedError: there is a NUL byte, as in a file allocated before its bytes are written.
    """
    encoding, bom = next(((e, b) for b, e in _BOMS if data.startswith(b)), ("utf-8", b""))
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        good = error.object[: error.start].decode(encoding, "replace")
        problem = f"the bytes here are no {encoding.upper()} text"
        kind = UnfinishedError if data.endswith(b"\0") else PromptError
        raise kind(_at_end_of(good, problem, "save the file as UTF-8")) from None
    if "\0" in text:
        problem = "there is a NUL byte here"
        remedy = "save the file as UTF-8 (UTF-16 needs a byte order mark)"
        raise UnfinishedError(_at_end_of(text[: text.index("\0")], problem, remedy))
    return text


def _at_end_of(text: str, problem: str, remedy: str) -> Mistake:
    text = _with_newlines(text)
    return Mistake(problem, remedy, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _merge(*layers: _Layer) -> _Layer:
    """Merge layers key by key; later ones win."""
    return {key: setting for layer in layers for key, setting in layer.items()}


def _check_count(count: int) -> None:
    if count == 0:
        remedy = "write one on a line of its own, or as `prompt: ...` in a YAML file"
        raise PromptError(Mistake("there is no prompt in this file", remedy))
    if count > MAX_VIDEOS:
        problem = f"this file asks for {count:,} videos, more than {MAX_VIDEOS:,}"
        raise PromptError(Mistake(problem, "split it into several files"))


def _items(
    name: str, data: bytes, allowance: strict_yaml.Allowance
) -> tuple[list[_Layer], int | None]:
    """Return the settings of each prompt of a file, and the file's priority, None if not given."""
    if len(data) > MAX_BYTES:
        problem = f"this file has more than {MAX_BYTES:,} bytes"
        raise PromptError(Mistake(problem, "split it into several files"))
    text = decode(data)
    if PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES:
        return list(_text_items(text)), None
    items: list[_Layer] = []
    priorities = []
    for document in _documents(text, allowance):
        layer = _layer(document)
        layer.pop("rendered", None)
        if "priority" in layer:
            priorities.append(_priority(layer.pop("priority")))
        items += _document_items(layer)
        _check_count(max(1, len(items)))
    return items, max(priorities, default=None)


def _text_items(text: str) -> Iterator[_Layer]:
    text = _with_newlines(text)
    if text.count("\n") > MAX_LINES:
        problem = f"this file has more than {MAX_LINES:,} lines"
        raise PromptError(Mistake(problem, "split it into several files"))
    found = [
        (prompt, number, line)
        for number, line in enumerate(text.split("\n"), start=1)
        if (prompt := line.strip()) and not prompt.startswith("#")
    ]
    _check_count(max(1, len(found)))  # before settings are made of them
    for prompt, number, line in found:
        yield {"prompt": _Setting(strict_yaml.Node(prompt, number, line.index(prompt) + 1))}


def _documents(text: str, allowance: strict_yaml.Allowance) -> list[strict_yaml.Node]:
    try:
        return strict_yaml.load_all(text, allowance)
    except YamlError as error:
        raise PromptError(*error.mistakes) from None


def _layer(document: strict_yaml.Node, file: str = "") -> _Layer:
    if isinstance(document.value, dict):
        layer = {key: _Setting(node, file) for key, node in document.value.items()}
        _check_size(layer)
        return layer
    problem = f"a YAML file is a list of `key: value` lines, not {described(document.value)}"
    remedy = "begin with `prompt:` or `prompts:`; bare lines of prompts belong in a .txt file"
    raise PromptError(Mistake(problem, remedy, document.line, document.column, file=file))


def _check_size(layer: _Layer) -> None:
    """Raise PromptError for settings that would take too long to validate for each prompt."""
    if len(layer) > MAX_KEYS:
        first = next(iter(layer.values()))
        problem = f"there are {len(layer):,} keys here, and no more than {MAX_KEYS} settings"
        raise PromptError(first.mistake(problem, "see the list of keys", ""))
    for key, setting in layer.items():
        value = setting.node.value
        if key in FILE_KEYS or not isinstance(value, (dict, list)):
            continue
        if isinstance(value, dict) or any(isinstance(n.value, (dict, list)) for n in value):
            problem = f"{key} can't be a mapping, nor have lists or mappings in it"
            raise PromptError(setting.mistake(problem, "write one value", key))
        most = MAX_VIDEOS if key == "seed" else MAX_LIST
        if len(value) > most:
            problem = f"{key} has {len(value):,} values, more than {most:,}"
            raise PromptError(setting.mistake(problem, "split it into several files", key))


def _document_items(layer: _Layer) -> list[_Layer]:
    if "prompts" not in layer:
        return [layer]  # also without a prompt: the schema reports it as missing
    prompts = layer.pop("prompts")
    if "prompt" in layer:
        problem = "a document has either `prompt` or `prompts`, not both"
        raise PromptError(layer["prompt"].mistake(problem, "put it into `prompts`", "prompt"))
    if not isinstance(prompts.node.value, list):
        problem = f"prompts must be a list, not {described(prompts.node.value)}"
        raise PromptError(prompts.mistake(problem, "begin each prompt with `- `", "prompts"))
    _check_count(max(1, len(prompts.node.value)))
    return [_merge(layer, _item_layer(node)) for node in prompts.node.value]


def _item_layer(node: strict_yaml.Node) -> _Layer:
    if not isinstance(node.value, dict):
        return {"prompt": _Setting(node)}
    return _layer(node)


def _defaults_layer(file: DefaultsFile, allowance: strict_yaml.Allowance) -> _Layer:
    """Return the settings of a `_defaults.yaml`."""
    try:
        documents = _documents(decode(file.data), allowance)
        layers = [_layer(document, file.name) for document in documents]
        if len(layers) > 1:
            raise PromptError(Mistake("this file must have one document", "remove the `---`"))
    except PromptError as error:
        mistakes = (
            Mistake(m.problem, m.remedy, m.line, m.column, m.key, file.name) for m in error.mistakes
        )
        raise PromptError(*mistakes) from None
    layer = _merge(*layers)
    for key in ("prompt", "prompts", "rendered"):
        if key in layer:
            problem = f"'{key}' can't have a default"
            raise PromptError(layer[key].mistake(problem, "put it into a prompt file", key))
    return layer


def _priority(setting: _Setting) -> int:
    value, (low, high) = setting.node.value, PRIORITIES
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    problem = f"priority must be a whole number from {low} to {high}, not {described(value)}"
    raise PromptError(setting.mistake(problem, "higher is sooner; 0 is usual", "priority"))


@dataclass(frozen=True, slots=True)
class _Video:
    """One requested video, not numbered yet; `seed` is None if none was given."""

    settings: Mapping[str, Any]
    rules: ModelRules
    seed: int | None


def _numbered(videos: Iterable[_Video], draw_seed: Callable[[int], int]) -> Iterator[Prompt]:
    for number, video in enumerate(videos, start=1):
        settings = video.settings
        arguments = ((key, settings[key]) for key in video.rules.capabilities.settings)
        yield Prompt(
            number=number,
            prompt=settings["prompt"].strip(),
            model=video.rules.name,
            arguments=tuple((key, value) for key, value in arguments if value is not None),
            seed=draw_seed(number) if video.seed is None else video.seed,
            fps=settings["fps"],
            formats=tuple(dict.fromkeys(settings["format"])),
        )


class _Reader:
    """Resolves the settings of one prompt after another, and collects each mistake once."""

    def __init__(self, rules: Mapping[str, ModelRules | None], model: str, priority: int) -> None:
        self._rules = rules
        self._model = model
        self._priority = priority
        self._mistakes: dict[Mistake, None] = {}
        self._refused = 0

    @property
    def has_enough(self) -> bool:
        """Whether there are so many mistakes that the rest need not be validated."""
        return max(self._refused, len(self._mistakes)) > MAX_MISTAKES

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The mistakes found, in the order of files and lines."""
        return tuple(sorted(self._mistakes, key=lambda m: (m.file, m.line or 0, m.column or 0)))

    def videos(self, layer: _Layer) -> list[_Video]:
        """Return the videos that one prompt's settings ask for; empty if there is a mistake."""
        videos = self._videos(layer)
        self._refused += not videos
        return videos

    def _videos(self, layer: _Layer) -> list[_Video]:
        model = self._model_of(layer)
        if model is None:
            return []
        rules = self._rules[model]
        if rules is None:
            raise NotDescribed(model, self._priority)
        given = {key: strict_yaml.plain(setting.node) for key, setting in layer.items()}
        given.pop("model", None)
        try:
            settings = rules.resolve(given)
        except SettingsRefused as error:
            self._mistakes.update((_placed(fault, layer), None) for fault in error.faults)
            return []
        return [_Video(settings, rules, seed) for seed in _seeds(settings)]

    def _model_of(self, layer: _Layer) -> str | None:
        """Return the requested profile; None, and record the mistake, if it does not exist."""
        if "model" not in layer:
            return self._model
        name = layer["model"].node.value
        if isinstance(name, str) and name in self._rules:
            return name
        named = f"'{short(name)}'" if isinstance(name, str) else described(name)
        problem = f"there is no model {named} in config.yaml"
        remedy = did_you_mean(name if isinstance(name, str) else "", self._rules)
        self._mistakes[layer["model"].mistake(problem, remedy, "model")] = None
        return None


def _placed(fault: Fault, layer: _Layer) -> Mistake:
    """Return a fault with its place: the setting's, or the prompt's if the setting is not given."""
    if fault.key in layer:
        return layer[fault.key].mistake(fault.problem, fault.remedy, fault.key, fault.item)
    own = (setting.node.line for setting in layer.values() if not setting.file)
    return Mistake(fault.problem, fault.remedy, min(own, default=None), key=fault.key)


def _seeds_given(layer: _Layer) -> int:
    """Return the number of seeds of a prompt, valid or not: each asks for a video."""
    seeds = layer["seed"].node.value if "seed" in layer else None
    return len(seeds) if isinstance(seeds, list) else 1


def _seeds(settings: Mapping[str, Any]) -> list[int | None]:
    """Return the seed of each video that a prompt asks for; None if it is to be drawn."""
    seeds, count = settings["seed"], settings["num_videos_per_prompt"]
    if not seeds:
        return [None] * count
    return list(seeds) if count == 1 else [seeds[0] + offset for offset in range(count)]
