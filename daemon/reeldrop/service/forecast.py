"""Predicts how long the rest of a prompt file takes, from what renders and encodings took so far.

Pure: no I/O, and no clock of its own; all times are of one monotonic clock. What was not measured
yet is scaled by its size from the nearest that was: the same video in a batch of another size, then
another video of the model, then another model. Does not know which batches come next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from reeldrop.base.job import Batch, Member, Prompt

DECODING_STEPS = 2
"""Until decoding was measured, it is taken to last as long as this many steps."""

ENCODED_PIXELS = 10e6
"""Until encoding was measured, this many pixels of all frames are taken to be encoded a second."""

OVERDUE_SHARE = 0.5
"""What is overdue is taken to last for this share longer of the time for which it has been so."""

LEAST_SECONDS = 0.1
"""What is said to be left as long as anything is."""

MAX_KINDS = 1000
"""Upper bound on the remembered figures of one sort: prompt files choose their kinds."""

BatchesToCome = Sequence[tuple[Batch, int]]
"""Batches in the order in which they are rendered, each with how many like it there are."""


class Forecast:
    """Told what begins and ends, and when, it says how long a prompt file still takes."""

    def __init__(self) -> None:
        self._leads = _Figures()
        self._steps = _Figures()
        self._decodings = _Figures()
        self._encodings = _Figures()
        self._course: _Course | None = None
        self._to_encode: deque[Member] = deque()
        self._encoding_since = 0.0

    # What happens

    def begin(self, batch: Batch | None, now: float) -> None:
        """Note that the renderer has begun a batch; None if it has nothing in hand."""
        self._course = None
        if batch is not None:
            known = self._steps.of(_kinds(batch)[:1], _size(batch))
            self._course = _Course(batch, now, now, known)

    def step_done(self, step: int, now: float) -> None:
        """Note that a step of the batch in hand is done; `step` counts from 1."""
        if self._course is None:
            return
        course = self._course = self._course.after(step, now)
        lead = self._leads.of([course.batch.model], 1) or 0.0
        self._steps.note(_kinds(course.batch), _size(course.batch), course.seconds_per_step(lead))

    def rendered(self, now: float) -> None:
        """Note that the batch in hand is rendered."""
        course, self._course = self._course, None
        if course is None or not course.step:
            return
        kinds, size = _kinds(course.batch), _size(course.batch)
        self._decodings.note(kinds, size, now - course.step_at)
        step = self._steps.of(kinds, size) or 0.0
        lead = course.first_at - course.began - step * course.first
        self._leads.note([course.batch.model], 1, max(0.0, lead))

    def encode(self, member: Member, now: float) -> None:
        """Note that the encoder has got a video, to be encoded after those that it has."""
        if not self._to_encode:
            self._encoding_since = now
        self._to_encode.append(member)

    def encoded(self, now: float, *, is_published: bool) -> None:
        """Note that the first video that the encoder has is published, or that it failed."""
        prompt = self._to_encode.popleft().prompt
        if is_published:
            seconds = now - self._encoding_since
            self._encodings.note(_formats(prompt), _pixels(prompt), seconds)
        self._encoding_since = now

    # What is predicted

    @property
    def in_encoder(self) -> Member | None:
        """The video that is being encoded."""
        return self._to_encode[0] if self._to_encode else None

    def left(self, job_id: str, coming: BatchesToCome, now: float) -> float | None:
        """Return the seconds until the last video of a job is published; None if unknown.

        coming: the batches after the one in hand, as far as they are known
        """
        rendered, encoder, end = 0.0, 0.0, 0.0
        for place, member in enumerate(self._to_encode):
            seconds = self._encoding_seconds(member.prompt)
            encoder += seconds if place else _rest(seconds, now - self._encoding_since)
            end = encoder if member.job_id == job_id else end
        in_hand = [(self._course.batch, 1)] if self._course is not None else []
        for place, (batch, count) in enumerate([*in_hand, *coming]):
            is_in_hand = place < len(in_hand)
            takes = self._batch_left(now) if is_in_hand else self._batch_seconds(batch)
            if takes is None:
                return None
            first = rendered + takes
            rendered += count * takes
            own, encoding = self._encoding_of(batch, job_id)
            encoder = max(max(encoder, first) + count * encoding, rendered + encoding)
            end = encoder - encoding + own if own else end  # its own are the first of a batch
        return round(max(end, LEAST_SECONDS), 1)

    def _batch_left(self, now: float) -> float | None:
        """Return the seconds until the batch in hand is rendered."""
        course = self._course
        assert course is not None
        step = self._steps.of(_kinds(course.batch), _size(course.batch))
        if step is None:
            return None
        decoding = self._decoding_seconds(course.batch, step)
        left = _steps(course.batch) - course.step
        if left <= 0:
            return _rest(decoding, now - course.step_at)
        lead = 0.0 if course.step else self._leads.of([course.batch.model], 1) or 0.0
        return _rest(lead + step, now - course.step_at) + (left - 1) * step + decoding

    def _batch_seconds(self, batch: Batch) -> float | None:
        """Return how long a batch takes that has not begun."""
        step = self._steps.of(_kinds(batch), _size(batch))
        if step is None:
            return None
        lead = self._leads.of([batch.model], 1) or 0.0
        return lead + _steps(batch) * step + self._decoding_seconds(batch, step)

    def _decoding_seconds(self, batch: Batch, step: float) -> float:
        measured = self._decodings.of(_kinds(batch), _size(batch))
        return DECODING_STEPS * step if measured is None else measured

    def _encoding_of(self, batch: Batch, job_id: str) -> tuple[float, float]:
        """Return how long the videos of a job in a batch take to encode, and how long all do."""
        seconds = [(m.job_id, self._encoding_seconds(m.prompt)) for m in batch.members]
        own = sum(each for owner, each in seconds if owner == job_id)
        return own, sum(each for _, each in seconds)

    def _encoding_seconds(self, prompt: Prompt) -> float:
        measured = self._encodings.of(_formats(prompt), _pixels(prompt))
        return _pixels(prompt) / ENCODED_PIXELS if measured is None else measured


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a batch is.

    began: when it did
    step_at: when the last step was done, or else when the batch began
    known: the seconds per step that such a batch took before; None if there was none
    step: the number of the last step; 0 if none is done
    first, first_at: the number of the first step that was reported, and when it was done
    """

    batch: Batch
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


