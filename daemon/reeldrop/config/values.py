"""What single values of config.yaml may be. Does not know the keys."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import ConfigDict, Field

from reeldrop.prompts.scripts import ANY
from reeldrop.render import dtypes
from reeldrop.schedule.night import Night

_DTYPES = (dtypes.AUTO, *dtypes.NAMES)
_LONGEST_LIST = 1000


class Refused(ValueError):
    """A value that can't be, with what would be right."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


def _glob(pattern: object) -> object:
    """Accept a glob of names, but none that matches every prompt file."""
    if not isinstance(pattern, str) or not pattern.strip("*? "):
        raise ValueError("must be a name with * and ? in it, such as '*.draft.txt'")
    if "/" in pattern:
        raise ValueError("must be one name, of a file or a folder, without a slash")
    return pattern


def _one_value(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must be a text, a number, or true or false")
    return value


def _default(value: object) -> object:
    """Accept a value, or a list of numbers."""
    if not isinstance(value, list):
        return _one_value(value)
    if not 0 < len(value) <= _LONGEST_LIST or not all(type(item) in (int, float) for item in value):
        raise ValueError("must be a text, a number, or true or false; or a list of numbers")
    return tuple(value)


def _dtypes(value: object) -> object:
    """Return a dtype for each part, and for the others as `default`.

    Nothing for auto, but for a part whose model decides what that is, while the others are given.
    """
    named = {"default": value} if isinstance(value, str) else value
    if not isinstance(named, dict):
        raise Refused("must be a dtype, or a list of `part: dtype` lines")
    for dtype in named.values():
        if dtype not in _DTYPES:
            raise Refused(f"can't be '{dtype}'", f"use {', '.join(map(repr, _DTYPES))}")
    if named.get(dtypes.DEFAULT, dtypes.AUTO) != dtypes.AUTO:
        return named
    return {part: dtype for part, dtype in named.items() if dtype != dtypes.AUTO}


def _pair(limit: object) -> object:
    """Return (smallest, largest): (None, 200) for `num_frames: 200`, (8, 32) for `[8, 32]`."""
    match limit:
        case bool() | [bool(), _] | [_, bool()]:
            pass
        case int() | float() if 0 <= limit < math.inf:
            return None, limit
        case [int() | float() as low, int() | float() as high] if 0 <= low <= high < math.inf:
            return low, high
    raise ValueError("must be the largest value, or [smallest, largest]; neither is below 0")


def _none_if_auto(value: object) -> object:
    if value is None:
        raise ValueError("must be a whole number, or auto")
    return None if value == "auto" else value


def whole_or(word: str, least: int, most: int) -> pydantic.BeforeValidator:
    """Return a validator of whole numbers and a word.

    It says once what is wrong, where pydantic would say it of each of the two.
    """

    def check(value: object) -> object:
        if value == word or (type(value) is int and least <= value <= most):
            return value
        given = f"'{value}'" if isinstance(value, str) else value
        raise ValueError(f"must be {word}, or a whole number from {least} to {most}, not {given}")

    return pydantic.BeforeValidator(check)


def _switch(value: object) -> object:
    if value not in ("auto", True, False) or isinstance(value, int) != isinstance(value, bool):
        raise ValueError("must be auto, true or false")
    return value


def _compile(value: object) -> object:
    """Accept true and false, which it was before there were two ways to compile."""
    return ("whole" if value else "off") if isinstance(value, bool) else value


def _weights(limits: object) -> object:
    match limits:
        case [int() | float() as low, int() | float() as high] if low <= high:
            return limits
    raise ValueError("must be [smallest, largest]")


def _lora_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .+-]{0,98}\w|\w", name):
        raise ValueError("must be a name of letters, digits, spaces and . + - _")
    return name


_REPOSITORY_PART = r"\w(?:[\w.-]{0,94}\w)?"
_REPOSITORY = re.compile(
    rf"(?!.*(?:--|\.\.))(?!.*\.git$){_REPOSITORY_PART}/{_REPOSITORY_PART}", re.ASCII
)
"""What the hub accepts."""


def repository(name: str) -> str:
    """Accept the name of a repository."""
    if not _REPOSITORY.fullmatch(name):
        problem = f"'{name}' is no repository, such as somebody/something"
        raise Refused(problem, f"a folder is named so: `{{path: {name}}}`")
    return name


def require_repository(revision: str | None, name: str | None) -> None:
    """Raise ValueError if there is a revision, but no repository that it is of."""
    if revision is not None and name is None:
        raise Refused("revision is a commit of a repository, and path has none", "leave it out")


def _hours(hours: object) -> object:
    """Accept two times of a day."""
    if not isinstance(hours, str):
        raise ValueError("must be two times of a day, such as '22:00-06:00'")
    Night.parsed(hours)
    return hours


def _languages(value: object) -> object:
    """Return the codes of languages; (ANY,) for the word."""
    if value == ANY:
        return (ANY,)
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise ValueError(f"must be a list of languages, such as [en, zh], or {ANY}")
    return tuple(map(_language, value))


def _language(code: object) -> str:
    if not isinstance(code, str) or not re.fullmatch(r"[a-z]{2,3}", code):
        raise Refused(f"{code!r} is no language", "write a code of ISO 639, such as zh, ja or de")
    return code


def _below_the_file(what: str) -> pydantic.BeforeValidator:
    """Return a validator that makes paths absolute: a relative one starts at config.yaml's folder.

    what: what is there, in words
    """

    def absolute(value: object, info: pydantic.ValidationInfo) -> Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"must be the path of {what}")
        base: Path = info.context["base"] if info.context else Path.cwd()
        try:
            return Path(os.path.abspath(base / Path(value).expanduser()))
        except RuntimeError:
            raise ValueError(f"there is no user {Path(value).parts[0]} on this machine") from None

    return pydantic.BeforeValidator(absolute)


Folder = Annotated[Path, _below_the_file("a folder")]
File = Annotated[Path, _below_the_file("a file")]
FileOrFolder = Annotated[Path, _below_the_file("a file or a folder")]
Glob = Annotated[str, Field(max_length=255), pydantic.BeforeValidator(_glob)]
Hours = Annotated[str, pydantic.BeforeValidator(_hours)]
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Value = Annotated[str | int | float | bool, pydantic.BeforeValidator(_one_value)]
Default = Annotated[
    str | int | float | bool | tuple[int | float, ...], pydantic.BeforeValidator(_default)
]
Dtypes = Annotated[dict[str, str], pydantic.BeforeValidator(_dtypes)]
Limit = Annotated[tuple[Bound | None, Bound], pydantic.BeforeValidator(_pair)]
Switch = Annotated[bool | Literal["auto"], pydantic.BeforeValidator(_switch)]
Compile = Annotated[Literal["auto", "off", "whole", "blocks"], pydantic.BeforeValidator(_compile)]
BatchSize = Annotated[
    Annotated[int, Field(ge=1, le=64)] | None, pydantic.BeforeValidator(_none_if_auto)
]
Repository = Annotated[str, pydantic.AfterValidator(repository)]
LoraName = Annotated[str, pydantic.AfterValidator(_lora_name)]
LoraWeight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
LoraWeights = Annotated[list[LoraWeight], pydantic.BeforeValidator(_weights)]
Languages = Annotated[tuple[str, ...], pydantic.BeforeValidator(_languages)]
Language = Annotated[str, pydantic.BeforeValidator(_language)]
Gigabytes = Annotated[float, Field(ge=0, le=1e6)]

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
