"""Records that pass between stages: the numbers that a setting can have."""

from __future__ import annotations

import pytest
from reeldrop.base.job import Capabilities, Grid

FOURS = Grid(4, 1)
CHUNKS = Grid(4, 1, least=33, chunk=33)
"""Helios: 33, 66, 99, 132, 165, ... frames, of which it keeps 4n + 1."""


@pytest.mark.parametrize(
    ("grid", "number", "near"),
    [
        (FOURS, 1, [1]),
        (FOURS, 9, [9]),
        (FOURS, 10, [9, 13]),
        (FOURS, 12, [9, 13]),
        (FOURS, 0, [1]),
        (Grid(8), 60, [56, 64]),
        (Grid(16, least=16, most=64), 80, [64]),
        (Grid(16, least=16, most=64), 7, [16]),
        (Grid(least=16, most=16), 15, [16]),
        (Grid(least=16, most=16), 17, [16]),
        (Grid.from_first(320, 400), 719, [320, 720]),
        (Grid.from_first(320, 400), 100, [320]),
        (Grid.from_first(24, 16), 32, [24, 40]),
        (CHUNKS, 33, [33]),
        (CHUNKS, 66, [65, 97]),
        (CHUNKS, 132, [129, 165]),
        (CHUNKS, 165, [165]),
        (CHUNKS, 5, [33]),
    ],
)
def test_the_nearest_numbers_that_can_be_made(grid: Grid, number: int, near: list[int]) -> None:
    """`near` returns the numbers for a refusal; an allowed number is its own nearest."""
    assert near == grid.near(number)
    assert (near == [number]) == grid.has(number)
    assert all(grid.has(one) for one in near)


def test_numbers_are_told_in_words() -> None:
    """A grid is shown as a formula such as `4n + 1`, or by its first numbers."""
    words = [str(grid) for grid in (FOURS, Grid(8), Grid.from_first(320, 400), CHUNKS)]
    assert ["4n + 1", "8n", "400n + 320", "33, 65, ..."] == words


def test_the_rule_of_a_setting_is_its_own_or_that_of_its_kind() -> None:
    """A setting has its own grid, or that of sizes or frames, or any whole number."""
    found = Capabilities({}, {}, 16, 4, {"width": Grid(32, least=32)})
    assert Grid(16) == found.grid("height")
    assert Grid(32, least=32) == found.grid("width")
    assert FOURS == found.grid("num_frames")
    assert found.grid("num_inference_steps").has(1)
