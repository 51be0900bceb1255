"""What a sweep has chosen for one of its videos; used by all who tell it."""

from __future__ import annotations

MATRIX, WILDCARDS = "matrix", "wildcards"
SWEEPS = (MATRIX, WILDCARDS)
"""The keys of a prompt file that expand a prompt to several, which do not have these keys.

In `Swept`, the second one has the choices for braces, which are already in the prompt.
"""

Swept = tuple[tuple[str, str | int | float | bool | None], ...]
"""Keys and the values that were chosen, in the order of the file."""


def with_seed(swept: Swept, seed: int | None) -> Swept:
    """Return the chosen values with the seed of one of several videos."""
    own = {} if seed is None else {"seed": seed}
    return tuple((key, own.get(key, value)) for key, value in swept)
