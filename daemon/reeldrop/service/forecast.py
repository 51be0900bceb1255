"""Predicts how long the rest of a prompt file takes, from what renders and encodings took so far.

Pure: no I/O, and no clock of its own; all times are of one monotonic clock. What was not measured
yet is scaled by its size from the nearest that was: the same video in a batch of another size, then
another video of the model, then another model. Does not know which batches come next.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from reeldrop.base.job import Batch, Member, Prompt
from reeldrop.schedule.view import OVERDUE_SHARE
from reeldrop.service import figures

DECODING_STEPS = 2
"""Until decoding was measured, it is taken to last as long as this many steps."""

ENCODED_PIXELS = 10e6
"""Until encoding was measured, this many pixels of all frames are taken to be encoded a second."""

LEAST_SECONDS = 0.1
"""The least time that is told while anything is left."""

COUNTED_OUT = 4
"""Up to this many batches for each renderer are shared out one by one; more are averaged."""

BatchesToCome = Sequence[tuple[Batch, int]]
"""Batches in the order in which they are rendered, each with how many like it there are."""


class Forecast:
    """Told what begins and ends, and when, it says how long a prompt file still takes."""

    def __init__(self) -> None:
        self._leads = figures.Figures()
        self._steps = figures.Figures()
        self._decodings = figures.Figures()
        self._encodings = figures.Figures()
        self._kinds: dict[str, str] = {}
        self._courses: dict[str, _Course] = {}
        self._to_encode: dict[tuple[str, int], Member] = {}
        self._encoding_since = 0.0

    # What happens

    def join(self, renderer: str, kind: str) -> None:
        """Note a renderer; what is measured on one holds for all of its kind."""
        self._kinds[renderer] = kind

    def leave(self, renderer: str) -> None:
        """Note that a renderer is lost."""
        self._kinds.pop(renderer, None)
        self._courses.pop(renderer, None)

    def begin(self, batch: Batch | None, now: float, renderer: str = "") -> None:
        """Note that a renderer has begun a batch; None if it has nothing in hand."""
        self._courses.pop(renderer, None)
        if batch is not None:
            device = self._kinds.get(renderer, "")
            kinds, step_size = figures.kinds(batch, device), figures.step_size(batch)
            known, size = self._steps.of(kinds[:1], step_size), figures.size(batch)
            course = _Course(batch, device, kinds, step_size, size, now, now, known)
            self._courses[renderer] = course

    def step_done(self, step: int, now: float, renderer: str = "") -> None:
        """Note that a step of the batch in hand is done; `step` counts from 1."""
        if renderer not in self._courses:
            return
        course = self._courses[renderer] = self._courses[renderer].after(step, now)
        seconds = course.seconds_per_step(self._lead(course.batch, course.device))
        self._steps.note(course.kinds, course.step_size, seconds)

    def rendered(self, now: float, renderer: str = "") -> None:
        """Note that the batch in hand is rendered."""
        course = self._courses.pop(renderer, None)
        if course is None or not course.step:
            return
        self._decodings.note(course.kinds, course.size, now - course.step_at)
        step = self._steps.of(course.kinds, course.step_size) or 0.0
        lead = course.first_at - course.began - step * course.first
        self._leads.note([(course.device, course.batch.model)], 1, max(0.0, lead))

    def encode(self, member: Member, now: float) -> None:
        """Note that the encoder has got a video, to be encoded after those that it has."""
        if not self._to_encode:
            self._encoding_since = now
        self._to_encode[member.job_id, member.prompt.number] = member

    def encoded(self, job_id: str, number: int, now: float, *, is_published: bool) -> None:
        """Note that a video that the encoder has is published, or that it failed.

        What it took is the time since the one before: several may be published at once.
        """
        prompt = self._to_encode.pop((job_id, number)).prompt
        if is_published:
            seconds, size = now - self._encoding_since, figures.pixels(prompt)
            self._encodings.note(figures.formats(prompt, size), size, seconds)
        self._encoding_since = now

    # What is predicted

    @property
    def in_encoder(self) -> Member | None:
        """The video that is being encoded, or the first of them."""
        return next(iter(self._to_encode.values()), None)

    def free_at(self, renderer: str, coming: Batch | None, now: float) -> float:
        """Return when a renderer is through with what it has in hand; infinite if unknown.

        coming: the batch after that one, if it was handed over
        """
        course = self._courses.get(renderer)
        left = None if course is None else self._batch_left(course, now)
        if coming is None or left is None:
            return math.inf if left is None else now + left
        after = self._batch_seconds(coming, self._kinds.get(renderer, ""))
        return math.inf if after is None else now + left + after

    def seconds_each(self, prompt: Prompt, together: int, device: str) -> float | None:
        """Return how long each of so many videos in a batch takes on a kind of device.

        None if none of this size was rendered on it: other sizes and devices do not count.
        """
        batch = Batch((Member("", prompt),) * together)
        if self._steps.of(figures.kinds(batch, device)[:2], 1) is None:
            return None
        seconds = self._batch_seconds(batch, device)
        return seconds / together if seconds else None

    def left(
        self,
        job_id: str,
        coming: BatchesToCome,
        now: float,
        handed: Mapping[str, Batch] = MappingProxyType({}),
    ) -> float | None:
        """Return the seconds until the last video of a job is published; None if unknown.

        coming: the batches after those in hand, as far as they are known
        handed: those that renderers have been handed to go on with
        """
        encoder, end = 0.0, 0.0
        for place, member in enumerate(self._to_encode.values()):
            seconds = self._encoding_seconds(member.prompt)
            encoder += seconds if place else _rest(seconds, now - self._encoding_since)
            end = encoder if member.job_id == job_id else end
        times = self._times(coming, now, handed)
        if times is None:
            return None
        for batch, count, first, last in times:
            own, encoding = self._encoding_of(batch, job_id)
            encoder = max(max(encoder, first) + count * encoding, last + encoding)
            end = encoder - encoding + own if own else end  # its own are the first of a batch
        return round(max(end, LEAST_SECONDS), 1)

    def _times(
        self, coming: BatchesToCome, now: float, handed: Mapping[str, Batch]
    ) -> list[tuple[Batch, int, float, float]] | None:
        """Return when the first and the last of such batches are rendered; None if unknown."""
        free = dict.fromkeys(self._kinds or self._courses or {"": ""}, 0.0)
        times: list[tuple[Batch, int, float, float]] = []
        for renderer, course in self._courses.items():
            left = self._batch_left(course, now)
            if left is None:
                return None
            free[renderer] = left
            times.append((course.batch, 1, left, left))
        for renderer, batch in handed.items():
            takes = self._batch_seconds(batch, self._kinds.get(renderer, ""))
            if takes is None:
                return None
            free[renderer] = free.get(renderer, 0.0) + takes
            times.append((batch, 1, free[renderer], free[renderer]))
        times.sort(key=lambda found: found[2])
        for batch, count in coming:
            kinds = {self._kinds.get(renderer, "") for renderer in free}
            takes_on = {kind: self._batch_seconds(batch, kind) for kind in kinds}
            takes_of = {r: takes_on[self._kinds.get(r, "")] or 0.0 for r in free}
            if None in takes_on.values():
                return None
            times.append((batch, count, *_shared(count, takes_of, free)))
        return times

    def _lead(self, batch: Batch, device: str) -> float:
        """Return what goes before the first step, such as encoding the texts."""
        return self._leads.of([(device, batch.model)], 1) or 0.0

    def _batch_left(self, course: _Course, now: float) -> float | None:
        """Return the seconds until a batch in hand is rendered."""
        step = self._steps.of(course.kinds, course.step_size)
        if step is None:
            return None
        decoding = self._decoding_seconds(course.batch, course.kinds, course.size, step)
        left = figures.steps(course.batch) - course.step
        if left <= 0:
            return _rest(decoding, now - course.step_at)
        lead = 0.0 if course.step else self._lead(course.batch, course.device)
        return _rest(lead + step, now - course.step_at) + (left - 1) * step + decoding

    def _batch_seconds(self, batch: Batch, device: str) -> float | None:
        """Return how long a batch takes that has not begun."""
        kinds = figures.kinds(batch, device)
        step = self._steps.of(kinds, figures.step_size(batch))
        if step is None:
            return None
        lead = self._lead(batch, device)
        decoding = self._decoding_seconds(batch, kinds, figures.size(batch), step)
        return lead + figures.steps(batch) * step + decoding

    def _decoding_seconds(
        self, batch: Batch, kinds: Sequence[Hashable], size: int, step: float
    ) -> float:
        measured = self._decodings.of(kinds, size)
        if measured is None:
            return DECODING_STEPS * step * batch.members[0].prompt.pieces
        return measured

    def _encoding_of(self, batch: Batch, job_id: str) -> tuple[float, float]:
        """Return how long the videos of a job in a batch take to encode, and how long all do."""
        seconds = [(m.job_id, self._encoding_seconds(m.prompt)) for m in batch.members]
        own = sum(each for owner, each in seconds if owner == job_id)
        return own, sum(each for _, each in seconds)

    def _encoding_seconds(self, prompt: Prompt) -> float:
        size = figures.pixels(prompt)
        measured = self._encodings.of(figures.formats(prompt, size), size)
        return size / ENCODED_PIXELS if measured is None else measured


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a batch is.

    device: the kind of what renders it
    kinds, step_size, size: its own, as `figures` has them
    began: when it did
    step_at: when the last step was done, or else when the batch began
    known: the seconds per step that such a batch took before; None if there was none
    step: the number of the last step; 0 if none is done
    first, first_at: the number of the first step that was reported, and when it was done
    """

    batch: Batch
    device: str
    kinds: Sequence[Hashable]
    step_size: int
    size: int
    began: float
    step_at: float
    known: float | None
    step: int = 0
    first: int = 0
    first_at: float = 0.0

    def after(self, step: int, now: float) -> _Course:
        """Return the course after a step. Steps count anew if memory ran out."""
        if self.step <= step and self.step:
            return replace(self, step=step, step_at=now)
        return replace(self, began=self.step_at, step_at=now, step=step, first=step, first_at=now)

    def seconds_per_step(self, lead: float) -> float:
        """Return the mean of the steps, where an earlier batch counts as one.

        lead: what usually goes before the first step, such as encoding the texts
        """
        steps, seconds = self.step - self.first, self.step_at - self.first_at
        if self.known is not None:
            return (self.known + seconds) / (1 + steps)
        if steps:
            return seconds / steps
        return max(0.0, self.first_at - self.began - lead) / self.first


def _rest(expected: float, since: float) -> float:
    """Return how much longer work takes that began `since` seconds ago."""
    return max(expected - since, OVERDUE_SHARE * (since - expected))


def _shared(count: int, takes: Mapping[str, float], free: dict[str, float]) -> tuple[float, float]:
    """Share batches out to renderers, and return when the first and the last of them end.

    takes: how long one takes on each renderer
    free: when each has nothing else to do; it is changed to after these batches
    """
    ends = [(free[one] + takes[one], one) for one in free]
    heapq.heapify(ends)
    first = last = ends[0][0]
    if len(free) > 1 and count <= COUNTED_OUT * len(free):
        for _ in range(count):
            last, one = ends[0]
            free[one] = last
            heapq.heapreplace(ends, (last + takes[one], one))
        return first, last
    rates = done = 0.0
    for one in sorted(free, key=lambda one: free[one]):  # many are shared out like a fluid
        if rates and (count + done) / rates <= free[one]:
            break
        rates += 1 / max(takes[one], 1e-9)
        done += free[one] / max(takes[one], 1e-9)
    last = (count + done) / rates
    free.update({one: max(at, last) for one, at in free.items()})
    return first, max(first, last)
