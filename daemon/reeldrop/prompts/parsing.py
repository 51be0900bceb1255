"""Parse prompt files: turn the bytes of a text or YAML file into fully resolved prompts.

Pure: opens no file and knows no pipeline, only the rules passed in. Corrects nothing: a file with
mistakes is refused. Words the mistakes in a file's form, and adds the places to those of `rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, NeedsPicture, PromptError, ReeldropError
from reeldrop.base.escaping import short
from reeldrop.base.job import DefaultsFile, Picture, Prompt
from reeldrop.base.names import PROMPT_SUFFIXES, VIDEO_SUFFIX
from reeldrop.base.sweeps import Swept, with_seed
from reeldrop.prompts import (
    documents,
    examples,
    layers,
    lines,
    noting,
    pictures,
    sweeps,
    translations,
)
from reeldrop.prompts.decoding import decode
from reeldrop.prompts.documents import Item
from reeldrop.prompts.key_value import Names
from reeldrop.prompts.layers import Layer, check_count
from reeldrop.prompts.rules import Fault, ModelRules, SettingsRefused
from reeldrop.prompts.wording import SEVERAL, described, did_you_mean

MAX_BYTES = 1 << 20
MAX_DEFAULTS_BYTES = 1 << 16
"""Size limit of all `_defaults.yaml` above a prompt file together: its job keeps a copy."""

MAX_MISTAKES = 20
TEXT_SUFFIXES = frozenset({".txt"})
SUFFIXES = PROMPT_SUFFIXES
DEFAULTS_NAME = "_defaults.yaml"


class NotDescribed(ReeldropError):
    """A prompt file asks for a profile whose rules are unknown until it has been loaded."""

    def __init__(
        self,
        model: str,
        priority: int,
        pictures: tuple[str, ...] = (),
        *,
        is_paired: bool = False,
    ) -> None:
        super().__init__(f"the model {model} has not been loaded yet")
        self.model = model
        self.priority = priority
        self.pictures = pictures
        """Those that it may need: what it names, or what has its name."""
        self.is_paired = is_paired


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The prompts of one file.

    priority: -10 to 10, higher is sooner
    is_paired: whether prompts start from the picture that has the file's name
    """

    prompts: tuple[Prompt, ...]
    priority: int
    is_paired: bool = False


def parse(
    name: str,
    data: bytes,
    defaults: Iterable[DefaultsFile],
    rules: Mapping[str, ModelRules | None],
    model: str,
    draw_seed: Callable[[int], int],
    pair: str = "",
    *,
    keeps_seeds: bool = True,
) -> PromptFile:
    """Return the prompts that a prompt file asks for.

    name: the file's name; its suffix decides on the format
    data: the file's content; for an .mp4 file, the settings embedded in it
    defaults: the `_defaults.yaml` files above it, the farthest first
    rules: an entry for each profile; None if its pipeline has not been described yet
    model: the profile for prompts that name none
    draw_seed: returns the seed of the n-th video, n from 1
    pair: the name of the picture beside it that has its name; empty if there is none
    keeps_seeds: whether the seeds that it gives count; if not, each video's is drawn

    The paths of the prompts' pictures are empty, and their hashes those that a sidecar has of them.

    Raises:
        NeedsPicture: the only mistake is that there is no `pair`.
        PromptError: the file can't be rendered; it has every mistake that was found.
        NotDescribed: the file asks for a profile whose rules are None.
    """
    others = (tuple(defaults), rules, model, draw_seed, pair, keeps_seeds)
    try:
        return _parsed(name, data, *others)
    except PromptError as error:
        if not _is_text(name):
            raise
        raise examples.completed(error, lambda yaml: _parsed("a.yaml", yaml, *others)) from None


