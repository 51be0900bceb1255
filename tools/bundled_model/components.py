"""The connected parts of a mask, largest first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.bool_]


def components(mask: Masks, least: int) -> list[Masks]:
    """Return the parts of at least `least` pixels; neighbours share a side, not only a corner.

    Runs of each row are joined with those of the row above by a union-find.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    runs: list[tuple[int, int, int]] = []  # row, begin, end
    parents: list[int] = []
    above: list[int] = []
    for row in range(len(mask)):
        begins, ends = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
        here = []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            number = len(runs)
            runs.append((row, begin, end))
            parents.append(number)
            here.append(number)
            for other in above:
                if runs[other][1] < end and begin < runs[other][2]:
                    parents[_root(parents, other)] = _root(parents, number)
        above = here
    parts: dict[int, Masks] = {}
    for number, (row, begin, end) in enumerate(runs):
        part = parts.setdefault(_root(parents, number), np.zeros_like(mask))
        part[row, begin:end] = True
    large = [part for part in parts.values() if part.sum() >= least]
    return sorted(large, key=lambda part: -int(part.sum()))


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = number = parents[parents[number]]
    return number
