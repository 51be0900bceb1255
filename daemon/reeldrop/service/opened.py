"""One open job: which of its prompts wait, are in hand, rest or have failed.

Keeps the record of the attempt in the spool equal to what is in hand. Does not know what is
rendered next, nor where files go.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType

from reeldrop.base.errors import RenderCancelled, RenderError, Unrenderable
from reeldrop.base.job import Attempt, Job, Prompt, Video
from reeldrop.schedule import turns
from reeldrop.schedule.view import JobView
from reeldrop.store.attempts import Attempts
from reeldrop.store.filing import FailedPrompt


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a job's prompts while it waits in the spool; see `OpenJob`."""

    failures: Mapping[int, FailedPrompt]
    alone: frozenset[int]
    tries: Mapping[int, Counter[str]]

    def without(self, place: str) -> Past:
        """Return what is left if nothing had failed at a place."""
        tries = {number: Counter(found) for number, found in self.tries.items()}
        for found in tries.values():
            del found[place]
        return replace(self, tries=tries)


@dataclass(slots=True)
class OpenJob:
    """A job whose prompts are being rendered.

    count: how many videos were ordered
    reserved: the videos whose names an earlier attempt has reserved, by prompt number
    videos: how many are published, those of earlier attempts included
    is_resumed: whether there may have been an earlier attempt
    is_suspect: whether nothing may be in hand beside it
    suspects: numbers of the prompts beside which nothing may be in hand
    place: its place in its group, smaller is earlier: when it was first seen, and a name
    waiting: the prompts for the renderer, in order
    in_hand: numbers of the prompts in the renderer or the encoder
    resting: failed prompts, with the time of their next try; and those that are being translated,
        with an infinite time
    failures: the prompts that are not tried again, by number
    alone: numbers of the prompts that are rendered in a batch of their own
    tries: how often each prompt has failed, by the place of the renderer; "" for the encoder
    trouble: why the job goes back to the spool instead of ending; None if it does not
    is_recorded: whether the spool has a record of this attempt
    was_passed_over: whether a batch took prompts of later jobs before its own
    size: how many bytes the prompt file had when it was read; None if that is unknown
    sweep: the prompts of a sweep, until their sheets have been made
    makes_sheets: whether that is going on
    opened_at: monotonic time
    """

    job: Job
    attempts: Attempts
    count: int
    reserved: Mapping[int, Video]
    videos: int
    is_resumed: bool
    place: tuple[float, str]
    is_suspect: bool = False
    suspects: set[int] = field(default_factory=set)
    waiting: deque[Prompt] = field(default_factory=deque)
    in_hand: set[int] = field(default_factory=set)
    resting: list[tuple[float, Prompt]] = field(default_factory=list)
    failures: dict[int, FailedPrompt] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)
    tries: dict[int, Counter[str]] = field(default_factory=dict)
    trouble: OSError | None = None
    is_recorded: bool = False
    was_passed_over: bool = False
    peak_memory_mib: int = 0
    size: int | None = None
    sweep: tuple[Prompt, ...] = ()
    makes_sheets: bool = False
    opened_at: float = field(default_factory=time.monotonic)
    _view_in_hand: JobView | None = field(default=None, repr=False)

    @property
    def group(self) -> str:
        """The group with which the job takes turns."""
        return turns.group(self.job.source, self.job.owner)

    @property
    def may_leave(self) -> bool:
        """Whether nothing is done for the job now."""
        return not (self.in_hand or self.makes_sheets or self.trouble)

    @property
    def may_go_back(self) -> bool:
        """Whether the job can go back into the spool at any time without a loss."""
        return self.may_leave and not (self.resting or self.failures or self.tries or self.alone)

    @property
    def is_all_in_hand(self) -> bool:
        """Whether all that is left of it is with the renderers or the encoder."""
        return bool(self.in_hand) and not (self.waiting or self.resting)

    @property
    def is_guarded(self) -> bool:
        """Whether nothing may be in hand beside what is in hand of it, or is next."""
        near = self.in_hand.union(prompt.number for prompt in islice(self.waiting, 1))
        return self.is_suspect or not self.suspects.isdisjoint(near)

    def view_in_hand(self) -> JobView:
        """Return the job as input of a decision while all that is left is in hand.

        Its rank says nothing then.
        """
        if self._view_in_hand is None or self._view_in_hand.is_suspect != self.is_guarded:
            self._view_in_hand = self.view(0, {"": 1}, 0)
        return self._view_in_hand

    def view(
        self,
        turn: int,
        sizes: Mapping[str, int],
        most: int,
        seconds: Mapping[str, float] = MappingProxyType({}),
        in_few_sizes: frozenset[str] = frozenset(),
    ) -> JobView:
        """Return the job as input of a decision; `seconds` and `in_few_sizes` are as there.

        sizes: how many prompts like its first waiting one each kind of device renders together
        most: how many of its prompts a batch may take at most
        """
        prompts = tuple(islice(self.waiting, most))
        if not prompts or self.is_suspect or prompts[0].number in self.alone:
            sizes = {kind: min(1, size) for kind, size in sizes.items()}
        return JobView(
            self.job.id,
            (-self.job.priority, turn, *self.place),
            prompts,
            len(self.waiting),
            next(filter(None, sizes.values()), 1),
            frozenset(self.alone),
            self.is_guarded,
            bool(self.in_hand),
            self.was_passed_over,
            self.may_go_back,
            turns.is_of_night(self.job.source),
            sizes if len(sizes) > 1 or 0 in sizes.values() else {},
            seconds,
            in_few_sizes=in_few_sizes,
            failed_at=self.failed_at(prompts[0].number) if prompts else frozenset(),
            may_leave=self.may_leave,
        )

    def hurry(self, job: Job) -> None:
        """Use what the job's record, read as `job`, says now of its turn."""
        self.job = replace(self.job, source=job.source, priority=job.priority)

    def lead(self) -> None:
        """Record that a batch begins with a prompt of this job: it is first in its group."""
        self.was_passed_over = False
        self.place = first_place(self.job)

    def wake(self, now: float) -> None:
        """Queue the prompts for the renderer that have rested for long enough."""
        due = [prompt for at, prompt in self.resting if at <= now]
        self.resting = [(at, prompt) for at, prompt in self.resting if at > now]
        self.waiting.extend(due)

    def begin(self, count: int, *, device_worked: bool) -> list[Prompt]:
        """Record that the first waiting prompts are in hand, and return them.

        Raises:
            OSError: it can't be recorded; they still wait.
        """
        in_hand = self.in_hand | {prompt.number for prompt in islice(self.waiting, count)}
        self.attempts.begin(self.job, sorted(in_hand), device_worked=device_worked)
        self.is_recorded = True
        self.in_hand = in_hand
        return [self.waiting.popleft() for _ in range(count)]

    def queue_again(self, prompt: Prompt, *, alone: bool) -> None:
        """Queue a prompt in hand again as the first one; if `alone`, for a batch of its own."""
        if alone:
            self.alone.add(prompt.number)
        self.in_hand.discard(prompt.number)
        self.waiting.appendleft(prompt)

    def is_left(self, number: int) -> bool:
        """Return whether a prompt is in hand, waits or rests."""
        left = (*self.waiting, *(prompt for _, prompt in self.resting))
        return number in self.in_hand or any(prompt.number == number for prompt in left)

    def note_failure(self, number: int, place: str) -> None:
        """Count that a prompt has failed at a place; see `tries`."""
        self.tries.setdefault(number, Counter())[place] += 1

    def failed_at(self, number: int) -> frozenset[str]:
        """Return the places where a prompt has failed, or its renderer has ended."""
        ended = {attempt.place for attempt in self.job.attempts if attempt.is_of(number)}
        return frozenset((ended | self.tries.get(number, Counter()).keys()) - {""})

    def forgive(self, place: str) -> None:
        """Forget what failed at a place, which is broken; what rests because of that is due."""
        forgiven = {number for number in self.tries if place in self.tries[number]}
        for number in forgiven:
            del self.tries[number][place]
        attempts = tuple(attempt for attempt in self.job.attempts if attempt.place != place)
        if attempts != self.job.attempts:  # it is recorded with what is in hand next
            self.job = replace(self.job, attempts=attempts)
        self.resting = [
            (min(at, 0.0) if prompt.number in forgiven and at < math.inf else at, prompt)
            for at, prompt in self.resting
        ]

    def may_pass(self, error: Exception) -> bool:
        """Return whether a prompt that failed may succeed at another try.

        Also if somebody has removed the folder of its video while that was encoded.
        """
        is_passing = isinstance(error, RenderError | MemoryError | FileNotFoundError)
        return is_passing and not isinstance(error, Unrenderable) and self.trouble is None

    def is_untried_elsewhere(self, number: int, places: frozenset[str], most: int) -> bool:
        """Return whether a prompt has failed at one place only, though it can go to others.

        Not after twice as many tries as usual, at `most`: they may never come to it.
        """
        failed_at = self.failed_at(number)
        ends = sum(attempt.is_of(number) for attempt in self.job.attempts)
        count = ends + sum(self.tries.get(number, Counter()).values())
        return len(failed_at) == 1 and not places <= failed_at and count < 2 * most

    def end_rests(self) -> None:
        """Let all prompts be due that rest until a time; not those that are being translated."""
        self.resting = [(min(at, 0.0) if at < math.inf else at, p) for at, p in self.resting]

    def end_rest(self, number: int) -> Prompt | None:
        """Take a prompt out of those that rest, and return it; None if it was not there."""
        found = [prompt for _, prompt in self.resting if prompt.number == number]
        self.resting = [(at, prompt) for at, prompt in self.resting if prompt.number != number]
        return next(iter(found), None)

    @property
    def is_translated(self) -> bool:
        """Whether the texts of some of its prompts are being translated."""
        return any(at == math.inf for at, _ in self.resting)

    def rest(self, prompt: Prompt, until: float) -> None:
        """Let a failed prompt wait for its next try, in a batch of its own."""
        self.alone.add(prompt.number)
        self.resting.append((until, prompt))

    def drop_waiting(self, model: str = "") -> list[Prompt]:
        """Remove and return the prompts that are not in hand; of one model only, if it is given."""
        all_left = [*self.waiting, *(prompt for _, prompt in self.resting)]
        others = {prompt.number for prompt in all_left if model not in ("", prompt.model)}
        self.waiting = deque(prompt for prompt in self.waiting if prompt.number in others)
        self.resting = [(at, prompt) for at, prompt in self.resting if prompt.number in others]
        return [prompt for prompt in all_left if prompt.number not in others]

    def let_go(self, *, device_worked: bool) -> None:
        """Record that fewer prompts are in hand than before, while the job goes on."""
        with contextlib.suppress(OSError):  # then the attempt counts
            if self.in_hand:
                self.attempts.begin(self.job, sorted(self.in_hand), device_worked=device_worked)
            else:
                self.attempts.take_back(self.job)

    def take_sweep(self) -> tuple[Prompt, ...]:
        """Return the prompts whose sheets are to be made now; empty if there are none, or no more.

        Nobody wants to see more of a cancelled job.
        """
        sweep, self.sweep = self.sweep, ()
        errors = (error for _, error in self.failures.values())
        is_cancelled = any(isinstance(error, RenderCancelled) for error in errors)
        return sweep if self.videos > 1 and not is_cancelled else ()

    def note_loss(self, attempt: Attempt) -> None:
        """Note an attempt whose renderer was lost; its prompts are rendered alone from now on.

        It is recorded with what is in hand next.
        """
        self.job = replace(self.job, attempts=(*self.job.attempts, attempt))
        self.alone.update(attempt.numbers)

    def take_back_attempt(self) -> None:
        """Remove the record of this attempt, if there is one."""
        if self.is_recorded:
            with contextlib.suppress(OSError):  # then the attempt counts
                self.attempts.take_back(self.job)

    def hold(self, model: str, until: float) -> None:
        """Let the waiting prompts of a model rest until a time, and the others go on."""
        held = [prompt for prompt in self.waiting if prompt.model == model]
        if held:
            self.waiting = deque(prompt for prompt in self.waiting if prompt.model != model)
            self.resting += [(until, prompt) for prompt in held]

    @property
    def past(self) -> Past:
        """What the job has to know when it is opened again."""
        tries = {number: Counter(found) for number, found in self.tries.items()}
        return Past(dict(self.failures), frozenset(self.alone), tries)

    def recall(self, past: Past) -> None:
        """Go on with what is known of the prompts, right after the job was opened again."""
        self.failures |= past.failures
        self.alone |= past.alone
        self.tries.update(past.tries)
        self.waiting = deque(p for p in self.waiting if p.number not in self.failures)

    def only_waits_for(self, model: str) -> bool:
        """Return whether all that is left are prompts of a model that rest."""
        is_active = bool(self.waiting or self.in_hand or self.trouble or not self.resting)
        return not is_active and all(prompt.model == model for _, prompt in self.resting)

    @property
    def only_waits_for_translation(self) -> bool:
        """Whether all that is left are prompts that are being translated."""
        is_active = bool(self.waiting or self.in_hand or self.trouble or not self.resting)
        return not is_active and all(at == math.inf for at, _ in self.resting)

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        if not self.failures:
            return "finished"
        if all(isinstance(error, RenderCancelled) for _, error in self.failures.values()):
            return "cancelled"
        return "partly failed" if self.videos else "failed"


def first_place(job: Job) -> tuple[float, str]:
    """Return the place before all jobs that have not begun; among those that have, by age."""
    return -math.inf, job.id