def _parsed(
    name: str,
    data: bytes,
    defaults: Iterable[DefaultsFile],
    rules: Mapping[str, ModelRules | None],
    model: str,
    draw_seed: Callable[[int], int],
    pair: str,
    keeps_seeds: bool,
) -> PromptFile:
    allowance = strict_yaml.Allowance()
    above = [documents.defaults(file, allowance) for file in defaults]
    known = {key for found in rules.values() if found is not None for key in found.keys}
    items, priority = _items(name, data, allowance, Names(rules, known))
    base = layers.over(*above)
    if "priority" in base:
        inherited = documents.priority(base.pop("priority"))
        priority = inherited if priority is None else priority
    priority = priority or 0
    check_count(len(items))
    items = sweeps.expanded(items, base, known, draw_seed)
    named = pictures.named(item.layer for item in items)
    may_pair = not named and all(item.recorded is None for item in items)
    reader = _Reader(rules, model, priority, pair if may_pair else "", named)
    videos = _videos(items, base, reader)
    if reader.mistakes:
        error = reader.refusal(may_come=may_pair and not pair)
        if _is_text(name):
            error.mistakes = examples.of_all(error.mistakes, [item.layer for item in items])
        raise error
    if not keeps_seeds:
        videos = [
            dataclasses.replace(v, seed=None, swept=tuple(p for p in v.swept if p[0] != "seed"))
            for v in videos
        ]
    prompts = tuple(_numbered(videos, draw_seed))
    return PromptFile(prompts, priority, is_paired=reader.is_paired)


def _videos(items: Iterable[Item], base: Layer, reader: _Reader) -> list[_Video]:
    """Return the videos that all prompts ask for, until there are too many mistakes."""
    videos: list[_Video] = []
    given = 0
    for item in items:
        layer, line = layers.over(base, item.layer), layers.line_of(item.layer)
        given += pictures.videos_given(layer)
        check_count(max(1, given), line)  # before the next prompts are validated
        videos += reader.videos(dataclasses.replace(item, layer=layer))
        check_count(max(1, len(videos)), line)
        if reader.has_enough:
            break
    return videos


def _items(
    name: str, data: bytes, allowance: strict_yaml.Allowance, names: Names
) -> tuple[list[Item], int | None]:
    """Return the settings of each prompt of a file, and the file's priority; None if not given."""
    if len(data) > MAX_BYTES:
        problem = f"this file has more than {MAX_BYTES:,} bytes"
        raise PromptError(Mistake(problem, "split it into several files"))
    text = decode(data)
    if _is_text(name):
        return list(map(Item, lines.items(name, text, names))), None
    if PurePosixPath(name).suffix.lower() == VIDEO_SUFFIX:
        return documents.embedded(text, allowance), None
    items: list[Item] = []
    priorities = []
    for found, priority in documents.items(text, allowance):
        priorities += [priority] if priority is not None else []
        items += found
        for beyond in items[layers.MAX_VIDEOS :]:
            check_count(len(items), layers.line_of(beyond.layer))
    return items, max(priorities, default=None)


def _is_text(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES


@dataclass(frozen=True, slots=True)
class _Video:
    """One requested video, not numbered yet; `seed` is None if none was given."""

    settings: Mapping[str, Any]
    rules: ModelRules
    seed: int | None
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    swept: Swept
    translations_of: Mapping[str, str]


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
            notes=video.notes,
            pictures=video.pictures,
            loras=settings["loras"],
            swept=video.swept,
            windows=video.rules.capabilities.windows,
            translated=translations.given(settings, video.translations_of),
        )


