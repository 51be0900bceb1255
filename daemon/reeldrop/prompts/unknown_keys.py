"""Explain unknown keys: what their author probably meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from reeldrop.base.escaping import short
from reeldrop.base.translated import ORIGINALS, SECOND
from reeldrop.base.yaml_faults import quoted
from reeldrop.prompts import other_names
from reeldrop.prompts.wording import SURELY, did_you_mean, near


class Unknown:
    """Explains the unknown keys of one prompt.

    known: the keys that are allowed
    settings: all settings of the prompt, with defaults
    nearest_frames: returns the allowed number of frames that is nearest to a number
    fault_of: returns what is wrong with a value of a known key, and the remedy; None if nothing is
    """

    def __init__(
        self,
        known: Sequence[str],
        settings: Mapping[str, Any],
        nearest_frames: Callable[[int], int],
        fault_of: Callable[[str, object], tuple[str, str] | None],
    ) -> None:
        self._known = known
        self._settings = settings
        self._nearest_frames = nearest_frames
        self._fault_of = fault_of
        self.has_prompt = False
        """Whether one of the explained keys was a prompt, or stood for `prompt`."""

    def explain(self, key: str) -> tuple[str, str]:
        """Return what is wrong with a key, and the remedy."""
        problem = f"unknown key '{short(key)}'"
        if key in SECOND and "prompt" in self._settings:
            text = key.removesuffix("_2")
            problem = f"no text encoder of this profile reads {key}"
            return problem, f"write all of it into `{text}`, or name another model"
        remedy = self._meant(key, key)
        if remedy is not None:
            return problem, remedy
        value = self._settings[key]
        similar = near(other_names.normal(key), self._known, SURELY)
        self.has_prompt |= similar in ("prompt", "prompts")
        is_text = not isinstance(value, (dict, list)) and "prompt" not in self._settings
        if is_text and key.isdigit():
            self.has_prompt = True
            return problem, "reeldrop has no keyframes; write the texts as a list below `prompts:`"
        if is_text and similar is None:
            self.has_prompt = True
            text = f"{key}: {'' if value is None else value}".strip()
            text = short(text.strip("“”„‟«»‘’‚‹›") if text[0] in "“„«‘‚‹" else text)
            problem += ": YAML reads what is before a colon as a key"
            return problem, f"put the text between quotes: `prompt: {quoted(text)}`"
        other = other_names.nearest(key) if similar is None else None
        if other is not None and (remedy := self._meant(key, other)) is not None:
            return problem, f"did you mean '{other}'? {remedy}"
        return problem, did_you_mean(key, self._known)

    def _meant(self, key: str, name: str) -> str | None:
        """Return the remedy for a key that other tools call `name`; None if none does."""
        return self._renamed(key, name) or self._split(key, name) or other_names.advice(name)

    def _renamed(self, key: str, name: str) -> str | None:
        ours = other_names.ours(name, self._known)
        if ours is None:
            return None
        if ours in ORIGINALS and ours != other_names.normal(name) and not self._has_original(ours):
            ours = ORIGINALS[ours]
        self.has_prompt |= ours in ("prompt", "prompts")
        value = self._settings[key]
        if isinstance(value, str) and key != key.strip(other_names.QUOTES):
            value = value.strip(other_names.QUOTES)
            return f"use plain quotes, or none: `{ours}: {_written(value)}`"
        if ours == "seed" and value == -1:
            return "it is called seed here, and left out for a new one each time"
        if ours == "model":
            return "`model:` names a profile of config.yaml"
        fault = None if value is None else self._fault_of(ours, value)
        if fault is not None:
            problem = fault[0].removeprefix(f"{ours} ")
            return f"it is called {ours} here, and {problem}: {fault[1]}"
        if ours in ("seed", "prompts") or isinstance(value, (dict, list)):
            return f"it is called {ours} here"
        said = "" if value is None else f": `{ours}: {_written(value)}`"
        return f"it is called {ours} here{said}"

    def _has_original(self, translation: str) -> bool:
        """Return whether there is a text that a translation can be of, by whatever name."""
        text = ORIGINALS[translation]
        given = (key for key, value in self._settings.items() if value)
        return any(other_names.ours(key, (text,)) == text for key in given)

    def _split(self, key: str, name: str) -> str | None:
        """Return the remedy for a key that is two of ours, or has another unit; else None."""
        value = self._settings[key]
        if other_names.is_size(name):
            size = other_names.size(value)
            if size is None:
                return "give width and height, in pixels"
            faults = [self._fault_of(*one) for one in zip(("width", "height"), size, strict=True)]
            but = "".join(f"; but {fault[0]}: {fault[1]}" for fault in faults if fault)
            return f"write `width: {size[0]}` and `height: {size[1]}`{but}"
        if not other_names.is_duration(name):
            return None
        fps = self._settings.get("fps")
        if not (_is_length(fps) and _is_length(value)):
            return "a video's length is given in frames: num_frames"
        frames = self._nearest_frames(round(value * fps))
        return f"a video's length is given in frames: `num_frames: {frames}` at {fps:g} fps"


def _is_length(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10_000


def _written(value: object) -> str:
    """Return a value as it is written in YAML."""
    if isinstance(value, str):
        return quoted(short(value)) if not value.isalnum() else short(value)
    return short(str(value).lower() if isinstance(value, bool) else str(value))
