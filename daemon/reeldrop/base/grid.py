"""The numbers that a setting of a model can have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole numbers that a setting can have: `multiple` times n, plus `plus`.

    least, most: the bounds; a `most` of 0 is none
    chunk: if not 0, only the numbers at or next below a multiple of `chunk`
    """

    multiple: int = 1
    plus: int = 0
    least: int = 1
    most: int = 0
    chunk: int = 0

    @classmethod
    def from_first(cls, first: int, step: int) -> Grid:
        """Return the grid of `first`, `first + step`, `first + 2 * step`, ..."""
        return cls(step, first % step, least=first)

    def has(self, number: int) -> bool:
        """Return whether a number can be made."""
        if not self.least <= number <= (self.most or number):
            return False
        if self.chunk:
            whole = -(-number // self.chunk) * self.chunk
            return number == whole - (whole - self.plus) % self.multiple
        return (number - self.plus) % self.multiple == 0

    def near(self, number: int) -> list[int]:
        """Return the nearest numbers that can be made: below and above, or `number` alone."""
        start = min(max(number, self.least), self.most or number)
        furthest = start + (self.chunk or self.multiple)
        below = next((n for n in range(start, self.least - 1, -1) if self.has(n)), None)
        above = next((n for n in range(start, furthest + 1) if self.has(n)), None)
        return sorted({n for n in (below, above) if n is not None})

    def __str__(self) -> str:
        """Return the numbers in words, such as `4n + 1`."""
        if self.chunk:
            first, second = self.near(self.least)[0], self.near(2 * self.chunk)[0]
            return f"{first}, {second}, ..."
        return f"{self.multiple}n" + (f" + {self.plus}" if self.plus else "")