class _Reader:
    """Resolves the settings of one prompt after another, and collects each mistake once.

    pair: the picture that prompts start from whose model takes one
    named: the pictures that the file names
    is_paired: whether a prompt starts from the pair
    """

    def __init__(
        self,
        rules: Mapping[str, ModelRules | None],
        model: str,
        priority: int,
        pair: str,
        named: tuple[str, ...],
    ) -> None:
        self._rules = rules
        self._model = model
        self._priority = priority
        self._pair = pair
        self._named = named
        self.is_paired = False
        self._without_picture: set[Mistake] = set()
        self._mistakes: dict[Mistake, None] = {}
        self._refused = 0

    @property
    def has_enough(self) -> bool:
        """Whether there are so many mistakes that the rest is not validated."""
        return max(self._refused, len(self._mistakes)) > MAX_MISTAKES

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The mistakes found, in the order of files and lines."""
        return tuple(sorted(self._mistakes, key=lambda m: (m.file, m.line or 0, m.column or 0)))

    def refusal(self, *, may_come: bool) -> PromptError:
        """Return the mistakes as an error; `may_come`: a picture of its name would be taken."""
        only_lacks = self._without_picture == set(self._mistakes)
        error = (NeedsPicture if may_come and only_lacks else PromptError)(*self.mistakes)
        error.pictures = (self._pair,) if self.is_paired else self._named
        error.is_paired = self.is_paired
        return error

    def videos(self, item: Item) -> list[_Video]:
        """Return the videos that one prompt's settings ask for; empty if there is a mistake."""
        videos = self._videos(item)
        self._refused += not videos
        return videos

    def _videos(self, item: Item) -> list[_Video]:
        layer = item.layer
        cut = [mistake for setting in layer.values() for mistake in setting.mistakes]
        if cut:
            self._mistakes.update(dict.fromkeys(cut))
            return []
        if (model := self._model_of(layer)) is None:
            return []
        rules = self._rules[model]
        if rules is None:
            pair = (self._pair,) if self._pair else ()
            names, is_paired = self._named or pair, bool(pair)
            raise NotDescribed(model, self._priority, names, is_paired=is_paired)
        given = {key: strict_yaml.plain(setting.node) for key, setting in layer.items()}
        given.pop("model", None)
        notes = self._pair_up(given, rules)
        try:
            settings = rules.resolve(given)
        except SettingsRefused as error:
            self._mistakes.update((layers.placed(fault, layer), None) for fault in error.faults)
            return []
        lack = pictures.needed(rules.capabilities.pictures, settings)
        if lack is not None:
            problem = f"{model} makes no video without a picture, and there is no {lack}"
            mistake = layers.placed(Fault(lack, problem, pictures.remedy_of_lack(lack)), layer)
            self._mistakes[mistake] = None
            self._without_picture.update([mistake] if lack == pictures.PAIRED else [])
            return []
        notes, of = notes + noting.notes(layer, settings, rules), item.translations_of
        return [
            _Video(settings, rules, seed, notes, shown, with_seed(item.swept, seed), of)
            for shown in pictures.each(settings, rules.capabilities, item.recorded or {})
            for seed in _seeds(settings)
        ]

    def _pair_up(self, given: dict[str, Any], rules: ModelRules) -> tuple[str, ...]:
        """Let a prompt start from the pair if its model takes a picture; return a note if not."""
        if not self._pair:
            return ()
        if pictures.PAIRED not in rules.capabilities.pictures:
            why = f"{rules.name} makes videos from text alone"
            return (f"{self._pair}, the picture of the same name, was not used: {why}",)
        given[pictures.PAIRED] = self._pair
        self.is_paired = True
        return ()

    def _model_of(self, layer: Layer) -> str | None:
        """Return the requested profile; None, and record the mistake, if it does not exist."""
        if "model" not in layer:
            return self._model
        name = layer["model"].node.value
        if isinstance(name, str) and name in self._rules:
            return name
        word = name if isinstance(name, str) else ""
        problem = f"there is no model '{short(word)}' in config.yaml"
        problem = problem if word else f"model must be a name, not {described(name)}"
        remedy = did_you_mean(word, self._rules)
        remedy += "; without `model:`, it is " + self._model
        remedy += f"; {SEVERAL}" if isinstance(name, list) else ""
        self._mistakes[layer["model"].mistake(problem, remedy, "model")] = None
        return None


def _seeds(settings: Mapping[str, Any]) -> list[int | None]:
    """Return the seed of each video that a prompt asks for; None if it is to be drawn."""
    seeds, count = settings["seed"], settings["num_videos_per_prompt"]
    if not seeds:
        return [None] * count
    return list(seeds) if count == 1 else [seeds[0] + offset for offset in range(count)]
