"""Word what is wrong with config.yaml: the place, the problem and the remedy."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake
from reeldrop.config import schema
from reeldrop.config.profile_keys import REPLACED
from reeldrop.prompts import wording

_STEPS = ("function-before", "[key]")
"""Parts of pydantic's locations that are not keys."""


def of(error: pydantic.ValidationError, root: strict_yaml.Node, path: Path) -> Iterator[Mistake]:
    """Yield what is wrong with the values of a config.yaml."""
    for detail in error.errors(include_url=False):
        location = [part for part in detail["loc"] if part not in _STEPS]
        problem, remedy = _explain(detail, location)
        if not location and ": " in problem:  # about several keys: it begins with the first one
            location = [problem.partition(": ")[0]]
        yield placed(root, path, location, problem, remedy)


def placed(
    root: strict_yaml.Node, path: Path, location: list[Any], problem: str, remedy: str
) -> Mistake:
    """Return a mistake with the line of its key, or of the nearest key above it."""
    node, known = _locate(root, location)
    key = ".".join(str(part) for part in location)
    line, column = (node.line, node.column) if known else (None, None)
    return Mistake(problem, remedy, line, column, key, str(path))


def with_place(mistake: Mistake, root: strict_yaml.Node, path: Path) -> Mistake:
    """Return a mistake that was found later, as in a loaded model, with its place in the file.

    It stays as it is if its key is not in the file, nor the section that the key would be in.
    """
    node, location, left = root, list[str](), mistake.key
    while isinstance(node.value, dict) and left:
        names = [key for key in node.value if f"{left}.".startswith(f"{key}.")]
        if not names:
            break
        location.append(max(names, key=len))  # names of profiles have dots in them
        node, left = node.value[location[-1]], left[len(location[-1]) + 1 :]
    if not location or mistake.file:
        return mistake
    found = placed(root, path, list(location), mistake.problem, mistake.remedy)
    return dataclasses.replace(found, key=mistake.key, example=mistake.example)


def _locate(root: strict_yaml.Node, location: list[Any]) -> tuple[strict_yaml.Node, bool]:
    """Return the node at a location or its nearest parent, and whether that is below the root."""
    node = root
    for part in location:
        below = strict_yaml.child(node, part)
        if below is None:
            break
        node = below
    return node, node is not root


def _explain(detail: Any, location: list[Any]) -> tuple[str, str]:
    value = detail["input"]
    given = f"'{value}'" if isinstance(value, str) else str(value)
    wanted = wording.wanted(detail) or wording.bound(detail)
    if wanted is not None:
        return f"must be {wanted}, not {given}", ""
    match detail["type"]:
        case "extra_forbidden" if location[-2:-1] == ["speed"] and location[-1] in REPLACED:
            return f"there is no '{location[-1]}' any more", REPLACED[location[-1]]
        case "extra_forbidden":
            return f"unknown key '{location[-1]}'", wording.did_you_mean(
                str(location[-1]), _fields(location[:-1])
            )
        case "missing":
            return f"'{location[-1]}' is missing", "see `reeldrop init` for an example"
        case "value_error":
            error = detail["ctx"]["error"]
            return str(error), getattr(error, "remedy", "")
        case "too_short":
            return "must have at least one entry", "see `reeldrop init` for an example"
        case "literal_error":
            return f"can't be {given}", f"use {detail['ctx']['expected']}"
        case _:
            message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return f"must be {message}, not {given}", ""


def _fields(above: list[Any]) -> typing.Iterable[str]:
    """Return the keys that a section of config.yaml may have.

    above: the location of the section; names of profiles and numbers of entries are part of it
    """
    kind: Any = schema.Config
    for part in above:
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            kind = kind.model_fields[part].annotation
        else:  # a dict or a list
            kind = typing.get_args(kind)[-1]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):  # or None
            kind = typing.get_args(kind)[0]
    return kind.model_fields  # type: ignore[no-any-return]
