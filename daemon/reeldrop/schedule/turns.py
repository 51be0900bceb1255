"""The order of what waits: by priority, and within one priority, groups take turns.

A group is what lies in one folder at the top of the inbox, or what one user has put directly into
the inbox; `NOW/ann/` is part of `ann/`. Pure: knows neither files nor jobs.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from reeldrop.base import inbox_folders
from reeldrop.base.job import PRIORITIES

Rank = tuple[int, int, float, str]
"""Priority (negated), turn of the group, time since it waits, name: the lowest is first."""

MAX_GROUPS = 10_000
"""Upper bound on the remembered groups; above it, only groups that have something waiting."""

T = TypeVar("T")
_Entry = tuple[float, str, T]
_Lane = tuple[int, str]


def group(path: PurePosixPath, owner: int) -> str:
    """Return a prompt file's group: its folder at the top of the inbox, or else its owner's id."""
    folder, slash, _ = str(inbox_folders.home(path)).partition("/")
    return folder if slash else f"/{owner}"  # no folder is called like that


def priority(path: PurePosixPath, given: int) -> int:
    """Return a prompt file's priority: in `NOW/` the highest, no matter what it gives itself.

    It is not above that, so `NOW/` gains nothing that any prompt file could not have.
    """
    return PRIORITIES[1] if inbox_folders.wish(path) == inbox_folders.NOW else given


def is_of_night(path: PurePosixPath) -> bool:
    """Return whether a prompt file waits for the night."""
    return inbox_folders.wish(path) == inbox_folders.NIGHT


class Turns:
    """When each group last led a batch, or when it came, counted in changes of the lead.

    A group's number never falls, and a new group ranks after all that have waited longer. So each
    group gets its turn, however many new ones come.
    """

    def __init__(self) -> None:
        self._leads = 0
        self._of: dict[str, int] = {}
        self._most = MAX_GROUPS

    def of(self, group: str) -> int:
        """Return a group's number: the lowest is next."""
        return self._of.setdefault(group, 2 * self._leads - 1)

    def lead(self, group: str) -> None:
        """Record that a group leads a batch. If it led the last one too, the order stays."""
        if self._of.get(group) != 2 * self._leads:
            self._leads += 1
            self._of[group] = 2 * self._leads

    @property
    def order(self) -> int:
        """A number that changes when the order of the known groups does."""
        return self._leads

    def are_many(self) -> bool:
        """Return whether it is time to `keep` only some groups."""
        return len(self._of) > self._most

    def keep(self, groups: Container[str]) -> None:
        """Forget all other groups."""
        self._of = {group: turn for group, turn in self._of.items() if group in groups}
        self._most = max(MAX_GROUPS, 2 * len(self._of))


class Queue(Generic[T]):
    """What waits, in order. Adding an item, and finding or removing the first, is always cheap.

    There is a lane for each priority and group, sorted by time and name, and a heap of the first of
    each lane. A rank in the heap may be too low, because the first of its lane was removed or its
    group has had its turn; it is corrected when it reaches the top. It is never too high.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._lanes: dict[_Lane, list[_Entry[T]]] = {}
        self._heads: list[tuple[Rank, _Lane]] = []

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __iter__(self) -> Iterator[T]:
        """Yield all items, unsorted."""
        return (entry[2] for lane in self._lanes.values() for entry in lane)

    def groups(self) -> set[str]:
        """Return the groups that have something waiting."""
        return {group for _, group in self._lanes}

    def fill(self, items: Iterable[tuple[int, str, float, str, T]]) -> None:
        """Replace all items; each has a priority, a group, a time and a name."""
        self._lanes = {}
        for priority, group, since, name, item in items:
            self._lanes.setdefault((-priority, group), []).append((since, name, item))
        for lane in self._lanes.values():
            lane.sort(key=_when)
        self._heads = [
            (self._rank(lane, entries[0]), lane) for lane, entries in self._lanes.items()
        ]
        heapq.heapify(self._heads)

    def add(self, priority: int, group: str, since: float, name: str, item: T) -> None:
        """Add an item."""
        lane = (-priority, group)
        entries, entry = self._lanes.setdefault(lane, []), (since, name, item)
        insort(entries, entry, key=_when)
        if entries[0] is entry:
            heapq.heappush(self._heads, (self._rank(lane, entry), lane))

    def remove(self, priority: int, group: str, since: float, name: str) -> T | None:
        """Remove an item and return it; None if it was not in the queue."""
        lane = (-priority, group)
        entries = self._lanes.get(lane, [])
        at = bisect_left(entries, (since, name), key=_when)
        if at == len(entries) or _when(entries[at]) != (since, name):
            return None
        item = entries.pop(at)[2]
        if not entries:
            del self._lanes[lane]
        return item

    def first(self, most: int) -> list[tuple[Rank, T]]:
        """Return the first `most` items, in order, each with its rank."""
        found: list[tuple[Rank, T]] = []
        ahead: list[tuple[Rank, _Lane, int]] = []  # lanes in use, with the index of their next
        begun: set[_Lane] = set()
        while len(found) < most:
            while (head := self._head(begun)) is not None and (not ahead or head < ahead[0][:2]):
                heapq.heappop(self._heads)
                begun.add(head[1])
                heapq.heappush(ahead, (*head, 0))
            if not ahead:
                break
            rank, lane, at = ahead[0]
            entries = self._lanes[lane]
            found.append((rank, entries[at][2]))
            if at + 1 < len(entries):
                heapq.heapreplace(ahead, (self._rank(lane, entries[at + 1]), lane, at + 1))
            else:
                heapq.heappop(ahead)
        for lane in begun:
            heapq.heappush(self._heads, (self._rank(lane, self._lanes[lane][0]), lane))
        return found

    def _head(self, begun: set[_Lane]) -> tuple[Rank, _Lane] | None:
        """Return the first lane that is not in `begun`, with its present rank; None if none is."""
        while self._heads:
            rank, lane = self._heads[0]
            if lane in begun or lane not in self._lanes:  # a duplicate, or an empty lane
                heapq.heappop(self._heads)
                continue
            now = self._rank(lane, self._lanes[lane][0])
            if now == rank:
                return rank, lane
            heapq.heapreplace(self._heads, (now, lane))
        return None

    def _rank(self, lane: _Lane, entry: _Entry[T]) -> Rank:
        return (lane[0], self._turns.of(lane[1]), entry[0], entry[1])


def _when(entry: _Entry[T]) -> tuple[float, str]:
    return entry[:2]
