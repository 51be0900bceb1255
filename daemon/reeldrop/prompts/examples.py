"""The YAML that a report shows for a text file: of all its prompts, and what is wrong with it yet.

A report that shows YAML which is refused in its turn costs its reader a second try.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from reeldrop.base import strict_yaml, yaml_text
from reeldrop.base.errors import Mistake, NeedsPicture, PromptError, ReeldropError
from reeldrop.prompts.layers import Layer

_MOST = 50
"""Upper bound on the prompts that are shown."""


def of_all(mistakes: Sequence[Mistake], prompts: Sequence[Layer]) -> list[Mistake]:
    """Return the mistakes of a text file with one example, which has each of its prompts.

    mistakes: those of single prompts, with their lines; an example is of that line's prompt alone
    """
    instead = {m.line: m.example for m in mistakes if m.example}
    if not instead or len(prompts) == 1:
        return list(mistakes)
    shown = [
        entry
        for layer in prompts[:_MOST]
        for entry in _entries(layer, instead.get(layer["prompt"].node.line, ""))
    ]
    more = "# and so on\n" if len(prompts) > _MOST else ""
    first = next(m for m in mistakes if m.example)
    example = yaml_text.dump({"prompts": shown}) + more
    return [dataclasses.replace(m, example=example if m is first else "") for m in mistakes]


def _entries(layer: Layer, example: str) -> list[object]:
    """Return what stands for a prompt in a list of them."""
    if not example:
        return [layer["prompt"].node.value]
    (document,) = strict_yaml.load_all(example)
    values = strict_yaml.plain(document)
    assert isinstance(values, dict)
    found = values.get("prompts", [values])
    return [one["prompt"] if [*one] == ["prompt"] else one for one in map(_as_mapping, found)]


def _as_mapping(prompt: object) -> dict[str, object]:
    return prompt if isinstance(prompt, dict) else {"prompt": prompt}


def completed(error: PromptError, parse: Callable[[bytes], object]) -> PromptError:
    """Return the error of a text file, with what is wrong with the YAML that it shows.

    parse: parses YAML for the same models and defaults, or raises as `parsing.parse`
    """
    more = [found for mistake in error.mistakes for found in _faults(mistake, parse)]
    if not more:
        return error
    whole = type(error)(*dict.fromkeys([*error.mistakes, *more]))
    whole.pictures, whole.is_paired = error.pictures, error.is_paired
    return whole


def _faults(shown: Mistake, parse: Callable[[bytes], object]) -> Iterator[Mistake]:
    if not shown.example or shown.file:
        return
    try:
        parse(shown.example.encode())
    except NeedsPicture:
        return
    except PromptError as error:
        for m in error.mistakes:
            problem = m.problem if m.file else f"in the YAML shown, {m.problem}"
            place = (m.line, m.column) if m.file else (shown.line, None)
            yield Mistake(problem, m.remedy, *place, file=m.file)
    except ReeldropError:  # its model has not been loaded, so nobody knows
        return
