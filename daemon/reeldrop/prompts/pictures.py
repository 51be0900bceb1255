"""Which pictures prompts name, what the names may be, and which picture each prompt gets.

Knows names only; opens no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reeldrop.base.errors import PromptError
from reeldrop.base.escaping import short, shown
from reeldrop.base.job import Capabilities, Picture
from reeldrop.base.names import LONGEST_NAME, PICTURE_SUFFIXES
from reeldrop.prompts.layers import Layer, Setting

KEYS = ("image", "last_image")
"""The keys that name pictures, by the pipelines' call arguments; a pair is of the first."""

PAIRED = KEYS[0]
NOT_TAKEN = "take the line out, or name a model that takes such a picture behind `model:`"
ENDINGS = ", ".join(f"{suffix[1:]}" for suffix in PICTURE_SUFFIXES)


def problem_of(name: str) -> tuple[str, str] | None:
    """Return why a picture can't have a name, and what is right; None if it can."""
    said = f"'{short(name)}'"
    if name.startswith("_"):
        problem = f"names that begin with an underscore are reeldrop's own, and {said} does"
        return problem, "give the picture another name"
    if any(sign in name for sign in "/\\") or name in ("", ".", ".."):
        problem = f"{said} is no plain name of a file"
        return problem, "put the picture beside the prompt file, and write its name alone"
    if name.startswith((".", "~")):
        return f"{said} is the name of a hidden file", "give the picture another name"
    if shown(name) != name or len(name.encode(errors="replace")) > LONGEST_NAME:
        return f"no picture can be called {said}", "give the picture a shorter, plain name"
    if PurePosixPath(name).suffix.lower() not in PICTURE_SUFFIXES:
        return f"{said} does not end like a picture", f"use a file that is {ENDINGS}"
    return None


def problems(named: Mapping[str, list[str]]) -> Iterator[tuple[str, str, str, int | None]]:
    """Yield what is wrong with the pictures of a prompt: key, problem, remedy, place in the list.

    named: the names that the prompt gives for each key
    """
    lengths = {key: len(names) for key, names in named.items() if len(names) > 1}
    for key, names in named.items():
        for item, name in enumerate(names):
            found = problem_of(name)
            if found is not None:
                yield key, *found, item
    if len(set(lengths.values())) > 1:
        told = " and ".join(f"{length} for {key}" for key, length in lengths.items())
        problem = f"there are {told}: it is not clear which belong together"
        yield max(lengths), problem, "name as many for each, or one", None


def needed(takes: Mapping[str, bool], settings: Mapping[str, Any]) -> str | None:
    """Return the key of a picture that a model needs and a prompt lacks; None if none is lacking.

    takes: the keys of the pictures that the model takes, and whether it needs them
    """
    return next((key for key, is_needed in takes.items() if is_needed and not settings[key]), None)


def remedy_of_lack(key: str) -> str:
    """Return what to do about a prompt that lacks a picture."""
    remedy = f"name a file beside this one in YAML: `{key}: first.png`"
    is_paired = key == PAIRED
    return (
        f"put a picture with the name of this file beside it, or {remedy}" if is_paired else remedy
    )


def dealt_out(layer: Layer, count: int) -> Iterator[Layer]:
    """Yield the settings beside `prompts:` for each of `count` prompts, with its own pictures.

    A list of as many pictures as prompts gives each prompt its own; one picture is for all, and a
    single prompt gets the whole list.

    Raises:
        PromptError: there are as many pictures as nobody can deal out.
    """
    lists = {key: layer[key] for key in KEYS if _length(layer.get(key)) > 1 and count > 1}
    mistakes = []
    for key, setting in lists.items():
        if _length(setting) != count:
            problem = f"{key} names {_length(setting)} pictures, and there are {count} prompts"
            remedy = "name one picture for all prompts, or one for each"
            mistakes.append(setting.mistake(problem, remedy, key))
    if mistakes:
        raise PromptError(*mistakes)
    for number in range(count):
        own = {key: _item(setting, number) for key, setting in lists.items()}
        yield {**layer, **own} if own else layer


def _length(setting: Setting | None) -> int:
    """Return how many pictures a setting names; 0 if it is no list."""
    value = setting.node.value if setting is not None else None
    return len(value) if isinstance(value, list) else 0


def _item(setting: Setting, number: int) -> Setting:
    value = setting.node.value
    assert isinstance(value, list)
    return dataclasses.replace(setting, node=value[number])


def count(layer: Layer) -> int:
    """Return how many videos a prompt's pictures ask for, valid or not; 1 without a list."""
    return max(1, *(_length(layer.get(key)) for key in KEYS))


def of_videos(named: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """Return the pictures of each video of a prompt, by key; of one video, none, if none is named.

    named: the names that the prompt gives for each key; a single one is for all videos
    """
    given = {key: names for key, names in named.items() if names}
    most = max(map(len, given.values()), default=1)
    return [
        {key: names[number % len(names)] for key, names in given.items()} for number in range(most)
    ]


def named(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the pictures that settings name, without names that no picture can have."""
    found: dict[str, None] = {}
    for layer in layers:
        for key in KEYS:
            value = layer[key].node.value if key in layer else None
            values = [node.value for node in value] if isinstance(value, list) else [value]
            names = (name for name in values if isinstance(name, str))
            found.update(dict.fromkeys(name for name in names if problem_of(name) is None))
    return tuple(found)


def recorded(rendered: Any) -> dict[str, str]:
    """Return the hashes that a sidecar has of its pictures, by name, from its plain `rendered:`."""
    found = rendered.get("pictures") if isinstance(rendered, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def each(
    settings: Mapping[str, Any], capabilities: Capabilities, recorded: Mapping[str, str]
) -> Iterator[tuple[Picture, ...]]:
    """Yield the pictures of each video that a prompt asks for, but for its seeds.

    recorded: the hashes of pictures by their names
    """
    for chosen in of_videos({key: settings[key] for key in capabilities.pictures}):
        yield tuple(
            Picture(key, name, Path(), recorded.get(name, "")) for key, name in chosen.items()
        )


def videos_given(layer: Layer) -> int:
    """Return how many videos a prompt's seeds and pictures ask for, valid or not."""
    seeds = layer["seed"].node.value if "seed" in layer else None
    return count(layer) * (len(seeds) if isinstance(seeds, list) else 1)
