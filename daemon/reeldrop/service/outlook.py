"""Which batches come before the end of a prompt file, as far as that is known now.

For `forecast`; decides nothing. What comes into the inbox later is not in it, and what waits there
now is taken to be rendered in batches like those of the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, groupby, islice

from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.schedule.turns import Rank
from reeldrop.schedule.view import FileView, JobView
from reeldrop.service.opened import OpenJob

LOOK_AT = 100
"""How many prompts of a file are looked at; the others are taken to be like the last of them."""

Batches = Iterator[tuple[Batch, int]]
"""Batches in order, each with how many like it there are."""


def to_come(
    own: OpenJob,
    together: Callable[[Prompt], int],
    jobs: Sequence[JobView],
    files: Sequence[FileView],
) -> Batches:
    """Yield the batches until no prompt of a job waits any more, with those that go ahead.

    together: returns how many prompts like this one are rendered in a batch
    jobs, files: all open jobs, and the first files of the inbox
    """
    batches = list(_own(own, together))
    if not batches:
        return
    [rank] = [view.rank for view in jobs if view.id == own.job.id]
    like, count = batches[0][0], sum(number for _, number in batches)
    others = [(_first(view), view.rank, view.count) for view in jobs if view.prompts]
    others += [(like, file.rank, file.count) for file in files]
    yield from _ahead(others, rank, count)
    yield from batches


def _own(own: OpenJob, together: Callable[[Prompt], int]) -> Batches:
    """Yield the batches of a job's prompts that wait or rest, as if no others joined them.

    Those that are being translated are rendered together as those that wait.
    """
    left = [*own.waiting, *(prompt for at, prompt in own.resting if at == math.inf)]
    seen, unseen = left[:LOOK_AT], max(0, len(left) - LOOK_AT)

    def is_alone(prompt: Prompt) -> bool:
        return own.is_suspect or prompt.number in own.alone

    runs = [list(run) for _, run in groupby(seen, lambda p: (is_alone(p), p.batch_key))]
    for place, run in enumerate(runs, 1):
        members = [Member(own.job.id, prompt) for prompt in run]
        size = 1 if is_alone(run[0]) else together(run[0])
        yield from _filled(members, size, len(run) + (unseen if place == len(runs) else 0))
    for at, prompt in own.resting:
        if at < math.inf:
            yield Batch((Member(own.job.id, prompt),)), 1


def _filled(members: Sequence[Member], size: int, count: int) -> Batches:
    """Yield the batches of `count` prompts like these."""
    whole, rest = divmod(count, size)
    for number, times in ((size, whole), (rest, 1)):
        if number and times:
            yield Batch(tuple(islice(cycle(members), number))), times


def _first(view: JobView) -> Batch:
    """Return the next batch of a job, as if no others joined it."""
    count = min(view.size, view.count_of(view.kind(view.prompts[0])))
    return Batch(tuple(Member(view.id, prompt) for prompt in view.prompts[:count]))


def _ahead(others: Iterable[tuple[Batch, Rank, int]], own: Rank, count: int) -> Batches:
    """Yield the batches of others that are rendered before the last of the `count` own ones.

    Of each other group of the same priority, that is one batch before each own one at most.
    """
    taken: Counter[int] = Counter()
    for batch, rank, prompts in others:
        times = math.ceil(prompts / len(batch.members))
        if rank[0] == own[0] and rank[1] != own[1]:
            times = min(times, count - taken[rank[1]])
            taken[rank[1]] += times
        elif rank >= own:
            continue
        if times:
            yield batch, times
