"""The order of what waits: by priority, then by turns of the folders at the top of the inbox."""

from __future__ import annotations

import random
from pathlib import PurePosixPath

import pytest
from reeldrop.schedule import turns
from reeldrop.schedule.turns import MAX_GROUPS, Queue, Turns


def add(queue: Queue[str], *names: str, priority: int = 0) -> None:
    """Queue files by their paths, in this order."""
    for name in names:
        queue.add(priority, turns.group(PurePosixPath(name), 1000), 0.0, name, name)


def names(queue: Queue[str], most: int = 99) -> list[str]:
    """Return the paths of what waits, in order."""
    return [name for _, name in queue.first(most)]


def served(queue: Queue[str], order: Turns, count: int) -> list[str]:
    """Let the first of the queue lead a batch, several times, and return them."""
    found = []
    for _ in range(count):
        [(rank, name)] = queue.first(1)
        queue.remove(-rank[0], turns.group(PurePosixPath(name), 1000), *rank[2:])
        order.lead(turns.group(PurePosixPath(name), 1000))
        found.append(name)
    return found


@pytest.fixture
def order() -> Turns:
    """Turns in which no group has led a batch."""
    return Turns()


@pytest.fixture
def queue(order: Turns) -> Queue[str]:
    """An empty queue."""
    return Queue(order)


def test_groups_take_turns(queue: Queue[str], order: Turns) -> None:
    """A group is a folder at the top of the inbox, or the files directly in it."""
    add(queue, *(f"a/{number}" for number in range(4)), "b/x/0", "b/y/1", "0", "1")
    expected = ["0", "a/0", "b/x/0", "1", "a/1", "b/y/1", "a/2", "a/3"]
    assert expected == served(queue, order, 8)
    assert not queue


def test_folders_that_say_when_are_no_group_of_their_own(queue: Queue[str], order: Turns) -> None:
    """A person's thousand urgent files, however deep, leave others their turns, also later ones."""
    urgent = [f"NOW/a/{number % 7}/deep/{number:03}" for number in range(1000)]
    add(queue, *urgent, "NOW/b/0", priority=turns.priority(PurePosixPath("NOW/a/0"), -10))
    add(queue, "NOW/b/1", "c/0", priority=10)
    add(queue, "a/1", "b/2", priority=9)
    assert [urgent[0], "NOW/b/0", "c/0", urgent[7], "NOW/b/1"] == served(queue, order, 5)
    groups = [turns.group(PurePosixPath(path), 7) for path in ("NIGHT/a/b", "AGAIN/b", "now/b")]
    assert ["a", "/7", "now"] == groups


def test_a_priority_goes_before_all_turns(queue: Queue[str], order: Turns) -> None:
    """Groups take turns within a priority, and a turn counts in all priorities."""
    add(queue, "a/0", "b/0")
    add(queue, "a/1", "a/2", priority=1)
    assert ["a/1", "a/2", "b/0", "a/0"] == served(queue, order, 4)


def test_the_order_changes_when_another_group_leads(queue: Queue[str], order: Turns) -> None:
    """Hundreds of batches of one group change nothing, so that what was sorted stays so."""
    add(queue, *(f"a/{number}" for number in range(9)), "b/0")
    served(queue, order, 1)
    numbers, ranks = order.order, queue.first(9)
    for _ in range(5):
        order.lead("a")
    assert (numbers, ranks) == (order.order, queue.first(9))
    assert ["b/0", "a/1"] == served(queue, order, 2)
    assert numbers + 2 == order.order


def test_within_a_group_the_first_seen_is_first(queue: Queue[str]) -> None:
    """Then the name decides."""
    for since, name in ((2.0, "a"), (1.0, "c"), (1.0, "b"), (3.0, "0")):
        queue.add(0, "", since, name, name)
    assert ["b", "c", "a", "0"] == names(queue)


def test_who_comes_new_is_before_who_has_just_had_his_turn(queue: Queue[str], order: Turns) -> None:
    """A single file waits for the current batch, not for a folder of thousands."""
    add(queue, *(f"a/{number}" for number in range(9)))
    served(queue, order, 3)
    add(queue, "b/0")
    assert ["b/0", "a/3"] == served(queue, order, 2)


def test_however_many_come_new_everybody_has_his_turn(queue: Queue[str], order: Turns) -> None:
    """A new folder for each file does not go before all others for ever."""
    add(queue, *(f"a/{number}" for number in range(3)))
    found = []
    for number in range(9):
        add(queue, f"n{number}/x", f"n{number}/y", f"m{number}/x")
        found += served(queue, order, 1)
    assert 2 <= sum(name.startswith("a/") for name in found)


def test_what_was_served_longest_ago_is_first(queue: Queue[str], order: Turns) -> None:
    """Even if nothing of the group waited meanwhile."""
    add(queue, "a/0", "b/0", "c/0")
    served(queue, order, 3)
    add(queue, "c/1", "b/1", "a/1")
    assert ["a/1", "b/1", "c/1"] == served(queue, order, 3)


def test_the_first_can_be_looked_at_again_and_again(queue: Queue[str], order: Turns) -> None:
    """`first` loses and doubles nothing, whatever is added and removed in between."""
    dice, waiting = random.Random(1), set[tuple[int, str]]()
    for number in range(600):
        if dice.random() < 0.6:
            priority, name = dice.randrange(3), f"{dice.choice('abcd')}/{dice.random()}"
            add(queue, name, priority=priority)
            waiting.add((priority, name))
        elif waiting:
            priority, name = dice.choice(sorted(waiting))
            assert name == queue.remove(priority, name[0], 0.0, name)
            assert queue.remove(priority, name[0], 0.0, name) is None
            waiting.remove((priority, name))
        order.lead(dice.choice("abcd"))
        ranks = sorted((-p, order.of(name[0]), 0.0, name) for p, name in waiting)
        most = dice.randrange(20)
        assert ranks[:most] == [rank for rank, _ in queue.first(most)], number
    assert {name for _, name in waiting} == set(queue)


def test_filling_replaces_what_waited(queue: Queue[str]) -> None:
    """`fill` replaces all items."""
    add(queue, "a/0", "b/0")
    queue.fill((0, "c", 0.0, name, name) for name in ("c/1", "c/0"))
    assert (["c/0", "c/1"], {"c"}) == (names(queue), queue.groups())


def test_groups_of_which_nothing_waits_are_forgotten(order: Turns) -> None:
    """Strangers choose the names of folders, so memory must be bounded."""
    order.lead("kept")
    kept = order.of("kept")
    for number in range(MAX_GROUPS):
        order.of(str(number))
    assert order.are_many()
    order.keep({"kept"})
    assert not order.are_many()
    assert kept == order.of("kept")