class _Figures:
    """The seconds that one unit of size takes, by kinds of work, as last measured."""

    def __init__(self) -> None:
        self._rates: dict[Hashable, float] = {}

    def note(self, kinds: Sequence[Hashable], size: float, seconds: float) -> None:
        """Remember what work took that is of all these kinds."""
        for kind in kinds:
            self._rates.pop(kind, None)
            self._rates[kind] = seconds / size
        while len(self._rates) > MAX_KINDS:
            del self._rates[next(iter(self._rates))]

    def of(self, kinds: Sequence[Hashable], size: float) -> float | None:
        """Return how long work takes, from the first of its kinds that was measured."""
        rate = next((self._rates[kind] for kind in kinds if kind in self._rates), None)
        return None if rate is None else rate * size


def _rest(expected: float, since: float) -> float:
    """Return what is left of something that was expected to take so long."""
    return max(expected - since, OVERDUE_SHARE * (since - expected))


def _kinds(batch: Batch) -> list[Hashable]:
    """Return the kinds of a batch, the nearest first."""
    key = batch.members[0].prompt.memory_key
    return [(key, len(batch.members)), key, batch.model, None]


def _formats(prompt: Prompt) -> list[Hashable]:
    """Return the kinds of a video for the encoder, the nearest first."""
    return [(prompt.formats, _pixels(prompt)), prompt.formats, None]


def _size(batch: Batch) -> int:
    return _pixels(batch.members[0].prompt) * len(batch.members)


def _pixels(prompt: Prompt) -> int:
    """Return the number of pixels of all frames, as far as the prompt says it."""
    names = ("num_frames", "height", "width")
    return math.prod(n for n in map(prompt.argument, names) if isinstance(n, int) and n > 0)


def _steps(batch: Batch) -> int:
    return max(1, batch.steps)
