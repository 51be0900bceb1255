"""Refuse YAML files that hold the JSON of another tool, and show the YAML that says the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reeldrop.base import strict_yaml
from reeldrop.base.errors import Mistake, PromptError
from reeldrop.base.escaping import short
from reeldrop.prompts import dialects, in_yaml

_MOST = 100
"""Upper bound on the lines that are looked at."""


def refuse_workflow(document: strict_yaml.Node) -> None:
    """Refuse a workflow of ComfyUI, whose parts would each be reported as an unknown setting.

    Raises:
        PromptError: it is one.
    """
    parts = document.value
    if not isinstance(parts, dict):
        return
    lists = {key for key, part in parts.items() if isinstance(part.value, list)}
    is_saved = {"nodes", "links"} <= lists
    is_exported = any(strict_yaml.child(part, "class_type") is not None for part in parts.values())
    if not (is_saved or is_exported):
        return
    values: Mapping[str, Any] = strict_yaml.plain(document)
    example, remedy = "", "write its prompt as `prompt: ...`, and its settings below that"
    if is_exported:
        says = dialects.of_graph(values)
        example, left_out = in_yaml.yaml_of([says])
        remedy = _in_its_place(left_out) if example else remedy
    problem = "this is a workflow of ComfyUI, not a prompt file"
    raise PromptError(Mistake(problem, remedy, document.line, document.column, example=example))


def of_lines(text: str) -> Mistake | None:
    """Return what is wrong with a text that has JSON on each line; None if it has not."""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for _, line in lines):
        return None
    try:
        found = [json.loads(line) for _, line in lines[:_MOST]]
    except (ValueError, RecursionError):
        return None
    number, line = lines[1]
    problem = f"each line is JSON of its own, and YAML ends before '{short(line.strip())}'"
    says = [{k: str(v) for k, v in one.items()} for one in found]
    example, left_out = in_yaml.yaml_of(says)
    has_parts = any(isinstance(value, list | dict) for one in found for value in one.values())
    if has_parts or not example:
        return Mistake(problem, "put a line with `---` between the lines", number)
    return Mistake(problem, _in_its_place(left_out), number, example=example)


def _in_its_place(left_out: Sequence[str]) -> str:
    return f"write this in its place{in_yaml.without(left_out)}:"
