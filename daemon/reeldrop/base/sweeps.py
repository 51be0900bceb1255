"""What a sweep has chosen for one of its videos; used by all who tell it."""

from __future__ import annotations

MATRIX, WILDCARDS = "matrix", "wildcards"
SWEEPS = (MATRIX, WILDCARDS)
"""The keys of a prompt file that make several prompts of one, none of which has them.

In `Swept`, the second stands for what was chosen for braces, which the prompt has already.
"""

Swept = tuple[tuple[str, str | int | float | bool | None], ...]
"""Keys and the values that were chosen, in the order of the file."""


def with_seed(swept: Swept, seed: int | None) -> Swept:
    """Return what was chosen for one of several videos, each of which has a seed of its own."""
    own = {} if seed is None else {"seed": seed}
    return tuple((key, own.get(key, value)) for key, value in swept)
