"""Read `loras:` of a prompt: which of its profile's LoRAs it wants, and how much of each.

That is a name, a list of names, or `name: weight` lines. Does not know what LoRAs do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reeldrop.base.escaping import short
from reeldrop.base.loras import LoraLimits, Loras
from reeldrop.prompts.faults import Fault
from reeldrop.prompts.wording import described, did_you_mean, number

KEY = "loras"
_NONE = "take the line out: it has none that prompts may choose"


def chosen(asked: object, known: Mapping[str, LoraLimits]) -> Loras:
    """Return the LoRAs that a prompt asks for, with which `faults` finds nothing wrong.

    A weight of 0 is no LoRA.
    """
    weights = {
        str(name): known[str(name)].weight if weight is None else weight
        for _, name, weight in _items(asked)
    }
    return tuple(sorted((name, float(weight)) for name, weight in weights.items() if weight))


def faults(asked: object, known: Mapping[str, LoraLimits], profile: str) -> Iterator[Fault]:
    """Yield what is wrong with the LoRAs that a prompt asks for."""
    if not isinstance(asked, str | list | dict):
        problem = f"{KEY} must be names, not {described(asked)}"
        yield Fault(KEY, problem, _those_of(known))
        return
    seen = set[str]()
    for place, name, weight in _items(asked):
        if not isinstance(name, str):
            problem, remedy = f"a LoRA has a name, which is not {described(name)}", _those_of(known)
            yield Fault(KEY, problem, remedy, place)
            continue
        if name in seen:
            yield Fault(KEY, f"{short(name)} is there twice", "name it once", place)
        elif name not in known:
            problem = f"{profile} has no LoRA '{short(name)}'"
            yield Fault(KEY, problem, _those_of(known, name), place)
        elif known[name].is_always_used:
            yield Fault(KEY, f"{profile} has the LoRA {name} in every video", "leave it out", place)
        elif weight is not None and (fault := _fault_of_weight(name, weight, known[name])):
            yield Fault(KEY, *fault, place)
        seen.add(name)


def to_choose(known: Mapping[str, LoraLimits]) -> list[str]:
    """Return the names of the LoRAs that prompts may ask for."""
    return [name for name, limits in known.items() if not limits.is_always_used]


def _items(asked: object) -> Iterator[tuple[int | str | None, object, Any]]:
    """Yield the place in the value, the name, and the weight, None if it is not given."""
    if isinstance(asked, dict):
        yield from ((name, name, weight) for name, weight in asked.items())
    elif isinstance(asked, list):
        yield from ((place, name, None) for place, name in enumerate(asked))
    else:
        yield None, asked, None


def _fault_of_weight(name: str, weight: object, limits: LoraLimits) -> tuple[str, str] | None:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        problem = f"the weight of {name} must be a number, not {described(weight)}"
        return problem, f"write `{KEY}: {{{name}: {number(limits.weight)}}}`"
    if not limits.least <= weight <= limits.most:
        problem = f"the weight of {name} is {short(str(weight))}"
        return problem, f"use {number(limits.least)} to {number(limits.most)}"
    return None


def _those_of(known: Mapping[str, LoraLimits], name: str = "") -> str:
    names = to_choose(known)
    return did_you_mean(name, names) if names else _NONE
