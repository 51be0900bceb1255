"""The files of the inbox that have been examined, in the order in which they are rendered.

Opens no file. Does not know what is rendered beside them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable
from dataclasses import dataclass

from reeldrop.intake.scan import Candidate
from reeldrop.schedule import turns
from reeldrop.schedule.schedule import LOOK_THROUGH
from reeldrop.schedule.turns import Queue, Turns
from reeldrop.schedule.view import FileView


@dataclass(frozen=True, slots=True)
class Examined:
    """What a settled file asks for.

    kind: the hash of its prompts' batch key; 0 if they differ
    count: the number of its prompts; 0 if it is not known yet
    model: the profile that it needs
    names: the pictures that it needs
    pair: the picture that has its name, also if it does not need that one; or empty
    is_paired: whether it needs the pair without naming it
    """

    candidate: Candidate
    priority: int
    kind: int
    count: int
    model: str
    names: tuple[str, ...] = ()
    pair: str = ""
    is_paired: bool = False

    @property
    def path(self) -> str:
        return str(self.candidate.path)

    @property
    def unnamed_pair(self) -> str:
        """The pair; empty if the file names it, and so has to find it under that name."""
        return "" if self.pair in self.names and not self.is_paired else self.pair

    @property
    def queue_key(self) -> tuple[int, str, float, str]:
        """Its place in the queue: priority, group, first seen, path."""
        group = turns.group(self.candidate.path, self.candidate.owner)
        return self.priority, group, self.candidate.first_seen, self.path


class Line:
    """The queue of the files that can be claimed, and what is known of others in the inbox."""

    def __init__(self, order: Turns) -> None:
        self._order = order
        self._queue: Queue[Examined] = Queue(order)
        self._of_night: Queue[Examined] = Queue(order)
        self._known: dict[str, Examined] = {}
        self._expired: set[Candidate] = set()
        self._passed_over: set[Candidate] = set()
        self._first: tuple[FileView, ...] | None = None
        self._order_of_first = 0

    def __bool__(self) -> bool:
        return bool(self._queue) or bool(self._of_night)

    def _queue_of(self, candidate: Candidate) -> Queue[Examined]:
        """Return the queue of a file: by day, files of the night must not hide others."""
        return self._of_night if turns.is_of_night(candidate.path) else self._queue

    def take_over(self, other: Line, *, reads_alike: bool) -> None:
        """Take over what `other` knows of the same inbox.

        reads_alike: files are read as before; if not, all are examined again, as some may be
            refused now, or take other pictures
        """
        self._known = other._known
        changed = () if reads_alike else (known.candidate for known in other._known.values())
        self._expired = other._expired.union(changed)
        self._passed_over = other._passed_over
        self._first = None

    def fill(self, settled: Iterable[Candidate], there: Container[Candidate]) -> deque[Candidate]:
        """Queue the settled files that have been examined; return the others, in turn.

        Forget files that are not there any more.
        """
        self._known = {p: known for p, known in self._known.items() if known.candidate in there}
        self._expired = {candidate for candidate in self._expired if candidate in there}
        self._passed_over = {candidate for candidate in self._passed_over if candidate in there}
        examined, of_night, others = [], [], []
        for candidate in settled:
            known = self._known.get(str(candidate.path))
            if known is None or candidate in self._expired:
                first = -known.priority if known else -turns.priority(candidate.path, 0)
                others.append((first, candidate))
            elif self._queue_of(candidate) is self._queue:
                examined.append((*known.queue_key, known))
            else:
                of_night.append((*known.queue_key, known))
        self._queue.fill(examined)
        self._of_night.fill(of_night)
        self._first = None
        return _by_turns(others)

    def add(self, examined: Examined) -> None:
        """Queue a file."""
        self._first = None
        self._known[examined.path] = examined
        self._expired.discard(examined.candidate)
        self._queue_of(examined.candidate).add(*examined.queue_key, examined)

    def remove(self, path: str) -> Examined | None:
        """Take a file out of the queue; None if it is not in it."""
        known = self._known.get(path)
        if known is None:
            return None
        self._first = None
        return self._queue_of(known.candidate).remove(*known.queue_key)

    def expire(self, candidate: Candidate) -> None:
        """Mark a file to be examined again."""
        self._expired.add(candidate)

    def expire_unread(self) -> None:
        """Mark the files whose model was unknown to be examined again."""
        self._expired.update(known.candidate for known in self._known.values() if not known.count)

    def first(self) -> tuple[FileView, ...]:
        """Return the next files, in order; last those of the night.

        It is asked before each batch, and the answer is kept while nothing here changes.
        """
        if self._first is None or self._order_of_first != self._order.order:
            self._first, self._order_of_first = self._views(), self._order.order
        return self._first

    def _views(self) -> tuple[FileView, ...]:
        are_several = len(self.groups()) > 1
        return tuple(
            FileView(
                known.path,
                rank,
                known.kind,
                known.count,
                known.candidate in self._passed_over,
                known.model,
                queue is self._of_night,
                known.queue_key[1] if are_several else "",
            )
            for queue in (self._queue, self._of_night)
            for rank, known in queue.first(LOOK_THROUGH)
        )

    def model(self, candidate: Candidate) -> str:
        """Return the model of a file's prompts; empty if they have several, or it is unknown."""
        known = self._known.get(str(candidate.path))
        return known.model if known is not None else ""

    def count(self, candidate: Candidate) -> int:
        """Return how many videos a file asks for; 0 if that is not known."""
        known = self._known.get(str(candidate.path))
        return known.count if known is not None else 0

    def candidates(self, most: int) -> list[Candidate]:
        """Return the first `most` files of the day and of the night, in order."""
        queues = self._queue, self._of_night
        return [known.candidate for queue in queues for _, known in queue.first(most)]

    def count_of_night(self) -> int:
        """Return how many files wait for the night."""
        return sum(1 for _ in self._of_night)

    def groups(self) -> set[str]:
        """Return the groups that have a file waiting here."""
        return self._queue.groups() | self._of_night.groups()

    def pass_over(self, paths: Iterable[str]) -> None:
        """Mark the paths that wait here as passed over by a batch; ignore others."""
        for path in paths:
            if path in self._known:
                self._first = None
                self._passed_over.add(self._known[path].candidate)


def _by_turns(files: list[tuple[int, Candidate]]) -> deque[Candidate]:
    """Return files in the order in which they are read: groups take turns.

    Each file comes with its negated priority; within a group, files are sorted by that.
    """
    counts: Counter[str] = Counter()
    found = []
    for _, candidate in sorted(files, key=lambda f: (f[0], f[1].first_seen, str(f[1].path))):
        group = turns.group(candidate.path, candidate.owner)
        found.append((counts[group], candidate))
        counts[group] += 1
    return deque(candidate for _, candidate in sorted(found, key=lambda entry: entry[0]))
