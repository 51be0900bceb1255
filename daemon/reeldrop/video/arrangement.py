"""Arrange the videos of a sweep on sheets, with labels. Pure."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reeldrop.base.job import Prompt, Scalar
from reeldrop.base.sweeps import WILDCARDS

MAX_ACROSS = 6
"""Upper bound on the columns and on the rows of a sheet."""

SOURCE_PIXELS = MAX_ACROSS**2 * 400_000
"""Upper bound on the pixels of a sheet's videos, one frame of each: all are decoded together."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A video on a sheet, with its label."""

    number: int
    label: str
    fps: float


Sheet = Sequence[Sequence[Tile | None]]
"""The rows of a sheet; None for an empty place."""


def arranged(prompts: Sequence[Prompt]) -> list[Sheet]:
    """Return the sheets.

    The first key of the matrix with several values decides the column; each combination of the
    other keys has a row. Without a matrix, the videos are in order. Rows that are too wide continue
    below; too many rows continue on the next sheet.
    """
    across = _most_across(prompts)
    labels = _labels(prompts)
    tiles = {p.number: Tile(p.number, f"{p.number}. {labels[p.number]}", p.fps) for p in prompts}
    key = next((key for key, values in _varying(prompts).items() if key != WILDCARDS), None)
    if key is None:
        width = min(across, math.ceil(math.sqrt(len(prompts))))
        rows: list[list[Tile | None]] = [[tiles[p.number] for p in prompts]]
    else:
        rows = [[tiles[n] if n else None for n in row] for row in _by_column(prompts, key)]
        width = min(across, len(rows[0]))
    rows = [row[at : at + width] for row in rows for at in range(0, len(row), width)]
    beside = across // width if len(rows) > across else 1
    wide = [list(itertools.chain(*rows[at : at + beside])) for at in range(0, len(rows), beside)]
    return [wide[at : at + across] for at in range(0, len(wide), across)]


def _most_across(prompts: Sequence[Prompt]) -> int:
    """Return how many columns and rows are possible within `SOURCE_PIXELS`."""
    sizes = [(p.argument("width"), p.argument("height")) for p in prompts]
    pixels = [w * h for w, h in sizes if isinstance(w, int) and isinstance(h, int)]
    fitting = math.isqrt(SOURCE_PIXELS // max(pixels, default=1)) if pixels else MAX_ACROSS
    return max(2, min(MAX_ACROSS, fitting))


def _varying(prompts: Sequence[Prompt]) -> dict[str, list[Scalar]]:
    """Return the swept keys with several values, and their values in the order of the prompts."""
    found: dict[str, dict[Scalar, None]] = {}
    for prompt in prompts:
        for key, value in prompt.swept:
            found.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in found.items() if len(values) > 1}


def _by_column(prompts: Sequence[Prompt], key: str) -> list[list[int | None]]:
    """Return rows with the numbers of the videos; each value of `key` has a column.

    All other differences between prompts decide the row. Each of several takes has its own row.
    """
    columns: dict[Scalar, int] = {}
    rows: dict[tuple[object, ...], dict[int, int]] = {}
    takes: Counter[tuple[object, ...]] = Counter()
    for prompt in prompts:
        column = columns.setdefault(dict(prompt.swept).get(key), len(columns))
        others = tuple(pair for pair in prompt.swept if pair[0] != key)
        beside = tuple(picture for picture in prompt.pictures if picture.key != key)
        place = (prompt.prompt, others, beside)
        takes[*place, column] += 1
        rows.setdefault((*place, takes[*place, column]), {})[column] = prompt.number
    return [[row.get(column) for column in range(len(columns))] for row in rows.values()]


def _labels(prompts: Sequence[Prompt]) -> dict[int, str]:
    """Return the label of each video: its swept values, and more where these are not unique."""
    varying = _varying(prompts)
    said = {p.number: [_said(*pair) for pair in p.swept if pair[0] in varying] for p in prompts}
    more: tuple[Callable[[Prompt], str], ...] = (
        lambda prompt: prompt.prompt,
        lambda prompt: ", ".join(picture.name for picture in prompt.pictures),
        lambda prompt: f"seed {prompt.seed}",
    )
    for say in more:
        values = {prompt.number: say(prompt) for prompt in prompts}
        are_told_apart = len(set(map(tuple, said.values()))) == len(prompts)
        if not are_told_apart and len(set(values.values())) > 1:
            for number, value in values.items():
                said[number].append(value)
    return {number: ", ".join(parts) for number, parts in said.items()}


def _said(key: str, value: Scalar) -> str:
    return str(value) if key == WILDCARDS else f"{key} {value}"
