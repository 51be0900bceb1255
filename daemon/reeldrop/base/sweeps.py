"""What a sweep has chosen for one of its videos; used by all who tell it."""

from __future__ import annotations

MATRIX, WILDCARDS = "matrix", "wildcards"
SWEEPS = (MATRIX, WILDCARDS)
"""The keys of a prompt file that expand a prompt to several, which do not have these keys.

In `Swept`, the second one has the choices for braces, which are already in the prompt.
"""

Swept = tuple[tuple[str, str | int | float | bool | None], ...]
"""Keys and the values that were chosen, in the order of the file."""

_LONGEST_ENDING = 40
"""With more characters for what a sweep has chosen, its keys are told by their initials."""


def with_seed(swept: Swept, seed: int | None) -> Swept:
    """Return the chosen values with the seed of one of several videos."""
    own = {} if seed is None else {"seed": seed}
    return tuple((key, own.get(key, value)) for key, value in swept)


def ending(swept: Swept) -> str:
    """Return how the name of a video ends that a sweep has asked for; empty without one.

    What it chose for braces is in the prompt already.
    """
    told = [pair for pair in swept if pair[0] != WILDCARDS]
    if sum(len(f"{key}={value},") for key, value in told) > _LONGEST_ENDING:
        told = [(_initials(key), value) for key, value in told]
    return ",".join(f"{key}={value}" for key, value in told)


def _initials(key: str) -> str:
    """Return a key in short: `nis` for `num_inference_steps`; one of a single word as it is."""
    words = key.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else key
