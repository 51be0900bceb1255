"""What is known of everything that waits: the input of a decision of `schedule`.

Pure records: no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

from reeldrop.base.job import Prompt
from reeldrop.base.residents import Memory
from reeldrop.schedule.turns import Rank

AHEAD_SECONDS = 1.0
"""How long before the end of a batch the next is handed over: enough to claim its files."""

OVERDUE_SHARE = 0.5
"""Overdue work is expected to go on for this share of the time by which it is late."""

BYTES_TO_ENCODE = 1 << 30
"""The renderer pauses while this many bytes of frames wait to be encoded."""


@dataclass(frozen=True, slots=True)
class RendererView:
    """What a renderer has in hand, and in memory.

    is_busy: whether it has anything in hand
    seconds_left: how long that takes at least; infinite if unknown, or if another batch follows
    idle_since: since when it has had nothing in hand; infinite if it has
    kind: the kind of its device; empty if all are alike
    loading: the model that it is loading
    unusable: the models that it can't use for now, though others may
    place: where it is; others may have been there before
    is_held: whether it gets nothing for now; then it counts as busy
    free_at: when it will probably be through with all that it has in hand; infinite if unknown
    is_free: whether it may be given a batch: it is idle, or nearly done. Not earlier, so that
        prompt files stay in the inbox as long as possible
    """

    is_busy: bool = False
    seconds_left: float = 0.0
    idle_since: float = math.inf
    memory: Memory = field(default_factory=Memory)
    kind: str = ""
    loading: str = ""
    unusable: frozenset[str] = frozenset()
    free_at: float = math.inf
    place: str = ""
    is_held: bool = False
    is_free: bool = field(init=False)

    def __post_init__(self) -> None:
        is_free = not self.is_busy or self.seconds_left <= AHEAD_SECONDS
        object.__setattr__(self, "is_free", is_free)  # kept, as it is asked of hundreds each time

    def may_take(self, waiting: Waiting) -> bool:
        """Return whether it can render something that waits, now or later."""
        if isinstance(waiting, JobView) and (
            self.place in waiting.failed_at or not waiting.size_on(self)
        ):
            return False
        return not self.is_held and waiting.model not in self.unusable

    def idle_seconds(self, now: float) -> float:
        """Return for how long it has had nothing in hand."""
        return max(0.0, now - self.idle_since)

    def free_in(self, now: float) -> float:
        """Return in how many seconds it will probably have nothing in hand; infinite if unknown.

        What is overdue goes on for a share of its lateness, so that nobody waits for a hang.
        """
        left = self.free_at - now
        return max(left, -OVERDUE_SHARE * left) if self.is_busy else 0.0


class JobView(NamedTuple):
    """An open job. Views of jobs and files are tuples: hundreds are made for each decision.

    Their `count` takes the place of the method of tuples, which nobody calls.

    prompts: the first of the prompts that wait for the renderer
    count: the number of all prompts that wait
    size: how many prompts like the first are rendered together
    alone: numbers of the prompts that are rendered in a batch of their own
    is_suspect: whether it was in hand when a process ended
    is_in_hand: whether a renderer or the encoder has prompts of it
    was_passed_over: whether a batch has passed it over
    may_go_back: whether it can go back into the spool without a loss
    is_of_night: whether it waits for the night
    may_leave: whether nothing is done for it now, so that it can wait for the next night
    sizes: what `size` is on each kind of device, where that differs; 0 if not one fits
    failed_at: the places where the first of its prompts has failed
    seconds: how long each video like the first takes on the kinds of device where that is known;
        empty if all are alike
    in_few_sizes: the kinds of device on which batches that are not full are powers of two
    """

    id: str
    rank: Rank
    prompts: tuple[Prompt, ...] = ()
    count: int = 0  # type: ignore[assignment]
    size: int = 1
    alone: frozenset[int] = frozenset()
    is_suspect: bool = False
    is_in_hand: bool = False
    was_passed_over: bool = False
    may_go_back: bool = False
    is_of_night: bool = False
    sizes: Mapping[str, int] = MappingProxyType({})
    seconds: Mapping[str, float] = MappingProxyType({})
    failed_at: frozenset[str] = frozenset()
    in_few_sizes: frozenset[str] = frozenset()
    may_leave: bool = False

    def size_on(self, renderer: RendererView) -> int:
        """Return how many prompts like the first a renderer renders together."""
        return self.sizes.get(renderer.kind, self.size)

    @property
    def model(self) -> str:
        return self.prompts[0].model if self.prompts else ""

    def kind(self, prompt: Prompt) -> tuple[object, ...]:
        """Return the key that the prompts of one batch have in common."""
        if self.is_suspect or prompt.number in self.alone:
            return (self.id, prompt.number)
        return prompt.batch_key

    def count_of(self, kind: tuple[object, ...]) -> int:
        """Return how many prompts at the head of those that wait are of a kind."""
        return sum(1 for _ in takewhile(lambda prompt: self.kind(prompt) == kind, self.prompts))


@dataclass(frozen=True, slots=True)
class SpoolView:
    """A job of the spool that is not open.

    model: the model that has to be loaded first; empty if none has
    is_suspect: whether it was in hand when a process ended
    was_begun: whether this process has opened it before, under the settings in force
    is_of_night: whether it waits for the night
    is_cancelled: whether it only has to be ended
    """

    id: str
    rank: Rank
    model: str = ""
    is_suspect: bool = False
    was_begun: bool = False
    is_of_night: bool = False
    is_cancelled: bool = False


class FileView(NamedTuple):
    """A settled file of the inbox.

    kind: the hash of its prompts' kind; 0 if they differ or are not known yet
    count: the number of its prompts; 0 if it is not known yet
    was_passed_over: whether a batch has passed it over
    model: the model of its prompts, empty if they have several; or the one that has to be loaded
        to read it
    is_of_night: whether it waits for the night
    group: the group that it takes turns in; empty if no file of another group waits
    """

    id: str
    rank: Rank
    kind: int = 0
    count: int = 0  # type: ignore[assignment]
    was_passed_over: bool = False
    model: str = ""
    is_of_night: bool = False
    group: str = ""


Waiting = JobView | SpoolView | FileView


@dataclass(frozen=True, slots=True)
class Conditions:
    """What decides, apart from jobs, whether work goes on.

    is_ready: the daemon's own model was loaded and warmed up
    is_short_of_room: the disk is too full, or another folder is in the place of one of ours
    is_held: somebody has asked for a pause; models may be unloaded meanwhile
    is_night: it is one of the hours that config.yaml calls the night
    settings_change: other settings are used as soon as what was begun has ended
    bytes_to_encode: the size of the frames that wait to be encoded
    model_wait_seconds: how long later prompts of a loaded model may go before those of another one
    unload_seconds: how long the renderer is idle before its models are unloaded
    outlives_renderers: one that ends does not end the process, with all that it has in hand
    """

    is_ready: bool = True
    is_short_of_room: bool = False
    is_held: bool = False
    is_night: bool = False
    settings_change: bool = False
    bytes_to_encode: int = 0
    model_wait_seconds: float = math.inf
    unload_seconds: float = math.inf
    outlives_renderers: bool = False

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be begun."""
        is_full = self.bytes_to_encode >= BYTES_TO_ENCODE
        return not self.is_ready or self.is_short_of_room or is_full

    @property
    def opens(self) -> bool:
        """Whether jobs may be opened that were not begun."""
        return not self.settings_change


@dataclass(frozen=True, slots=True)
class View:
    """All input of a decision.

    files: the first files of the inbox, in order
    is_in_trouble: whether the disk is in trouble, so that no file is claimed
    unusable: the models that can't be used for now
    sizes: the bytes of the weights of models that are not loaded; 0 if unknown
    processes: how many processes load a model, where there are several
    waits: how long jobs and files have waited while later ones of loaded models went first, or
        were left to quicker renderers
    now: the time, by the clock of `RendererView.free_at` and `idle_since`
    """

    renderers: tuple[RendererView, ...]
    jobs: tuple[JobView, ...] = ()
    spool: tuple[SpoolView, ...] = ()
    files: tuple[FileView, ...] = ()
    conditions: Conditions = Conditions()
    is_in_trouble: bool = False
    unusable: frozenset[str] = frozenset()
    sizes: Mapping[str, int] = field(default_factory=dict)
    processes: Mapping[str, int] = field(default_factory=dict)
    waits: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0
